/* Depthwise convolutions and groups of a few channels, all three passes.
 *
 * A task is a box of output positions and some channels. Its input rows are copied as they are needed into a ring of as
 * many as one output row reads, by 16 channels, zeros at their ends: there they stay in L1 however far apart pixels are
 * (in place, at 512 channels and more, the pixels of a row all fall on a few of L1's sets), and no tap is at an edge.
 * Rows outside the input are left out. Of maps larger than the caches the next row is asked for in advance, and outputs
 * are written past the caches: 16 images of 128 channels at 56x56 take 1.6 times as long without.
 * Narrow groups become depthwise by the copy: output channel k of a group reads the channels of its group in turn, the
 * slots: x'[slot][k] = x[group of k][slot], and slots are so many rows more.
 * A data gradient of stride s is s convolutions of stride 1 along each axis, the phases of conv_plan.c; all of a row's
 * read the same copies. */
#include "conv.h"
#include "ranges.h"

#include <string.h>

enum {
    NARROW = 64,            /* channels read times written by a group from which on panels of weights are full enough */
    COLUMNS = 256,          /* of a box */
    L1_FLOATS = 6 * 1024,   /* of copied rows: most of L1 */
    L2_FLOATS = 48 * 1024,  /* and part of L2, where x and y come from memory: pixels are then passed over whole */
    GROUPS = 16,            /* of 16 channels of a task */
    APART = 4096,           /* bytes between threads' scratch, for fetching past an end: 92 us to 71 at 256ch 28x28 */
    VECTORS = 8192,         /* positions times groups of a task, about */
    PARTS = 32              /* of the boxes, at most, for each of which a weight gradient is summed by itself */
};

int tc_is_depthwise(const tc_conv_shape *s) {
    return s->groups > 1 && s->c / s->groups * (s->k / s->groups) < NARROW;
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
    int64_t slots, kg;                       /* channels of a group that are read and written */
    int64_t groups, blocks;                  /* of TC_LANES channels; blocks of groups, the tasks of a box */
    int64_t box[3], count[3], boxes;         /* positions of a box; boxes in all */
    int64_t planes, rows, row, slot, group;  /* copied planes and rows, floats of a row, of a slot, of a group */
    int large;                               /* x and y do not stay in the caches: y is written past them */
    int64_t reduction, parts;                /* taps times slots; parts of a weight gradient */
    int64_t own_at, parts_at, total;         /* bytes of the scratch: phases, threads' own, parts */
    int64_t w_at, expansions_at, edge_at, ring_at, own; /* of a thread's own: pointers to x and w, the rest */
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

/* The same, cut to the input. */
static void reach_inside(const plan *p, int a, int64_t from, int64_t to, int64_t *low, int64_t *high) {
    reach(p, a, from, to, low, high);
    *low = tc_max(*low, 0);
    *high = tc_max(tc_min(*high, p->in[a]), *low);
}

/* The most positions that one output reads. */
static int64_t window(const plan *p, int a) {
    const int64_t width = (p->taps[a] - 1) * p->d[a];
    return tc_min(p->back ? width / p->s[a] + 1 : width + 1, tc_max(p->in[a], 1));
}

/* Cuts axis a evenly into boxes of at most about `most` positions, of columns the same of all phases. */
static void cut(plan *p, int a, int64_t most) {
    const int64_t pieces = tc_max(tc_ceil_div(p->size[a], tc_max(most, 1)), 1);
    p->box[a] = tc_round_up(tc_ceil_div(p->size[a], pieces), a == 2 ? p->step[a] : 1);
    p->count[a] = p->box[a] ? tc_ceil_div(p->size[a], p->box[a]) : 0;
}

static void set_ring(plan *p) {
    int64_t low, high;
    reach(p, 2, 0, p->box[2], &low, &high);
    p->planes = window(p, 0);
    p->rows = window(p, 1);
    p->row = (high - low) * TC_LANES;
    p->slot = p->planes * p->rows * p->row;
    p->group = p->slots * p->slot;
}

/* `threads`: those that share the boxes; 1: boxes by the shape alone. */
static void choose_boxes(plan *p, int threads) {
    cut(p, 0, 1); /* a plane each */
    for (int64_t columns = COLUMNS; columns > 8; columns /= 2) {
        cut(p, 2, columns);
        set_ring(p);
        if (p->group <= L1_FLOATS)
            break;
    }
    const int64_t reads = p->n * p->in[0] * p->in[1] * p->in[2] * p->c;
    const int64_t writes = p->n * p->size[0] * p->size[1] * p->size[2] * p->k;
    p->large = reads + writes > TC_CACHED;
    const int64_t copies = (p->large ? L2_FLOATS : L1_FLOATS) / tc_max(p->group, 1);
    p->blocks = tc_ceil_div(p->groups, tc_max(tc_min(copies, GROUPS), 1));
    const int64_t others = p->n * p->count[0] * p->count[2], multiple = others % threads ? threads : 1;
    cut(p, 1, VECTORS / tc_max(p->box[2] * tc_ceil_div(p->groups, p->blocks), 1));
    cut(p, 1, tc_ceil_div(p->size[1], tc_round_up(tc_max(p->count[1], 1), multiple))); /* as many for each thread */
    p->boxes = others * p->count[1];
}

/* In floating-point operations at the peak, of which the smaller layers reach two fifths: they are worth threads. */
static double work_of(const plan *p) {
    return 5.0 * (double)(p->n * p->size[0] * p->size[1] * p->size[2]) * (double)(p->k * p->reduction);
}

static void make_plan(const tc_conv_shape *s, int pass, int threads, plan *p) {
    const int64_t in[3] = {s->id, s->ih, s->iw}, out[3] = {s->od, s->oh, s->ow}, taps[3] = {s->kd, s->kh, s->kw};
    const int64_t st[3] = {s->sd, s->sh, s->sw}, pd[3] = {s->pd, s->ph, s->pw}, d[3] = {s->dd, s->dh, s->dw};
    const int64_t per_group = TC_LANES / tc_isa_now()->depthwise.width, f = sizeof(float);
    p->back = pass == TC_DATA_GRAD;
    p->phases = tc_igemm_count(s, pass);
    p->n = s->n;
    p->c = p->back ? s->k : s->c;
    p->k = p->back ? s->c : s->k;
    p->slots = p->c / s->groups;
    p->kg = p->k / s->groups;
    p->groups = tc_ceil_div(p->k, TC_LANES);
    p->reduction = p->slots;
    for (int a = 0; a < 3; a++) {
        p->s[a] = st[a];
        p->p[a] = pd[a];
        p->d[a] = d[a];
        p->taps[a] = taps[a];
        p->in[a] = p->back ? out[a] : in[a];
        p->size[a] = p->back ? in[a] : out[a];
        p->step[a] = p->back ? st[a] : 1;
        p->reduction *= taps[a];
    }
    choose_boxes(p, pass == TC_WEIGHT_GRAD ? 1 : tc_threads_for(threads, work_of(p)));
    p->parts = pass == TC_WEIGHT_GRAD ? tc_min(PARTS, p->boxes) : 0;

    const int64_t groups = tc_ceil_div(p->groups, p->blocks), expansions = groups * p->slots * per_group;
    p->w_at = tc_round_up(p->taps[0] * p->taps[1] * p->slots * (int64_t)sizeof(float *), TC_ALIGN);
    p->expansions_at = 2 * p->w_at;
    p->edge_at = p->expansions_at + tc_round_up(expansions * (int64_t)sizeof(tc_expansion), TC_ALIGN);
    p->ring_at = p->edge_at + (p->box[2] + 1) * TC_LANES * f;
    p->own = p->ring_at + tc_round_up(groups * p->group * f, TC_ALIGN) + APART;
    p->own_at = tc_round_up(p->phases * (int64_t)sizeof(phase), TC_ALIGN);
    p->parts_at = p->own_at + p->own * threads;
    p->total = p->parts_at + p->parts * p->groups * p->reduction * TC_LANES * f;
}

int64_t tc_depthwise_scratch(const tc_conv_shape *s, int pass, int threads) {
    plan p;
    make_plan(s, pass, threads, &p);
    return p.total;
}

/* ------------------------------------------------------------------ weights: [phase][group][jd][jh][slot][jw][lane] */
int64_t tc_depthwise_packed(const tc_conv_shape *s, int pass) {
    int64_t floats = 0;
    for (int64_t i = 0; i < tc_igemm_count(s, pass); i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        floats += g.reduction * tc_round_up(g.k, TC_LANES);
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
        for (int64_t k = 0; k < tc_round_up(g->k, TC_LANES); k++) {
            const int64_t from = back ? ((k / g->kg * g->cg + slot) * all + tap) * g->kg + k % g->kg
                                      : (k * all + tap) * g->cg + slot;
            to[(k / TC_LANES * g->reduction + i) * TC_LANES + k % TC_LANES] = k < g->k ? w[from] : 0;
        }
    }
}

void tc_depthwise_pack(const tc_conv_shape *s, int pass, const float *w, float *packed, int threads) {
    for (int64_t i = 0; i < tc_igemm_count(s, pass); i++) {
        tc_igemm g;
        tc_igemm_get(s, pass, i, &g);
        pack_phase(s, &g, pass == TC_DATA_GRAD, w, packed, threads);
        packed += g.reduction * tc_round_up(g.k, TC_LANES);
    }
}

/* ------------------------------------------------------------------ copies of the input */
typedef struct {
    int64_t n, first[3], end[3];         /* output positions */
    int64_t group, groups;               /* of TC_LANES channels written */
    int64_t plane, planes, column;       /* of the input: the first plane and column that are copied */
    int64_t low, high;                   /* pixels of a copied row that lie inside the input */
    int64_t copied;                      /* rows before this one have been copied, if needed */
    int64_t plain, expansions;           /* groups that are copied as they are; vectors of the others */
    const float **x_rows;
    float **w_rows, *ring, *edge;        /* edge: an output row of the last group where it is not whole, and its bias */
    tc_expansion *expansion;
} box;

static int64_t make_expansions(const plan *p, const box *b, tc_expansion *e) {
    const int64_t width = tc_isa_now()->depthwise.width, last = p->k - 1;
    int64_t count = 0;
    for (int64_t g = b->plain; g < b->groups; g++)
        for (int64_t slot = 0; slot < p->slots; slot++)
            for (int64_t l = 0; l < TC_LANES; l += width, e++, count++) {
                const int64_t k = tc_min((b->group + g) * TC_LANES + l, last), first = k / p->kg * p->slots + slot;
                const int64_t size = tc_min(k + width - 1, last) / p->kg * p->slots + slot - first + 1;
                e->vectors = size <= width && p->c >= width ? 1 : size <= 2 * width && p->c >= 2 * width ? 2 : 0;
                e->from = e->vectors ? tc_min(first, p->c - e->vectors * width) : 0;
                e->to = g * p->group + slot * p->slot + l;
                for (int64_t i = 0; i < width; i++)
                    e->lane[i] = (int32_t)(tc_min(k + i, last) / p->kg * p->slots + slot - e->from);
            }
    return count;
}

static void box_get(const plan *p, int64_t index, int64_t block, char *own, box *b) {
    for (int a = 2; a >= 0; a--) {
        b->first[a] = index % p->count[a] * p->box[a];
        b->end[a] = tc_min(b->first[a] + p->box[a], p->size[a]);
        index /= p->count[a];
    }
    b->n = index;
    b->group = p->groups * block / p->blocks;
    b->groups = p->groups * (block + 1) / p->blocks - b->group;
    int64_t end;
    reach_inside(p, 0, b->first[0], b->end[0], &b->plane, &end);
    b->planes = end - b->plane;
    reach(p, 2, b->first[2], b->end[2], &b->column, &end);
    b->low = tc_min(tc_max(-b->column, 0), end - b->column);
    b->high = tc_max(tc_min(p->in[2], end) - b->column, b->low);
    b->copied = 0;
    b->x_rows = (const float **)own;
    b->w_rows = (float **)(own + p->w_at);
    b->edge = (float *)(own + p->edge_at);
    b->ring = (float *)(own + p->ring_at);
    b->expansion = (tc_expansion *)(own + p->expansions_at);
    b->plain = p->slots > 1 || p->kg > 1 ? 0 : tc_min(b->groups, p->k / TC_LANES - b->group);
    b->expansions = make_expansions(p, b, b->expansion);
    for (int64_t i = 0; i < b->groups * p->slots * p->planes * p->rows; i++) {
        float *row = b->ring + i * p->row;
        memset(row, 0, (size_t)(b->low * TC_LANES) * sizeof(float));
        memset(row + b->high * TC_LANES, 0, (size_t)(p->row - b->high * TC_LANES) * sizeof(float));
    }
}

/* Asks memory for a row of pixels that are `step` floats apart, some groups of TC_LANES channels of each. */
static void fetch_row(const float *row, int64_t pixels, int64_t step, int64_t groups) {
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t g = 0; g < groups; g++)
            __builtin_prefetch(row + i * step + g * TC_LANES, 0, 2);
}

/* The rows that output row h reads, where they have not been copied. */
static void copy_rows(const plan *p, box *b, int64_t h, const float *x) {
    const tc_depthwise_isa *isa = &tc_isa_now()->depthwise;
    const int64_t line = p->in[2] * p->c, pixels = b->high - b->low;
    int64_t first, end;
    reach_inside(p, 1, h, h + 1, &first, &end);
    for (int64_t y = tc_max(first, b->copied); y < end; y++)
        for (int64_t i = 0; i < b->planes; i++) {
            const int64_t above = (b->n * p->in[0] + b->plane + i) * p->in[1] + y;
            const float *row = x + above * line + (b->column + b->low) * p->c;
            float *to = b->ring + (i * p->rows + y % p->rows) * p->row + b->low * TC_LANES;
            if (p->large && y + 1 < p->in[1])
                fetch_row(row + line + b->group * TC_LANES, pixels, p->c, b->plain);
            isa->copy(pixels, row + b->group * TC_LANES, p->c, b->plain, to, p->group);
            isa->expand(pixels, row, p->c, b->expansions, b->expansion, to);
        }
    b->copied = tc_max(b->copied, end);
}

/* ------------------------------------------------------------------ rows */
/* The input rows under output row (od, oh) of g from column ow on, and the first weights of each. */
static void rows_under(const plan *p, const tc_igemm *g, const box *b, int64_t od, int64_t oh, int64_t ow,
                       const float *weights, tc_depthwise_rows *d) {
    int64_t first[2], end[2], rows = 0;
    tc_valid_taps(g, 0, od, &first[0], &end[0]);
    tc_valid_taps(g, 1, oh, &first[1], &end[1]);
    weights += b->group * g->reduction * TC_LANES;
    for (int64_t jd = first[0]; jd < end[0]; jd++)
        for (int64_t jh = first[1]; jh < end[1]; jh++)
            for (int64_t slot = 0; slot < p->slots; slot++, rows++) {
                const int64_t z = od * g->s[0] - g->p[0] + jd * g->d[0] - b->plane;
                const int64_t y = oh * g->s[1] - g->p[1] + jh * g->d[1];
                b->x_rows[rows] = b->ring + slot * p->slot + (z * p->rows + y % p->rows) * p->row +
                                  (ow * g->s[2] - g->p[2] - b->column) * TC_LANES;
                b->w_rows[rows] = (float *)weights + ((jd * g->taps[1] + jh) * p->slots + slot) * g->taps[2] * TC_LANES;
            }
    *d = (tc_depthwise_rows){.rows = g->taps[2] ? rows : 0, .x = b->x_rows, .w = b->w_rows, .groups = b->groups,
                             .x_group = p->group, .w_group = g->reduction * TC_LANES, .taps = g->taps[2],
                             .tap = g->d[2], .step = g->s[2]};
}

/* The last channels of a row of y, `channels` of them, by way of b->edge: kernels read and write whole groups. */
static void edge_row(const plan *p, const box *b, tc_depthwise_rows *d, int64_t count, const float *bias, float *y,
                     int64_t step, const tc_finish *finish, int sums) {
    const tc_depthwise_isa *isa = &tc_isa_now()->depthwise;
    const size_t bytes = (size_t)(p->k % TC_LANES) * sizeof(float);
    float *first = b->edge + p->box[2] * TC_LANES;
    memset(b->edge, 0, (size_t)((p->box[2] + 1) * TC_LANES) * sizeof(float));
    for (int64_t i = 0; i < d->rows; i++) {
        b->x_rows[i] += (b->groups - 1) * d->x_group;
        b->w_rows[i] += (b->groups - 1) * d->w_group;
    }
    d->groups = 1;
    if (bias)
        memcpy(first, bias, bytes);
    if (sums) {
        for (int64_t i = 0; i < count; i++)
            memcpy(b->edge + i * TC_LANES, y + i * step, bytes);
        isa->weight_grad(d, count, b->edge, TC_LANES);
    } else {
        isa->forward(d, count, first, b->edge, TC_LANES, NULL);
        for (int64_t i = 0; i < count; i++) {
            float *to = y + i * step;
            memcpy(to, b->edge + i * TC_LANES, bytes);
            if (finish)
                tc_isa_now()->gemm.finish(finish, 1, p->k % TC_LANES, &to, 0);
        }
    }
}

/* All rows of a box. `y`: the output, or with `sums` dy. */
static void run_box(const plan *p, const phase *phases, box *b, const float *x, const tc_finish *finish, float *y,
                    int sums) {
    const tc_depthwise_isa *isa = &tc_isa_now()->depthwise;
    const tc_finish *after = tc_finish_after(finish, 1);
    const float *bias = finish->bias ? finish->bias + b->group * TC_LANES : NULL;
    const int past = p->large && p->k % TC_LANES == 0 && (uintptr_t)y % TC_ALIGN == 0 && after == tc_finish_clip(after);
    const int64_t z = b->first[0], ow = b->first[2] / p->step[2], columns = b->end[2] - b->first[2];
    const int64_t whole = tc_min(b->groups, p->k / TC_LANES - b->group), step = p->step[2] * p->k;
    for (int64_t h = b->first[1]; h < b->end[1]; h++) {
        const phase *f = phases + (z % p->step[0] * p->step[1] + h % p->step[1]) * p->step[2];
        float *line = y + (((b->n * p->size[0] + z) * p->size[1] + h) * p->size[2] + b->first[2]) * p->k +
                      b->group * TC_LANES;
        copy_rows(p, b, h, x);
        if (sums && p->large && h + 1 < p->size[1])
            fetch_row(line + p->size[2] * p->k, columns, p->k, whole);
        for (int64_t w = 0; w < tc_min(p->step[2], columns); w++, f++, line += p->k) {
            const int64_t count = tc_ceil_div(b->end[2] - w, p->step[2]) - ow;
            tc_depthwise_rows d;
            rows_under(p, &f->g, b, z / p->step[0], h / p->step[1], ow, f->packed, &d);
            d.groups = whole;
            d.past = past;
            if (!sums)
                isa->forward(&d, count, bias, line, step, after);
            else if (d.rows)
                isa->weight_grad(&d, count, line, step);
            if (whole < b->groups)
                edge_row(p, b, &d, count, bias ? bias + whole * TC_LANES : NULL, line + whole * TC_LANES, step, after,
                         sums);
        }
    }
}

/* ------------------------------------------------------------------ the passes */
void tc_depthwise_run(const tc_conv_shape *s, int pass, const float *x, const float *packed, const tc_finish *finish,
                      float *y, char *scratch, int threads) {
    plan p;
    make_plan(s, pass, threads, &p);
    phase *phases = (phase *)scratch;
    for (int64_t i = 0; i < p.phases; i++) {
        tc_igemm_get(s, pass, i, &phases[i].g);
        phases[i].packed = packed;
        packed += phases[i].g.reduction * p.groups * TC_LANES;
    }
    const int team = tc_threads_for(threads, work_of(&p));
    /* All channels of a box, then the next: two threads that wrote alternate parts of each pixel took up to 2.5 times
     * as long as one (256 channels at 28x28), perhaps as prefetching takes lines from the other. */
    TC_TASKS(team, p.boxes * p.blocks, t, {
        box b;
        box_get(&p, t / p.blocks, t % p.blocks, scratch + p.own_at + p.own * tc_thread_index(), &b);
        run_box(&p, phases, &b, x, finish, y, 0);
    });
}

/* dw[k][jd][jh][jw][slot] = the parts [group][jd][jh][slot][jw][lane] in order */
static void sum_group(const plan *p, int64_t group, const float *parts, int64_t part, float *dw) {
    const int64_t rows = p->taps[0] * p->taps[1], lanes = tc_min(TC_LANES, p->k - group * TC_LANES);
    const float *from = parts + group * p->reduction * TC_LANES;
    dw += group * TC_LANES * p->reduction;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t slot = 0; slot < p->slots; slot++)
            for (int64_t jw = 0; jw < p->taps[2]; jw++, from += TC_LANES) {
                float sum[TC_LANES] = {0}, *to = dw + (row * p->taps[2] + jw) * p->slots + slot;
                for (int64_t j = 0; j < p->parts; j++)
                    for (int l = 0; l < TC_LANES; l++)
                        sum[l] += from[j * part + l];
                for (int64_t l = 0; l < lanes; l++)
                    to[l * p->reduction] = sum[l];
            }
}

void tc_depthwise_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, char *scratch, int threads) {
    plan p;
    make_plan(s, TC_WEIGHT_GRAD, threads, &p);
    phase *f = (phase *)scratch;
    float *parts = (float *)(scratch + p.parts_at);
    const int64_t group = p.reduction * TC_LANES, size = p.groups * group;
    const int team = tc_threads_for(threads, work_of(&p));
    const tc_finish none = tc_finish_of(NULL, dy);
    tc_igemm_get(s, TC_FORWARD, 0, &f->g);
    TC_TASKS(team, p.parts * p.blocks, t, {
        char *own = scratch + p.own_at + p.own * tc_thread_index();
        const int64_t part = t / p.blocks, first = p.boxes * part / p.parts;
        const phase here = {f->g, parts + part * size};
        for (int64_t i = first; i < p.boxes * (part + 1) / p.parts; i++) {
            box b;
            box_get(&p, i, t % p.blocks, own, &b);
            if (i == first)
                memset(parts + part * size + b.group * group, 0, (size_t)(b.groups * group) * sizeof(float));
            run_box(&p, &here, &b, x, &none, (float *)dy, 1);
        }
    });
    TC_RANGES(tc_threads_for(threads, (double)(size * p.parts)), p.groups, 1, low, high, {
        for (int64_t g = low; g < high; g++)
            sum_group(&p, g, parts, size, dw);
    });
}
