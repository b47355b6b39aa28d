/* Winograd convolutions, forward pass and data gradient: the inputs of a block of tiles are transformed into V, at each
 * point e rows of V[e] are multiplied by the transformed weights U[e], and the products M transformed back into outputs.
 * V and M of a block stay in L2, a panel of U in L1 under the block's rows. */
#include "conv_winograd.h"
#include "isa.h"

#include <string.h>

enum {
    V_FLOATS = 96 * 1024,    /* of a block's V that are wanted: part of L2 */
    TILES_LEAST = 24,        /* of a block: so often a panel of U is used */
    TILES_MOST = 96,
    GROUP = 4                /* panels between two passes over V: so much of M stays in L2 too */
};

/* ------------------------------------------------------------------ tiles */
int tc_winograd_fits(const tc_conv_shape *s) {
    return s->kd == 1 && s->kh == 3 && s->kw == 3 && s->sd * s->sh * s->sw == 1 && s->dh * s->dw == 1 && !s->pd &&
           s->id == s->od;
}

void tc_tiling_get(const tc_igemm *g, int64_t m, tc_tiling *t) {
    t->isa = &tc_isa_now()->winograd[m == 4];
    t->m = m;
    t->n = m + 2;
    t->points = t->n * t->n;
    for (int a = 0; a < 2; a++) {
        t->in[a] = g->in[a + 1];
        t->out[a] = g->out[a + 1];
        t->p[a] = g->p[a + 1];
    }
    t->high = tc_ceil_div(t->out[0], m);
    t->wide = tc_ceil_div(t->out[1], m);
    t->tiles = g->n * g->in[0] * t->high * t->wide;
    t->c = g->c;
    t->k = g->k;
}

/* Pixels (y0, x0) and on, `size` along both axes, of a map of c channels. */
static void pixels(const float *map, const int64_t *extent, int64_t c, int64_t y0, int64_t x0, int64_t size,
                   const float *outside, const float **at) {
    for (int64_t y = y0; y < y0 + size; y++) {
        const float *row = map + y * extent[1] * c;
        const int inside = y >= 0 && y < extent[0];
        for (int64_t x = x0; x < x0 + size; x++)
            *at++ = inside && x >= 0 && x < extent[1] ? row + x * c : outside;
    }
}

void tc_tile_inputs(const tc_tiling *t, int64_t tile, const float *x, const float *outside, const float **at) {
    const int64_t image = tile / t->wide / t->high, row = tile / t->wide % t->high, column = tile % t->wide;
    pixels(x + image * t->in[0] * t->in[1] * t->c, t->in, t->c, row * t->m - t->p[0], column * t->m - t->p[1], t->n,
           outside, at);
}

void tc_tile_outputs(const tc_tiling *t, int64_t tile, const float *y, const float *outside, const float **at) {
    const int64_t image = tile / t->wide / t->high, row = tile / t->wide % t->high, column = tile % t->wide;
    pixels(y + image * t->out[0] * t->out[1] * t->k, t->out, t->k, row * t->m, column * t->m, t->m, outside, at);
}

/* ------------------------------------------------------------------ weights: U[e][panel][c][NR] */
static int64_t weights_step(const tc_igemm *g) {
    const int64_t nr = tc_isa_now()->gemm.panel;
    return tc_winograd_step(g->groups * tc_ceil_div(g->kg, nr) * g->cg * nr);
}

int64_t tc_winograd_packed(const tc_conv_shape *s, int pass, int64_t m) {
    tc_igemm g;
    tc_igemm_get(s, pass, 0, &g);
    return (m + 2) * (m + 2) * weights_step(&g);
}

void tc_winograd_pack(const tc_conv_shape *s, int pass, int64_t m, const float *w, float *packed, int threads) {
    tc_igemm g;
    tc_igemm_get(s, pass, 0, &g);
    const int64_t nr = tc_isa_now()->gemm.panel, panels = tc_ceil_div(g.kg, nr), step = weights_step(&g);
    const tc_winograd_isa *isa = &tc_isa_now()->winograd[m == 4];
#pragma omp parallel num_threads(threads)
    {
        unsigned ftz = tc_ftz_set();
#pragma omp for schedule(static)
        for (int64_t q = 0; q < g.groups * panels; q++) {
            float *to = packed + q * g.cg * nr;
            for (int64_t j = 0; j < 9; j++) { /* where the first points will be */
                const int64_t row = g.tap_first[1] + j / 3 * g.tap_step[1];
                const int64_t tap = row * 3 + g.tap_first[2] + j % 3 * g.tap_step[2];
                tc_pack_tap(&g, pass == TC_DATA_GRAD, nr, q / panels, q % panels * nr, tap, 9, w, to + j * step);
            }
            isa->weights(to, step, g.cg * nr);
        }
        tc_ftz_restore(ftz);
    }
}

/* ------------------------------------------------------------------ a block of tiles */
typedef struct {
    tc_igemm g;
    tc_tiling t;
    int64_t panels, splits;                   /* of a group; parts of the panels, that threads share */
    int64_t block, blocks;                    /* tiles of a block; blocks */
    int64_t v_pitch, v_step, m_pitch, m_step; /* floats from a tile to the next, from a point to the next */
    int64_t m_at, outside_at, dump_at, row_at, out_at, bytes;
} plan;

static void make_plan(const tc_conv_shape *s, int pass, int64_t m, int threads, plan *p) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const int64_t f = sizeof(float);
    const tc_igemm *g = &p->g;
    tc_igemm_get(s, pass, 0, &p->g);
    tc_tiling_get(g, m, &p->t);
    p->panels = tc_ceil_div(g->kg, isa->panel);
    p->v_pitch = tc_round_up(g->cg, isa->panel);
    p->m_pitch = tc_min(p->panels, GROUP) * isa->panel;
    const int64_t wanted = V_FLOATS / (p->t.points * p->v_pitch);
    const int64_t most = tc_round_up(tc_min(tc_max(wanted, TILES_LEAST), TILES_MOST), isa->rows);
    p->blocks = tc_ceil_div(p->t.tiles, most);
    p->block = tc_round_up(tc_ceil_div(p->t.tiles, tc_max(p->blocks, 1)), isa->rows);
    p->blocks = tc_ceil_div(p->t.tiles, tc_max(p->block, 1));
    p->splits = tc_min(p->panels, tc_ceil_div(threads > 1 ? 3 * threads : 1, tc_max(p->blocks * g->groups, 1)));
    p->v_step = tc_winograd_step(p->block * p->v_pitch);
    p->m_step = tc_winograd_step(p->block * p->m_pitch);
    p->m_at = tc_round_up(p->t.points * p->v_step * f, TC_ALIGN);
    p->outside_at = p->m_at + tc_round_up(p->t.points * p->m_step * f, TC_ALIGN);
    p->dump_at = p->outside_at + tc_round_up(g->c * f, TC_ALIGN);
    p->row_at = p->dump_at + tc_round_up(g->k * f, TC_ALIGN);
    p->out_at = p->row_at + tc_round_up(p->block * (int64_t)sizeof(float *), TC_ALIGN);
    p->bytes = p->out_at + tc_round_up(p->block * (int64_t)sizeof(float *), TC_ALIGN);
}

int64_t tc_winograd_scratch(const tc_conv_shape *s, int pass, int64_t m, int threads) {
    plan p;
    make_plan(s, pass, m, threads, &p);
    return p.bytes * threads;
}

/* V of `count` tiles from `first` on, the channels of one group. */
static void transform_inputs(const plan *p, int64_t first, int64_t count, int64_t group, const float *x, char *own) {
    const float *pixel[36];
    for (int64_t i = 0; i < count; i++) {
        tc_tile_inputs(&p->t, first + i, x, (const float *)(own + p->outside_at), pixel);
        p->t.isa->input(pixel, group * p->g.cg, p->g.cg, (float *)own + i * p->v_pitch, p->v_step);
    }
}

/* M[e] = V[e] U[e], panels [q0, q1) of a group. */
static void multiply(const plan *p, int64_t count, int64_t group, int64_t q0, int64_t q1, const float *packed,
                     char *own) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const int64_t c = p->g.cg, part = tc_reduction_part(c), step = weights_step(&p->g);
    const float *const *row = (const float *const *)(own + p->row_at);
    float *const *out = (float *const *)(own + p->out_at);
    const float *u = packed + (group * p->panels + q0) * c * isa->panel;
    for (int64_t e = 0; e < p->t.points; e++, u += step)
        for (int64_t i = 0; i < c; i += part) {
            const tc_run run = {e * p->v_step + i, i, tc_min(part, c - i)};
            const float *then = i + part < c ? u + (i + part) * isa->panel : u + step;
            for (int64_t q = 0; q < q1 - q0; q++) {
                const float *panel = u + q * c * isa->panel, *next = panel + (c + i) * isa->panel;
                isa->rows_form(count, isa->panel, row, 1, &run, panel, NULL, i > 0, out,
                               e * p->m_step + q * isa->panel, q + 1 < q1 - q0 ? next : then);
            }
        }
}

static void transform_outputs(const plan *p, int64_t first, int64_t count, int64_t channel, int64_t channels,
                              const float *bias, float *y, char *own) {
    const float *m = (const float *)(own + p->m_at), *pixel[16];
    for (int64_t i = 0; i < count; i++) {
        tc_tile_outputs(&p->t, first + i, y, (const float *)(own + p->dump_at), pixel);
        p->t.isa->output(m + i * p->m_pitch, p->m_step, bias, channel, channels, (float *const *)pixel);
    }
}

void tc_winograd_run(const tc_conv_shape *s, int pass, int64_t m, const float *x, const float *packed,
                     const float *bias, float *y, char *scratch, int threads) {
    plan p;
    make_plan(s, pass, m, threads > 1 ? threads : 1, &p);
    const tc_igemm *g = &p.g;
    const int64_t nr = tc_isa_now()->gemm.panel, parts = g->groups * p.splits;
    const int team = tc_threads_for(threads, 2.0 * (double)(p.t.tiles * p.t.points) * (double)(g->cg * g->k));
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        char *own = scratch + p.bytes * tc_thread_index();
        int64_t have = -1; /* the block and group whose V there is */
        memset(own + p.outside_at, 0, (size_t)g->c * sizeof(float));
        for (int64_t i = 0; i < p.block; i++) {
            ((float **)(own + p.row_at))[i] = (float *)own + i * p.v_pitch;
            ((float **)(own + p.out_at))[i] = (float *)(own + p.m_at) + i * p.m_pitch;
        }
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < p.blocks * parts; task++) {
            const int64_t group = task / p.splits % g->groups, split = task % p.splits;
            const int64_t first = task / parts * p.block, count = tc_min(p.block, p.t.tiles - first);
            if (have != task / p.splits)
                transform_inputs(&p, first, count, group, x, own);
            have = task / p.splits;
            const int64_t end = p.panels * (split + 1) / p.splits;
            for (int64_t q = p.panels * split / p.splits; q < end; q += GROUP) {
                const int64_t last = tc_min(q + GROUP, end), channels = tc_min(last * nr, g->kg) - q * nr;
                multiply(&p, count, group, q, last, packed, own);
                transform_outputs(&p, first, count, group * g->kg + q * nr, channels, bias, y, own);
            }
        }
        tc_ftz_restore(ftz);
    }
}
