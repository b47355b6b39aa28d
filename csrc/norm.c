/* Batch normalisation, local response normalisation, sums over rows. */
#include <math.h>

#include "parts.h"
#include "ranges.h"
#include "tinyconv.h"

int64_t tc_bn_scratch(int64_t rows, int64_t c) { return tc_parts_of(rows, c) * c * 2 * (int64_t)sizeof(double); }

/* ------------------------------------------------------------------ statistics */
static void stats_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                        const float *x, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.bn_stats(next - r, c, x + r * c, scratch + p * 2 * c, scratch + (p * 2 + 1) * c);
}

void tc_bn_stats(int64_t rows, int64_t c, const float *x, float *mean, float *var, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *means = scratch, *squares = means + c;
    threads = tc_threads_for(threads, 6.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, stats_parts(isa, low, high, parts, rows, c, x, scratch));
    tc_merge_moments(rows, parts, c, means);
    for (int64_t i = 0; i < c; i++) {
        mean[i] = (float)means[i];
        var[i] = (float)(squares[i] / (double)rows);
    }
}

void tc_bn_running(int64_t rows, int64_t c, float momentum, const float *mean, const float *var,
                   float *running_mean, float *running_var) {
    const float unbiased = rows > 1 ? (float)((double)rows / (double)(rows - 1)) : 1.0f;
    for (int64_t i = 0; i < c; i++) {
        running_mean[i] = (1 - momentum) * running_mean[i] + momentum * mean[i];
        running_var[i] = (1 - momentum) * running_var[i] + momentum * (var[i] * unbiased);
    }
}

void tc_bn_fold(int64_t k, int64_t n, double eps, const float *w, const float *bias, const float *mean,
                const float *var, const float *gamma, const float *beta, float *folded, float *shift) {
    for (int64_t i = 0; i < k; i++) {
        const double factor = gamma[i] / sqrt(var[i] + eps);
        for (int64_t j = 0; j < n; j++)
            folded[i * n + j] = (float)(factor * w[i * n + j]);
        shift[i] = (float)(((bias ? bias[i] : 0.0) - mean[i]) * factor + beta[i]);
    }
}

void tc_bn_apply(int64_t rows, int64_t c, float eps, const float *x, const float *mean, const float *var,
                 const float *gamma, const float *beta, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 16, low, high,
              isa->map.bn_apply(high - low, c, eps, x + low * c, mean, var, gamma, beta, y + low * c));
}

/* ------------------------------------------------------------------ gradients */
static void grad_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                       const float *x, const float *dy, const float *mean, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.bn_sums(next - r, c, x + r * c, dy + r * c, mean, scratch + p * 2 * c, scratch + (p * 2 + 1) * c);
}

void tc_bn_grad(int64_t rows, int64_t c, float eps, const float *x, const float *dy, const float *mean,
                const float *var, const float *gamma, float *dx, float *dgamma, float *dbeta, void *scratch,
                int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, grad_parts(isa, low, high, parts, rows, c, x, dy, mean, sums));
    tc_merge_sums(parts, 2 * c, sums);
    for (int64_t i = 0; i < c; i++) {
        dgamma[i] = (float)(sums[i] / sqrt((double)var[i] + eps));
        dbeta[i] = (float)sums[c + i];
    }
    TC_RANGES(threads, rows, 16, low, high,
              isa->map.bn_grad(high - low, c, eps, (double)rows, x + low * c, dy + low * c, mean, var, gamma, dgamma,
                               dbeta, dx + low * c));
}

static void sum_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                      const float *x, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.sum_rows(next - r, c, x + r * c, scratch + p * c);
}

void tc_sum_rows(int64_t rows, int64_t c, const float *x, float *sum, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 4.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, sum_parts(isa, low, high, parts, rows, c, x, sums));
    tc_round_sums(parts, c, sums, sum);
}

static void prelu_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                        const float *x, const float *a, const float *dy, float *dx, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next) {
        isa->map.prelu_sums(next - r, c, x + r * c, dy + r * c, scratch + p * c);
        isa->map.prelu_grad(next - r, c, x + r * c, a, dy + r * c, dx + r * c);
    }
}

void tc_prelu_grad(int64_t rows, int64_t c, const float *x, const float *a, const float *dy, float *dx, float *da,
                   void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 12.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, prelu_parts(isa, low, high, parts, rows, c, x, a, dy, dx, sums));
    tc_round_sums(parts, c, sums, da);
}

/* ------------------------------------------------------------------ local response */
void tc_lrn(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x, float *y,
            int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (40.0 + (double)size) * (double)(rows * c));
    TC_RANGES(threads, rows, 1, low, high, isa->map.lrn(high - low, c, size, alpha, beta, k, x + low * c, y + low * c));
}

void tc_lrn_grad(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k,
                 const float *x, const float *dy, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (60.0 + 2.0 * (double)size) * (double)(rows * c));
    TC_RANGES(threads, rows, 1, low, high,
              isa->map.lrn_grad(high - low, c, size, alpha, beta, k, x + low * c, dy + low * c, dx + low * c));
}
