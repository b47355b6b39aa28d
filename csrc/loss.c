/* Softmax and the losses. A loss is summed in double, in an order that the shape fixes. */
#include "ranges.h"
#include "tinyconv.h"

void tc_softmax(int64_t rows, int64_t c, const float *x, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 30.0 * (double)(rows * (c + 8)));
    TC_RANGES(threads, rows, 1, low, high, isa->map.softmax(high - low, c, x + low * c, y + low * c));
}

void tc_softmax_grad(int64_t rows, int64_t c, const float *y, const float *dy, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 12.0 * (double)(rows * (c + 8)));
    TC_RANGES(threads, rows, 1, low, high,
              isa->map.softmax_grad(high - low, c, y + low * c, dy + low * c, dx + low * c));
}

/* Eight sums side by side, for one addition would wait for the one before. */
static double sum_in_order(int64_t n, const double *values) {
    double sum[8] = {0};
    for (int64_t i = 0; i < n; i++)
        sum[i % 8] += values[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void tc_xent(int64_t rows, int64_t c, float smoothing, float scale, const float *x, const int32_t *labels,
             float *loss, float *dx, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const float each = (float)((double)scale / (double)rows);
    double *losses = scratch;
    threads = tc_threads_for(threads, 30.0 * (double)(rows * (c + 8)));
    TC_RANGES(threads, rows, 1, low, high,
              isa->map.xent(high - low, c, smoothing, each, x + low * c, labels + low, losses + low,
                            dx ? dx + low * c : NULL));
    *loss = (float)(sum_in_order(rows, losses) / (double)rows);
}

enum { LOSS_PARTS = 64 };

typedef double (*loss_body)(int64_t n, float scale, const float *x, const float *target, float *dx);

static void loss_parts(loss_body body, int64_t first, int64_t last, int64_t n, float each, const float *x,
                       const float *target, float *dx, double *sums) {
    for (int64_t p = first; p < last; p++) {
        int64_t low, high;
        tc_range(n, TC_GRAIN, LOSS_PARTS, p, &low, &high);
        sums[p] = low < high ? body(high - low, each, x + low, target + low, dx ? dx + low : NULL) : 0;
    }
}

static void elementwise_loss(loss_body body, int64_t n, float scale, const float *x, const float *target, float *loss,
                             float *dx, double *sums, int threads) {
    const float each = (float)((double)scale / (double)n);
    TC_RANGES(threads, LOSS_PARTS, 1, first, last, loss_parts(body, first, last, n, each, x, target, dx, sums));
    *loss = (float)(sum_in_order(LOSS_PARTS, sums) / (double)n);
}

void tc_bce(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx, void *scratch,
            int threads) {
    threads = tc_threads_for(threads, 50.0 * (double)n);
    elementwise_loss(tc_isa_now()->map.bce, n, scale, x, target, loss, dx, scratch, threads);
}

void tc_mse(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx, void *scratch,
            int threads) {
    threads = tc_threads_for(threads, 12.0 * (double)n);
    elementwise_loss(tc_isa_now()->map.mse, n, scale, x, target, loss, dx, scratch, threads);
}
