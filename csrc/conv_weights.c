/* The weight gradient: dw[k][tap][c] = sum over positions of dy[.][k] * x[. + tap][c], as products of dy's columns, packed in
 * tiles of rows, and x's, gathered a panel of (tap, c) at a time. Blocks of positions stay in registers until they are summed. */
#include "conv.h"
#include "isa.h"

#include <string.h>

enum {
    BOX_PIXELS = 384,        /* a gathered panel of so many, 24 KB, stays in L1 under all rows of dw */
    BAND_FLOATS = 64 * 1024,
    PARTS = 8,               /* a small dw is summed in so many parts, in order, so that threads can share the positions */
    PARTS_MOST = 64 * 1024,  /* floats of a dw that is small */
    DIRECT_ROWS = 32         /* up to so many rows of dw a panel is read in place: gathering would cost as much */
};

typedef struct {
    tc_igemm g;
    tc_boxes boxes;
    int64_t panels, parts, weights;  /* panels of a group's columns; floats of dw */
    int64_t splits, row_splits;      /* of the panels of all groups and of the rows of dw, among threads */
    int whole;                       /* every panel is 16 floats in a row of x: may be read in place */
    int64_t rows_at, dy_at, panel_at, band_at, bytes, parts_at;
} plan;

static void make_plan(const tc_conv_shape *s, int threads, plan *p) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    tc_igemm *g = &p->g;
    tc_igemm_get(s, TC_FORWARD, 0, g);
    const int64_t positions = g->n * g->out[0] * g->out[1] * g->out[2];
    p->whole = tc_run_length(g) % isa->panel == 0;
    const int64_t pixels = tc_ceil_div(positions, tc_max(tc_ceil_div(positions, BOX_PIXELS), 1));
    tc_boxes_choose(g, pixels, BAND_FLOATS, !p->whole && !tc_is_depthwise(g), &p->boxes);
    p->panels = tc_ceil_div(g->reduction, isa->panel);
    p->weights = g->k * g->reduction;
    p->parts = p->weights <= PARTS_MOST ? tc_max(tc_min(PARTS, p->boxes.boxes), 1) : 1;
    if (tc_is_depthwise(g))
        p->parts = tc_max(tc_min(PARTS, p->boxes.boxes), 1);
    const int64_t wanted = p->parts > 1 || threads < 2 ? 1 : 2 * threads, panels = p->panels * g->groups;
    p->splits = tc_min(panels, wanted);
    p->row_splits = g->groups > 1 ? 1 : tc_min(tc_ceil_div(wanted, p->splits), tc_ceil_div(g->kg, isa->rows));
    if (tc_is_depthwise(g))
        p->splits = p->row_splits = 1;
    const int64_t f = sizeof(float), n = p->boxes.pixels;
    p->rows_at = 0;
    p->dy_at = tc_round_up(n * (int64_t)sizeof(float *), TC_ALIGN);
    p->panel_at = p->dy_at + tc_round_up(n * tc_round_up(g->kg, isa->rows) * f, TC_ALIGN);
    p->band_at = p->panel_at + tc_round_up((n * isa->panel + TC_SLACK) * f, TC_ALIGN);
    p->bytes = p->band_at + tc_round_up(p->boxes.band * f, TC_ALIGN);
    p->parts_at = p->bytes * threads;
}

int64_t tc_weight_grad_scratch(const tc_conv_shape *s, int threads) {
    plan p;
    make_plan(s, threads, &p);
    const int64_t buffers = p.parts > 1 || tc_is_depthwise(&p.g) ? p.parts : 0;
    return p.parts_at + tc_round_up(buffers * p.weights * (int64_t)sizeof(float), TC_ALIGN);
}

/* Columns [k0, k1) of dy's rows, in tiles [tile][position][rows]; the last is as narrow as what is left. */
static void pack_dy(int64_t count, int64_t rows, const float *dy, int64_t ld, int64_t k0, int64_t k1, float *to) {
    for (int64_t k = k0; k < k1; k += rows) {
        const int64_t r = tc_min(rows, k1 - k);
        const float *from = dy + k;
        if (r == 6)
            for (int64_t p = 0; p < count; p++, from += ld, to += 6)
                memcpy(to, from, 24);
        else if (r == 4)
            for (int64_t p = 0; p < count; p++, from += ld, to += 4)
                memcpy(to, from, 16);
        else
            for (int64_t p = 0; p < count; p++, from += ld, to += r)
                for (int64_t i = 0; i < r; i++)
                    to[i] = from[i];
    }
}

/* Where the columns of a panel stand from a position's first tap. */
static int64_t make_pieces(const plan *p, const tc_box *box, int64_t group, int64_t j0, int64_t j1, tc_piece *piece) {
    const tc_igemm *g = &p->g;
    const int64_t length = tc_run_length(g), per_row = g->taps[2] * g->cg / length;
    int64_t count = 0;
    for (int64_t j = j0; j < j1; count++) {
        const int64_t r = j / length, inside = j % length, jh = r / per_row;
        const int64_t at = tc_tap_offset(g, &p->boxes, box, jh / g->taps[1], jh % g->taps[1], r % per_row);
        piece[count] = (tc_piece){at + group * g->cg + inside, j - j0};
        j += tc_min(length - inside, j1 - j);
    }
    return count;
}

/* Adds one box to panels [q0, q1) and rows [k0, k1) of dw (or writes them, if it is the first). */
static void add_box(const plan *p, const tc_box *box, const float *dy, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
                    int add, float *dw, char *scratch) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const tc_igemm *g = &p->g;
    const float **row = (const float **)(scratch + p->rows_at);
    float *tiles = (float *)(scratch + p->dy_at), *panel = (float *)(scratch + p->panel_at);
    const int64_t count = box->pixels, kg = tc_min(k1, g->kg);
    int64_t group = -1;
    tc_piece piece[64];
    for (int64_t q = q0; q < q1; q++) {
        if (q / p->panels != group) {
            group = q / p->panels;
            pack_dy(count, isa->rows, dy + group * g->kg, g->k, k0, kg, tiles);
        }
        const int64_t j = q % p->panels * isa->panel, width = tc_min(isa->panel, g->reduction - j);
        const int64_t pieces = make_pieces(p, box, group, j, j + width, piece);
        const int direct = pieces == 1 && width == isa->panel && kg - k0 <= DIRECT_ROWS;
        if (!direct)
            isa->gather(count, row, pieces, piece, panel);
        for (int64_t k = k0; k < kg; k += isa->rows) {
            const int64_t rows = tc_min(isa->rows, kg - k);
            isa->cols_form(rows, width, count, tiles + (k - k0) * count, rows, panel, direct ? row : NULL,
                           direct ? piece[0].src : 0, add, dw + (group * g->kg + k) * g->reduction + j, g->reduction);
        }
    }
}

static void add_box_depthwise(const plan *p, const tc_box *box, const float *dy, float *sum, char *scratch) {
    const tc_igemm *g = &p->g;
    int64_t off[64], taps = 0, done = 0;
    for (int64_t jd = 0; jd < g->taps[0]; jd++)
        for (int64_t jh = 0; jh < g->taps[1]; jh++)
            for (int64_t jw = 0; jw < g->taps[2]; jw++) {
                off[taps++] = tc_tap_offset(g, &p->boxes, box, jd, jh, jw);
                if (taps < 64 && done + taps < g->reduction)
                    continue;
                tc_isa_now()->gemm.depthwise_grad(box->pixels, g->c, (const float **)(scratch + p->rows_at), taps, off,
                                                  dy, sum + done * g->c);
                done += taps;
                taps = 0;
            }
}

/* dw = the parts in order; the depthwise kernel's are [tap][c]. */
static void sum_parts(const plan *p, const float *parts, float *dw, int threads) {
    const int depthwise = tc_is_depthwise(&p->g);
    const int64_t taps = p->g.reduction, c = p->g.c;
#pragma omp parallel for num_threads(tc_threads_for(threads, (double)(p->weights * p->parts))) schedule(static)
    for (int64_t i = 0; i < p->weights; i++) {
        float sum = 0;
        for (int64_t j = 0; j < p->parts; j++)
            sum += parts[j * p->weights + i];
        dw[depthwise ? i % c * taps + i / c : i] = sum;
    }
}

void tc_conv_weight_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, void *scratch,
                         int threads) {
    plan p;
    make_plan(s, threads > 1 ? threads : 1, &p);
    const tc_igemm *g = &p.g;
    const int depthwise = tc_is_depthwise(g), in_parts = p.parts > 1 || depthwise;
    float *parts = (float *)((char *)scratch + p.parts_at);
    const int64_t all = p.panels * g->groups, tasks = p.parts * p.splits * p.row_splits;
    const int64_t plane = g->out[0] * g->out[1] * g->out[2];
    const double work = 2.0 * (double)(g->n * plane) * (double)p.weights;
    if (!p.boxes.boxes) {
        memset(dw, 0, (size_t)p.weights * sizeof(float));
        return;
    }
    const int team = tc_threads_for(threads, work);
#pragma omp parallel num_threads(team)
    {
        unsigned ftz = tc_ftz_set();
        char *own = (char *)scratch + p.bytes * tc_thread_index();
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < tasks; t++) {
            const int64_t part = t % p.parts, split = t / p.parts % p.splits, rows = t / p.parts / p.splits;
            const int64_t mr = tc_isa_now()->gemm.rows, tiles = tc_ceil_div(g->kg, mr);
            const int64_t first = p.boxes.boxes * part / p.parts, last = p.boxes.boxes * (part + 1) / p.parts;
            float *to = in_parts ? parts + part * p.weights : dw;
            if (depthwise)
                memset(to, 0, (size_t)p.weights * sizeof(float));
            for (int64_t i = first; i < last; i++) {
                tc_box box;
                tc_box_get(g, &p.boxes, i, &box);
                tc_box_rows(g, &p.boxes, &box, x, (float *)(own + p.band_at), (const float **)(own + p.rows_at));
                const int64_t at = ((box.first[0] * g->out[0] + box.first[1]) * g->out[1] + box.first[2]) * g->out[2];
                const float *from = dy + (at + box.first[3]) * g->k;
                if (depthwise)
                    add_box_depthwise(&p, &box, from, to, own);
                else
                    add_box(&p, &box, from, all * split / p.splits, all * (split + 1) / p.splits,
                            tiles * rows / p.row_splits * mr, tiles * (rows + 1) / p.row_splits * mr, i > first, to, own);
            }
        }
        tc_ftz_restore(ftz);
    }
    if (in_parts)
        sum_parts(&p, parts, dw, threads);
}
