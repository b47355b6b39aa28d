/* Sums of long arrays: cut into a fixed number of parts, so that the result does not depend on the threads. */
#ifndef TINYCONV_SUMS_H
#define TINYCONV_SUMS_H

#include "ranges.h"

enum { TC_PARTS = 64 };

/* Runs `body` for the parts first .. last - 1 of [0, n), also for those that are empty. */
#define TC_EACH_PART(n, first, last, p, low, high, body) \
    for (int64_t p = (first); p < (last); p++) { \
        int64_t low, high; \
        tc_range(n, TC_GRAIN, TC_PARTS, p, &low, &high); \
        low = low < high ? low : high; \
        body; \
    }

/* Eight sums side by side, for one addition would wait for the one before. */
static inline double tc_sum_in_order(int64_t n, const double *values) {
    double sum[8] = {0};
    for (int64_t i = 0; i < n; i++)
        sum[i % 8] += values[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

#endif
