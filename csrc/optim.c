/* Optimisers. */
#include "ranges.h"
#include "tinyconv.h"

void tc_sgd(int64_t n, float lr, float momentum, float decay, int nesterov, float *w, const float *g, float *v,
            int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 20.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high,
              isa->map.sgd(high - low, lr, momentum, decay, nesterov, w + low, g + low, v + low));
}
