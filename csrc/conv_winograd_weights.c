/* The weight gradient by Winograd's algorithm, the exact transpose of the forward pass: with V of the inputs as there
 * and Z = A dY At of the gradients, dU[e] = sum over tiles of Z[e]t V[e] at each point e, and dG = Gt dU G.
 *
 * Where dU is small, the tiles are cut into parts: a thread takes a part in batches of tiles, whose V and Z stay in L2
 * beside dU, transforms its dU back, and the parts' dG are added up. Else all threads transform a batch, then each
 * multiplies for its own blocks of dU: sums are never shared. The last batch's blocks are transformed back while they
 * are in L2. */
#include "conv_winograd.h"
#include "isa.h"
#include "ranges.h"

#include <string.h>

enum {
    PARTS = 8,                    /* of the tiles, if each has */
    PART_TILES = 96,              /* so many, and dU */
    PART_SUMS = 256 * 1024,       /* at most so many floats */
    PART_FLOATS = 128 * 1024,     /* of V and Z of a part's batch */
    BATCH_FLOATS = 192 * 1024,    /* of V and Z together: as many as of dU, which each batch reads and writes, but */
    BATCH_MOST = 5 * 1024 * 1024, /* at least what fits into L2, at most into L3 */
    TILES_LEAST = 96,             /* of a batch: steps between two looks at dU in any case */
    STEPS = 112,                  /* tiles between two looks at dU while it is in L2: rows of Z stay in L1 */
    ROWS = 48,                    /* outputs and */
    COLUMNS = 64                  /* inputs of a block of dU */
};

typedef struct {
    tc_igemm g;
    tc_tiling t;
    int64_t parts;                                  /* of the tiles; 1: all threads share each batch */
    int64_t batch, batches, steps;                  /* tiles; batches of all parts */
    int64_t per_depth, panels, k_pitch;             /* of a group: panels of inputs, floats of a row of Z */
    int64_t v_step, z_pitch, z_step;                /* floats from a point to the next, from a tile to the next */
    int64_t rows, row_blocks, panel_blocks, blocks; /* of dU */
    int64_t cuts;                                   /* parts of dU's points, where blocks are few for the threads */
    int own;                                        /* a thread begins and ends dU, or a block: it needs room for one */
    int64_t u_pitch, u_step, u_floats;              /* a row, a point and all of a block of dU */
    int64_t dw_floats;                              /* of a part's dG */
    int64_t z_at, batch_bytes;                      /* Z behind its V, both; a thread's with parts, else there is one */
    int64_t u_at, dw_at, zeros_at, bytes;
} plan;

/* V[e][panel][tile][NR], Z[e][tile][k], dU[block][e][k][c] */
static void make_plan(const tc_conv_shape *s, int64_t m, int threads, plan *p) {
    const tc_igemm *g = &p->g;
    const int64_t f = sizeof(float);
    tc_winograd_igemm(s, TC_WEIGHT_GRAD, &p->g);
    const tc_gemm_isa *isa = &g->isa->gemm;
    tc_tiling_get(g, m, &p->t);
    p->per_depth = tc_ceil_div(g->cg, isa->panel);
    p->panels = g->taps[0] * p->per_depth;
    p->k_pitch = tc_round_up(g->kg, isa->panel);
    const int64_t floats = p->t.points * g->groups * (p->panels * isa->panel + p->k_pitch);
    const int64_t sums = p->t.points * g->taps[0] * g->cg * g->k;
    for (p->parts = sums <= PART_SUMS ? PARTS : 1; p->t.tiles < PART_TILES * p->parts && p->parts > 1;)
        p->parts /= 2;
    const int64_t tiles = tc_ceil_div(p->t.tiles, p->parts);
    const int64_t room = p->parts > 1 ? PART_FLOATS : tc_max(tc_min(sums, BATCH_MOST), BATCH_FLOATS);
    p->batches = tc_ceil_div(tiles, tc_max(room / floats, p->parts > 1 ? 1 : TILES_LEAST));
    p->batch = tc_ceil_div(tiles, p->batches);
    p->steps = tc_ceil_div(p->batch, tc_max(tc_ceil_div(p->batch, STEPS), 1));
    p->v_step = tc_winograd_step(g->groups * p->panels * p->batch * isa->panel);
    p->z_pitch = tc_winograd_step(g->groups * p->k_pitch);
    p->z_step = tc_winograd_step(p->batch * p->z_pitch);
    p->row_blocks = tc_ceil_div(g->kg, ROWS);
    p->rows = tc_round_up(tc_ceil_div(g->kg, p->row_blocks), isa->rows);
    p->row_blocks = tc_ceil_div(g->kg, p->rows);
    p->panel_blocks = tc_ceil_div(p->panels * isa->panel, COLUMNS);
    p->blocks = g->groups * p->row_blocks * p->panel_blocks;
    p->cuts = threads > 1 && p->parts == 1 ? tc_min(tc_ceil_div(4 * threads, tc_max(p->blocks, 1)), p->t.points) : 1;
    p->own = p->parts > 1 || (p->batches == 1 && p->cuts == 1);
    p->u_pitch = tc_min(p->panels * isa->panel, COLUMNS);
    p->u_step = tc_winograd_step(p->rows * p->u_pitch);
    p->u_floats = p->t.points * p->u_step; /* whole cache lines */
    p->dw_floats = p->parts > 1 ? p->t.taps * p->t.depths * g->cg * g->k : 0;
    p->z_at = tc_round_up(p->t.points * p->v_step * f, TC_ALIGN);
    p->batch_bytes = p->z_at + tc_round_up(p->t.points * p->z_step * f, TC_ALIGN);
    p->u_at = (p->parts > 1 ? threads : 1) * p->batch_bytes;
    p->dw_at = p->u_at + (p->parts > 1 ? threads * p->blocks : p->own ? threads : p->blocks) * p->u_floats * f;
    p->zeros_at = p->dw_at + tc_round_up(p->parts * p->dw_floats * f, TC_ALIGN);
    p->bytes = p->zeros_at + tc_round_up(p->t.n * tc_max(g->c, g->k) * f, TC_ALIGN);
}

int64_t tc_winograd_grad_scratch(const tc_conv_shape *s, int64_t m, int threads) {
    plan p;
    make_plan(s, m, threads > 1 ? threads : 1, &p);
    return p.bytes;
}

/* What a call is given. */
typedef struct {
    const plan *p;
    const float *x, *dy;
    float *dw;
    char *scratch;
    int team;
    tc_stretch *stretch;
} work;

/* The tile, the i-th of a batch, to the V and Z that stand at `batch`. */
static void transform(const work *w, tc_tile at, int64_t i, char *batch) {
    const plan *p = w->p;
    const tc_igemm *g = &p->g;
    const int64_t nr = g->isa->gemm.panel, panel = p->batch * nr;
    const float *zeros = (const float *)(w->scratch + p->zeros_at);
    float *v = (float *)batch + i * nr, *z = (float *)(batch + p->z_at) + i * p->z_pitch;
    tc_patch patch;
    for (int64_t depth = 0; depth < p->t.depths; depth++) {
        tc_tile_inputs(&p->t, at, depth, w->x, zeros, &patch);
        for (int64_t group = 0; group < g->groups; group++)
            p->t.isa->input(&patch, group * g->cg, g->cg, v + (group * p->panels + depth * p->per_depth) * panel, panel,
                            p->v_step);
    }
    tc_tile_gradients(&p->t, at, w->dy, zeros, &patch);
    for (int64_t group = 0; group < g->groups; group++)
        p->t.isa->output_grad(&patch, group * g->kg, g->kg, z + group * p->k_pitch, p->z_step);
}

/* A block of dU: outputs [k0, k1) and panels [q0, q1) of a group. */
typedef struct {
    int64_t group, k0, k1, q0, q1;
} block;

static block block_get(const plan *p, int64_t index) {
    const int64_t of_group = p->row_blocks * p->panel_blocks, row = index % of_group / p->panel_blocks;
    const int64_t i = index % p->panel_blocks, k0 = row * p->rows;
    return (block){index / of_group, k0, tc_min(k0 + p->rows, p->g.kg), p->panels * i / p->panel_blocks,
                   p->panels * (i + 1) / p->panel_blocks};
}

/* Rows [first, end) on their way into L2. */
static inline void fetch(const float *row, int64_t pitch, int64_t floats, int64_t first, int64_t end) {
    for (int64_t r = first; r < end; r++)
        for (int64_t i = 0; i < floats; i += 16)
            __builtin_prefetch(row + r * pitch + i, 0, 2);
    __asm__ volatile("" ::: "memory"); /* or it has no effect, and is left out */
}

/* dU (+)= Zt V at one point, over `count` tiles from z and v on; z_then, v_then: what is multiplied next. A part's are
 * in L2; a batch's are fetched, a share with each product. */
static void multiply_part(const plan *p, const block *b, int64_t count, const float *z, const float *z_then,
                          const float *v, const float *v_then, int add, float *du) {
    const tc_gemm_isa *isa = &p->g.isa->gemm;
    const int64_t rows = b->k1 - b->k0, tiles = tc_ceil_div(rows, isa->rows), all = b->q1 - b->q0;
    const int64_t panel_step = p->batch * isa->panel, far = p->parts > 1 ? 0 : count;
    const int64_t z_share = far / (all * tiles) + 1;
    int64_t z_row = 0;
    for (int64_t q = 0; q < all; q++, v += panel_step, du += isa->panel) {
        const int64_t columns = tc_min(isa->panel, p->g.cg - (b->q0 + q) % p->per_depth * isa->panel);
        const float *next = q + 1 < all ? v + panel_step : v_then;
        for (int64_t k = 0; k < rows; k += isa->rows, z_row += z_share) {
            fetch(z_then, p->z_pitch, rows, z_row, tc_min(z_row + z_share, far));
            const int64_t quarter = k / isa->rows;
            isa->cols_form(tc_min(isa->rows, rows - k), columns, count, z + k, p->z_pitch, v, NULL, 0, add,
                           du + k * p->u_pitch, p->u_pitch,
                           far && quarter < 4 ? next + quarter * (count / 4) * isa->panel : NULL);
        }
    }
}

/* dU[e] (+)= Z[e]t V[e] over the `count` tiles of a batch, points [first, last). */
static void multiply(const plan *p, const block *b, int64_t first, int64_t last, int64_t count, int add,
                     const char *batch, float *du) {
    const int64_t nr = p->g.isa->gemm.panel;
    for (int64_t e = first; e < last; e++) {
        const float *v = (const float *)batch + e * p->v_step + (b->group * p->panels + b->q0) * p->batch * nr;
        const float *z = (const float *)(batch + p->z_at) + e * p->z_step + b->group * p->k_pitch + b->k0;
        for (int64_t i = 0; i < count; i += p->steps) {
            const int64_t then = i + p->steps < count ? i + p->steps : 0;
            multiply_part(p, b, tc_min(p->steps, count - i), z + i * p->z_pitch,
                          z + (then ? then * p->z_pitch : p->z_step), v + i * nr, v + (then ? then * nr : p->v_step),
                          add || i, du + e * p->u_step);
        }
    }
}

/* Output k of a block of dU to dG, the panels of one depth at a time. */
static void transform_back(const plan *p, const block *b, int64_t k, const float *du, float *dw) {
    const tc_igemm *g = &p->g;
    const int64_t nr = g->isa->gemm.panel;
    du += (k - b->k0) * p->u_pitch;
    for (int64_t q = b->q0, next; q < b->q1; q = next) {
        const int64_t depth = q / p->per_depth, first = q - depth * p->per_depth;
        next = tc_min((depth + 1) * p->per_depth, b->q1);
        float *tap[9];
        for (int64_t j = 0; j < p->t.taps; j++)
            tap[j] = dw + (((b->group * g->kg + k) * p->t.depths + depth) * p->t.taps + j) * g->cg + first * nr;
        const int64_t channels = tc_min((first + next - q) * nr, g->cg) - first * nr;
        p->t.isa->weights_grad(du + (q - b->q0) * nr, p->u_step, channels, tap);
    }
}

/* Tiles [first, end), by one thread: their dG. */
static void sum_part(const work *w, int64_t first, int64_t end, float *dw) {
    const plan *p = w->p;
    const int64_t thread = tc_thread_index();
    char *batch = w->scratch + thread * p->batch_bytes;
    float *sums = (float *)(w->scratch + p->u_at) + thread * p->blocks * p->u_floats;
    tc_tile at = tc_tile_at(&p->t, first);
    for (int64_t i = first; i < end; i += p->batch) {
        const int64_t count = tc_min(p->batch, end - i);
        for (int64_t j = 0; j < count; j++, tc_tile_next(&p->t, &at))
            transform(w, at, j, batch);
        tc_fetch inputs = tc_fetch_begin(&p->t, i + count, tc_min(p->batch, end - i - count)), gradients = inputs;
        for (int64_t e = 0; e < p->t.points; e++)
            for (int64_t j = 0; j < p->blocks; j++) {
                const block b = block_get(p, j);
                tc_fetch_inputs(&p->t, &inputs, e * p->blocks + j, p->t.points * p->blocks, w->x);
                tc_fetch_outputs(&p->t, &gradients, e * p->blocks + j, p->t.points * p->blocks, w->dy, 0, p->g.k);
                multiply(p, &b, e, e + 1, count, i > first, batch, sums + j * p->u_floats);
            }
    }
    for (int64_t j = 0; j < p->blocks; j++) {
        const block b = block_get(p, j);
        for (int64_t k = b.k0; k < b.k1; k++)
            transform_back(p, &b, k, sums + j * p->u_floats, dw);
    }
}

/* Called by all threads. */
static void by_parts(const work *w) {
    const plan *p = w->p;
    float *parts = (float *)(w->scratch + p->dw_at);
    for (int64_t i; (i = tc_take(w->team, w->stretch)) >= 0;)
        sum_part(w, p->t.tiles * i / p->parts, p->t.tiles * (i + 1) / p->parts, parts + i * p->dw_floats);
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t j = 0; j < p->dw_floats; j++) {
        float sum = parts[j];
        for (int64_t i = 1; i < p->parts; i++)
            sum += parts[i * p->dw_floats + j];
        w->dw[j] = sum;
    }
}

/* Called by all threads. */
static void by_batches(const work *w) {
    const plan *p = w->p;
    float *const sums = (float *)(w->scratch + p->u_at);
    for (int64_t n = 0; n < p->batches; n++) {
        const int64_t first = n * p->batch, count = tc_min(p->batch, p->t.tiles - first);
#pragma omp master
        tc_share(p->blocks * p->cuts, w->team, w->stretch);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; i++) {
            tc_fetch inputs = tc_fetch_begin(&p->t, first + i + 1, i + 1 < count), gradients = inputs;
            tc_fetch_inputs(&p->t, &inputs, 0, 1, w->x);
            tc_fetch_outputs(&p->t, &gradients, 0, 1, w->dy, 0, p->g.k);
            transform(w, tc_tile_at(&p->t, first + i), i, w->scratch);
        }
        for (int64_t i; (i = tc_take(w->team, w->stretch)) >= 0;) {
            const int64_t cut = i % p->cuts, e0 = p->t.points * cut / p->cuts, e1 = p->t.points * (cut + 1) / p->cuts;
            const block b = block_get(p, i / p->cuts);
            float *du = sums + p->u_floats * (p->own ? tc_thread_index() : i / p->cuts);
            multiply(p, &b, e0, e1, count, n > 0, w->scratch, du);
            for (int64_t k = b.k0; k < b.k1 && n == p->batches - 1 && p->cuts == 1; k++)
                transform_back(p, &b, k, du, w->dw);
        }
#pragma omp barrier
    }
    if (p->cuts == 1)
        return;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < p->blocks * p->rows; i++) {
        const block b = block_get(p, i / p->rows);
        if (b.k0 + i % p->rows < b.k1)
            transform_back(p, &b, b.k0 + i % p->rows, sums + p->u_floats * (i / p->rows), w->dw);
    }
}

void tc_winograd_grad(const tc_conv_shape *s, int64_t m, const float *x, const float *dy, float *dw, char *scratch,
                      int threads) {
    plan p;
    make_plan(s, m, threads > 1 ? threads : 1, &p);
    /* half the work, for they meet several times */
    const int team = tc_threads_for(threads, (double)(p.t.tiles * p.t.points) * (double)(p.t.depths * p.g.cg * p.g.k));
    tc_stretch stretch[team];
    tc_share(p.parts, team, stretch);
    const work w = {&p, x, dy, dw, scratch, team, stretch};
    memset(scratch + p.zeros_at, 0, (size_t)(p.bytes - p.zeros_at));
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        if (p.parts > 1)
            by_parts(&w);
        else
            by_batches(&w);
        tc_ftz_restore(ftz);
    }
}
