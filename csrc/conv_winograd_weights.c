/* The weight gradient by Winograd's algorithm, the exact transpose of the forward pass: with V of the inputs as there and
 * Z = A dY At of the gradients, dU[e] = sum over tiles of Z[e]t V[e] at each point e, and dG = Gt dU G.
 *
 * A batch of tiles is transformed by all threads, then all threads multiply, each for its own block of dU: sums are never
 * shared. The last batch's blocks are transformed back while they are in L2. */
#include "conv_winograd.h"
#include "isa.h"

#include <string.h>

enum {
    ALL_FLOATS = 5 * 1024 * 1024, /* of V and Z together, up to which all tiles are one batch: within L3 */
    BATCH_FLOATS = 384 * 1024,    /* of V and Z, else */
    BATCH_LEAST = 96,             /* tiles of a batch: so many steps for each look at dU */
    BATCH_MOST = 384,
    PART = 112,                   /* tiles between two looks at dU while it is in L2: rows of Z stay in L1 */
    ROWS = 48,                    /* outputs and */
    PANELS = 4                    /* panels of inputs of a block of dU */
};

typedef struct {
    tc_igemm g;
    tc_tiling t;
    int64_t batch, batches, part;               /* tiles */
    int64_t panels, k_pitch;                    /* of a group: panels of inputs, floats of a row of Z */
    int64_t v_step, z_pitch, z_step;            /* floats from a point to the next, from a tile to the next */
    int64_t rows, row_blocks, panel_blocks, tasks; /* blocks of dU */
    int64_t u_pitch, u_step, u_floats;          /* a row, a point and all of a block of dU */
    int64_t z_at, u_at, zero_at, bytes;
} plan;

/* V[e][panel][tile][NR], Z[e][tile][k], dU[block][e][k][c] */
static void make_plan(const tc_conv_shape *s, int64_t m, int threads, plan *p) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const tc_igemm *g = &p->g;
    const int64_t f = sizeof(float);
    tc_igemm_get(s, TC_FORWARD, 0, &p->g);
    tc_tiling_get(g, m, &p->t);
    p->panels = tc_ceil_div(g->cg, isa->panel);
    p->k_pitch = tc_round_up(g->kg, isa->panel);
    const int64_t floats = p->t.points * g->groups * (p->panels * isa->panel + p->k_pitch);
    const int64_t wanted = tc_min(tc_max(BATCH_FLOATS / floats, BATCH_LEAST), BATCH_MOST);
    p->batches = p->t.tiles * floats <= ALL_FLOATS ? 1 : tc_ceil_div(p->t.tiles, wanted);
    p->batch = tc_ceil_div(p->t.tiles, p->batches);
    p->part = tc_ceil_div(p->batch, tc_max(tc_ceil_div(p->batch, PART), 1));
    p->v_step = tc_winograd_step(g->groups * p->panels * p->batch * isa->panel);
    p->z_pitch = tc_winograd_step(g->groups * p->k_pitch);
    p->z_step = tc_winograd_step(p->batch * p->z_pitch);
    p->row_blocks = tc_ceil_div(g->kg, ROWS);
    p->rows = tc_round_up(tc_ceil_div(g->kg, p->row_blocks), isa->rows);
    p->row_blocks = tc_ceil_div(g->kg, p->rows);
    p->panel_blocks = tc_ceil_div(p->panels, PANELS);
    p->tasks = g->groups * p->row_blocks * p->panel_blocks;
    p->u_pitch = tc_min(p->panels, PANELS) * isa->panel;
    p->u_step = tc_winograd_step(p->rows * p->u_pitch);
    p->u_floats = p->t.points * p->u_step;
    p->z_at = tc_round_up(p->t.points * p->v_step * f, TC_ALIGN);
    p->u_at = p->z_at + tc_round_up(p->t.points * p->z_step * f, TC_ALIGN);
    p->zero_at = p->u_at + (p->batches == 1 ? threads : p->tasks) * tc_round_up(p->u_floats * f, TC_ALIGN);
    p->bytes = p->zero_at + tc_round_up(tc_max(g->c, g->k) * f, TC_ALIGN);
}

int64_t tc_winograd_grad_scratch(const tc_conv_shape *s, int64_t m, int threads) {
    plan p;
    make_plan(s, m, threads > 1 ? threads : 1, &p);
    return p.bytes;
}

/* Tile number `tile`, the i-th of its batch, to V and Z. */
static void transform(const plan *p, int64_t tile, int64_t i, const float *x, const float *dy, char *scratch) {
    const tc_igemm *g = &p->g;
    const int64_t nr = tc_isa_now()->gemm.panel;
    const float *zero = (const float *)(scratch + p->zero_at), *pixel[36];
    float *v = (float *)scratch + i * nr, *z = (float *)(scratch + p->z_at) + i * p->z_pitch;
    tc_tile_inputs(&p->t, tile, x, zero, pixel);
    for (int64_t group = 0; group < g->groups; group++)
        for (int64_t c = 0; c < g->cg; c += nr, v += p->batch * nr)
            p->t.isa->input(pixel, group * g->cg + c, tc_min(nr, g->cg - c), v, p->v_step);
    tc_tile_outputs(&p->t, tile, dy, zero, pixel);
    for (int64_t group = 0; group < g->groups; group++)
        p->t.isa->output_grad(pixel, group * g->kg, g->kg, z + group * p->k_pitch, p->z_step);
}

/* A block of dU: outputs [k0, k1) and panels [q0, q1) of a group. */
typedef struct {
    int64_t group, k0, k1, q0, q1;
} block;

static block block_get(const plan *p, int64_t task) {
    const int64_t of_group = p->row_blocks * p->panel_blocks, row = task % of_group / p->panel_blocks;
    const int64_t i = task % p->panel_blocks, k0 = row * p->rows;
    return (block){task / of_group, k0, tc_min(k0 + p->rows, p->g.kg), p->panels * i / p->panel_blocks,
                   p->panels * (i + 1) / p->panel_blocks};
}

/* dU[e] (+)= Z[e]t V[e] over the `count` tiles of a batch. */
static void multiply(const plan *p, const block *b, int64_t count, int add, const char *scratch, float *du) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    for (int64_t e = 0; e < p->t.points; e++, du += p->u_step) {
        const float *v = (const float *)scratch + e * p->v_step;
        const float *z = (const float *)(scratch + p->z_at) + e * p->z_step + b->group * p->k_pitch;
        for (int64_t i = 0; i < count; i += p->part)
            for (int64_t q = b->q0; q < b->q1; q++) {
                const float *panel = v + ((b->group * p->panels + q) * p->batch + i) * isa->panel;
                const int64_t columns = tc_min(isa->panel, p->g.cg - q * isa->panel);
                for (int64_t k = b->k0; k < b->k1; k += isa->rows)
                    isa->cols_form(tc_min(isa->rows, b->k1 - k), columns, tc_min(p->part, count - i),
                                   z + i * p->z_pitch + k, p->z_pitch, panel, NULL, 0, add || i,
                                   du + (k - b->k0) * p->u_pitch + (q - b->q0) * isa->panel, p->u_pitch);
            }
    }
}

static void transform_back(const plan *p, const block *b, const float *du, float *dw) {
    const tc_igemm *g = &p->g;
    const int64_t c = b->q0 * tc_isa_now()->gemm.panel, end = b->q1 * tc_isa_now()->gemm.panel;
    for (int64_t k = b->k0; k < b->k1; k++) {
        float *tap[9];
        for (int64_t j = 0; j < 9; j++)
            tap[j] = dw + ((b->group * g->kg + k) * 9 + j) * g->cg + c;
        p->t.isa->weights_grad(du + (k - b->k0) * p->u_pitch, p->u_step, tc_min(end, g->cg) - c, tap);
    }
}

void tc_winograd_grad(const tc_conv_shape *s, int64_t m, const float *x, const float *dy, float *dw, char *scratch,
                      int threads) {
    plan p;
    make_plan(s, m, threads > 1 ? threads : 1, &p);
    const int team = tc_threads_for(threads, 2.0 * (double)(p.t.tiles * p.t.points) * (double)(p.g.cg * p.g.k));
    const int64_t u_bytes = tc_round_up(p.u_floats * (int64_t)sizeof(float), TC_ALIGN);
    memset(scratch + p.zero_at, 0, (size_t)(p.bytes - p.zero_at));
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        for (int64_t n = 0; n < p.batches; n++) {
            const int64_t first = n * p.batch, count = tc_min(p.batch, p.t.tiles - first);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count; i++)
                transform(&p, first + i, i, x, dy, scratch);
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < p.tasks; task++) {
                const block b = block_get(&p, task);
                float *du = (float *)(scratch + p.u_at + u_bytes * (p.batches == 1 ? tc_thread_index() : task));
                multiply(&p, &b, count, n > 0, scratch, du);
                if (n == p.batches - 1)
                    transform_back(&p, &b, du, dw);
            }
        }
        tc_ftz_restore(ftz);
    }
}
