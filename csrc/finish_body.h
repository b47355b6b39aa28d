/* Included once by each isa_*.c: outputs finished while they are in L1. */
#ifndef TINYCONV_FINISH_BODY_H
#define TINYCONV_FINISH_BODY_H

#include "finish_isa.h"
#include "map_elem.h"

static inline __attribute__((always_inline)) void finish_rows(const int kind, const tc_finish *f, int64_t m, int64_t n,
                                                              float *const *out, int64_t column) {
    for (int64_t r = 0; r < m; r++) {
        float *y = out[r] + column;
        const float *add = f->add ? f->add + (y - f->y) : NULL;
        MAP_LANES(n, j, lanes) {
            const mvf v = map_get(y + j, lanes, 0);
            map_put(y + j, map_activation(kind, add ? v + map_get(add + j, lanes, 0) : v, f->a), lanes);
        }
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
