/* The weight gradient of a small dw, of few input channels above all: conv_weights.c would gather each of its panels,
 * so many (tap, c), from pieces of several rows of x. Here the two sides change places: dw, transposed, is a product of
 * x's values, read one by one where they stand, and dy's columns, a panel of which serves all (tap, c) from L1. */
#include "conv.h"
#include "isa.h"
#include "ranges.h"

enum {
    BOX_PIXELS = 256,       /* a panel of dy of so many, 16 KB, and the rows of x under it stay in L1 */
    ROWS = 24,              /* of dw, at least, summed in a turn: between two, some of the next box is fetched */
    STRIP = 8               /* panels of dy packed at once, along its rows: within L2 */
};

typedef struct {
    tc_igemm g;
    tc_boxes boxes;
    int64_t panels, parts, part;                        /* panels of all groups; floats of a part's sums */
    int64_t rows_at, next_at, src_at, dy_at, band_at, bytes; /* in a thread's scratch */
} plan;

static void make_plan(const tc_conv_shape *s, plan *p) {
    const int64_t nr = tc_isa_now()->gemm.panel, f = sizeof(float);
    tc_igemm *g = &p->g;
    tc_igemm_get(s, TC_FORWARD, 0, g);
    tc_boxes_choose(g, tc_ahead_pixels(g, BOX_PIXELS), TC_BAND_FLOATS, 0, &p->boxes);
    p->panels = g->groups * tc_ceil_div(g->kg, nr);
    p->parts = tc_max(tc_min(TC_GRAD_PARTS, p->boxes.boxes), 1);
    p->part = p->panels * g->reduction * nr;
    p->rows_at = 0;
    p->next_at = tc_round_up(p->boxes.pixels * (int64_t)sizeof(float *), TC_ALIGN);
    p->src_at = 2 * p->next_at;
    p->dy_at = p->src_at + tc_round_up(g->reduction * (int64_t)sizeof(int64_t), TC_ALIGN);
    p->band_at = p->dy_at + tc_round_up(tc_min(STRIP, p->panels) * p->boxes.pixels * nr * f, TC_ALIGN);
    p->bytes = p->band_at + tc_round_up(p->boxes.band * f, TC_ALIGN);
}

int64_t tc_few_scratch(const tc_conv_shape *s, int threads) {
    plan p;
    make_plan(s, &p);
    return p.bytes * threads + tc_round_up(p.parts * p.part * (int64_t)sizeof(float), TC_ALIGN);
}

/* Where each (tap, c) of the first group stands from a position's first tap. */
static void make_sources(const plan *p, const tc_box *box, int64_t *src) {
    const tc_igemm *g = &p->g;
    for (int64_t d = 0; d < g->taps[0]; d++)
        for (int64_t h = 0; h < g->taps[1]; h++)
            for (int64_t w = 0; w < g->taps[2]; w++) {
                const int64_t at = tc_tap_offset(g, &p->boxes, box, d, h, w);
                for (int64_t c = 0; c < g->cg; c++)
                    *src++ = at + c;
            }
}

static int64_t turns_of(const tc_igemm *g) { return tc_max(g->reduction / ROWS, 1); }

/* Adds the box to the sums of a part (or writes them, if it is the first). */
static void add_box(const plan *p, const tc_box *box, const float *x, const float *dy, int add, float *to, char *own,
                    tc_ahead *ahead) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const tc_igemm *g = &p->g;
    const float **row = (const float **)(own + p->rows_at);
    int64_t *src = (int64_t *)(own + p->src_at);
    float *columns = (float *)(own + p->dy_at);
    const int64_t per_group = p->panels / g->groups, nr = isa->panel, count = box->pixels;
    const int64_t turns = turns_of(g);
    const int in_place = g->groups == 1 && g->k == nr;
    tc_box_rows(g, &p->boxes, box, x, (float *)(own + p->band_at), row);
    make_sources(p, box, src);
    for (int64_t q = 0; q < p->panels; q++, to += g->reduction * nr) {
        const int64_t j = q % per_group * nr, n = tc_min(nr, g->kg - j), in_strip = q % per_group % STRIP;
        if (q && !j) /* the next group */
            for (int64_t i = 0; i < count; i++)
                row[i] += g->cg;
        if (!in_place && !in_strip)
            tc_pack_strip(count, tc_min(STRIP * nr, g->kg - j), nr, dy + q / per_group * g->kg + j, g->k, columns,
                          count * nr);
        const float *b = in_place ? dy : columns + in_strip * count * nr;
        for (int64_t t = 0; t < turns; t++) {
            const int64_t r = t * ROWS, rows = t + 1 < turns ? ROWS : g->reduction - r;
            tc_ahead_turn(ahead);
            isa->taps_form(rows, n, count, row, src + r, b, add, to + r * nr);
        }
    }
}

/* Panels [low, high) of dw = the parts in order, transposed. */
static void sum_parts(const plan *p, int64_t low, int64_t high, float *parts, float *dw) {
    const int64_t nr = tc_isa_now()->gemm.panel, steps = p->g.reduction, per_group = p->panels / p->g.groups;
    for (int64_t q = low; q < high; q++) {
        const int64_t j = q % per_group * nr, n = tc_min(nr, p->g.kg - j);
        float *sum = parts + q * steps * nr, *to = dw + (q / per_group * p->g.kg + j) * steps;
        for (int64_t part = 1; part < p->parts; part++)
            for (int64_t i = 0; i < steps * nr; i++)
                sum[i] += sum[part * p->part + i];
        for (int64_t k = 0; k < n; k++)
            for (int64_t i = 0; i < steps; i++)
                *to++ = sum[i * nr + k];
    }
}

void tc_few_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, char *scratch, int threads) {
    plan p;
    make_plan(s, &p);
    const tc_igemm *g = &p.g;
    float *parts = (float *)(scratch + p.bytes * threads);
    const double work = 2.0 * (double)(g->n * g->out[0] * g->out[1] * g->out[2]) * (double)(g->k * g->reduction);
    const int team = tc_threads_for(threads, work / 2); /* for they meet twice */
    TC_TASKS(team, p.parts, part, {
        char *own = scratch + p.bytes * tc_thread_index();
        const int64_t first = p.boxes.boxes * part / p.parts, last = p.boxes.boxes * (part + 1) / p.parts;
        for (int64_t i = first; i < last; i++) {
            tc_box box;
            tc_box_get(g, &p.boxes, p.boxes.count, i, &box);
            const int64_t at = ((box.first[0] * g->out[0] + box.first[1]) * g->out[1] + box.first[2]) * g->out[2];
            const float *from = dy + (at + box.first[3]) * g->k;
            tc_ahead ahead;
            /* a panel of dy that is read in place the hardware foresees */
            tc_ahead_begin(g, &p.boxes, i + 1, g->k > tc_isa_now()->gemm.panel ? last : 0, x, from + box.pixels * g->k,
                           p.panels * turns_of(g), (const float **)(own + p.next_at), &ahead);
            add_box(&p, &box, x, from, i > first, parts + part * p.part, own, &ahead);
        }
    });
    TC_RANGES(tc_threads_for(threads, (double)(p.part * p.parts)), p.panels, 1, low, high,
              sum_parts(&p, low, high, parts, dw));
}
