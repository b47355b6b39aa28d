/* Included once by each isa_*.c, compiled with that ISA's flags: the functions of tc_gemm_isa.
 * TC_WIDTH floats make a vector, TC_VECTORS vectors a panel, TC_ROWS rows a full tile. On AVX2 6 x 2 accumulators, two
 * vectors of B and one broadcast fit the 16 registers and need 8 loads under 12 FMAs; 32 registers hold 24 sums. */
#ifndef TINYCONV_GEMM_BODY_H
#define TINYCONV_GEMM_BODY_H

#include "finish_body.h"
#include "gemm_isa.h"

#include <string.h>

#ifndef TC_VECTORS
#define TC_VECTORS 2
#endif
#define TC_PANEL (TC_VECTORS * TC_WIDTH)
_Static_assert(TC_PANEL <= 32, "tc_copy_part and TC_SLACK know no wider panel");
#define TC_INLINE static inline __attribute__((always_inline))

/* TC_TILES(MACRO): MACRO(R, V) for the heights R and widths V of tiles; TC_TILE_TABLE(MACRO): lists of them by V.
 * Heights are 1 to 6 and TC_ROWS: 7 to 11 rows are as fast as two tiles, which keep enough sums under way, too. */
#define TC_HEIGHTS_4(MACRO, V) MACRO(1, V) MACRO(2, V) MACRO(3, V) MACRO(4, V)
#define TC_HEIGHTS_6(MACRO, V) TC_HEIGHTS_4(MACRO, V) MACRO(5, V) MACRO(6, V)
#define TC_HEIGHTS_12(MACRO, V) TC_HEIGHTS_6(MACRO, V) MACRO(12, V)
#define TC_HEIGHTS_OF(ROWS) TC_HEIGHTS_##ROWS
#define TC_HEIGHTS(ROWS) TC_HEIGHTS_OF(ROWS)
#if TC_VECTORS == 2
#define TC_TILES(MACRO) TC_HEIGHTS(TC_ROWS)(MACRO, 1) TC_HEIGHTS(TC_ROWS)(MACRO, 2)
#define TC_TILE_TABLE(MACRO) {{TC_HEIGHTS(TC_ROWS)(MACRO, 1)}, {TC_HEIGHTS(TC_ROWS)(MACRO, 2)}}
#else
#define TC_TILES(MACRO)                                                                                               \
    TC_HEIGHTS(TC_ROWS)(MACRO, 1) TC_HEIGHTS(TC_ROWS)(MACRO, 2)                                                       \
    TC_HEIGHTS(TC_ROWS)(MACRO, 3) TC_HEIGHTS(TC_ROWS)(MACRO, 4)
#define TC_TILE_TABLE(MACRO)                                                                                          \
    {{TC_HEIGHTS(TC_ROWS)(MACRO, 1)}, {TC_HEIGHTS(TC_ROWS)(MACRO, 2)},                                                \
     {TC_HEIGHTS(TC_ROWS)(MACRO, 3)}, {TC_HEIGHTS(TC_ROWS)(MACRO, 4)}}
#endif

/* Rows of the first tile of m: what whole tiles leave over comes first, in tiles of about the same height; with one of
 * them where it is so little that too few sums would be under way. */
static inline int64_t tc_tile_rows(int64_t m) {
    const int64_t low = TC_ROWS < 6 ? TC_ROWS : 6, rest = m % TC_ROWS;
    const int64_t rows = rest < low && m > TC_ROWS ? TC_ROWS + rest : rest, tiles = (rows + low - 1) / low;
    return rest ? (rows + tiles - 1) / tiles : TC_ROWS;
}

typedef float tc_vec __attribute__((vector_size(4 * TC_WIDTH)));
typedef float tc_vec_any __attribute__((vector_size(4 * TC_WIDTH), aligned(4), may_alias));

TC_INLINE tc_vec tc_load(const float *p) { return *(const tc_vec_any *)p; }
TC_INLINE void tc_store(float *p, tc_vec v) { *(tc_vec_any *)p = v; }
TC_INLINE tc_vec tc_splat(float x) { return x - (tc_vec){0}; }

/* n < TC_PANEL floats, by the bits of n: stores in a loop would cost more than a short tile. */
TC_INLINE void tc_copy_part(float *to, const float *from, int64_t n) {
    for (int64_t part = TC_PANEL / 2; part; part >>= 1) {
        if (!(n & part))
            continue;
        switch (part) {
        case 16: memcpy(to, from, 64); break;
        case 8: memcpy(to, from, 32); break;
        case 4: memcpy(to, from, 16); break;
        case 2: memcpy(to, from, 8); break;
        default: *to = *from;
        }
        to += part;
        from += part;
    }
}

/* ------------------------------------------------------------------ rows: A through row pointers */
/* out[r][column + j] (+)= the sums of column j, j < n. Rows of less than whole vectors go by way of a copy. */
TC_INLINE void store_tile(const int R, const int V, int64_t n, int add, tc_vec acc[TC_ROWS][TC_VECTORS],
                          float *const *out, int64_t column, const tc_finish *clip) {
    if (clip) { /* whole vectors */
        const tc_finish f = *clip;
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) {
                float *c = out[r] + column + v * TC_WIDTH;
                tc_store(c, finish_vector(f, c, add ? acc[r][v] + tc_load(c) : acc[r][v]));
            }
        return;
    }
    if (n == V * TC_WIDTH) {
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) {
                float *c = out[r] + column + v * TC_WIDTH;
                tc_store(c, add ? acc[r][v] + tc_load(c) : acc[r][v]);
            }
        return;
    }
    float part[TC_ROWS * TC_PANEL] __attribute__((aligned(64)));
    if (add) {
        memset(part, 0, sizeof part);
#pragma GCC unroll 1 /* less code: this is rare */
        for (int r = 0; r < R; r++)
            tc_copy_part(part + r * TC_PANEL, out[r] + column, n);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++)
                acc[r][v] += tc_load(part + r * TC_PANEL + v * TC_WIDTH);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            tc_store(part + r * TC_PANEL + v * TC_WIDTH, acc[r][v]);
#pragma GCC unroll 1
    for (int r = 0; r < R; r++)
        tc_copy_part(out[r] + column, part + r * TC_PANEL, n);
}

#ifndef TC_FMA
#define TC_FMA(acc, a, b) ((acc) += (a) * (b))
#endif

/* Keeps the compiler from mixing steps, for which it has no registers. */
#define TC_STEP_END() __asm__ volatile("" ::: "memory")

/* Sums stand in columns [from, from + V) of acc. Four steps a turn below: 12 FMAs, 8 loads and a loop's own
 * instructions would be more than half of what the core takes in, and half is all it gets while its other thread is
 * busy. */
TC_INLINE void rows_step(const int R, const int V, const int from, const float *const *a, int64_t i, const float *p,
                         tc_vec acc[TC_ROWS][TC_VECTORS]) {
    tc_vec columns[TC_VECTORS];
#ifdef TC_FMA_HALF
    columns[0] = tc_load(p);
#pragma GCC unroll 16
    for (int r = 0; r < R && !V; r++)
        TC_FMA_HALF(acc[r][from], a[r][i], columns[0]);
#endif
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
        columns[v] = tc_load(p + v * TC_WIDTH);
#pragma GCC unroll 16
    for (int r = 0; r < R && V; r++) {
        const tc_vec x = tc_splat(a[r][i]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            TC_FMA(acc[r][from + v], x, columns[v]);
    }
    TC_STEP_END();
}

/* Steps of B fetched ahead by tiles of fewer rows: they use it up faster than the hardware foresees. */
enum { TC_AHEAD = 64 };

/* V vectors of a panel, as many as hold n columns (0: half of one), R rows. Of one vector every other step has sums of
 * its own, for R alone are too few under way; whatever R is, so that how rows are shared out changes no bit. */
TC_INLINE void rows_tile(const int R, const int V, int64_t n, const float *const *row, int64_t runs, const tc_run *run,
                         const float *b, const float *init, int add, float *const *out, int64_t column,
                         const float *next, const tc_finish *clip) {
    tc_vec acc[TC_ROWS][TC_VECTORS];
    const int vectors = V ? V : 1, other = vectors == 1;
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors + other; v++)
            acc[r][v] = init && v < vectors ? tc_load(init + v * TC_WIDTH) : (tc_vec){0};
    if (add || (runs && run->len > 64)) /* of shorter sums it would be much of the work */
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int line = 0; line < vectors * TC_WIDTH; line += 16)
                __builtin_prefetch(out[r] + column + line, 1);
    for (int64_t t = 0; t < runs; t++) {
        const float *a[TC_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
            a[r] = row[r] + run[t].a;
        const float *p = b + run[t].b * TC_PANEL;
        const int64_t len = run[t].len;
        int64_t i = 0;
        for (; i + 4 <= len; i += 4, p += 4 * TC_PANEL, next += TC_PANEL) {
#pragma GCC unroll 2
            for (int line = 0; line < TC_PANEL; line += 16)
                __builtin_prefetch(next + line, 0, 2);
            if (R < TC_ROWS && V > 1)
#pragma GCC unroll 8
                for (int line = 0; line < 4 * TC_PANEL; line += 16)
                    __builtin_prefetch(p + TC_AHEAD * TC_PANEL + line);
            rows_step(R, V, 0, a, i, p, acc);
            rows_step(R, V, other, a, i + 1, p + TC_PANEL, acc);
            rows_step(R, V, 0, a, i + 2, p + 2 * TC_PANEL, acc);
            rows_step(R, V, other, a, i + 3, p + 3 * TC_PANEL, acc);
        }
        for (; i < len; i++, p += TC_PANEL)
            rows_step(R, V, 0, a, i, p, acc);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R && other; r++)
        acc[r][0] += acc[r][1];
    store_tile(R, vectors, n, add, acc, out, column, clip);
}

#define ROWS_TILE(R, V)                                                                                               \
    static __attribute__((noinline)) void rows_##R##_##V(int64_t n, const float *const *row, int64_t runs,            \
                                                         const tc_run *run, const float *b, const float *init,        \
                                                         int add, float *const *out, int64_t column,                  \
                                                         const float *next, const tc_finish *clip) {                  \
        rows_tile(R, V, n, row, runs, run, b, init, add, out, column, next, clip);                                    \
    }
TC_TILES(ROWS_TILE)

typedef void rows_function(int64_t, const float *const *, int64_t, const tc_run *, const float *, const float *, int,
                           float *const *, int64_t, const float *, const tc_finish *);
#define ROWS_NAME(R, V) [R - 1] = rows_##R##_##V,
static rows_function *const rows_table[TC_VECTORS][TC_ROWS] = TC_TILE_TABLE(ROWS_NAME);
#ifdef TC_FMA_HALF
TC_HEIGHTS(TC_ROWS)(ROWS_TILE, 0)
static rows_function *const rows_half[TC_ROWS] = {TC_HEIGHTS(TC_ROWS)(ROWS_NAME, 0)};
#endif

static void gemm_rows(int64_t m, int64_t n, const float *const *row, int64_t runs, const tc_run *run, const float *b,
                      const float *init, int add, float *const *out, int64_t column, const float *next,
                      const tc_finish *finish) {
    float first[TC_PANEL];
    if (init && n < TC_PANEL) {
        memset(first, 0, sizeof first);
        tc_copy_part(first, init, n);
        init = first;
    }
    rows_function *const *table = rows_table[(n - 1) / TC_WIDTH];
#ifdef TC_FMA_HALF
    table = n <= TC_WIDTH / 2 ? rows_half : table;
#endif
    const tc_finish *clip = n % TC_WIDTH ? NULL : tc_finish_clip(finish);
    const int64_t all = m;
    /* As long a part of a panel as this one, from afar: a quarter of it with every tile, line by line. In one go
     * before a tile it kept that one's own loads waiting: 24 rows by 1024x1024 ran at 75 % of the peak, now at 95. */
    const int64_t steps = runs ? run[runs - 1].b + run[runs - 1].len - run[0].b : 0;
    const float *end = next ? next + steps * TC_PANEL : NULL;
    for (int64_t rows; m; m -= rows, row += rows, out += rows) {
        rows = tc_tile_rows(m);
        const float *fetch = end && next < end ? next : b; /* what is there already costs nothing */
        table[rows - 1](n, row, runs, run, b, init, add, out, column, fetch, clip);
        next = end ? next + steps / 4 * TC_PANEL : NULL;
    }
    if (finish && !clip)
        tc_finish_rows(finish, all, n, out - all, column);
}

/* ------------------------------------------------------------------ cols: A contiguous per step of the reduction */
TC_INLINE void cols_step(const int R, const int V, const float *a, const float *b, tc_vec acc[TC_ROWS][TC_VECTORS]) {
    tc_vec columns[TC_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
        columns[v] = tc_load(b + v * TC_WIDTH);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        const tc_vec x = tc_splat(a[r]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            TC_FMA(acc[r][v], x, columns[v]);
    }
    TC_STEP_END();
}

TC_INLINE void cols_tile(const int R, const int V, const int pointers, int64_t n, int64_t count, const float *a,
                         int64_t lda, const float *b, const float *const *brow, int64_t boff, int add, float *c,
                         int64_t ldc, const float *next) {
    tc_vec acc[TC_ROWS][TC_VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            acc[r][v] = (tc_vec){0};
    if (add)
        for (int r = 0; r < R; r++)
            __builtin_prefetch(c + r * ldc, 1);
    int64_t p = 0;
    for (; p + 4 <= count; p += 4, a += 4 * lda, b += 4 * TC_PANEL) {
#pragma GCC unroll 2
        for (int line = 0; line < TC_PANEL && next; line += 16)
            __builtin_prefetch(next + p / 4 * TC_PANEL + line, 0, 2);
        cols_step(R, V, a, pointers ? brow[p] + boff : b, acc);
        cols_step(R, V, a + lda, pointers ? brow[p + 1] + boff : b + TC_PANEL, acc);
        cols_step(R, V, a + 2 * lda, pointers ? brow[p + 2] + boff : b + 2 * TC_PANEL, acc);
        cols_step(R, V, a + 3 * lda, pointers ? brow[p + 3] + boff : b + 3 * TC_PANEL, acc);
    }
    for (; p < count; p++, a += lda, b += TC_PANEL)
        cols_step(R, V, a, pointers ? brow[p] + boff : b, acc);
    float *out[TC_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
        out[r] = c + r * ldc;
    store_tile(R, V, n, add, acc, out, 0, NULL);
}

#define COLS_TILE(R, V)                                                                                               \
    static __attribute__((noinline)) void cols_##R##_##V(int64_t n, int64_t count, const float *a, int64_t lda,       \
                                                         const float *b, const float *const *brow, int64_t boff,      \
                                                         int add, float *c, int64_t ldc, const float *next) {         \
        if (brow)                                                                                                     \
            cols_tile(R, V, 1, n, count, a, lda, b, brow, boff, add, c, ldc, next);                                   \
        else if (lda == R) /* a packed tile: known distances */                                                       \
            cols_tile(R, V, 0, n, count, a, R, b, brow, boff, add, c, ldc, next);                                     \
        else                                                                                                          \
            cols_tile(R, V, 0, n, count, a, lda, b, brow, boff, add, c, ldc, next);                                   \
    }
TC_TILES(COLS_TILE)

typedef void cols_function(int64_t, int64_t, const float *, int64_t, const float *, const float *const *, int64_t, int,
                           float *, int64_t, const float *);
#define COLS_NAME(R, V) [R - 1] = cols_##R##_##V,
static cols_function *const cols_table[TC_VECTORS][TC_ROWS] = TC_TILE_TABLE(COLS_NAME);

static void gemm_cols(int64_t m, int64_t n, int64_t count, const float *a, int64_t lda, const float *b,
                      const float *const *brow, int64_t boff, int add, float *c, int64_t ldc, const float *next) {
    for (int64_t rows; m; m -= rows, a += rows, c += rows * ldc) {
        rows = tc_tile_rows(m);
        cols_table[(n - 1) / TC_WIDTH][rows - 1](n, count, a, lda, b, brow, boff, add, c, ldc, next);
    }
}

/* ------------------------------------------------------------------ panels gathered from rows */
TC_INLINE void gather_panel(const float *from, float *to) {
    tc_vec panel[TC_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < TC_VECTORS; v++)
        panel[v] = tc_load(from + v * TC_WIDTH);
#pragma GCC unroll 4
    for (int v = 0; v < TC_VECTORS; v++)
        tc_store(to + v * TC_WIDTH, panel[v]);
}

static void gemm_gather(int64_t count, const float *const *row, int64_t pieces, const tc_piece *piece, float *packed) {
    if (pieces == 1) {
        const int64_t src = piece->src;
        for (int64_t p = 0; p < count; p++, packed += TC_PANEL)
            gather_panel(row[p] + src, packed);
        return;
    }
    for (int64_t p = 0; p < count; p++, packed += TC_PANEL)
        for (int64_t q = 0; q < pieces; q++) { /* eight floats at a time: few pieces are longer */
            const int64_t end = q + 1 < pieces ? piece[q + 1].dst : TC_PANEL;
            const float *from = row[p] + piece[q].src;
            for (int64_t j = piece[q].dst; j < end; j += 8, from += 8)
                memcpy(packed + j, from, 32);
        }
}

#include "gemm_few_body.h"
#include "gemm_taps_body.h"

/* ------------------------------------------------------------------ the peak: FMAs that touch no memory */
static double gemm_peak(int64_t loops, float *sink) {
    enum { SUMS = TC_ROWS * TC_VECTORS };
    tc_vec acc[SUMS], x = tc_splat(0.5f), y = tc_splat(0.25f); /* no acc starts at the fixed point: it would fold */
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++)
        acc[i] = tc_splat((float)(i + 1));
    for (int64_t n = 0; n < loops; n++) {
#pragma GCC unroll 24
        for (int i = 0; i < SUMS; i++) {
            acc[i] = acc[i] * x + y;
            __asm__ volatile("" : "+m"(*sink)); /* keeps the loop from being summed up */
        }
    }
#pragma GCC unroll 24
    for (int i = 1; i < SUMS; i++)
        acc[0] += acc[i];
    tc_store(sink, acc[0]);
    return 2.0 * SUMS * TC_WIDTH * (double)loops;
}

#define TC_GEMM_TABLE                                                                                                 \
    {.rows = TC_ROWS, .panel = TC_PANEL, .width = TC_WIDTH, .rows_form = gemm_rows, .one_row = gemm_one_row,          \
     .cols_form = gemm_cols, .taps_form = gemm_taps, .wide = gemm_wide, .finish = tc_finish_rows,                     \
     .gather = gemm_gather, .peak = gemm_peak}

#endif
