/* Included once by each isa_*.c: outputs finished while they are in L1. */
#ifndef TINYCONV_FINISH_BODY_H
#define TINYCONV_FINISH_BODY_H

#include "finish_isa.h"
#include "map_elem.h"

/* What is to be stored at `y` instead of v, by one that clips. */
static inline __attribute__((always_inline)) mvf finish_vector(tc_finish f, const float *y, mvf v) {
    if (f.add)
        v += mv_load(f.add + (y - f.y));
    return mv_clip(v, f.low, f.high);
}

static inline __attribute__((always_inline)) void finish_rows(const int kind, const tc_finish *f, int64_t m, int64_t n,
                                                              float *const *out, int64_t column) {
    for (int64_t r = 0, rows; r < m; r += rows) {
        for (rows = 1; r + rows < m && out[r + rows] == out[r + rows - 1] + n;) /* rows behind each other are one */
            rows++;
        float *y = out[r] + column;
        const float *add = f->add ? f->add + (y - f->y) : NULL;
        if (add)
            MAP_BINARY(rows * n, y, add, y, v, w, map_activation(kind, v + w, f->a));
        else
            MAP_UNARY(rows * n, y, y, v, map_activation(kind, v, f->a));
    }
}

/* out[r][column + j] = act(out[r][column + j] + add), r < m, j < n */
static void tc_finish_rows(const tc_finish *f, int64_t m, int64_t n, float *const *out, int64_t column) {
#define FINISH_KIND(kind) case kind: finish_rows(kind, f, m, n, out, column); break;
    switch (f->act) {
    FINISH_KIND(TC_LINEAR)
    MAP_ACTIVATIONS(FINISH_KIND)
    }
}

#endif
