/* Convolutions: the forward pass and the data gradient as implicit GEMMs over blocks of output positions. */
#include "conv_winograd.h"
#include "isa.h"
#include "ranges.h"

#include <string.h>

enum {
    BOX_PIXELS = 384,           /* positions of a block: every panel of weights is used so often while in L1 */
    BOX_PIXELS_LEAST = 96,
    ALONE = 1 << 18,            /* multiply-adds that a thread does alone: larger blocks, for each costs something */
    BOXES = 16,                 /* blocks wanted of a small layer, whatever the threads: scratch then grows with them */
    IN_L2 = 96 * 1024,          /* floats: up to here a block's rows stay in L2 for all of the reduction */
    AHEAD = 8,                  /* rows of weights fetched before they are packed */
    UPRIGHT = 64,               /* floats of a row stood upright before the next one: 4 KB of a panel stay in L1 */
    AT_ONCE = 4,                /* panels made at once from weights as they stand, of at most so many floats: */
    MADE = 96 * 1024,
    GROUP = 16                  /* panels between two passes over rows that do not */
};

/* ------------------------------------------------------------------ packing */
int64_t tc_conv_packed(const tc_conv_shape *s, int pass) {
    const int64_t m = tc_winograd_chosen(s, pass);
    int64_t floats = 0;
    if (tc_is_unpacked(s, pass))
        return 0;
    if (m)
        return tc_winograd_packed(s, pass, m);
    if (tc_is_depthwise(s))
        return tc_depthwise_packed(s, pass);
    for (int64_t i = 0; i < tc_igemm_count(s, pass); i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        floats += tc_igemm_packed(&g);
    }
    return floats;
}

void tc_pack_tap(const tc_igemm *g, int back, int64_t group, int64_t j, int64_t tap, int64_t taps, const float *w,
                 float *to) {
    const int64_t nr = g->isa->gemm.panel, n = tc_min(nr, g->kg - j);
    const int64_t wc = back ? g->kg : g->cg; /* c/groups of the weights */
    if (n < nr)
        memset(to, 0, (size_t)(g->cg * nr) * sizeof(float));
    if (back)
        for (int64_t ci = 0; ci < g->cg; ci++) {
            const float *from = w + ((group * g->cg + ci) * taps + tap) * wc + j;
            __builtin_prefetch(from + AHEAD * taps * wc); /* too far apart for the hardware to foresee */
            memcpy(to + ci * nr, from, (size_t)n * sizeof(float));
        }
    else
        for (int64_t low = 0; low < g->cg; low += UPRIGHT)
            for (int64_t i = 0; i < n; i++) {
                const float *from = w + ((group * g->kg + j + i) * taps + tap) * wc;
                for (int64_t ci = low; ci < tc_min(low + UPRIGHT, g->cg); ci++)
                    to[ci * nr + i] = from[ci];
            }
}

/* Tap (row, column) of the weights (k, taps, c), and those to the right of it, for the blocks' neighbours. */
static void pack_block(const tc_conv_shape *s, const tc_igemm *g, int64_t row, int64_t column, const float *w,
                       float *to) {
    const int64_t nr = g->isa->gemm.panel, all = s->kd * s->kh * s->kw;
    memset(to, 0, (size_t)(g->cg * nr) * sizeof(float));
    for (int64_t f = tc_max(0, -column); f < tc_min(g->block, s->kw - column); f++)
        for (int64_t ci = 0; ci < g->cg; ci++)
            memcpy(to + ci * nr + f * s->c, w + (ci * all + row * s->kw + column + f) * s->c,
                   (size_t)s->c * sizeof(float));
}

/* Where tap j of a phase stands in the kernel: its row, of all planes, and column; of a block, where that begins. */
static int64_t row_of(const tc_conv_shape *s, const tc_igemm *g, int64_t j) {
    const int64_t jd = g->tap_first[0] + j / (g->taps[1] * g->taps[2]) * g->tap_step[0];
    return jd * s->kh + g->tap_first[1] + j / g->taps[2] % g->taps[1] * g->tap_step[1];
}
static int64_t column_of(const tc_igemm *g, int64_t j) { return g->tap_first[2] + j % g->taps[2] * g->tap_step[2]; }

/* Tap j of panel q, from weights w as they stand. */
static void pack_panel(const tc_conv_shape *s, const tc_igemm *g, int back, int64_t q, int64_t j, const float *w,
                       float *to) {
    const int64_t nr = g->isa->gemm.panel, panels = tc_ceil_div(g->kg, nr), all = s->kd * s->kh * s->kw;
    const int64_t row = row_of(s, g, j), column = column_of(g, j);
    if (g->block > 1)
        pack_block(s, g, row, column, w, to + j * g->cg * nr);
    else
        tc_pack_tap(g, back, q / panels, q % panels * nr, row * s->kw + column, all, w, to + j * g->cg * nr);
}

static int64_t panel_floats(const tc_igemm *g) { return g->reduction * g->isa->gemm.panel; }

static void pack_igemm(const tc_conv_shape *s, const tc_igemm *g, int back, const float *w, float *to, int threads) {
    const int64_t panels = g->groups * tc_ceil_div(g->kg, g->isa->gemm.panel);
    const int64_t taps = g->taps[0] * g->taps[1] * g->taps[2];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < panels * taps; i++)
        pack_panel(s, g, back, i / taps, i % taps, w, to + i / taps * panel_floats(g));
}

static int64_t at_once(const tc_igemm *g) { return tc_max(tc_min(AT_ONCE, MADE / tc_max(panel_floats(g), 1)), 1); }

int64_t tc_panels_floats(const tc_igemm *g) { return at_once(g) * panel_floats(g); }

/* Of a data gradient a panel's columns are few floats of rows far apart: several are read together. */
const float *tc_panel(const tc_panels *p, const tc_igemm *g, const float *packed, int64_t q, int64_t end,
                      tc_made *made) {
    const int64_t nr = g->isa->gemm.panel, per_group = tc_ceil_div(g->kg, nr), group = q / per_group;
    const int64_t all = p->s->kd * p->s->kh * p->s->kw, size = panel_floats(g), column = q % per_group * nr;
    if (p->packed)
        return packed + q * size;
    if (q < made->first || q >= made->end) {
        made->first = q;
        made->end = tc_min(tc_min(end, q + at_once(g)), (group + 1) * per_group);
        for (int64_t j = 0; j < g->taps[0] * g->taps[1] * g->taps[2]; j++)
            if (g->block > 1)
                pack_panel(p->s, g, 1, q, j, p->w, made->room);
            else {
                const int64_t tap = row_of(p->s, g, j) * p->s->kw + column_of(g, j);
                tc_pack_strip(g->cg, tc_min((made->end - q) * nr, g->kg - column), nr,
                              p->w + (group * g->cg * all + tap) * g->kg + column, all * g->kg,
                              made->room + j * g->cg * nr, size);
            }
    }
    return made->room + (q - made->first) * size;
}

void tc_conv_pack(const tc_conv_shape *s, int pass, const float *w, float *packed, int threads) {
    const int64_t m = tc_winograd_chosen(s, pass);
    threads = tc_threads_for(threads, 4.0 * (double)tc_conv_packed(s, pass));
    if (m) {
        tc_winograd_pack(s, pass, m, w, packed, threads);
        return;
    }
    if (tc_is_depthwise(s)) {
        tc_depthwise_pack(s, pass, w, packed, threads);
        return;
    }
    for (int64_t i = 0; i < tc_igemm_count(s, pass); i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        pack_igemm(s, &g, pass == TC_DATA_GRAD, w, packed, threads);
        packed += tc_igemm_packed(&g);
    }
}

/* ------------------------------------------------------------------ implicit GEMMs */
/* The phases of a pass go block by block together: the same block of each reads about the same input and writes the
 * same rows of the output. */
typedef struct {
    const tc_conv_shape *s;
    int pass;
    int64_t first, end;                               /* phases */
    tc_igemm g;                                       /* of the first one */
    tc_boxes b;
    int64_t size[4], count[4], boxes;                 /* of every phase; as many as the first has, the largest */
    int64_t splits;                                   /* parts of the panels */
    int packed;                                       /* all panels are packed before */
    int64_t rows_at, out_at, runs_at, band_at, panel_at, bytes; /* in a thread's scratch */
} schedule;

/* The boxes of a phase. */
static void phase_get(const schedule *p, int64_t phase, tc_igemm *g, tc_boxes *b) {
    tc_igemm_get(p->s, p->pass, phase, g);
    for (int a = 0; a < 4; a++)
        b->size[a] = p->size[a];
    tc_boxes_fit(g, 0, b);
}

static void make_schedule(const tc_conv_shape *s, int pass, int64_t first, int64_t end, int threads, schedule *p) {
    tc_igemm g;
    tc_boxes b;
    *p = (schedule){.s = s, .pass = pass, .first = first, .end = end, .packed = !tc_is_unpacked(s, pass)};
    for (int64_t i = first; i < end; i++) {
        tc_igemm_get(s, pass, i, &g);
        const int64_t all = g.n * g.out[0] * g.out[1] * g.out[2];
        const int shared = p->packed && all * g.reduction * g.k > ALONE;
        tc_boxes_choose(&g, shared ? tc_max(tc_min(BOX_PIXELS, all / BOXES), BOX_PIXELS_LEAST) : BOX_PIXELS,
                        TC_BAND_FLOATS, 0, &b);
        for (int a = 0; a < 4 && b.boxes; a++)
            p->size[a] = p->size[a] ? tc_min(p->size[a], b.size[a]) : b.size[a];
    }
    int64_t band = 0, runs = 0, panel = 0;
    for (int64_t i = end - 1; i >= first; i--) {
        phase_get(p, i, &g, &b);
        band = tc_max(band, b.band);
        panel = tc_max(panel, p->packed ? 0 : tc_panels_floats(&g));
        /* a run for each stretch of the input and for each cut through one */
        runs = tc_max(runs, g.taps[0] * g.taps[1] * g.taps[2] + tc_ceil_div(g.reduction, TC_REDUCTION) + 1);
    }
    p->g = g;
    p->b = b;
    memcpy(p->count, b.count, sizeof p->count);
    p->boxes = b.boxes;
    const int64_t panels = g.groups * tc_ceil_div(g.kg, g.isa->gemm.panel);
    p->splits = tc_min(panels, tc_ceil_div(threads > 1 ? 3 * threads : 1, tc_max(p->boxes, 1)));
    p->rows_at = 0;
    p->out_at = tc_round_up(b.pixels * (int64_t)sizeof(float *), TC_ALIGN);
    p->runs_at = 2 * p->out_at;
    p->band_at = p->runs_at + tc_round_up(runs * (int64_t)sizeof(tc_run), TC_ALIGN);
    p->panel_at = p->band_at + tc_round_up(band * (int64_t)sizeof(float), TC_ALIGN);
    p->bytes = p->panel_at + tc_round_up(panel * (int64_t)sizeof(float), TC_ALIGN);
}

static void box_out(const tc_igemm *g, const tc_box *box, float *y, float **out) {
    for (int64_t n = 0; n < box->size[0]; n++)
        for (int64_t z = 0; z < box->size[1]; z++)
            for (int64_t h = 0; h < box->size[2]; h++) {
                const int64_t d = g->first[0] + (box->first[1] + z) * g->step[0];
                const int64_t r = g->first[1] + (box->first[2] + h) * g->step[1];
                const int64_t at = (((box->first[0] + n) * g->full[0] + d) * g->full[1] + r) * g->full[2] +
                                   g->first[2] + box->first[3] * g->step[2];
                for (int64_t i = 0; i < box->size[3]; i++)
                    *out++ = y + (at + i * g->step[2]) * g->k;
            }
}

/* The runs of steps [begin, end) of the reduction of one group. */
static int64_t make_runs(const tc_igemm *g, const tc_boxes *b, const tc_box *box, int64_t group, int64_t begin,
                         int64_t end, tc_run *run) {
    const int64_t length = tc_run_length(g), per_row = g->taps[2] * g->cg / length;
    int64_t count = 0;
    for (int64_t i = begin; i < end;) {
        const int64_t r = i / length, inside = i % length, len = tc_min(end - i, length - inside);
        const int64_t jh = r / per_row;
        const int64_t at = tc_tap_offset(g, b, box, jh / g->taps[1], jh % g->taps[1], r % per_row);
        run[count++] = (tc_run){at + group * g->cg + inside, i, len};
        i += len;
    }
    return count;
}

/* One block of a phase: panels [q0, q1). */
static void box_panels(const tc_igemm *g, const schedule *p, const tc_boxes *b, const tc_box *box, int64_t q0,
                       int64_t q1, const tc_panels *panels, const float *packed, const tc_finish *finish,
                       char *scratch) {
    const tc_gemm_isa *isa = &g->isa->gemm;
    const float **row = (const float **)(scratch + p->rows_at);
    float **out = (float **)(scratch + p->out_at);
    tc_run *run = (tc_run *)(scratch + p->runs_at);
    const int64_t per_group = tc_ceil_div(g->kg, isa->panel), part = tc_reduction_part(g->reduction);
    const int64_t unique = b->banded ? b->band : b->pixels * g->c * g->taps[0] * g->taps[1] * g->taps[2];
    const int64_t together = unique <= IN_L2 || !p->packed ? 1 : GROUP; /* panels between two passes over the rows */
    const float *panel = NULL;
    tc_made made = {(float *)(scratch + p->panel_at), 0, 0};
    for (int64_t first = q0; first < q1; first += together)
        for (int64_t i = 0; i < g->reduction; i += part) {
            int64_t group = -1, runs = 0;
            for (int64_t q = first; q < tc_min(first + together, q1); q++) {
                if (q / per_group != group) {
                    group = q / per_group;
                    runs = make_runs(g, b, box, group, i, tc_min(i + part, g->reduction), run);
                }
                const int64_t j = q % per_group * isa->panel, column = group * g->kg + j;
                const int64_t then = together > 1 ? g->reduction + i : i + part;
                if (!i || together > 1)
                    panel = tc_panel(panels, g, packed, q, q1, &made);
                isa->rows_form(box->pixels, tc_min(isa->panel, g->kg - j), row, runs, run, panel,
                               finish->bias && !i ? finish->bias + column : NULL, i > 0, out, column,
                               panel + then * isa->panel, tc_finish_after(finish, i + part >= g->reduction));
            }
        }
}

/* Part `split` of a block of all phases. */
static void run_box(const schedule *p, int64_t index, int64_t split, const tc_panels *panels, const float *x,
                    const float *packed, const tc_finish *finish, float *y, char *own) {
    for (int64_t i = p->first; i < p->end; i++) {
        tc_igemm g = p->g;
        tc_boxes b = p->b;
        tc_box box;
        if (i > p->first)
            phase_get(p, i, &g, &b);
        tc_box_get(&g, &b, p->count, index, &box);
        float **out = (float **)(own + p->out_at);
        box_out(&g, &box, y, out);
        if (g.reduction && box.pixels) {
            const int64_t all = g.groups * tc_ceil_div(g.kg, g.isa->gemm.panel);
            tc_box_rows(&g, &b, &box, x, (float *)(own + p->band_at), (const float **)(own + p->rows_at));
            box_panels(&g, p, &b, &box, all * split / p->splits, all * (split + 1) / p->splits, panels, packed, finish,
                       own);
        } else /* no tap reaches this phase of the stride */
            for (int64_t r = box.pixels * split / p->splits; r < box.pixels * (split + 1) / p->splits; r++)
                memset(out[r], 0, (size_t)g.k * sizeof(float));
        packed += p->packed ? tc_igemm_packed(&g) : 0;
    }
}

/* Phases [first, end) of a pass, their weights in order. */
static void run_igemms(const tc_panels *panels, int64_t first, int64_t end, const float *x, const float *packed,
                       const tc_finish *finish, float *y, char *scratch, int threads) {
    const tc_conv_shape *s = panels->s;
    const int pass = panels->pass;
    double work = 0;
    schedule p;
    make_schedule(s, pass, first, end, threads, &p);
    for (int64_t i = first; i < end; i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        work += 2.0 * (double)(g.n * g.out[0] * g.out[1] * g.out[2]) * (double)g.reduction * (double)g.k;
    }
    const int team = tc_threads_for(threads, work);
    TC_TASKS(team, p.boxes * p.splits, t,
             run_box(&p, t / p.splits, t % p.splits, panels, x, packed, finish, y,
                     scratch + p.bytes * tc_thread_index()));
}

/* ------------------------------------------------------------------ the passes */
/* Up to which phase those from i on go together: all, unless one is for conv_small.c. */
static int64_t together(const tc_conv_shape *s, int pass, int64_t i) {
    for (int64_t j = 0; j < tc_igemm_count(s, pass); j++) {
        tc_igemm g;
        tc_igemm_get(s, pass, j, &g);
        if (tc_small_chosen(&g))
            return i + 1;
    }
    return tc_igemm_count(s, pass);
}

int64_t tc_conv_scratch(const tc_conv_shape *s, int pass, int threads) {
    const int64_t m = tc_winograd_chosen(s, pass);
    int64_t bytes = 0;
    threads = threads > 1 ? threads : 1;
    if (tc_is_unpacked(s, pass) && tc_is_gemm(s, pass))
        return tc_unpacked_scratch(s, pass, threads);
    if (m && !tc_is_unpacked(s, pass))
        return (pass == TC_WEIGHT_GRAD ? tc_winograd_grad_scratch(s, m, threads)
                                       : tc_winograd_scratch(s, pass, m, threads));
    if (tc_is_depthwise(s))
        return tc_depthwise_scratch(s, pass, threads);
    if (pass == TC_WEIGHT_GRAD)
        return tc_weight_grad_scratch(s, threads);
    const int64_t depth = tc_product_depth(s, pass);
    if (depth)
        return tc_gemm_packed_scratch(s->n * s->od * s->oh * s->ow, depth, threads);
    for (int64_t i = 0, end; i < tc_igemm_count(s, pass); i = end) {
        tc_igemm g;
        schedule p;
        tc_igemm_get(s, pass, i, &g);
        end = together(s, pass, i);
        make_schedule(s, pass, i, end, threads, &p);
        const int small = end == i + 1 && tc_small_chosen(&g);
        bytes = tc_max(bytes, (small ? tc_small_scratch(&g, !p.packed) : p.bytes) * threads);
    }
    return bytes;
}

static void run_pass(const tc_conv_shape *s, int pass, const float *x, const float *packed, const tc_finish *finish,
                     float *y, void *scratch, int threads) {
    const int64_t m = tc_winograd_chosen(s, pass);
    const tc_panels panels = {s, pass, packed, !tc_is_unpacked(s, pass)};
    if (!panels.packed && tc_is_gemm(s, pass)) {
        tc_unpacked_run(s, pass, x, packed, finish, y, scratch, threads);
        return;
    }
    if (m && panels.packed) {
        tc_winograd_run(s, pass, m, x, packed, finish, y, scratch, threads);
        return;
    }
    if (tc_is_depthwise(s)) {
        tc_depthwise_run(s, pass, x, packed, finish, y, scratch, threads > 1 ? threads : 1);
        return;
    }
    const int64_t depth = tc_product_depth(s, pass);
    tc_igemm g;
    for (int64_t i = 0, end; i < tc_igemm_count(s, pass); i = end) {
        tc_igemm_get(s, pass, i, &g);
        const int64_t positions = g.n * g.out[0] * g.out[1] * g.out[2];
        end = together(s, pass, i);
        if (depth)
            tc_gemm_packed(&g.isa->gemm, positions, g.k, depth, x, depth, packed, depth * g.isa->gemm.panel, finish, 0,
                           y, g.k, scratch, threads);
        else if (tc_small_chosen(&g))
            tc_small_run(&g, &panels, x, packed, finish, y, scratch,
                         tc_threads_for(threads, 2.0 * (double)positions * (double)(g.reduction * g.k)));
        else
            run_igemms(&panels, i, end, x, packed, finish, y, scratch, threads);
        packed += panels.packed ? tc_igemm_packed(&g) : 0;
    }
}

void tc_conv_forward(const tc_conv_shape *s, const float *x, const float *packed, const tc_post *post, float *y,
                     void *scratch, int threads) {
    const tc_finish finish = tc_finish_of(post, y);
    run_pass(s, TC_FORWARD, x, packed, &finish, y, scratch, threads);
}

void tc_conv_data_grad(const tc_conv_shape *s, const float *dy, const float *packed, float *dx, void *scratch,
                       int threads) {
    const tc_finish finish = tc_finish_of(NULL, dx);
    run_pass(s, TC_DATA_GRAD, dy, packed, &finish, dx, scratch, threads);
}
