/* How the drivers of the maps use threads: [0, n) in one contiguous range a thread. */
#ifndef TINYCONV_RANGES_H
#define TINYCONV_RANGES_H

#include <stdint.h>

#include "isa.h"

#ifdef _OPENMP
#define TC_PRAGMA(text) _Pragma(#text)
#else
#define TC_PRAGMA(text)
#endif

enum { TC_GRAIN = 64 };   /* floats: ranges of flat arrays begin at whole cache lines and whole vectors */

/* The part-th of `parts` nearly equal ranges of [0, n), cut at multiples of `grain`. */
static inline void tc_range(int64_t n, int64_t grain, int64_t parts, int64_t part, int64_t *low, int64_t *high) {
    int64_t grains = (n + grain - 1) / grain;
    *low = grains * part / parts * grain;
    *high = grains * (part + 1) / parts * grain;
    if (*high > n)
        *high = n;
}

/* Runs `body` once a thread with its range in `low`, `high`; denormals count as zero inside, on every thread. */
#define TC_RANGES(threads, n, grain, low, high, body) \
    do { \
        const int ranges_ = (threads); \
        TC_PRAGMA(omp parallel for num_threads(ranges_) schedule(static)) \
        for (int range_ = 0; range_ < ranges_; range_++) { \
            const unsigned ftz_ = tc_ftz_set(); \
            int64_t low, high; \
            tc_range(n, grain, ranges_, range_, &low, &high); \
            if (low < high) { \
                body; \
            } \
            tc_ftz_restore(ftz_); \
        } \
    } while (0)

#endif
