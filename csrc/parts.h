/* Reductions over rows are cut into parts by the shape alone; each part is reduced by itself (in float by blocks, in
 * double over them) and the parts are merged in order: the same bits for any number of threads. */
#ifndef TINYCONV_PARTS_H
#define TINYCONV_PARTS_H

#include <stdint.h>

enum { TC_MOST_PARTS = 48 };     /* divisible among 2, 3, 4, 6, 8, 12, 16, 24 threads */

static inline int64_t tc_parts_of(int64_t rows, int64_t c) {
    int64_t parts = rows * c / 16384;
    if (parts > rows / 32)
        parts = rows / 32;      /* the merge stays small beside the pass itself */
    return parts < 1 ? 1 : parts > TC_MOST_PARTS ? TC_MOST_PARTS : parts;
}

static inline int64_t tc_first_row(int64_t rows, int64_t parts, int64_t part) { return rows * part / parts; }

/* for each part p of [low, high): its rows are [r, next) */
#define TC_ROW_PARTS(low, high, rows, parts, p, r, next) \
    for (int64_t p = (low), r, next; \
         p < (high) && (r = tc_first_row(rows, parts, p), next = tc_first_row(rows, parts, p + 1), 1); p++)

/* Adds the parts' `width` sums to those of part 0. */
static inline void tc_merge_sums(int64_t parts, int64_t width, double *sums) {
    for (int64_t p = 1; p < parts; p++)
        for (int64_t i = 0; i < width; i++)
            sums[i] += sums[p * width + i];
}

/* The parts' `width` sums, merged and rounded. */
static inline void tc_round_sums(int64_t parts, int64_t width, double *sums, float *to) {
    tc_merge_sums(parts, width, sums);
    for (int64_t i = 0; i < width; i++)
        to[i] = (float)sums[i];
}

/* Each part holds c means and c sums of squares about them; merged into part 0 as blocks are in map_sums.h. */
static inline void tc_merge_moments(int64_t rows, int64_t parts, int64_t c, double *moments) {
    double *means = moments, *squares = moments + c;
    for (int64_t p = 1; p < parts; p++) {
        const double before = (double)tc_first_row(rows, parts, p), after = (double)tc_first_row(rows, parts, p + 1);
        const double *mean_p = means + p * 2 * c, *squares_p = mean_p + c, now = after - before;
        for (int64_t i = 0; i < c; i++) {
            const double delta = mean_p[i] - means[i];
            means[i] += delta * now / after;
            squares[i] += squares_p[i] + delta * delta * before * now / after;
        }
    }
}

#endif
