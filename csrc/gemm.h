/* Matrix products over packed panels, for gemm.c and conv*.c. */
#ifndef TINYCONV_GEMM_H
#define TINYCONV_GEMM_H

#include "gemm_isa.h"

enum {
    TC_REDUCTION = 320, /* steps between two looks at C: a panel's part, 20 KB, stays in L1 */
    TC_ALIGN = 64
};

static inline int64_t tc_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tc_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t tc_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t tc_round_up(int64_t a, int64_t b) { return tc_ceil_div(a, b) * b; }

/* Rows that the tiles of a product are cut to without a low one among them. */
static inline int64_t tc_row_step(const tc_gemm_isa *isa) { return tc_min(isa->rows, 6); }

/* Length of the parts that a reduction of k steps is cut into: equal ones of at most TC_REDUCTION. */
static inline int64_t tc_reduction_part(int64_t k) { return tc_ceil_div(k, tc_max(1, tc_ceil_div(k, TC_REDUCTION))); }

/* Rows [0, k) of `columns` columns of B into panels of nr, `step` floats apart; along B's rows, as memory likes to be
 * read. The last panel is filled up with zeros or with what follows in B. */
void tc_pack_strip(int64_t k, int64_t columns, int64_t nr, const float *b, int64_t ldb, float *to, int64_t step);

/* c[m][n] (+)= a[m][k] * panels[n / NR][k][NR] + bias[n], then the rest of `finish`, all of it NULL: nothing;
 * panel_step floats from a panel to the next, each as wide as those of `isa`. */
int64_t tc_gemm_packed_scratch(int64_t m, int64_t k, int threads); /* bytes */
void tc_gemm_packed(const tc_gemm_isa *isa, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                    const float *panels, int64_t panel_step, const tc_finish *finish, int add, float *c, int64_t ldc,
                    void *scratch, int threads);

#endif
