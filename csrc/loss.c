/* Softmax and the losses. A loss is summed in double, in an order that the shape fixes. */
#include <string.h>

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

void tc_xent(int64_t rows, int64_t c, float smoothing, float gamma, float scale, const float *x, const int32_t *labels,
             const float *weights, float *loss, float *dx, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const float each = (float)((double)scale / (double)rows);
    double *losses = scratch;
    threads = tc_threads_for(threads, 30.0 * (double)(rows * (c + 8)));
    TC_RANGES(threads, rows, 1, low, high,
              isa->map.xent(high - low, c, smoothing, gamma, each, x + low * c, labels + low, weights, losses + low,
                            dx ? dx + low * c : NULL));
    *loss = (float)(tc_sum_in_order(rows, losses) / (double)rows);
}

/* *loss = the mean over n of what `part`, an expression of low and high, sums up; `sums` holds TC_PARTS doubles */
#define MEAN_OF_PARTS(threads, n, sums, loss, part) \
    do { \
        double *const sums_ = (sums); \
        TC_RANGES(threads, TC_PARTS, 1, first_, last_, \
                  TC_EACH_PART(n, first_, last_, p_, low, high, sums_[p_] = (part))); \
        *(loss) = (float)(tc_sum_in_order(TC_PARTS, sums_) / (double)(n)); \
    } while (0)

static inline float *after(float *values, int64_t n) {
    return values ? values + n : NULL;
}

void tc_bce(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx, void *scratch,
            int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const float each = (float)((double)scale / (double)n);
    threads = tc_threads_for(threads, 50.0 * (double)n);
    MEAN_OF_PARTS(threads, n, scratch, loss, isa->map.bce(high - low, each, x + low, target + low, after(dx, low)));
}

void tc_mse(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx, void *scratch,
            int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const float each = (float)((double)scale / (double)n);
    threads = tc_threads_for(threads, 12.0 * (double)n);
    MEAN_OF_PARTS(threads, n, scratch, loss, isa->map.mse(high - low, each, x + low, target + low, after(dx, low)));
}

void tc_focal(int64_t n, float gamma, float alpha, float scale, const float *x, const float *target, float *loss,
              float *dx, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const float each = (float)((double)scale / (double)n);
    threads = tc_threads_for(threads, 120.0 * (double)n);
    MEAN_OF_PARTS(threads, n, scratch, loss,
                  isa->map.focal(high - low, gamma, alpha, each, x + low, target + low, after(dx, low)));
}

/* Dice: a sample's positions are summed up in DICE_PARTS parts, each with p t, p^2 and t^2 of every channel. */
enum { DICE_PARTS = 16, DICE_SUMS = 3 };

int64_t tc_dice_scratch(int64_t n, int64_t c) {
    return n * c * (DICE_PARTS * DICE_SUMS * (int64_t)sizeof(double) + 2 * (int64_t)sizeof(float));
}

static void products(int64_t rows, int64_t c, const float *a, const float *b, double *sum) {
    const struct tc_isa *isa = tc_isa_now();
    if (c == 1)
        *sum = isa->map.dot(rows, a, b);
    else
        isa->map.product_sums(rows, c, a, b, sum);
}

/* The sums of one part; of labels t is 1 in the label's channel, else 0. */
static void dice_sums(int64_t rows, int64_t c, const float *p, const float *target, const int32_t *labels,
                      double *sums) {
    double *both = sums, *own = sums + c, *theirs = sums + 2 * c;
    memset(sums, 0, (size_t)(DICE_SUMS * c) * sizeof *sums);
    if (!rows)
        return;
    products(rows, c, p, p, own);
    if (target) {
        products(rows, c, p, target, both);
        products(rows, c, target, target, theirs);
    } else {
        for (int64_t r = 0; r < rows; r++) {
            both[labels[r]] += p[r * c + labels[r]];
            theirs[labels[r]] += 1;
        }
    }
}

/* Losses of all samples and channels, and the gradient's factors a, b: dp = a p + b t. */
static double dice_factors(int64_t n, int64_t c, double smooth, double each, const double *sums, float *a, float *b) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            double total[DICE_SUMS] = {0};
            for (int64_t part = 0; part < DICE_PARTS; part++)
                for (int64_t k = 0; k < DICE_SUMS; k++)
                    total[k] += sums[((i * DICE_PARTS + part) * DICE_SUMS + k) * c + j];
            const double above = 2 * total[0] + smooth, below = total[1] + total[2] + smooth;
            const double share = below > 0 ? above / below : 1;     /* nothing there, nothing found */
            loss += 1 - share;
            a[i * c + j] = below > 0 ? (float)(2 * each * share / below) : 0;
            b[i * c + j] = below > 0 ? (float)(-2 * each / below) : 0;
        }
    return loss;
}

static void dice_gradient(int64_t rows, int64_t c, const float *a, const float *b, const float *p, const float *target,
                          const int32_t *labels, float *dp) {
    const struct tc_isa *isa = tc_isa_now();
    if (target) {
        isa->map.dice_grad(rows, c, a, b, p, target, dp);
        return;
    }
    isa->map.mul_channels(rows, c, p, a, dp);
    for (int64_t r = 0; r < rows; r++)
        dp[r * c + labels[r]] += b[labels[r]];
}

void tc_dice(int64_t n, int64_t s, int64_t c, float smooth, float scale, const float *p, const float *target,
             const int32_t *labels, float *loss, float *dp, void *scratch, int threads) {
    double *sums = scratch;
    float *a = (float *)(sums + n * c * DICE_PARTS * DICE_SUMS), *b = a + n * c;
    threads = tc_threads_for(threads, 10.0 * (double)(n * s * c));
    /* a task is a part of a sample: `from` to `to` of its positions */
#define DICE_TASKS(body) \
    TC_RANGES(threads, n * DICE_PARTS, 1, first, last, for (int64_t task = first; task < last; task++) { \
        const int64_t sample = task / DICE_PARTS; \
        int64_t from; \
        int64_t to; \
        tc_range(s, 1, DICE_PARTS, task % DICE_PARTS, &from, &to); \
        const int64_t row = sample * s + from; \
        const int64_t at = row * c; \
        body; \
    })
    DICE_TASKS(dice_sums(to - from, c, p + at, target ? target + at : NULL, labels ? labels + row : NULL,
                         sums + task * DICE_SUMS * c));
    *loss = (float)(dice_factors(n, c, smooth, (double)scale / (double)(n * c), sums, a, b) / (double)(n * c));
    if (dp)
        DICE_TASKS(dice_gradient(to - from, c, a + sample * c, b + sample * c, p + at, target ? target + at : NULL,
                                 labels ? labels + row : NULL, dp + at));
#undef DICE_TASKS
}
