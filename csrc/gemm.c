/* General matrix products: B packed into panels, A through row pointers, C split among the threads. */
#include "gemm.h"
#include "isa.h"
#include "ranges.h"
#include "tinyconv.h"

#include <string.h>

enum {
    CHUNK = 264,             /* rows of A a task takes, whole tiles: CHUNK x TC_REDUCTION floats stay in L2 */
    FEW_COLUMNS = 128,       /* of B, up to which much of the time may go by waiting for A */
    TURN = 24,               /* rows, whole tiles, between two looks ahead, of so many floats */
    LONG = 128,              /* at least: shorter ones take less than the turns */
    SHARED = 4 * 1024 * 1024, /* floats of B packed at once for all threads: within L3 */
    COPIED = 64,             /* more rows of A and columns of B than this before rows of A are copied */
    WIDE = 8,                /* up to so many rows of C, B is read once as it stands: reading it is all the work */
    WIDE_FLOATS = 4096,      /* of C, that take part in a pass over B's columns: within L1 */
    CACHED = 1 << 20,        /* floats of B, up to which one row reads several panels at once: memory prefers one */
    FEW = 600,               /* up to so many rows of C, B is packed, used and forgotten by one thread, within L2 */
    FETCHED = 80 * 1024,     /* floats of A, of the next part of a reduction, that may come into L2 beside this one's */
    AHEAD = 8,               /* rows of B fetched before they are packed: too far apart for the hardware to foresee */
    FEW_REDUCTION = 10240,   /* floats of a panel's part of it: beyond L1 they cost less than another look at C */
    STRIP_PANELS = 8         /* of such a piece of B, as high as a part of the reduction */
};

/* ------------------------------------------------------------------ packed B */
/* Rows a multiple of 4 KB apart fall on the same cache sets: copied together, where they are used often enough. */
static int copies(int64_t m, int64_t n, int64_t lda) { return m > COPIED && n > COPIED && lda % 1024 == 0; }

static int64_t few_part(int64_t k, int64_t nr) {
    return tc_ceil_div(k, tc_max(1, tc_ceil_div(k, FEW_REDUCTION / nr)));
}

static int64_t pitch_for(int64_t k) { return tc_round_up(tc_min(k, TC_REDUCTION), 16) + 16; }

static int64_t task_bytes(int64_t m, int64_t k) {
    int64_t rows = tc_min(m, CHUNK);
    return rows * (int64_t)(sizeof(float *) + sizeof(const float *)) + tc_round_up(rows * 16, 64) +
           rows * pitch_for(k) * (int64_t)sizeof(float);
}

int64_t tc_gemm_packed_scratch(int64_t m, int64_t k, int threads) {
    return tc_round_up(task_bytes(m, k), TC_ALIGN) * tc_max(threads, 1);
}

typedef struct {
    const tc_gemm_isa *isa;
    int64_t m, n, k, lda, panel_step, ldc;
    const float *a, *panels;
    const tc_finish *finish;
    float *c;
    int add;
} product;

/* C's only row, panels [q0, q1). */
static void one_row(const product *g, int64_t q0, int64_t q1) {
    const tc_gemm_isa *isa = g->isa;
    const int64_t j = q0 * isa->panel, n = tc_min(q1 * isa->panel, g->n) - j;
    const float *bias = g->finish && g->finish->bias ? g->finish->bias + j : NULL;
    const tc_finish *after = g->finish ? tc_finish_after(g->finish, 1) : NULL;
    isa->one_row(n, g->k, g->a, g->panels + q0 * g->panel_step, g->panel_step, g->add ? g->c + j : bias, g->c + j);
    if (after)
        isa->finish(after, 1, n, &(float *){g->c}, j);
}

/* Rows [from, to) of a strip, `lines` cache lines each, on their way into L2 while another is worked on. */
static void fetch_strip(const float *b, int64_t ldb, int64_t from, int64_t to, int64_t lines) {
    for (int64_t i = from; i < to; i++)
        for (int64_t line = 0; line < lines; line++)
            __builtin_prefetch(b + i * ldb + line * 16, 0, 2);
}

/* Rows [m0, m1) of C, at most CHUNK, panels [q0, q1). What is read of A next, the rows' next part or those behind them,
 * comes meanwhile, a share with every few tiles: the hardware does not foresee it. */
static void chunk(const product *g, int64_t m0, int64_t m1, int64_t q0, int64_t q1, void *scratch) {
    const tc_gemm_isa *isa = g->isa;
    const int64_t m = m1 - m0, pitch = pitch_for(g->k);
    const int64_t part = g->m <= WIDE     ? g->k /* few rows read panels from end to end */
                         : g->m <= COPIED ? few_part(g->k, isa->panel)
                                          : tc_reduction_part(g->k);
    const int copy = copies(g->m, g->n, g->lda);
    const float **row = scratch, *bias = g->finish ? g->finish->bias : NULL;
    float **out = (float **)(row + tc_min(g->m, CHUNK));
    float *own = (float *)((char *)scratch + tc_round_up(tc_min(g->m, CHUNK) * 16, 64));
    for (int64_t r = 0; r < m; r++)
        out[r] = g->c + (m0 + r) * g->ldc;
    for (int64_t i = 0; i < tc_max(g->k, 1); i += part ? part : 1) {
        const tc_run run = {0, i, tc_min(part, g->k - i)};
        for (int64_t r = 0; r < m; r++) {
            row[r] = g->a + (m0 + r) * g->lda + i;
            if (copy) {
                for (int64_t line = 0; line < run.len && r + 4 < m; line += 16)
                    __builtin_prefetch(row[r] + 4 * g->lda + line);
                memcpy(own + r * pitch, row[r], (size_t)run.len * sizeof(float));
                row[r] = own + r * pitch;
            }
        }
        const int last = i + part >= g->k;
        const float *coming = last ? g->a + m1 * g->lda : g->a + m0 * g->lda + i + part;
        const int fetch = !copy && (q1 - q0) * isa->panel <= FEW_COLUMNS && part >= LONG;
        const int64_t rows = !fetch ? 0 : last ? tc_min(m, g->m - m1) : m;
        const int64_t step = fetch ? TURN : m, turns = (q1 - q0) * tc_ceil_div(m, step);
        const int64_t lines = tc_ceil_div(last ? tc_min(part, g->k) : tc_min(part, g->k - i - part), 16);
        for (int64_t q = q0, turn = 0; q < q1; q++) {
            const int64_t j = q * isa->panel;
            const float *next = q + 1 < q1 ? g->panels + (q + 1) * g->panel_step + i * isa->panel
                                           : g->panels + q0 * g->panel_step + (i + part) * isa->panel;
            for (int64_t r = 0; r < m; r += step, turn++) {
                fetch_strip(coming, g->lda, rows * turn / turns, rows * (turn + 1) / turns, lines);
                isa->rows_form(tc_min(step, m - r), tc_min(isa->panel, g->n - j), row + r, 1, &run,
                               g->panels + q * g->panel_step, bias && i == 0 ? bias + j : NULL, g->add || i > 0,
                               out + r, j, r + step < m ? NULL : next,
                               g->finish ? tc_finish_after(g->finish, last) : NULL);
            }
        }
    }
}

void tc_gemm_packed(const tc_gemm_isa *isa, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                    const float *panels, int64_t panel_step, const tc_finish *finish, int add, float *c, int64_t ldc,
                    void *scratch, int threads) {
    const product g = {isa, m, n, k, lda, panel_step, ldc, a, panels, finish, c, add};
    const int64_t panels_all = tc_ceil_div(n, isa->panel), bytes = tc_round_up(task_bytes(m, k), TC_ALIGN);
    threads = tc_threads_for(threads, 2.0 * (double)m * (double)n * (double)k);
    /* Tasks of one size, as many for each thread: of rows, or where B is the larger side, so that each thread reads
     * only its own of it, of panels. */
    const int64_t tiles = tc_ceil_div(m, isa->rows);
    const int by_panels = n > m && panels_all >= 8 * threads;
    const int64_t least = tc_max(tc_ceil_div(m, CHUNK), 1);
    const int64_t chunks = by_panels ? least : tc_min(tc_round_up(least, threads), tc_max(tiles, 1));
    const int64_t splits = by_panels ? threads : tc_max(tc_min(threads / chunks, panels_all), 1);
    if (m <= 0 || n <= 0)
        return;
    TC_TASKS(threads, chunks * splits, t, {
        const int64_t i = t % chunks, s = t / chunks;
        if (m == 1 && n * k <= CACHED)
            one_row(&g, panels_all * s / splits, panels_all * (s + 1) / splits);
        else
            chunk(&g, tiles * i / chunks * isa->rows, tc_min(tiles * (i + 1) / chunks * isa->rows, m),
                  panels_all * s / splits, panels_all * (s + 1) / splits, (char *)scratch + bytes * tc_thread_index());
    });
}

/* ------------------------------------------------------------------ row-major B */
void tc_pack_strip(int64_t k, int64_t columns, int64_t nr, const float *b, int64_t ldb, float *to, int64_t step) {
    const int64_t whole = columns / nr, rest = columns % nr;
    for (int64_t i = 0; i < k; i++, b += ldb, to += nr) {
        const float *ahead = b + (i + AHEAD < k ? AHEAD * ldb : 0);
        if (nr == 16)
            for (int64_t q = 0; q < whole; q++) {
                __builtin_prefetch(ahead + q * 16);
                memcpy(to + q * step, b + q * 16, 64);
            }
        else if (nr == 32)
            for (int64_t q = 0; q < whole; q++) {
                __builtin_prefetch(ahead + q * 32);
                __builtin_prefetch(ahead + q * 32 + 16);
                memcpy(to + q * step, b + q * 32, 128);
            }
        else
            for (int64_t q = 0; q < whole; q++)
                memcpy(to + q * step, b + q * nr, (size_t)nr * sizeof(float));
        if (rest && nr == 16 && (k - 1 - i) * ldb >= nr - rest)
            memcpy(to + whole * step, b + whole * nr, 64); /* quicker than an end of its own for every row */
        else if (rest) {
            memcpy(to + whole * step, b + whole * nr, (size_t)rest * sizeof(float));
            memset(to + whole * step + rest, 0, (size_t)(nr - rest) * sizeof(float));
        }
    }
}

/* A shared block is `rows` x `columns` of B: all of k unless that leaves too few columns. */
static void shared_block(int64_t n, int64_t k, int64_t nr, int64_t *rows, int64_t *columns) {
    *rows = tc_min(k, TC_REDUCTION * 48);
    *columns = tc_min(tc_round_up(n, nr), tc_max(SHARED / *rows / nr, 1) * nr);
    *columns = tc_round_up(tc_ceil_div(n, tc_ceil_div(n, *columns)), nr);
}

static int64_t few_bytes(int64_t m, int64_t k, int64_t nr) {
    return tc_round_up(m * 2 * (int64_t)sizeof(float *), TC_ALIGN) +
           tc_round_up(few_part(k, nr) * STRIP_PANELS * nr * (int64_t)sizeof(float), TC_ALIGN);
}

int64_t tc_gemm_scratch(int64_t m, int64_t n, int64_t k, int threads) {
    const int64_t nr = tc_isa_for(TC_FORWARD, n, k)->gemm.panel;
    if (m <= WIDE || n <= 0 || k <= 0)
        return 0;
    int64_t rows, columns;
    shared_block(n, k, nr, &rows, &columns);
    const int64_t shared = tc_round_up(rows * columns * (int64_t)sizeof(float), TC_ALIGN) +
                           tc_gemm_packed_scratch(m, rows, threads);
    return m <= FEW ? tc_max(shared, few_bytes(m, k, nr) * tc_max(threads, 1)) : shared; /* lda decides which */
}

/* Panels [first, last) of B, in strips, for rows [m0, m1). */
static void few_strips(const product *g, const float *b, int64_t ldb, int64_t first, int64_t last, int64_t m0,
                       int64_t m1, char *scratch) {
    const tc_gemm_isa *isa = g->isa;
    const int64_t nr = isa->panel, m = m1 - m0, part = few_part(g->k, nr);
    const int64_t strips = tc_ceil_div(last - first, STRIP_PANELS);
    const float **row = (const float **)scratch, *a = g->a + m0 * g->lda;
    float **out = (float **)(row + g->m);
    float *own = (float *)(scratch + tc_round_up(g->m * 2 * (int64_t)sizeof(float *), TC_ALIGN));
    for (int64_t r = 0; r < m; r++)
        out[r] = g->c + (m0 + r) * g->ldc;
    for (int64_t t = 0; t < strips; t++) {
        const int64_t q0 = first + (last - first) * t / strips, q1 = first + (last - first) * (t + 1) / strips;
        for (int64_t i = 0; i < g->k; i += part) {
            const tc_run run = {0, 0, tc_min(part, g->k - i)};
            for (int64_t r = 0; r < m; r++)
                row[r] = a + r * g->lda + i;
            tc_pack_strip(run.len, tc_min(q1 * nr, g->n) - q0 * nr, nr, b + i * ldb + q0 * nr, ldb, own, run.len * nr);
            const float *next = i + part < g->k ? b + (i + part) * ldb + q0 * nr : b + q1 * nr;
            const int64_t coming = i + part < g->k ? tc_min(part, g->k - i - part) : t + 1 < strips ? part : 0;
            const int64_t lines = tc_ceil_div(tc_min(q1 * nr, g->n) - q0 * nr, 16);
            const int64_t a_lines = i + part < g->k && m * part <= FETCHED ? tc_ceil_div(part, 16) : 0;
            for (int64_t q = q0; q < q1; q++) {
                const int64_t done = q - q0, count = q1 - q0;
                fetch_strip(next, ldb, coming * done / count, coming * (done + 1) / count, lines);
                fetch_strip(a + i + part, g->lda, m * done / count, m * (done + 1) / count, a_lines);
                isa->rows_form(m, tc_min(nr, g->n - q * nr), row, 1, &run, own + (q - q0) * run.len * nr, NULL, i > 0,
                               out, q * nr, NULL, NULL);
            }
        }
    }
}

static void few_rows(const product *g, const float *b, int64_t ldb, char *scratch, int threads) {
    const int64_t nr = g->isa->panel, all = tc_ceil_div(g->n, nr), bytes = few_bytes(g->m, g->k, nr);
    const int64_t even = all - all % threads; /* the other panels are shared by rows: each thread packs them */
    TC_RANGES(threads, threads, 1, low, high, {
        char *own = scratch + bytes * low;
        few_strips(g, b, ldb, even * low / threads, even * high / threads, 0, g->m, own);
        few_strips(g, b, ldb, even, all, g->m * low / threads, g->m * high / threads, own);
    });
}

static void wide_rows(const product *g, const float *b, int64_t ldb, int threads) {
    const int64_t columns = tc_round_up(tc_min(WIDE_FLOATS / g->m, tc_ceil_div(g->n, threads)), 64);
    TC_TASKS(threads, tc_ceil_div(g->n, columns), t, {
        const int64_t j = t * columns;
        g->isa->wide(g->m, tc_min(columns, g->n - j), g->k, g->a, g->lda, b + j, ldb, g->c + j, g->ldc);
    });
}

void tc_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
             int64_t ldc, void *scratch, int threads) {
    const tc_gemm_isa *isa = &tc_isa_for(TC_FORWARD, n, k)->gemm;
    const int64_t nr = isa->panel;
    if (m <= 0 || n <= 0)
        return;
    if (k <= 0) {
        for (int64_t i = 0; i < m; i++)
            memset(c + i * ldc, 0, (size_t)n * sizeof(float));
        return;
    }
    /* of several rows half of the work: B is packed besides, by each for itself or before they meet */
    threads = tc_threads_for(threads, (m <= WIDE ? 2.0 : 1.0) * (double)m * (double)n * (double)k);
    if (m <= WIDE || (m <= FEW && !copies(m, n, lda))) {
        const product g = {isa, m, n, k, lda, 0, ldc, a, NULL, NULL, c, 0};
        if (m <= WIDE)
            wide_rows(&g, b, ldb, threads);
        else
            few_rows(&g, b, ldb, scratch, threads);
        return;
    }
    int64_t rows, columns;
    shared_block(n, k, nr, &rows, &columns);
    float *packed = scratch;
    char *rest = (char *)scratch + tc_round_up(rows * columns * (int64_t)sizeof(float), TC_ALIGN);
    for (int64_t j = 0; j < n; j += columns)
        for (int64_t i = 0; i < k; i += rows) {
            const int64_t len = tc_min(rows, k - i), width = tc_min(columns, n - j), panels = tc_ceil_div(width, nr);
            const float *from = b + i * ldb + j;
            TC_RANGES(threads, panels, 1, low, high,
                      for (int64_t q = low; q < high; q += STRIP_PANELS)
                          tc_pack_strip(len, tc_min(tc_min(STRIP_PANELS, high - q) * nr, width - q * nr), nr,
                                     from + q * nr, ldb, packed + q * len * nr, len * nr));
            tc_gemm_packed(isa, m, width, len, a + i, lda, packed, len * nr, NULL, i > 0, c + j, ldc, rest, threads);
        }
}
