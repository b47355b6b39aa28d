/* Winograd convolutions, forward pass and data gradient: the inputs of a block of tiles are transformed into V, at each
 * point e rows of V[e] are multiplied by the transformed weights U[e], and the products M transformed back into
 * outputs. V and M of a block stay in L2, a panel of U in L1 under the block's rows. */
#include "conv_winograd.h"
#include "isa.h"
#include "ranges.h"

#include <string.h>

enum {
    V_FLOATS = 48 * 1024,    /* of a block's V that are wanted: with M no more than half of L2 */
    U_FLOATS = 1024 * 1024,  /* up to so many, all of U is near enough that */
    TILES_NEAR = 15,         /* so many tiles of a block at least use each panel of U; else */
    TILES_FAR = 48,
    TILES_MOST = 96,
    GROUP = 64               /* columns between two passes over V: so much of M stays in L2 too */
};

/* ------------------------------------------------------------------ tiles */
/* The axis along which alone the kernel has more than one tap or there is padding; -1: along several or none. */
static int only_axis(const tc_conv_shape *s) {
    const int along[3] = {s->kd > 1 || s->pd || s->id != s->od, s->kh > 1 || s->ph || s->ih != s->oh,
                          s->kw > 1 || s->pw || s->iw != s->ow};
    return along[0] + along[1] + along[2] == 1 ? along[1] + 2 * along[2] : -1;
}

/* Along one axis the axes before it are images and those behind it columns. Positions of a dilated kernel that meet are
 * d apart: where d divides the axis and its padding, they are a column each in a map of d times as many. */
static int one_axis(const tc_conv_shape *s, tc_conv_shape *as) {
    const int64_t in[3] = {s->id, s->ih, s->iw}, out[3] = {s->od, s->oh, s->ow}, taps[3] = {s->kd, s->kh, s->kw};
    const int64_t p[3] = {s->pd, s->ph, s->pw}, dilation[3] = {s->dd, s->dh, s->dw};
    const int a = only_axis(s);
    if (a < 0 || taps[a] != 3 || in[a] % dilation[a] || out[a] % dilation[a] || p[a] % dilation[a])
        return 0;
    const int64_t d = dilation[a], before = a > 0 ? in[0] * (a > 1 ? in[1] : 1) : 1;
    const int64_t columns = d * (a < 2 ? in[2] * (a < 1 ? in[1] : 1) : 1);
    *as = (tc_conv_shape){.n = s->n * before, .id = 1, .ih = in[a] / d, .iw = columns, .c = s->c, .od = 1,
                          .oh = out[a] / d, .ow = columns, .k = s->k, .kd = 1, .kh = 3, .kw = 1, .sd = 1, .sh = 1,
                          .sw = 1, .ph = p[a] / d, .dd = 1, .dh = 1, .dw = 1, .groups = s->groups,
                          .algorithm = s->algorithm};
    return 1;
}

int tc_winograd_fits(const tc_conv_shape *s, tc_conv_shape *as) {
    tc_conv_shape own;
    as = as ? as : &own;
    *as = *s;
    return s->sd * s->sh * s->sw == 1 && s->n * s->id * s->ih * s->iw * s->c > 0 &&
           s->kd * s->od * s->oh * s->ow * s->k > 0 &&
           ((s->kh == 3 && s->kw == 3 && s->dh * s->dw == 1) || one_axis(s, as));
}

void tc_winograd_igemm(const tc_conv_shape *s, int pass, tc_igemm *g) {
    tc_conv_shape as;
    tc_winograd_fits(s, &as);
    tc_igemm_plain(&as, pass, 0, g);
    if (pass == TC_WEIGHT_GRAD) /* a panel is of one depth's channels */
        g->isa = tc_isa_for(pass, g->cg, g->n * g->out[0] * g->out[1] * g->out[2]);
}

void tc_tiling_get(const tc_igemm *g, int64_t m, tc_tiling *t) {
    const int square = g->taps[2] == 3;
    t->isa = &g->isa->winograd[square][m == 4];
    t->m = m;
    t->n = m + 2;
    t->across = square ? m : 1;
    t->points = t->n * (square ? t->n : 1);
    t->taps = g->taps[1] * g->taps[2];
    memcpy(t->in, g->in, sizeof t->in);
    memcpy(t->out, g->out, sizeof t->out);
    memcpy(t->p, g->p, sizeof t->p);
    t->depths = g->taps[0];
    t->dilation = g->d[0];
    t->wide = tc_ceil_div(t->out[2], t->across);
    t->tiles = g->n * t->out[0] * tc_ceil_div(t->out[1], m) * t->wide;
    t->c = g->c;
    t->k = g->k;
}

tc_tile tc_tile_at(const tc_tiling *t, int64_t index) {
    const int64_t high = tc_ceil_div(t->out[1], t->m), map = index / (t->wide * high);
    return (tc_tile){map / t->out[0], map % t->out[0], index / t->wide % high * t->m, index % t->wide * t->across};
}

void tc_tile_next(const tc_tiling *t, tc_tile *at) {
    if ((at->x += t->across) < t->out[2])
        return;
    at->x = 0;
    if ((at->y += t->m) < t->out[1])
        return;
    at->y = 0;
    if (++at->z < t->out[0])
        return;
    at->z = 0;
    at->image++;
}

void tc_tile_inputs(const tc_tiling *t, tc_tile at, int64_t depth, const float *x, const float *zeros,
                    tc_patch *patch) {
    const int64_t z = at.z - t->p[0] + depth * t->dilation, y = at.y - t->p[1], left = at.x - t->p[2];
    const float *map = x + ((at.image * t->in[0] + z) * t->in[1] * t->in[2] + left) * t->c;
    const int inside = z >= 0 && z < t->in[0];
    for (int64_t i = 0; i < t->n; i++)
        patch->row[i] = inside && y + i >= 0 && y + i < t->in[1] ? map + (y + i) * t->in[2] * t->c : zeros;
    patch->pitch = t->c;
    patch->first = -left;
    patch->end = t->in[2] - left;
}

void tc_tile_gradients(const tc_tiling *t, tc_tile at, const float *dy, const float *zeros, tc_patch *patch) {
    const float *map = dy + ((at.image * t->out[0] + at.z) * t->out[1] * t->out[2] + at.x) * t->k;
    for (int64_t i = 0; i < t->m; i++)
        patch->row[i] = at.y + i < t->out[1] ? map + (at.y + i) * t->out[2] * t->k : zeros;
    patch->pitch = t->k;
    patch->first = 0;
    patch->end = t->out[2] - at.x;
}

void tc_tile_outputs(const tc_tiling *t, tc_tile at, float *y, float *outside, float **pixel) {
    float *row = y + (((at.image * t->out[0] + at.z) * t->out[1] + at.y) * t->out[2] + at.x) * t->k;
    const int64_t rows = t->out[1] - at.y, columns = t->out[2] - at.x;
    for (int64_t i = 0; i < t->m; i++, row += t->out[2] * t->k)
        for (int64_t j = 0; j < t->across; j++)
            *pixel++ = i < rows && j < columns ? row + j * t->k : outside;
}

tc_fetch tc_fetch_begin(const tc_tiling *t, int64_t first, int64_t count) {
    return (tc_fetch){tc_tile_at(t, first), 0, count * t->m};
}

/* Channels [first, first + count) of pixels [x, x + m) of row y of a map of `extent`, as far as inside. */
static void fetch_row(const float *map, const int64_t *extent, int64_t c, int64_t y, int64_t x, int64_t m,
                      int64_t first, int64_t count) {
    const int64_t x0 = tc_max(x, 0), columns = tc_min(x + m, extent[1]) - x0;
    const int64_t pieces = count == c ? 1 : columns, floats = count == c ? columns * c : count; /* all: in one piece */
    for (int64_t j = 0; j < pieces && y >= 0 && y < extent[0]; j++)
        for (int64_t i = 0; i < floats; i += 16)
            __builtin_prefetch(map + (y * extent[1] + x0 + j) * c + first + i, 0, 2);
    __asm__ volatile("" ::: "memory"); /* or it has no effect, and is left out */
}

static void fetch_step(const tc_tiling *t, tc_fetch *f) {
    f->rows--;
    if (++f->row < t->m)
        return;
    f->row = 0;
    tc_tile_next(t, &f->at);
}

void tc_fetch_inputs(const tc_tiling *t, tc_fetch *f, int64_t slot, int64_t slots, const float *x) {
    const int64_t seen = t->n - t->m, seen_across = t->across > 1 ? seen : 0;
    for (int64_t i = f->rows / (slots - slot); i > 0; i--, fetch_step(t, f)) {
        const int64_t z = f->at.z - t->p[0] + (t->depths - 1) * t->dilation;
        if (z >= 0 && z < t->in[0])
            fetch_row(x + (f->at.image * t->in[0] + z) * t->in[1] * t->in[2] * t->c, t->in + 1, t->c,
                      f->at.y - t->p[1] + seen + f->row, f->at.x - t->p[2] + seen_across, t->across, 0,
                      t->c);
    }
}

void tc_fetch_outputs(const tc_tiling *t, tc_fetch *f, int64_t slot, int64_t slots, const float *y, int64_t first,
                      int64_t count) {
    for (int64_t i = f->rows / (slots - slot); i > 0; i--, fetch_step(t, f))
        fetch_row(y + (f->at.image * t->out[0] + f->at.z) * t->out[1] * t->out[2] * t->k, t->out + 1, t->k,
                  f->at.y + f->row, f->at.x, t->across, first, count);
}

/* ------------------------------------------------------------------ weights: U[e][panel][depth][c][NR] */
static int64_t weights_step(const tc_igemm *g) {
    const int64_t nr = g->isa->gemm.panel;
    return tc_winograd_step(g->groups * tc_ceil_div(g->kg, nr) * g->taps[0] * g->cg * nr);
}

int64_t tc_winograd_packed(const tc_conv_shape *s, int pass, int64_t m) {
    tc_igemm g;
    tc_tiling t;
    tc_winograd_igemm(s, pass, &g);
    tc_tiling_get(&g, m, &t);
    return t.points * weights_step(&g);
}

void tc_winograd_pack(const tc_conv_shape *s, int pass, int64_t m, const float *w, float *packed, int threads) {
    tc_igemm g;
    tc_tiling t;
    tc_winograd_igemm(s, pass, &g);
    tc_tiling_get(&g, m, &t);
    const int64_t nr = g.isa->gemm.panel, panels = tc_ceil_div(g.kg, nr), step = weights_step(&g);
    const int64_t size = g.taps[0] * g.cg * nr, taps = t.taps * t.depths; /* of a panel; all */
#pragma omp parallel num_threads(threads)
    {
        unsigned ftz = tc_ftz_set();
#pragma omp for schedule(static)
        for (int64_t q = 0; q < g.groups * panels; q++) {
            float *to = packed + q * size;
            for (int64_t j = 0; j < taps; j++) { /* where the first points will be */
                const int64_t depth = j / t.taps, row = g.tap_first[1] + j % t.taps / g.taps[2] * g.tap_step[1];
                const int64_t column = g.tap_first[2] + j % g.taps[2] * g.tap_step[2];
                const int64_t tap = (g.tap_first[0] + depth * g.tap_step[0]) * t.taps + row * g.taps[2] + column;
                tc_pack_tap(&g, pass == TC_DATA_GRAD, q / panels, q % panels * nr, tap, taps, w,
                            to + depth * g.cg * nr + j % t.taps * step);
            }
            t.isa->weights(to, step, size);
        }
        tc_ftz_restore(ftz);
    }
}

/* ------------------------------------------------------------------ a block of tiles */
typedef struct {
    tc_igemm g;
    tc_tiling t;
    int64_t reduction;                        /* channels of all of the kernel's depths */
    int64_t panels, group;                    /* panels of a group of channels; of those between two passes over V */
    int64_t splits;                           /* parts of the panels that threads share: such groups, or one */
    int64_t block, blocks;                    /* tiles of a block; blocks */
    int64_t v_pitch, v_step, m_pitch, m_step; /* floats from a tile to the next, from a point to the next */
    int64_t m_at, zeros_at, dump_at, row_at, out_at, bytes;
} plan;

static void make_plan(const tc_conv_shape *s, int pass, int64_t m, int threads, plan *p) {
    const int64_t f = sizeof(float);
    const tc_igemm *g = &p->g;
    tc_winograd_igemm(s, pass, &p->g);
    const tc_gemm_isa *isa = &g->isa->gemm;
    tc_tiling_get(g, m, &p->t);
    p->panels = tc_ceil_div(g->kg, isa->panel);
    p->reduction = g->taps[0] * g->cg;
    p->v_pitch = tc_round_up(p->reduction, isa->panel);
    const int64_t fit = V_FLOATS / (p->t.points * p->v_pitch);
    const int64_t least = p->t.points * p->reduction * g->kg > U_FLOATS ? TILES_FAR : TILES_NEAR;
    const int64_t tiles = tc_min(tc_max(fit, least), TILES_MOST);
    p->blocks = tc_max((p->t.tiles + tiles / 2) / tiles, 1);
    p->block = tc_round_up(tc_ceil_div(p->t.tiles, p->blocks), tc_row_step(isa));
    p->blocks = tc_ceil_div(p->t.tiles, tc_max(p->block, 1));
    const int64_t wanted = threads > 1 ? tc_ceil_div(3 * threads, tc_max(p->blocks * g->groups, 1)) : 1;
    p->group = tc_min(tc_max(p->panels / wanted, 1), GROUP / isa->panel);
    p->splits = wanted > 1 ? tc_ceil_div(p->panels, p->group) : 1;
    p->m_pitch = p->group * isa->panel;
    p->v_step = tc_winograd_step(p->block * p->v_pitch);
    p->m_step = tc_winograd_step(p->block * p->m_pitch);
    p->m_at = tc_round_up(p->t.points * p->v_step * f, TC_ALIGN);
    p->zeros_at = p->m_at + tc_round_up(p->t.points * p->m_step * f, TC_ALIGN);
    p->dump_at = p->zeros_at + tc_round_up(p->t.n * g->c * f, TC_ALIGN);
    p->row_at = p->dump_at + tc_round_up(g->k * f, TC_ALIGN);
    p->out_at = p->row_at + tc_round_up(p->block * (int64_t)sizeof(float *), TC_ALIGN);
    p->bytes = p->out_at + tc_round_up(p->block * (int64_t)sizeof(float *), TC_ALIGN);
}

int64_t tc_winograd_scratch(const tc_conv_shape *s, int pass, int64_t m, int threads) {
    plan p;
    make_plan(s, pass, m, threads, &p);
    return p.bytes * threads;
}

/* What a thread is at: `count` tiles from `first` on, of one group. */
typedef struct {
    const plan *p;
    const float *x, *packed;
    const tc_finish *finish;
    float *y;
    char *own;                   /* its scratch */
    int64_t first, count, group;
    int64_t then;                /* the tile it will probably go on from, or the number of tiles */
} work;

static void transform_inputs(const work *w) {
    const plan *p = w->p;
    const float *zeros = (const float *)(w->own + p->zeros_at);
    tc_tile at = tc_tile_at(&p->t, w->first);
    for (int64_t i = 0; i < w->count; i++, tc_tile_next(&p->t, &at))
        for (int64_t depth = 0; depth < p->t.depths; depth++) {
            tc_patch patch;
            tc_tile_inputs(&p->t, at, depth, w->x, zeros, &patch);
            p->t.isa->input(&patch, w->group * p->g.cg, p->g.cg, (float *)w->own + i * p->v_pitch + depth * p->g.cg,
                            p->g.isa->gemm.panel, p->v_step);
        }
}

/* M[e] = V[e] U[e], panels [q0, q1). Meanwhile the memory that the next transforms need comes into L2. */
static void multiply(const work *w, int64_t q0, int64_t q1) {
    const plan *p = w->p;
    const tc_gemm_isa *isa = &p->g.isa->gemm;
    const int64_t c = p->reduction, part = tc_reduction_part(c), step = weights_step(&p->g);
    const int64_t slots = p->t.points * (q1 - q0), channels = tc_min(q1 * isa->panel, p->g.kg) - q0 * isa->panel;
    const int64_t column = w->group * p->g.kg + q0 * isa->panel;
    const float *const *row = (const float *const *)(w->own + p->row_at);
    float *const *out = (float *const *)(w->own + p->out_at);
    const float *u = w->packed + (w->group * p->panels + q0) * c * isa->panel;
    tc_fetch outputs = tc_fetch_begin(&p->t, w->first, w->count);
    tc_fetch inputs = tc_fetch_begin(&p->t, w->then, q0 ? 0 : tc_max(tc_min(w->count, p->t.tiles - w->then), 0));
    for (int64_t e = 0; e < p->t.points; e++, u += step)
        for (int64_t i = 0; i < c; i += part) {
            const tc_run run = {e * p->v_step + i, i, tc_min(part, c - i)};
            const float *then = i + part < c ? u + (i + part) * isa->panel : u + step;
            for (int64_t q = 0; q < q1 - q0; q++) {
                const float *panel = u + q * c * isa->panel, *next = panel + (c + i) * isa->panel;
                if (!i) {
                    tc_fetch_outputs(&p->t, &outputs, e * (q1 - q0) + q, slots, w->y, column, channels);
                    tc_fetch_inputs(&p->t, &inputs, e * (q1 - q0) + q, slots, w->x);
                }
                const int64_t columns = tc_round_up(p->g.kg - (q0 + q) * isa->panel, isa->width); /* whole vectors */
                isa->rows_form(w->count, tc_min(columns, isa->panel), row, 1, &run, panel, NULL, i > 0, out,
                               e * p->m_step + q * isa->panel, q + 1 < q1 - q0 ? next : then, NULL);
            }
        }
}

static void transform_outputs(const work *w, int64_t q0, int64_t q1) {
    const plan *p = w->p;
    const int64_t nr = p->g.isa->gemm.panel, channels = tc_min(q1 * nr, p->g.kg) - q0 * nr;
    const int64_t column = w->group * p->g.kg + q0 * nr;
    const float *m = (const float *)(w->own + p->m_at);
    float *const dump = (float *)(w->own + p->dump_at);
    const tc_finish *after = tc_finish_after(w->finish, 1), *clip = tc_finish_clip(after);
    const float *add = clip ? clip->add : NULL;
    tc_tile at = tc_tile_at(&p->t, w->first);
    for (int64_t i = 0; i < w->count; i++, tc_tile_next(&p->t, &at)) {
        float *pixel[16];
        const float *add_pixel[16];
        tc_tile_outputs(&p->t, at, w->y, dump, pixel);
        if (add)
            tc_tile_outputs(&p->t, at, (float *)add, dump, (float **)add_pixel);
        p->t.isa->output(m + i * p->m_pitch, p->m_step, w->finish->bias, column, channels, pixel,
                         add ? add_pixel : NULL, clip);
        if (after && !clip) {
            int64_t inside = 0;
            for (int64_t j = 0; j < p->t.m * p->t.across; j++)
                if (pixel[j] != dump)
                    pixel[inside++] = pixel[j];
            p->g.isa->gemm.finish(after, inside, channels, pixel, column);
        }
    }
}

void tc_winograd_run(const tc_conv_shape *s, int pass, int64_t m, const float *x, const float *packed,
                     const tc_finish *finish, float *y, char *scratch, int threads) {
    plan p;
    make_plan(s, pass, m, threads > 1 ? threads : 1, &p);
    const int64_t parts = p.g.groups * p.splits;
    const int team = tc_threads_for(threads, 2.0 * (double)(p.t.tiles * p.t.points) * (double)(p.reduction * p.g.k));
    tc_stretch stretch[team];
    tc_share(p.blocks * parts, team, stretch);
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        work w = {.p = &p, .x = x, .packed = packed, .finish = finish, .y = y,
                  .own = scratch + p.bytes * tc_thread_index()};
        int64_t have = -1; /* the block and group whose V there is */
        memset(w.own + p.zeros_at, 0, (size_t)(p.t.n * p.g.c) * sizeof(float));
        for (int64_t i = 0; i < p.block; i++) {
            ((float **)(w.own + p.row_at))[i] = (float *)w.own + i * p.v_pitch;
            ((float **)(w.own + p.out_at))[i] = (float *)(w.own + p.m_at) + i * p.m_pitch;
        }
        for (int64_t task; (task = tc_take(team, stretch)) >= 0;) {
            const int64_t q0 = task % p.splits * p.group, q1 = p.splits > 1 ? tc_min(q0 + p.group, p.panels) : p.panels;
            w.group = task / p.splits % p.g.groups;
            w.first = task / parts * p.block;
            w.count = tc_min(p.block, p.t.tiles - w.first);
            w.then = parts == 1 ? w.first + p.block : p.t.tiles;
            if (have != task / p.splits)
                transform_inputs(&w);
            have = task / p.splits;
            for (int64_t q = q0; q < q1; q += p.group) {
                multiply(&w, q, tc_min(q + p.group, q1));
                transform_outputs(&w, q, tc_min(q + p.group, q1));
            }
        }
        tc_ftz_restore(ftz);
    }
}
