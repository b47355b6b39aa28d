/* Convolutions on small maps: positions that read the same taps are rows of one product, over several images, so that
 * the taps on padding are left out. A 3x3 kernel on a 2x2 map has 4 of 9 taps inside; the data gradient of a kernel as
 * large as its map one in all. Nothing is copied: no row reads outside the input. */
#include "conv.h"
#include "isa.h"
#include "ranges.h"

enum {
    ROWS = 1024,          /* of a block: positions times images */
    POSITION_STEPS = 16,  /* steps of a panel: a layer of few channels is better read from copies in order */
    ROW_COST = 4          /* a tile of fewer rows takes as long as one of so many: too few sums are under way */
};

/* Time of m rows, in rows of full tiles. */
static double row_cost(int64_t m) { return (double)tc_max(m, ROW_COST); }

static int64_t positions_of(const tc_igemm *g) { return g->out[0] * g->out[1] * g->out[2]; }

/* Images of a block: as many as fit, blocks of about one size, rows of full tiles. */
static int64_t block_images(const tc_igemm *g) {
    const int64_t rows = g->isa->gemm.rows, most = tc_max(ROWS / positions_of(g), 1);
    const int64_t images = tc_round_up(tc_ceil_div(g->n, tc_ceil_div(g->n, most)), rows);
    return tc_min(g->n, images <= most ? images : most);
}

/* Positions along axis a, from `o` on, that read the same taps; *taps: how many. */
static int64_t stretch(const tc_igemm *g, int a, int64_t o, int64_t *taps) {
    int64_t first, end, other_first, other_end, size = 1;
    tc_valid_taps(g, a, o, &first, &end);
    while (o + size < g->out[a]) {
        tc_valid_taps(g, a, o + size, &other_first, &other_end);
        if (other_first != first || other_end != end)
            break;
        size++;
    }
    *taps = end - first;
    return size;
}

/* Positions first .. first + size along each axis: they read the same `taps` taps. */
typedef struct {
    int64_t first[3], size[3], count, taps;
} area;

/* The area behind `r` (the first one where r->count is 0), in order; 0 if there is none. */
static int next_area(const tc_igemm *g, area *r) {
    int a = 2;
    if (!r->count)
        r->first[0] = r->first[1] = r->first[2] = 0;
    else {
        for (; a >= 0 && (r->first[a] += r->size[a]) == g->out[a]; a--)
            r->first[a] = 0;
        if (a < 0)
            return 0;
    }
    r->count = r->taps = 1;
    for (a = 0; a < 3; a++) {
        int64_t taps;
        r->size[a] = stretch(g, a, r->first[a], &taps);
        r->count *= r->size[a];
        r->taps *= taps;
    }
    return 1;
}

int tc_small_chosen(const tc_igemm *g) {
    const int64_t positions = positions_of(g);
    if (!g->padded || !g->n || !positions || positions > ROWS)
        return 0;
    const int64_t images = block_images(g);
    double cost = 0;
    for (area r = {.count = 0}; next_area(g, &r);)
        cost += (double)r.taps * row_cost(r.count * images);
    /* as a share of all products, and what a position takes besides, read where it stands and not from a band */
    const double share = cost / (double)(positions * images * g->taps[0] * g->taps[1] * g->taps[2]);
    const double steps = (double)(g->groups * tc_ceil_div(g->kg, g->isa->gemm.panel) * g->reduction);
    return share + POSITION_STEPS / steps < 0.97;
}

static int64_t most_runs(const tc_igemm *g) {
    return g->taps[0] * g->taps[1] * g->taps[2] + tc_ceil_div(g->reduction, TC_REDUCTION) + 1;
}

static int64_t panel_at(const tc_igemm *g) {
    const int64_t pointers = block_images(g) * positions_of(g) * 2 * (int64_t)sizeof(float *);
    return tc_round_up(pointers + most_runs(g) * (int64_t)sizeof(tc_run), TC_ALIGN);
}

int64_t tc_small_scratch(const tc_igemm *g, int unpacked) {
    return panel_at(g) + (unpacked ? tc_round_up(tc_panels_floats(g) * (int64_t)sizeof(float), TC_ALIGN) : 0);
}

/* All runs of the position `o`, from its image's start; returns the sum of their lengths. */
static int64_t position_runs(const tc_igemm *g, int64_t group, const int64_t *o, tc_run *run, int64_t *count) {
    int64_t first[3], end[3], at[3], total = 0;
    for (int a = 0; a < 3; a++) {
        tc_valid_taps(g, a, o[a], &first[a], &end[a]);
        at[a] = o[a] * g->s[a] - g->p[a];
    }
    const int merged = g->groups == 1 && g->d[2] == 1;
    const int64_t length = merged ? (end[2] - first[2]) * g->cg : g->cg;
    *count = 0;
    for (int64_t jd = first[0]; jd < end[0]; jd++)
        for (int64_t jh = first[1]; jh < end[1]; jh++)
            for (int64_t jw = first[2]; jw < end[2]; jw += merged ? end[2] : 1) {
                const int64_t row = (at[0] + jd * g->d[0]) * g->in[1] + at[1] + jh * g->d[1];
                run[(*count)++] = (tc_run){(row * g->in[2] + at[2] + jw * g->d[2]) * g->c + group * g->cg,
                                           ((jd * g->taps[1] + jh) * g->taps[2] + jw) * g->cg, length};
                total += length;
            }
    return total;
}

typedef struct {
    const tc_igemm *g;
    const tc_finish *finish;
} call;

/* One area and panel q, at b: the runs a part of the reduction at a time, cut where a part ends. */
static void area_panel(const call *c, const area *r, int64_t m, int64_t q, const float *b, const float **row,
                       float **out, tc_run *run) {
    const tc_igemm *g = c->g;
    const tc_gemm_isa *isa = &g->isa->gemm;
    const int64_t per_group = tc_ceil_div(g->kg, isa->panel), group = q / per_group, j = q % per_group * isa->panel;
    int64_t count, add = 0;
    const int64_t part = tc_reduction_part(position_runs(g, group, r->first, run, &count));
    const float *bias = c->finish->bias ? c->finish->bias + group * g->kg + j : NULL;
    const int64_t column = group * g->kg + j, n = tc_min(isa->panel, g->kg - j);
    do {
        int64_t used = 0, room = part;
        while (used < count && run[used].len <= room)
            room -= run[used++].len;
        tc_run cut = {0, 0, 0};
        if (used < count && room) { /* the part ends inside a run */
            cut = run[used];
            run[used++].len = room;
            cut = (tc_run){cut.a + room, cut.b + room, cut.len - room};
        }
        const float *next = used ? b + (run[used - 1].b + run[used - 1].len) * isa->panel : NULL;
        isa->rows_form(m, n, row, used, run, b, add ? NULL : bias, add, out, column, next,
                       tc_finish_after(c->finish, used == count && !cut.len));
        add = 1;
        run += used;
        count -= used;
        if (cut.len) {
            *--run = cut;
            count++;
        }
    } while (count);
}

/* The rows of one area in m images: where they begin in x and y, its first position at the image's start in x. */
static void area_rows(const tc_igemm *g, const area *r, int64_t m, const float *x, float *y, const float **row,
                      float **out) {
    const int64_t image = g->in[0] * g->in[1] * g->in[2] * g->c, *s = g->s;
    const int64_t image_out = g->full[0] * g->full[1] * g->full[2] * g->k;
    for (int64_t i = 0; i < m; i++, x += image, y += image_out)
        for (int64_t d = 0; d < r->size[0]; d++)
            for (int64_t h = 0; h < r->size[1]; h++)
                for (int64_t w = 0; w < r->size[2]; w++) {
                    const int64_t o[3] = {r->first[0] + d, r->first[1] + h, r->first[2] + w};
                    int64_t pixel = 0;
                    for (int a = 0; a < 3; a++)
                        pixel = pixel * g->full[a] + g->first[a] + o[a] * g->step[a];
                    *row++ = x + ((d * s[0] * g->in[1] + h * s[1]) * g->in[2] + w * s[2]) * g->c;
                    *out++ = y + pixel * g->k;
                }
}

void tc_small_run(const tc_igemm *g, const tc_panels *from, const float *x, const float *packed,
                  const tc_finish *finish, float *y, char *scratch, int threads) {
    const int64_t panels = g->groups * tc_ceil_div(g->kg, g->isa->gemm.panel), positions = positions_of(g);
    const int64_t size = block_images(g), blocks = tc_ceil_div(g->n, size), bytes = tc_small_scratch(g, !from->packed);
    const int64_t splits = tc_min(panels, tc_ceil_div(4 * threads, blocks));
    const int64_t image = g->in[0] * g->in[1] * g->in[2] * g->c;
    const int64_t image_out = g->full[0] * g->full[1] * g->full[2] * g->k;
    const call c = {g, finish};
    TC_TASKS(threads, blocks * splits, t, {
        const float **row = (const float **)(scratch + bytes * tc_thread_index());
        float **out = (float **)(row + size * positions);
        tc_run *run = (tc_run *)(out + size * positions);
        tc_made made = {(float *)((char *)row + panel_at(g)), 0, 0};
        const int64_t n0 = t / splits * size, m = tc_min(size, g->n - n0), s = t % splits;
        int64_t at = 0;
        for (area r = {.count = 0}; next_area(g, &r); at += r.count * m)
            area_rows(g, &r, m, x + n0 * image, y + n0 * image_out, row + at, out + at);
        for (int64_t q = panels * s / splits; q < panels * (s + 1) / splits; q++) {
            const float *panel = tc_panel(from, g, packed, q, panels * (s + 1) / splits, &made);
            at = 0;
            for (area r = {.count = 0}; next_area(g, &r); at += r.count * m)
                area_panel(&c, &r, r.count * m, q, panel, row + at, out + at, run);
        }
    });
}
