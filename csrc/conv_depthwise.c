/* Depthwise convolutions and groups of a few channels, all three passes, over boxes of output positions.
 *
 * Depthwise (a channel a group), input rows are read in place: columns under which all taps of a row are inside the
 * input in one call, those at the edges one by one with the taps that are.
 * Narrow groups become depthwise: output channel k of a group reads its group's channels in turn, the slots. A box's part
 * of the input is copied, each pixel as one row of channels a slot, x'[slot][k] = x[group of k][slot], zeros around;
 * slots are then so many taps more. A data gradient of stride s is s convolutions of stride 1 along each axis, the phases
 * of conv_plan.c: a box holds all of them, so that dy is read once. */
#include "conv.h"
#include "isa.h"

#include <string.h>

enum {
    NARROW = 8,              /* channels of a group from which on a panel of weights is full enough */
    COLUMNS = 512,           /* of a box */
    VECTORS = 4096,          /* positions times vectors of channels of a box, about: one task */
    CHANNELS = 128,          /* about as many of a block: their weights and sums stay in L1 */
    BAND_CHANNELS = 16,      /* of a block whose input is copied: whole cache lines of x, and many rows of them in L2 */
    BAND_FLOATS = 64 * 1024, /* of a box's copied input: half of L2 */
    PARTS = 32               /* of the boxes, at most, for each of which a weight gradient is summed by itself */
};

int tc_is_depthwise(const tc_conv_shape *s) {
    return s->groups > 1 && s->c < NARROW * s->groups && s->k < NARROW * s->groups;
}

/* ------------------------------------------------------------------ plan */
typedef struct {
    tc_igemm g;
    const float *packed;
} phase;

typedef struct {
    int back;                                /* the data gradient; s, p, d, taps are those of the convolution */
    int64_t s[3], p[3], d[3], taps[3];
    int64_t size[3], step[3], phases;        /* of the output: positions, those from one of a phase to the next */
    int64_t n, c, k, in[3];                  /* c, k: channels read and written */
    int64_t slots;
    int banded;                              /* the input is copied */
    int64_t box[3], count[3], boxes, blocks; /* positions of a box; boxes in all; blocks of channels */
    int64_t weights, parts;                  /* floats; parts of a weight gradient */
    int64_t own_at, parts_at, total;         /* bytes of the scratch: phases, threads' own, parts */
    int64_t w_at, expansions_at, band_at, own; /* of a thread's own: pointers to x and w, expansions, the copied input */
} plan;

static int64_t floor_div(int64_t a, int64_t b) { return a < 0 ? -tc_ceil_div(-a, b) : a / b; }

/* Positions [*low, *high) of axis a that outputs [from, to) read, some outside the input. */
static void reach(const plan *p, int a, int64_t from, int64_t to, int64_t *low, int64_t *high) {
    const int64_t width = (p->taps[a] - 1) * p->d[a];
    if (p->back) { /* (i + p - t*d) / s */
        *low = -floor_div(width - p->p[a] - from, p->s[a]);
        *high = floor_div(to - 1 + p->p[a], p->s[a]) + 1;
    } else {
        *low = from * p->s[a] - p->p[a];
        *high = (to - 1) * p->s[a] - p->p[a] + width + 1;
    }
    *high = tc_max(*high, *low);
}

static int64_t block_first(const plan *p, int64_t block) {
    return block < p->blocks ? p->k * block / p->blocks / BAND_CHANNELS * BAND_CHANNELS : p->k;
}

/* Floats of the copied input of a box. */
static int64_t band_floats(const plan *p) {
    int64_t floats = p->slots * tc_round_up(tc_ceil_div(p->k, p->blocks) + BAND_CHANNELS - 1, BAND_CHANNELS);
    for (int a = 0; a < 3; a++) {
        int64_t low, high;
        reach(p, a, 0, p->box[a], &low, &high);
        floats *= high - low;
    }
    return floats;
}

/* Cuts axis a evenly into boxes of about `most` positions, whole steps, or fewer where their copies grow too large. */
static void cut(plan *p, int a, int64_t most) {
    int64_t pieces = tc_ceil_div(p->size[a], tc_max(most, 1));
    do
        p->box[a] = tc_round_up(tc_ceil_div(p->size[a], tc_max(pieces++, 1)), p->step[a]);
    while (p->banded && p->box[a] > p->step[a] && band_floats(p) > BAND_FLOATS);
    p->count[a] = p->box[a] ? tc_ceil_div(p->size[a], p->box[a]) : 0;
}

static void make_plan(const tc_conv_shape *s, int pass, int threads, plan *p) {
    const int64_t in[3] = {s->id, s->ih, s->iw}, out[3] = {s->od, s->oh, s->ow}, taps[3] = {s->kd, s->kh, s->kw};
    const int64_t st[3] = {s->sd, s->sh, s->sw}, pd[3] = {s->pd, s->ph, s->pw}, d[3] = {s->dd, s->dh, s->dw};
    const int64_t width = tc_isa_now()->depthwise.width;
    p->back = pass == TC_DATA_GRAD;
    p->phases = tc_igemm_count(s, pass);
    p->n = s->n;
    p->c = p->back ? s->k : s->c;
    p->k = p->back ? s->c : s->k;
    p->slots = p->c / s->groups;
    p->banded = p->slots > 1 || p->k > s->groups;
    p->blocks = tc_max(p->k / (p->banded ? BAND_CHANNELS : CHANNELS), 1);
    p->weights = p->slots * p->k;
    for (int a = 0; a < 3; a++) {
        p->s[a] = st[a];
        p->p[a] = pd[a];
        p->d[a] = d[a];
        p->taps[a] = taps[a];
        p->in[a] = p->back ? out[a] : in[a];
        p->size[a] = p->back ? in[a] : out[a];
        p->step[a] = p->box[a] = p->back ? st[a] : 1;
        p->weights *= taps[a];
    }
    cut(p, 0, 1);
    cut(p, 2, COLUMNS);
    cut(p, 1, VECTORS / tc_max(p->box[2] * tc_ceil_div(p->k, width * p->blocks), 1));
    p->boxes = p->n * p->count[0] * p->count[1] * p->count[2];
    p->parts = pass == TC_WEIGHT_GRAD ? tc_min(PARTS, p->boxes) : 0;

    const int64_t band = p->banded ? band_floats(p) : 0, f = sizeof(float);
    const int64_t vectors = p->banded ? p->slots * (tc_ceil_div(p->k, p->blocks) + BAND_CHANNELS) / width + p->slots : 0;
    p->w_at = tc_round_up(p->taps[0] * p->taps[1] * p->slots * (int64_t)sizeof(float *), TC_ALIGN);
    p->expansions_at = 2 * p->w_at;
    p->band_at = p->expansions_at + tc_round_up(vectors * (int64_t)sizeof(tc_expansion), TC_ALIGN);
    p->own = p->band_at + tc_round_up(band * f, TC_ALIGN);
    p->own_at = tc_round_up(p->phases * (int64_t)sizeof(phase), TC_ALIGN);
    p->parts_at = p->own_at + p->own * threads;
    p->total = p->parts_at + p->parts * tc_round_up(p->weights * f, TC_ALIGN);
}

int64_t tc_depthwise_scratch(const tc_conv_shape *s, int pass, int threads) {
    plan p;
    make_plan(s, pass, threads, &p);
    return p.total;
}

/* ------------------------------------------------------------------ weights: [phase][jd][jh][slot][jw][channel] */
int64_t tc_depthwise_packed(const tc_conv_shape *s, int pass) {
    int64_t floats = 0;
    for (int64_t i = 0; i < tc_igemm_count(s, pass); i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        floats += g.reduction * g.k;
    }
    return floats;
}

static void pack_phase(const tc_conv_shape *s, const tc_igemm *g, int back, const float *w, float *to, int threads) {
    const int64_t all = s->kd * s->kh * s->kw;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < g->reduction; i++) {
        const int64_t row = i / g->taps[2], slot = row % g->cg, jd = row / g->cg / g->taps[1];
        const int64_t jh = row / g->cg % g->taps[1], jw = i % g->taps[2];
        const int64_t tap = ((g->tap_first[0] + jd * g->tap_step[0]) * s->kh + g->tap_first[1] + jh * g->tap_step[1]) *
                                s->kw + g->tap_first[2] + jw * g->tap_step[2];
        for (int64_t k = 0; k < g->k; k++)
            to[i * g->k + k] = back ? w[((k / g->kg * g->cg + slot) * all + tap) * g->kg + k % g->kg]
                                    : w[(k * all + tap) * g->cg + slot];
    }
}

void tc_depthwise_pack(const tc_conv_shape *s, int pass, const float *w, float *packed, int threads) {
    for (int64_t i = 0; i < tc_igemm_count(s, pass); i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        pack_phase(s, &g, pass == TC_DATA_GRAD, w, packed, threads);
        packed += g.reduction * g.k;
    }
}

/* ------------------------------------------------------------------ the input of a box */
typedef struct {
    int64_t n, first[3], end[3];   /* output positions */
    int64_t low[3], extent[3];     /* of the copied input; its planes and rows are inside the input, not its columns */
    int64_t channel, channels;     /* written */
    int64_t pixel, row;            /* floats of the input, in place or copied: from a column and from a row to the next */
    const float *x;                /* of this image and block */
    const float **x_rows;
    float **w_rows;
} box;

static void box_get(const plan *p, int64_t index, int64_t block, box *b) {
    for (int a = 2; a >= 0; a--) {
        b->first[a] = index % p->count[a] * p->box[a];
        b->end[a] = tc_min(b->first[a] + p->box[a], p->size[a]);
        index /= p->count[a];
    }
    b->n = index;
    b->channel = block_first(p, block);
    b->channels = block_first(p, block + 1) - b->channel;
}

/* The lanes of a block's vectors, slot by slot. */
static int64_t make_expansions(const plan *p, const box *b, int64_t kg, tc_expansion *e) {
    const int64_t width = tc_isa_now()->depthwise.width, last = b->channel + b->channels - 1;
    int64_t count = 0;
    for (int64_t slot = 0; slot < p->slots; slot++)
        for (int64_t k = b->channel; k <= last; k += width, e++, count++) {
            const int64_t first = k / kg * p->slots + slot;
            const int64_t size = tc_min(k + width - 1, last) / kg * p->slots + slot - first + 1;
            e->vectors = size <= width && p->c >= width ? 1 : size <= 2 * width && p->c >= 2 * width ? 2 : 0;
            e->from = e->vectors ? tc_min(first, p->c - e->vectors * width) : 0;
            for (int64_t l = 0; l < width; l++)
                e->lane[l] = (int32_t)(tc_min(k + l, last) / kg * p->slots + slot - e->from);
        }
    return count;
}

static void copy_row(const plan *p, const box *b, const float *x, int64_t vectors, const tc_expansion *e, float *to) {
    const int64_t before = tc_min(tc_max(-b->low[2], 0), b->extent[2]);
    const int64_t end = tc_max(tc_min(p->in[2] - b->low[2], b->extent[2]), before);
    memset(to, 0, (size_t)(before * b->pixel) * sizeof(float));
    tc_isa_now()->depthwise.expand(end - before, x + (b->low[2] + before) * p->c, p->c, vectors, e,
                                   to + before * b->pixel, b->pixel);
    memset(to + end * b->pixel, 0, (size_t)((b->extent[2] - end) * b->pixel) * sizeof(float));
}

/* Where the box reads its input: in place, or in the copy that is made here. */
static void box_input(const plan *p, const float *x, char *own, box *b) {
    const float *image = x + b->n * p->in[0] * p->in[1] * p->in[2] * p->c;
    b->x_rows = (const float **)own;
    b->w_rows = (float **)(own + p->w_at);
    if (!p->banded) {
        b->low[0] = b->low[1] = b->low[2] = 0;
        b->extent[1] = p->in[1];
        b->pixel = p->c;
        b->row = p->in[2] * p->c;
        b->x = image + b->channel;
        return;
    }
    tc_expansion *e = (tc_expansion *)(own + p->expansions_at);
    const int64_t vectors = make_expansions(p, b, p->k * p->slots / p->c, e);
    float *to = (float *)(own + p->band_at);
    for (int a = 0; a < 3; a++) {
        int64_t high;
        reach(p, a, b->first[a], b->end[a], &b->low[a], &high);
        if (a < 2) {
            b->low[a] = tc_max(b->low[a], 0);
            high = tc_max(tc_min(high, p->in[a]), b->low[a]);
        }
        b->extent[a] = high - b->low[a];
    }
    b->pixel = vectors * tc_isa_now()->depthwise.width;
    b->row = b->extent[2] * b->pixel;
    b->x = to;
    for (int64_t z = b->low[0]; z < b->low[0] + b->extent[0]; z++)
        for (int64_t y = b->low[1]; y < b->low[1] + b->extent[1]; y++, to += b->row)
            copy_row(p, b, image + (z * p->in[1] + y) * p->in[2] * p->c, vectors, e, to);
}

/* ------------------------------------------------------------------ rows */
/* The input rows under output row (od, oh) of g and the first weights of each; b->x begins at input (low). */
static void rows_under(const plan *p, const tc_igemm *g, box *b, int64_t od, int64_t oh, const float *weights,
                       tc_depthwise_rows *d) {
    int64_t first[2], end[2];
    tc_valid_taps(g, 0, od, &first[0], &end[0]);
    tc_valid_taps(g, 1, oh, &first[1], &end[1]);
    *d = (tc_depthwise_rows){.x = b->x_rows, .w = b->w_rows, .taps = g->taps[2], .tap = g->d[2] * b->pixel,
                             .step = g->s[2] * b->pixel, .w_tap = g->k, .c = b->channels};
    for (int64_t jd = first[0]; jd < end[0]; jd++)
        for (int64_t jh = first[1]; jh < end[1]; jh++)
            for (int64_t slot = 0; slot < p->slots; slot++, d->rows++) {
                const int64_t z = od * g->s[0] - g->p[0] + jd * g->d[0] - b->low[0];
                const int64_t y = oh * g->s[1] - g->p[1] + jh * g->d[1] - b->low[1];
                b->x_rows[d->rows] = b->x + (z * b->extent[1] + y) * b->row + slot * (b->pixel / p->slots);
                b->w_rows[d->rows] = (float *)weights + ((jd * g->taps[1] + jh) * p->slots + slot) * g->taps[2] * g->k +
                                     b->channel;
            }
}

typedef struct {
    const float *bias;
    float *y;            /* the first of the columns: written, or of a weight gradient read */
    int64_t step;
    int sums;            /* a weight gradient */
} target;

static void columns(const tc_depthwise_rows *d, int64_t count, const target *t, int64_t at) {
    if (t->sums)
        tc_isa_now()->depthwise.weight_grad(d, count, t->y + at * t->step, t->step);
    else
        tc_isa_now()->depthwise.forward(d, count, t->bias, t->y + at * t->step, t->step);
}

/* Columns [from, to) of g, whose first one is t's. */
static void row_columns(const plan *p, const tc_igemm *g, const box *b, int64_t from, int64_t to,
                        tc_depthwise_rows *d, const target *t) {
    const int64_t before = g->p[2] + b->low[2], taps = g->taps[2];
    /* columns under which all taps are inside */
    const int64_t low = p->banded ? from : tc_min(tc_max(g->p[2] > 0 ? tc_ceil_div(g->p[2], g->s[2]) : 0, from), to);
    const int64_t room = floor_div(p->in[2] - 1 - (taps - 1) * g->d[2] + g->p[2], g->s[2]) + 1;
    const int64_t high = p->banded ? to : tc_min(tc_max(room, low), to);
    for (int64_t o = from; o < to; o += o == low && high > low ? high - low : 1) {
        int64_t first = 0, end = taps;
        const int inside = o == low && high > low;
        if (!inside)
            tc_valid_taps(g, 2, o, &first, &end);
        d->taps = end - first;
        d->x_at = (o * g->s[2] - before) * b->pixel + first * d->tap;
        d->w_at = first * d->w_tap;
        columns(d, inside ? high - low : 1, t, o - from);
    }
}

/* All rows of a box. `y`: the output, or dy. */
static void run_box(const plan *p, const phase *phases, box *b, const float *bias, float *y, int sums) {
    for (int64_t z = b->first[0]; z < b->end[0]; z++)
        for (int64_t h = b->first[1]; h < b->end[1]; h++) {
            const phase *f = phases + (z % p->step[0] * p->step[1] + h % p->step[1]) * p->step[2];
            const int64_t line = ((b->n * p->size[0] + z) * p->size[1] + h) * p->size[2];
            tc_depthwise_rows d;
            for (int64_t w = 0; w < tc_min(p->step[2], b->end[2] - b->first[2]); w++, f++) {
                const tc_igemm *g = &f->g;
                const int64_t from = b->first[2] / p->step[2], to = tc_ceil_div(b->end[2] - w, p->step[2]);
                const target t = {bias ? bias + b->channel : NULL, y + (line + b->first[2] + w) * p->k + b->channel,
                                  p->step[2] * p->k, sums};
                rows_under(p, g, b, z / p->step[0], h / p->step[1], f->packed, &d);
                if (d.rows && d.taps)
                    row_columns(p, g, b, from, to, &d, &t);
                else if (!sums) {
                    d.rows = 0;
                    columns(&d, to - from, &t, 0);
                }
            }
        }
}

/* ------------------------------------------------------------------ the passes */
static double work_of(const plan *p) {
    return 2.0 * (double)(p->n * p->size[0] * p->size[1] * p->size[2]) * (double)p->weights;
}

void tc_depthwise_run(const tc_conv_shape *s, int pass, const float *x, const float *packed, const float *bias,
                      float *y, char *scratch, int threads) {
    plan p;
    make_plan(s, pass, threads, &p);
    phase *phases = (phase *)scratch;
    for (int64_t i = 0; i < p.phases; i++) {
        tc_igemm_get(s, pass, i, &phases[i].g);
        phases[i].packed = packed;
        packed += phases[i].g.reduction * p.k;
    }
    const int team = tc_threads_for(threads, work_of(&p));
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        char *own = scratch + p.own_at + p.own * tc_thread_index();
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < p.boxes * p.blocks; t++) {
            box b;
            box_get(&p, t / p.blocks, t % p.blocks, &b);
            box_input(&p, x, own, &b);
            run_box(&p, phases, &b, bias, y, 0);
        }
        tc_ftz_restore(ftz);
    }
}

/* dw[k][jd][jh][jw][slot] = the parts [jd][jh][slot][jw][k] in order */
static void sum_parts(const plan *p, const float *parts, int64_t stride, float *dw, int threads) {
    const int64_t taps = p->taps[0] * p->taps[1] * p->taps[2];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < taps * p->slots; i++) {
        const int64_t jw = i % p->taps[2], row = i / p->taps[2], slot = row % p->slots;
        float *to = dw + (row / p->slots * p->taps[2] + jw) * p->slots + slot;
        for (int64_t k = 0; k < p->k; k++) {
            float sum = 0;
            for (int64_t j = 0; j < p->parts; j++)
                sum += parts[j * stride + i * p->k + k];
            to[k * taps * p->slots] = sum;
        }
    }
}

void tc_depthwise_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, char *scratch, int threads) {
    plan p;
    make_plan(s, TC_WEIGHT_GRAD, threads, &p);
    phase *f = (phase *)scratch;
    float *parts = (float *)(scratch + p.parts_at);
    const int64_t rows = p.weights / p.k, stride = tc_round_up(p.weights, TC_ALIGN / (int64_t)sizeof(float));
    const int team = tc_threads_for(threads, work_of(&p));
    tc_igemm_get(s, TC_FORWARD, 0, &f->g);
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        char *own = scratch + p.own_at + p.own * tc_thread_index();
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < p.parts * p.blocks; t++) {
            const int64_t part = t / p.blocks;
            const phase here = {f->g, parts + part * stride};
            for (int64_t i = p.boxes * part / p.parts; i < p.boxes * (part + 1) / p.parts; i++) {
                box b;
                box_get(&p, i, t % p.blocks, &b);
                if (i == p.boxes * part / p.parts)
                    for (int64_t r = 0; r < rows; r++)
                        memset(parts + part * stride + r * p.k + b.channel, 0, (size_t)b.channels * sizeof(float));
                box_input(&p, x, own, &b);
                run_box(&p, &here, &b, NULL, (float *)dy, 1);
            }
        }
        tc_ftz_restore(ftz);
    }
    sum_parts(&p, parts, stride, dw, tc_threads_for(threads, (double)(p.weights * p.parts)));
}
