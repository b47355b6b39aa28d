/* Channel shuffle. */
#include "ranges.h"
#include "tinyconv.h"

void tc_shuffle(int64_t rows, int64_t c, int64_t groups, const float *x, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 10.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 16, low, high, isa->map.shuffle(high - low, c, groups, x + low * c, y + low * c));
}
