/* The weight gradient of a small dw, of few input channels above all: conv_weights.c would gather each of its panels,
 * so many (tap, c), from pieces of several rows of x. Here the two sides change places: dw, transposed, is a product of
 * x's values, read one by one where they stand, and dy's columns, which stand where they are read, too. */
#include "conv.h"
#include "isa.h"
#include "ranges.h"

#include <string.h>

enum {
    BOX_PIXELS = 512,  /* a box's x and dy stay in L2, and little of x is read for two boxes */
    LEAST_PIXELS = 256 /* or sums would be stored too often */
};

typedef struct {
    tc_igemm g;
    tc_boxes boxes;
    int64_t panels, parts, part;                    /* panels of all groups; floats of a part's sums */
    int64_t rows_at, src_at, dy_at, band_at, bytes; /* in a thread's scratch */
} plan;

static void make_plan(const tc_conv_shape *s, plan *p) {
    tc_igemm *g = &p->g;
    tc_igemm_get(s, TC_FORWARD, 0, g);
    g->isa = tc_isa_now(); /* a panel's last columns cost no more than the vectors that they take */
    const int64_t nr = g->isa->gemm.panel, f = sizeof(float);
    const int64_t share = g->n * g->out[0] * g->out[1] * g->out[2] / TC_GRAD_PARTS;
    tc_boxes_choose(g, tc_max(tc_min(share, BOX_PIXELS), LEAST_PIXELS), TC_BAND_FLOATS, 0, &p->boxes);
    p->panels = g->groups * tc_ceil_div(g->kg, nr);
    p->parts = tc_max(tc_min(TC_GRAD_PARTS, p->boxes.boxes), 1);
    p->part = p->panels * g->reduction * nr;
    p->rows_at = 0;
    p->src_at = tc_round_up(p->boxes.pixels * (int64_t)sizeof(float *), TC_ALIGN);
    p->dy_at = p->src_at + tc_round_up(g->reduction * (int64_t)sizeof(int64_t), TC_ALIGN);
    p->band_at = p->dy_at + tc_round_up(p->boxes.pixels * nr * f, TC_ALIGN);
    p->bytes = p->band_at + tc_round_up(p->boxes.band * f, TC_ALIGN);
}

int64_t tc_few_scratch(const tc_conv_shape *s, int threads) {
    plan p;
    make_plan(s, &p);
    return p.bytes * threads + tc_round_up(p.parts * p.part * (int64_t)sizeof(float), TC_ALIGN);
}

/* Where each (tap, c) of a group stands from a position's first tap. */
static void make_sources(const plan *p, const tc_box *box, int64_t group, int64_t *src) {
    const tc_igemm *g = &p->g;
    for (int64_t d = 0; d < g->taps[0]; d++)
        for (int64_t h = 0; h < g->taps[1]; h++)
            for (int64_t w = 0; w < g->taps[2]; w++) {
                const int64_t at = tc_tap_offset(g, &p->boxes, box, d, h, w) + group * g->cg;
                for (int64_t c = 0; c < g->cg; c++)
                    *src++ = at + c;
            }
}

/* Adds the box to the sums of a part (or writes them, if it is the first). From dy on there are `left` floats.
 * `same`: in its band all stands where it stood for the box before. */
static void add_box(const plan *p, const tc_box *box, const float *x, const float *dy, int64_t left, int add, int same,
                    float *to, char *own) {
    const tc_igemm *g = &p->g;
    const tc_gemm_isa *isa = &g->isa->gemm;
    const float **row = (const float **)(own + p->rows_at);
    int64_t *src = (int64_t *)(own + p->src_at);
    float *copy = (float *)(own + p->dy_at), *band = (float *)(own + p->band_at);
    const int64_t per_group = p->panels / g->groups, nr = isa->panel, count = box->pixels;
    if (same)
        tc_box_band(g, &p->boxes, box, x, band);
    else
        tc_box_rows(g, &p->boxes, box, x, band, row);
    for (int64_t q = 0; q < p->panels; q++, to += g->reduction * nr) {
        const int64_t j = q % per_group * nr, n = tc_min(nr, g->kg - j), at = q / per_group * g->kg + j;
        /* dy is read where it stands, in whole vectors; where they would go beyond its end, from a copy */
        const int in_place = (count - 1) * g->k + at + tc_round_up(n, isa->width) <= left;
        if (!in_place)
            tc_pack_strip(count, n, nr, dy + at, g->k, copy, 0);
        if (!j && !(same && g->groups == 1))
            make_sources(p, box, q / per_group, src);
        isa->taps_form(g->reduction, n, count, row, src, in_place ? dy + at : copy, in_place ? g->k : nr, add, to);
    }
}

/* Panels [low, high) of dw = the parts in order, transposed. */
static void sum_parts(const plan *p, int64_t low, int64_t high, float *parts, float *dw) {
    const int64_t nr = p->g.isa->gemm.panel, steps = p->g.reduction, per_group = p->panels / p->g.groups;
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
    const int64_t positions = g->n * g->out[0] * g->out[1] * g->out[2];
    const double work = 2.0 * (double)positions * (double)(g->k * g->reduction);
    const int team = tc_threads_for(threads, work / 2); /* for they meet twice */
    TC_TASKS(team, p.parts, part, {
        char *own = scratch + p.bytes * tc_thread_index();
        const int64_t first = p.boxes.boxes * part / p.parts, last = p.boxes.boxes * (part + 1) / p.parts;
        tc_box box = {0};
        for (int64_t i = first; i < last; i++) {
            const tc_box before = box;
            tc_box_get(g, &p.boxes, p.boxes.count, i, &box);
            const int64_t at = ((box.first[0] * g->out[0] + box.first[1]) * g->out[1] + box.first[2]) * g->out[2];
            const int64_t position = at + box.first[3];
            const int same = p.boxes.banded && !memcmp(box.size, before.size, sizeof box.size);
            add_box(&p, &box, x, dy + position * g->k, (positions - position) * g->k, i > first, same,
                    parts + part * p.part, own);
        }
    });
    TC_RANGES(tc_threads_for(threads, (double)(p.part * p.parts)), p.panels, 1, low, high,
              sum_parts(&p, low, high, parts, dw));
}
