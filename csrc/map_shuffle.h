/* Channel shuffle: each row's channels, a (g, m) matrix, transposed. */
#ifndef TINYCONV_MAP_SHUFFLE_H
#define TINYCONV_MAP_SHUFFLE_H

#include <stdint.h>

static inline __attribute__((always_inline)) void map_transpose_rows(int64_t rows, int64_t g, int64_t m,
                                                                     const float *restrict x, float *restrict y) {
    for (int64_t r = 0; r < rows; r++, x += g * m, y += g * m)
        for (int64_t j = 0; j < m; j++)
            for (int64_t i = 0; i < g; i++)
                y[j * g + i] = x[i * m + j];
}

/* The usual numbers of groups, both ways, as constants: the compiler unrolls them. */
static void map_shuffle(int64_t rows, int64_t c, int64_t groups, const float *x, float *y) {
    const int64_t m = c / groups;
    switch (groups) {
    case 2: map_transpose_rows(rows, 2, m, x, y); return;
    case 3: map_transpose_rows(rows, 3, m, x, y); return;
    case 4: map_transpose_rows(rows, 4, m, x, y); return;
    case 8: map_transpose_rows(rows, 8, m, x, y); return;
    }
    switch (m) {
    case 2: map_transpose_rows(rows, groups, 2, x, y); return;
    case 3: map_transpose_rows(rows, groups, 3, x, y); return;
    case 4: map_transpose_rows(rows, groups, 4, x, y); return;
    case 8: map_transpose_rows(rows, groups, 8, x, y); return;
    default: map_transpose_rows(rows, groups, m, x, y);
    }
}

#endif
