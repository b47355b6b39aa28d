/* Optimisers: a weight is read and written once a step, whatever is kept for it. */
#include <math.h>

#include "ranges.h"
#include "sums.h"
#include "tinyconv.h"

void tc_square_sum(int64_t n, const double *before, const float *g, double *sum, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    double *sums = scratch;
    threads = tc_threads_for(threads, 4.0 * (double)n);
    TC_RANGES(threads, TC_PARTS, 1, first, last,
              TC_EACH_PART(n, first, last, p, low, high, sums[p] = isa->map.dot(high - low, g + low, g + low)));
    *sum = (before ? *before : 0) + tc_sum_in_order(TC_PARTS, sums);
}

float tc_clip_factor(double clip, const double *squares) {
    if (!squares)
        return 1;
    const double norm = sqrt(*squares);
    return norm > clip ? (float)(clip / norm) : 1;
}

void tc_sgd(int64_t n, float lr, float momentum, float decay, int nesterov, float by, float *w, const float *g,
            float *v, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 20.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high,
              isa->map.sgd(high - low, lr, momentum, decay, nesterov, by, w + low, g + low, v + low));
}

void tc_adam(int64_t n, const tc_adam_options *o, double lr, uint64_t step, float by, float *w, const float *g,
             float *m, float *v, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const double t = (double)step + 1;
    const tc_adam_rates rates = {
        .rate = (float)(lr / (1 - pow(o->beta1, t))), .root = (float)sqrt(1 / (1 - pow(o->beta2, t))),
        .eps = (float)o->eps, .keep1 = (float)o->beta1, .take1 = (float)(1 - o->beta1),
        .keep2 = (float)o->beta2, .take2 = (float)(1 - o->beta2),
        .decay = o->decoupled ? 0 : (float)o->decay, .shrink = o->decoupled ? (float)(1 - lr * o->decay) : 1};
    threads = tc_threads_for(threads, 40.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high,
              isa->map.adam(high - low, &rates, by, w + low, g + low, m + low, v + low));
}

void tc_rmsprop(int64_t n, const tc_rmsprop_options *o, float lr, float by, float *w, const float *g, float *s,
                float *v, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 40.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high,
              isa->map.rmsprop(high - low, lr, (float)o->rho, (float)(1 - o->rho), (float)o->momentum, (float)o->eps,
                               (float)o->decay, by, w + low, g + low, s + low, v + low));
}

void tc_ema(int64_t n, double ema, uint64_t step, const float *w, float *e, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const double t = (double)step + 1, d = fmin(ema, (1 + t) / (10 + t));
    threads = tc_threads_for(threads, 12.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high, isa->map.follow(high - low, (float)(1 - d), w + low, e + low));
}
