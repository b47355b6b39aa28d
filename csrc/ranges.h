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

/* Denormals count as zero in the bodies of both, on every thread. A team of one does without OpenMP: its barriers, two
 * calls of the system, would take longer than the kernels of a small net. */

/* Runs the body once a thread with its range in `low`, `high`. */
#define TC_RANGES(threads, n, grain, low, high, ...) \
    do { \
        const int ranges_ = (threads); \
        if (ranges_ == 1) \
            TC_RANGE(1, 0, n, grain, low, high, __VA_ARGS__); \
        else { \
            TC_PRAGMA(omp parallel for num_threads(ranges_) schedule(static)) \
            for (int range_ = 0; range_ < ranges_; range_++) \
                TC_RANGE(ranges_, range_, n, grain, low, high, __VA_ARGS__); \
        } \
    } while (0)

#define TC_RANGE(parts, part, n, grain, low, high, ...) \
    do { \
        const unsigned ftz_ = tc_ftz_set(); \
        int64_t low, high; \
        tc_range(n, grain, parts, part, &low, &high); \
        if (low < high) { \
            __VA_ARGS__; \
        } \
        tc_ftz_restore(ftz_); \
    } while (0)

/* Runs the body for every task t < count, on whichever thread is free. */
#define TC_TASKS(threads, count, t, ...) \
    do { \
        const int team_ = (threads); \
        const int64_t tasks_ = (count); \
        if (team_ == 1) { \
            const unsigned ftz_ = tc_ftz_set(); \
            for (int64_t t = 0; t < tasks_; t++) { \
                __VA_ARGS__; \
            } \
            tc_ftz_restore(ftz_); \
        } else { \
            TC_PRAGMA(omp parallel num_threads(team_)) \
            { \
                const unsigned ftz_ = tc_ftz_set(); \
                TC_PRAGMA(omp for schedule(dynamic) nowait) \
                for (int64_t t = 0; t < tasks_; t++) { \
                    __VA_ARGS__; \
                } \
                tc_ftz_restore(ftz_); \
            } \
        } \
    } while (0)

#endif
