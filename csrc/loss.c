/* Softmax and the losses. A loss is summed in double, in an order that the shape fixes. */
#include "ranges.h"
#include "sums.h"
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

void tc_xent(int64_t rows, int64_t c, float smoothing, float scale, const float *x, const int32_t *labels,
             float *loss, float *dx, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const float each = (float)((double)scale / (double)rows);
    double *losses = scratch;
    threads = tc_threads_for(threads, 30.0 * (double)(rows * (c + 8)));
    TC_RANGES(threads, rows, 1, low, high,
              isa->map.xent(high - low, c, smoothing, each, x + low * c, labels + low, losses + low,
                            dx ? dx + low * c : NULL));
    *loss = (float)(tc_sum_in_order(rows, losses) / (double)rows);
}

typedef double (*loss_body)(int64_t n, float scale, const float *x, const float *target, float *dx);

static void elementwise_loss(loss_body body, int64_t n, float scale, const float *x, const float *target, float *loss,
                             float *dx, double *sums, int threads) {
    const float each = (float)((double)scale / (double)n);
    TC_RANGES(threads, TC_PARTS, 1, first, last,
              TC_EACH_PART(n, first, last, p, low, high,
                           sums[p] = body(high - low, each, x + low, target + low, dx ? dx + low : NULL)));
    *loss = (float)(tc_sum_in_order(TC_PARTS, sums) / (double)n);
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
