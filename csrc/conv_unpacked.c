/* Weights as they stand: where so few rows meet them that packing would be most of the work. Here are the products,
 * of weights (k, c); other data gradients go as in conv.c, panels packed where they are used. The forward pass takes
 * the weights for the left side of y^T = w x^T, whose rows are read through pointers; then x is what is packed, and y
 * stood upright. For the data gradient, dy w, they are the right side already. */
#include "conv.h"
#include "isa.h"
#include "ranges.h"

enum {
    ROWS_MOST = 600,    /* of dy: so few that a part of the weights is packed, used and forgotten within L2 (gemm.c) */
    POSITIONS_MOST = 384, /* of dy, the same for other data gradients: a block, so that a panel is packed once */
    CHANNELS_LEAST = 128, /* of dx: a panel's weights are packed by one thread, and there should be some for each */
    SHARE = 2,          /* x and y are at most this part of the weights, for they are moved instead */
    BLOCK = 16          /* columns of y stood upright at once: whole cache lines */
};

static int64_t rows_of(const tc_conv_shape *s) { return s->n * s->od * s->oh * s->ow; }

int tc_conv_unpacked(const tc_conv_shape *s, int pass) {
    if (!tc_unpacked_fits(s, pass))
        return 0;
    if (!tc_is_gemm(s, pass))
        return rows_of(s) <= POSITIONS_MOST && s->c >= CHANNELS_LEAST && !tc_winograd_chosen(s, pass);
    return pass == TC_DATA_GRAD ? rows_of(s) <= ROWS_MOST : SHARE * rows_of(s) * (s->c + s->k) <= s->c * s->k;
}

/* Of the forward pass, whose columns are x's rows. */
static const tc_gemm_isa *panels_isa(const tc_conv_shape *s) { return &tc_isa_for(TC_FORWARD, rows_of(s), s->c)->gemm; }

/* In the forward pass's scratch: x in panels, y lying down, what the product needs. */
static int64_t panels_bytes(const tc_conv_shape *s) {
    return tc_round_up(tc_round_up(rows_of(s), panels_isa(s)->panel) * s->c * (int64_t)sizeof(float), TC_ALIGN);
}
static int64_t lying_bytes(const tc_conv_shape *s) {
    return tc_round_up(rows_of(s) * s->k * (int64_t)sizeof(float), TC_ALIGN);
}

int64_t tc_unpacked_scratch(const tc_conv_shape *s, int pass, int threads) {
    if (pass == TC_DATA_GRAD)
        return tc_gemm_scratch(rows_of(s), s->c, s->k, threads);
    return panels_bytes(s) + lying_bytes(s) + tc_gemm_packed_scratch(s->k, s->c, threads);
}

/* Columns [low, high) of x (m, c) into panels of nr of its rows, [row / nr][c][nr]. */
static void stand_panels(int64_t nr, int64_t m, int64_t c, int64_t low, int64_t high, const float *x, float *panels) {
    for (int64_t first = 0; first < m; first += nr)
        for (int64_t j = low; j < high; j++) {
            float *to = panels + first * c + j * nr;
            for (int64_t i = 0; i < nr; i++)
                to[i] = first + i < m ? x[(first + i) * c + j] : 0;
        }
}

/* Columns [low, high) of y (m, k), finished, from y^T. */
static void stand_upright(int64_t m, int64_t k, int64_t low, int64_t high, const float *lying, const tc_finish *finish,
                          float *y) {
    const tc_finish *after = tc_finish_after(finish, 1);
    for (int64_t first = low; first < high; first += BLOCK)
        for (int64_t r = 0; r < m; r++)
            for (int64_t j = first; j < tc_min(first + BLOCK, high); j++)
                y[r * k + j] = lying[j * m + r] + (finish->bias ? finish->bias[j] : 0);
    for (int64_t r = 0; r < m && after; r++)
        tc_isa_now()->gemm.finish(after, 1, high - low, &(float *){y + r * k}, low);
}

void tc_unpacked_run(const tc_conv_shape *s, int pass, const float *x, const float *w, const tc_finish *finish,
                     float *y, char *scratch, int threads) {
    const int64_t m = rows_of(s), c = s->c, k = s->k;
    const tc_gemm_isa *isa = panels_isa(s);
    if (pass == TC_DATA_GRAD) {
        tc_gemm(m, c, k, x, k, w, c, y, c, scratch, threads);
        return;
    }
    float *panels = (float *)scratch, *lying = (float *)(scratch + panels_bytes(s));
    const int team = tc_threads_for(threads, 4.0 * (double)m * (double)(c + k));
    TC_RANGES(team, c, TC_GRAIN, low, high, stand_panels(isa->panel, m, c, low, high, x, panels));
    tc_gemm_packed(isa, k, m, c, w, c, panels, c * isa->panel, NULL, 0, lying, m, (char *)lying + lying_bytes(s),
                   threads);
    TC_RANGES(team, k, TC_GRAIN, low, high, stand_upright(m, k, low, high, lying, finish, y));
}
