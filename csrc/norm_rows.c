/* Layer normalisation and the learned factor per channel: x is (rows, c). */
#include "parts.h"
#include "ranges.h"
#include "tinyconv.h"

void tc_ln(int64_t rows, int64_t c, float eps, const float *x, const float *gamma, const float *beta, float *y,
           int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 12.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 1, low, high, isa->map.ln(high - low, c, eps, x + low * c, gamma, beta, y + low * c));
}

/* a part: 2 c sums in double, as much in float to add up a few rows in */
int64_t tc_ln_scratch(int64_t rows, int64_t c) {
    return tc_parts_of(rows, c) * 2 * c * (int64_t)(sizeof(double) + sizeof(float));
}

static void ln_grad_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                          float eps, const float *x, const float *dy, const float *gamma, float *dx, double *sums) {
    float *lanes = (float *)(sums + parts * 2 * c);
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.ln_grad(next - r, c, eps, x + r * c, dy + r * c, gamma, dx + r * c, sums + p * 2 * c,
                         lanes + p * 2 * c);
}

void tc_ln_grad(int64_t rows, int64_t c, float eps, const float *x, const float *dy, const float *gamma, float *dx,
                float *dgamma, float *dbeta, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 24.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high,
              ln_grad_parts(isa, low, high, parts, rows, c, eps, x, dy, gamma, dx, sums));
    tc_merge_sums(parts, 2 * c, sums);
    for (int64_t i = 0; i < c; i++) {
        dgamma[i] = (float)sums[i];
        dbeta[i] = (float)sums[c + i];
    }
}

void tc_scale(int64_t rows, int64_t c, const float *x, const float *w, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 16, low, high, isa->map.mul_channels(high - low, c, x + low * c, w, y + low * c));
}

/* The sum comes first: dx may be dy. */
static void scale_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                        const float *x, const float *w, const float *dy, float *dx, double *sums) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next) {
        isa->map.product_sums(next - r, c, x + r * c, dy + r * c, sums + p * c);
        isa->map.mul_channels(next - r, c, dy + r * c, w, dx + r * c);
    }
}

void tc_scale_grad(int64_t rows, int64_t c, const float *x, const float *w, const float *dy, float *dx, float *dw,
                   void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 12.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, scale_parts(isa, low, high, parts, rows, c, x, w, dy, dx, sums));
    tc_round_sums(parts, c, sums, dw);
}
