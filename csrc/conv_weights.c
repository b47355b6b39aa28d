/* The weight gradient: dw[k][tap][c] = sum over positions of dy[.][k] * x[. + tap][c], as products of dy's columns,
 * packed in tiles of rows, and x's, gathered a panel of (tap, c) at a time. Registers sum a block of positions. */
#include "conv_winograd.h"
#include "ranges.h"

#include <string.h>

enum {
    BOX_PIXELS = 384,        /* a gathered panel of so many, 24 KB, stays in L1 under all rows of dw */
    PARTS_MOST = 64 * 1024,  /* floats of a dw that is small */
    DIRECT_ROWS = 32,        /* up to so many rows of dw a panel is read in place: gathering would cost as much */
    STRIP = 48,              /* columns of dy packed at once: whole cache lines, whole tiles of 4, 6 or 12 rows */
    POSITIONS = 16,          /* packed together: their rows of dy stay in L1 */
    PACKING = 2,             /* what packing a column of dy costs beside gathering one of x */
    TOGETHER = 64,           /* panels used at once, at most */
    GATHER = -1,             /* in the place of a panel's offset: it was gathered */
    GATHERED = 32 * 1024,    /* floats of panels gathered at once: rows of dw are then written in long stretches */
    BLOCK_TILES = 4,         /* tiles of dw's rows that a panel is used for before the next one is read from L2 */
    DIRECT_PANELS = 8,       /* up to so many panels dy is read in place, */
    DIRECT_PITCH = 1024      /* unless its rows are so many floats apart: all in one set of L1 */
};

typedef struct {
    tc_igemm g;
    tc_boxes boxes;
    int64_t panels, parts, weights;  /* panels of a group's columns; floats of dw */
    int64_t splits, row_splits;      /* of the panels of all groups and of the rows of dw, among threads */
    int by_tap;                      /* a panel is of one tap, and too much of it is padding to be summed */
    int zeros;                       /* a panel is of one tap, and gathered from zeros where that is on padding */
    int few;                         /* conv_weights_few.c does it */
    int64_t together;                /* panels gathered before they are used */
    int64_t rows_at, inside_at, dy_at, panel_at, band_at, zeros_at, bytes, parts_at;
} plan;

/* Cuts dw into tasks, of panels or of rows, some for each thread: each part of the panels packs dy anew (by taps only
 * if it ends within one), each part of the rows gathers x anew. */
static void set_splits(plan *p, int threads) {
    const tc_igemm *g = &p->g;
    const int64_t panels = p->panels * g->groups, tiles = tc_ceil_div(g->kg, g->isa->gemm.rows);
    const int64_t rows_most = g->groups > 1 ? 1 : tiles, wanted = (p->by_tap ? 6 : 2) * threads;
    p->splits = p->row_splits = 1;
    if (p->parts > 1 || threads < 2)
        return;
    if (!p->by_tap && PACKING * g->kg > g->reduction)
        p->row_splits = tc_min(rows_most, wanted);
    p->splits = tc_min(panels, tc_ceil_div(wanted, p->row_splits));
    if (p->by_tap)
        p->splits = tc_min(p->splits, g->groups * p->panels / (g->cg / g->isa->gemm.panel));
    p->row_splits = tc_max(p->row_splits, tc_min(rows_most, tc_ceil_div(wanted, p->splits)));
}

static void make_plan(const tc_conv_shape *s, int threads, plan *p) {
    tc_igemm *g = &p->g;
    tc_igemm_get(s, TC_WEIGHT_GRAD, 0, g);
    const tc_gemm_isa *isa = &g->isa->gemm;
    const int64_t positions = g->n * g->out[0] * g->out[1] * g->out[2];
    const int64_t most = tc_ahead_pixels(g, BOX_PIXELS);
    const int64_t pixels = tc_ceil_div(positions, tc_max(tc_ceil_div(positions, most), 1));
    /* By taps dy is packed for each anew: about a quarter of a step for each of its channels, besides the pointers. */
    const double packing = (0.25 * (double)g->kg + 3) * (double)isa->panel / (double)(g->cg * g->kg);
    p->by_tap = g->padded && g->cg % isa->panel == 0 && tc_valid_share(g) * (1 + packing) < 0.95;
    p->zeros = g->padded && g->cg % isa->panel == 0 && !p->by_tap && g->kg > DIRECT_ROWS;
    const int inside = p->by_tap || p->zeros; /* nothing outside the input is read */
    tc_boxes_choose(g, pixels, g->padded && !inside ? TC_BAND_FLOATS : INT64_MAX, 0, &p->boxes);
    if (inside) {
        p->boxes.banded = 0;
        p->boxes.band = 0;
    } else if (tc_run_length(g) % isa->panel) /* vectors read past rows' ends */
        tc_boxes_choose(g, pixels, TC_BAND_FLOATS, 1, &p->boxes);
    p->panels = tc_ceil_div(g->reduction, isa->panel);
    p->weights = g->k * g->reduction;
    const int one_tap = g->reduction == g->cg; /* gathering reads each value of x once, and what comes is fetched */
    const int far = one_tap && positions * (g->c + g->k) > TC_CACHED;
    p->few = p->weights <= PARTS_MOST && !p->by_tap &&
             (tc_run_length(g) % isa->panel || (!far && g->reduction >= (one_tap ? 1 : 2) * g->kg));
    p->parts = p->weights <= PARTS_MOST ? tc_max(tc_min(TC_GRAD_PARTS, p->boxes.boxes), 1) : 1;
    set_splits(p, threads);
    const int64_t f = sizeof(float), n = p->boxes.pixels;
    p->together = tc_min(GATHERED / tc_max(n * isa->panel, 1), TOGETHER);
    p->together = tc_max(tc_min(p->together, p->panels * g->groups), 1);
    p->rows_at = 0;
    p->inside_at = tc_round_up(n * (int64_t)sizeof(float *), TC_ALIGN);
    p->dy_at = 3 * p->inside_at; /* rows of x; of those a tap reads, or of the next box, rows of x; rows of dy */
    p->panel_at = p->dy_at + tc_round_up(n * tc_round_up(g->kg, isa->rows) * f, TC_ALIGN);
    p->band_at = p->panel_at + tc_round_up((p->together * n * isa->panel + TC_SLACK) * f, TC_ALIGN);
    p->zeros_at = p->band_at + tc_round_up(p->boxes.band * f, TC_ALIGN);
    p->bytes = p->zeros_at + (p->zeros ? tc_round_up(g->c * f, TC_ALIGN) : 0);
    p->parts_at = p->bytes * threads;
}

int64_t tc_weight_grad_scratch(const tc_conv_shape *s, int threads) {
    plan p;
    make_plan(s, threads, &p);
    if (p.few)
        return tc_few_scratch(s, threads);
    const int64_t buffers = p.parts > 1 ? p.parts : 0;
    return p.parts_at + tc_round_up(buffers * p.weights * (int64_t)sizeof(float), TC_ALIGN);
}

/* Columns [k0, k1) of dy's rows, in tiles [tile][position][rows]; the last is as narrow as what is left. A few
 * positions at a time, of them a strip of columns: each of their cache lines is read once, and few tiles are
 * written. What is fetched meanwhile, the positions after them, memory gives in the order in which it lies. */
static inline __attribute__((always_inline)) void pack_tiles(const int rows, int64_t count, const float *const *dy,
                                                             int64_t k0, int64_t k1, float *to) {
    for (int64_t first = 0; first < count; first += POSITIONS) {
        int64_t next = tc_min(first + POSITIONS, count - 1), ahead = k0;
        for (int64_t k = k0; k < k1; k += STRIP) {
            const int64_t tiles = tc_min(STRIP, k1 - k) / rows, rest = tc_min(STRIP, k1 - k) % rows;
            float *strip = to + (k - k0) * count, *last = strip + tiles * rows * count;
            for (int64_t p = first; p < tc_min(first + POSITIONS, count); p++) {
                const float *from = dy[p] + k;
                for (int64_t i = 0; i < STRIP; i += 16)
                    __builtin_prefetch(dy[next] + ahead + i);
                if ((ahead += STRIP) >= k1) {
                    ahead = k0;
                    next = tc_min(next + 1, count - 1);
                }
                for (int64_t t = 0; t < tiles; t++)
                    memcpy(strip + (t * count + p) * rows, from + t * rows, (size_t)rows * sizeof(float));
                for (int64_t i = 0; i < rest; i++)
                    last[p * rest + i] = from[tiles * rows + i];
            }
        }
    }
}

static void pack_dy(int64_t rows, int64_t count, const float *const *dy, int64_t k0, int64_t k1, float *to) {
    switch (rows) {
    case 4: pack_tiles(4, count, dy, k0, k1, to); break;
    case 6: pack_tiles(6, count, dy, k0, k1, to); break;
    default: pack_tiles(12, count, dy, k0, k1, to);
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

/* Outputs o of each axis of the box with 0 <= o*s - p + j*d < in: the tap is inside the input. */
static void inside_of(const tc_igemm *g, const tc_box *box, int64_t tap, int64_t *first, int64_t *end) {
    const int64_t j[3] = {tap / g->taps[2] / g->taps[1], tap / g->taps[2] % g->taps[1], tap % g->taps[2]};
    for (int a = 0; a < 3; a++) {
        const int64_t at = g->p[a] - j[a] * g->d[a], last = g->in[a] - 1 + at;
        first[a] = tc_max(at > 0 ? tc_ceil_div(at, g->s[a]) : 0, box->first[a + 1]);
        end[a] = tc_min(last < 0 ? 0 : last / g->s[a] + 1, box->first[a + 1] + box->size[a + 1]);
    }
}

/* The rows of x and dy of those positions of the box for which the tap is inside the input. */
static int64_t inside(const plan *p, const tc_box *box, int64_t tap, const float *const *row, const float *dy,
                      const float **x_rows, const float **dy_rows) {
    const tc_igemm *g = &p->g;
    int64_t first[3], end[3], count = 0;
    inside_of(g, box, tap, first, end);
    for (int64_t n = 0; n < box->size[0]; n++)
        for (int64_t z = first[0]; z < end[0]; z++)
            for (int64_t y = first[1]; y < end[1]; y++) {
                const int64_t line = (n * box->size[1] + z - box->first[1]) * box->size[2] + y - box->first[2];
                for (int64_t x = first[2]; x < end[2]; x++, count++) {
                    const int64_t at = line * box->size[3] + x - box->first[3];
                    x_rows[count] = row[at];
                    dy_rows[count] = dy + at * g->k;
                }
            }
    return count;
}

/* Panels [first, last); where one is read in place, its offset is told instead. */
static void gather_panels(const plan *p, const tc_box *box, int64_t first, int64_t last, int64_t rows, int64_t count,
                          const float *const *x_rows, float *to, int64_t *offset) {
    const tc_gemm_isa *isa = &p->g.isa->gemm;
    tc_piece piece[64];
    for (int64_t i = first; i < last; i++, to += count * isa->panel) {
        const int64_t j = i % p->panels * isa->panel, width = tc_min(isa->panel, p->g.reduction - j);
        const int64_t pieces = make_pieces(p, box, i / p->panels, j, j + width, piece);
        const int direct = pieces == 1 && width == isa->panel && rows <= DIRECT_ROWS;
        *offset++ = direct ? piece[0].src : GATHER;
        if (!direct)
            isa->gather(count, x_rows, pieces, piece, to);
    }
}

/* The rows of x that the tap reads; zeros for those positions of the box for which it is outside the input. */
static void or_zeros(const plan *p, const tc_box *box, int64_t tap, const float *const *row, const float *zeros,
                     const float **x_rows) {
    const tc_igemm *g = &p->g;
    const int64_t jd = tap / g->taps[2] / g->taps[1], jh = tap / g->taps[2] % g->taps[1], jw = tap % g->taps[2];
    const int64_t offset = tc_tap_offset(g, &p->boxes, box, jd, jh, jw);
    int64_t first[3], end[3];
    inside_of(g, box, tap, first, end);
    for (int64_t n = 0; n < box->size[0]; n++)
        for (int64_t z = box->first[1]; z < box->first[1] + box->size[1]; z++)
            for (int64_t y = box->first[2]; y < box->first[2] + box->size[2]; y++) {
                const int in = z >= first[0] && z < end[0] && y >= first[1] && y < end[1];
                for (int64_t x = box->first[3]; x < box->first[3] + box->size[3]; x++, row++)
                    *x_rows++ = in && x >= first[2] && x < end[2] ? *row + offset : zeros;
            }
}

/* Panels [first, last), each of one tap. */
static void gather_or_zeros(const plan *p, const tc_box *box, int64_t first, int64_t last, char *scratch,
                            int64_t *offset) {
    const tc_gemm_isa *isa = &p->g.isa->gemm;
    const float *const *row = (const float **)(scratch + p->rows_at), *zeros = (const float *)(scratch + p->zeros_at);
    const float **x_rows = (const float **)(scratch + p->inside_at);
    float *to = (float *)(scratch + p->panel_at);
    for (int64_t i = first; i < last; i++, to += box->pixels * isa->panel) {
        const int64_t j = i % p->panels * isa->panel, c = j % p->g.cg;
        if (i == first || c == 0)
            or_zeros(p, box, j / p->g.cg, row, zeros, x_rows);
        *offset++ = GATHER;
        isa->gather(box->pixels, x_rows, 1, &(tc_piece){i / p->panels * p->g.cg + c, 0}, to);
    }
}

/* Adds one box to panels [q0, q1) and rows [k0, k1) of dw (or writes them, if it is the first). */
static void add_box(const plan *p, const tc_box *box, const float *dy, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
                    int add, float *dw, char *scratch, tc_ahead *ahead) {
    const tc_gemm_isa *isa = &p->g.isa->gemm;
    const tc_igemm *g = &p->g;
    const float **row = (const float **)(scratch + p->rows_at);
    const float **x_rows = (const float **)(scratch + p->inside_at);
    const float **dy_rows = (const float **)(scratch + 2 * p->inside_at);
    float *tiles = (float *)(scratch + p->dy_at), *gathered = (float *)(scratch + p->panel_at);
    const int64_t per_tap = p->by_tap ? g->cg / isa->panel : p->panels, kg = tc_min(k1, g->kg);
    int64_t count = box->pixels;
    if (!p->by_tap) {
        x_rows = row;
        for (int64_t i = 0; i < count; i++)
            dy_rows[i] = dy + i * g->k;
    }
    for (int64_t q = q0, next; q < q1; q = next) { /* panels of one group, or of one tap of it */
        const int64_t group = q / p->panels;
        next = tc_min(q1, tc_round_up(q + 1, per_tap));
        if (p->by_tap)
            count = inside(p, box, q % p->panels / per_tap, row, dy, x_rows, dy_rows);
        const int in_place = !p->by_tap && next - q <= DIRECT_PANELS && g->k % DIRECT_PITCH;
        if (!in_place)
            pack_dy(isa->rows, count, dy_rows, group * g->kg + k0, group * g->kg + kg, tiles);
        for (int64_t first = q; first < next; first += p->together) {
            const int64_t last = tc_min(first + p->together, next);
            int64_t offset[TOGETHER];
            if (p->zeros)
                gather_or_zeros(p, box, first, last, scratch, offset);
            else
                gather_panels(p, box, first, last, kg - k0, count, x_rows, gathered, offset);
            for (int64_t block = k0; block < kg; block += BLOCK_TILES * isa->rows)
                for (int64_t i = first; i < last; i++)
                    for (int64_t k = block; k < tc_min(block + BLOCK_TILES * isa->rows, kg); k += isa->rows) {
                        const int64_t rows = tc_min(isa->rows, kg - k), j = i % p->panels * isa->panel;
                        const float *a = in_place ? dy + group * g->kg + k : tiles + (k - k0) * count;
                        tc_ahead_turn(ahead);
                        isa->cols_form(rows, tc_min(isa->panel, g->reduction - j), count, a, in_place ? g->k : rows,
                                       gathered + (i - first) * count * isa->panel,
                                       offset[i - first] == GATHER ? NULL : x_rows, offset[i - first], add,
                                       dw + (group * g->kg + k) * g->reduction + j, g->reduction, NULL);
                    }
        }
    }
}

/* dw = the parts in order */
static void sum_parts(const plan *p, const float *parts, float *dw, int threads) {
    TC_RANGES(tc_threads_for(threads, (double)(p->weights * p->parts)), p->weights, TC_GRAIN, low, high, {
        for (int64_t i = low; i < high; i++) {
            float sum = 0;
            for (int64_t j = 0; j < p->parts; j++)
                sum += parts[j * p->weights + i];
            dw[i] = sum;
        }
    });
}

void tc_conv_weight_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, void *scratch,
                         int threads) {
    const int64_t m = tc_winograd_chosen(s, TC_WEIGHT_GRAD);
    if (m) {
        tc_winograd_grad(s, m, x, dy, dw, scratch, threads);
        return;
    }
    if (tc_is_depthwise(s)) {
        tc_depthwise_grad(s, x, dy, dw, scratch, threads > 1 ? threads : 1);
        return;
    }
    plan p;
    make_plan(s, threads > 1 ? threads : 1, &p);
    const tc_igemm *g = &p.g;
    const int in_parts = p.parts > 1;
    float *parts = (float *)((char *)scratch + p.parts_at);
    const int64_t all = p.panels * g->groups, tasks = p.parts * p.splits * p.row_splits;
    const int64_t plane = g->out[0] * g->out[1] * g->out[2];
    const double work = 2.0 * (double)(g->n * plane) * (double)p.weights;
    if (!p.boxes.boxes) {
        memset(dw, 0, (size_t)p.weights * sizeof(float));
        return;
    }
    if (p.few) {
        tc_few_grad(s, x, dy, dw, scratch, threads > 1 ? threads : 1);
        return;
    }
    const int team = tc_threads_for(threads, work / 2); /* for they meet twice, and gather the same rows */
    TC_TASKS(team, tasks, t, {
        char *own = (char *)scratch + p.bytes * tc_thread_index();
        const int64_t part = t % p.parts, split = t / p.parts % p.splits, rows = t / p.parts / p.splits;
        const int64_t mr = g->isa->gemm.rows, tiles = tc_ceil_div(g->kg, mr);
        const int64_t first = p.boxes.boxes * part / p.parts, last = p.boxes.boxes * (part + 1) / p.parts;
        if (p.zeros)
            memset(own + p.zeros_at, 0, (size_t)g->c * sizeof(float));
        float *to = in_parts ? parts + part * p.weights : dw;
        for (int64_t i = first; i < last; i++) {
            tc_box box;
            tc_box_get(g, &p.boxes, p.boxes.count, i, &box);
            tc_box_rows(g, &p.boxes, &box, x, (float *)(own + p.band_at), (const float **)(own + p.rows_at));
            const int64_t at = ((box.first[0] * g->out[0] + box.first[1]) * g->out[1] + box.first[2]) * g->out[2];
            const float *from = dy + (at + box.first[3]) * g->k;
            const int64_t q0 = all * split / p.splits, q1 = all * (split + 1) / p.splits;
            const int64_t r0 = tiles * rows / p.row_splits, r1 = tiles * (rows + 1) / p.row_splits;
            tc_ahead ahead = {0};
            if (!p.by_tap)
                tc_ahead_begin(g, &p.boxes, i + 1, last, x, from + box.pixels * g->k, (q1 - q0) * (r1 - r0),
                               (const float **)(own + p.inside_at), &ahead);
            add_box(&p, &box, from, q0, q1, r0 * mr, r1 * mr, i > first, to, own, &ahead);
        }
    });
    if (in_parts)
        sum_parts(&p, parts, dw, threads);
}
