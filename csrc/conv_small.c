/* Convolutions on small maps: rows of the product are the images of one output position, so that every row leaves out
 * the same taps, those on padding. A 3x3 kernel on a 2x2 map has 4 of 9 taps inside; the data gradient of a kernel as
 * large as its map one in all. Nothing is copied: no row reads outside the input. */
#include "conv.h"
#include "isa.h"

enum {
    IMAGES = 48,          /* rows of a block: so often a part of a panel is used while in L1 */
    ROW_COST = 4          /* a tile of fewer rows takes as long as one of so many: too few sums are under way */
};

/* Time of m rows, in rows of full tiles. */
static double row_cost(int64_t m, int64_t rows) {
    const int64_t rest = m % rows;
    return (double)(m - rest + (rest ? tc_max(rest, ROW_COST) : 0));
}

static int64_t block_images(const tc_igemm *g) {
    const int64_t rows = tc_isa_now()->gemm.rows;
    return tc_min(g->n, tc_round_up(tc_ceil_div(g->n, tc_max(tc_ceil_div(g->n, IMAGES), 1)), rows));
}

int tc_small_chosen(const tc_igemm *g) {
    if (!g->padded || tc_is_depthwise(g) || !g->n)
        return 0;
    const int64_t m = block_images(g), rows = tc_isa_now()->gemm.rows;
    const double cost = tc_valid_share(g) * row_cost(m, rows) / (double)m;
    return cost < 0.93; /* what blocks of positions pay for edges and copies besides */
}

static int64_t most_runs(const tc_igemm *g) {
    return g->taps[0] * g->taps[1] * g->taps[2] + tc_ceil_div(g->reduction, TC_REDUCTION) + 1;
}

int64_t tc_small_scratch(const tc_igemm *g) {
    const int64_t pointers = block_images(g) * 2 * (int64_t)sizeof(float *);
    return tc_round_up(pointers + most_runs(g) * (int64_t)sizeof(tc_run), TC_ALIGN);
}

/* All runs of one position, from the images' starts; returns the sum of their lengths. */
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
    const float *x, *packed, *bias;
    float *y;
} call;

/* One position, images' rows and panel: the runs a part of the reduction at a time, cut where a part ends. */
static void position(const call *c, int64_t m, int64_t q, const int64_t *o, const float **row, float **out,
                     tc_run *run) {
    const tc_igemm *g = c->g;
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const int64_t per_group = tc_ceil_div(g->kg, isa->panel), group = q / per_group, j = q % per_group * isa->panel;
    int64_t count, add = 0, pixel = 0;
    for (int a = 0; a < 3; a++)
        pixel = pixel * g->full[a] + g->first[a] + o[a] * g->step[a];
    const int64_t part = tc_reduction_part(position_runs(g, group, o, run, &count));
    const float *b = c->packed + q * g->reduction * isa->panel;
    const float *bias = c->bias ? c->bias + group * g->kg + j : NULL;
    const int64_t column = pixel * g->k + group * g->kg + j, n = tc_min(isa->panel, g->kg - j);
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
        isa->rows_form(m, n, row, used, run, b, add ? NULL : bias, add, out, column, next);
        add = 1;
        run += used;
        count -= used;
        if (cut.len) {
            *--run = cut;
            count++;
        }
    } while (count);
}

void tc_small_run(const tc_igemm *g, const float *x, const float *packed, const float *bias, float *y, char *scratch,
                  int threads) {
    const int64_t panels = g->groups * tc_ceil_div(g->kg, tc_isa_now()->gemm.panel);
    const int64_t size = block_images(g), blocks = tc_ceil_div(g->n, size), bytes = tc_small_scratch(g);
    const int64_t positions = g->out[0] * g->out[1] * g->out[2];
    const int64_t splits = tc_min(panels, tc_ceil_div(4 * threads, blocks));
    const int64_t image = g->in[0] * g->in[1] * g->in[2] * g->c;
    const int64_t image_out = g->full[0] * g->full[1] * g->full[2] * g->k;
    const call c = {g, x, packed, bias, y};
#pragma omp parallel num_threads(threads)
    {
        unsigned ftz = tc_ftz_set();
        const float **row = (const float **)(scratch + bytes * tc_thread_index());
        float **out = (float **)(row + size);
        tc_run *run = (tc_run *)(out + size);
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < blocks * splits; t++) {
            const int64_t n0 = t / splits * size, m = tc_min(size, g->n - n0), s = t % splits;
            for (int64_t i = 0; i < m; i++) {
                row[i] = x + (n0 + i) * image;
                out[i] = y + (n0 + i) * image_out;
            }
            for (int64_t q = panels * s / splits; q < panels * (s + 1) / splits; q++)
                for (int64_t p = 0; p < positions; p++) {
                    const int64_t o[3] = {p / g->out[2] / g->out[1], p / g->out[2] % g->out[1], p % g->out[2]};
                    position(&c, m, q, o, row, out, run);
                }
        }
        tc_ftz_restore(ftz);
    }
}
