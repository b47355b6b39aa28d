/* One instruction set's kernels. Each isa_*.c names itself and its vector width, includes the bodies and
 * defines one table; cpu.c chooses among them when the library starts. */
#ifndef TINYCONV_ISA_H
#define TINYCONV_ISA_H

#ifdef _OPENMP
#include <omp.h>
#endif

#include "depthwise_isa.h"
#include "gemm_isa.h"
#include "map_isa.h"
#include "winograd_isa.h"

struct tc_isa {
    const char *name;
    const struct tc_isa *narrow; /* of narrower panels, for products that suit these ill; or NULL */
    int sums_only;               /* of products only weight gradients, long sums, suit these */
    tc_gemm_isa gemm;
    tc_winograd_isa winograd[2][2]; /* along one axis, two; F(2, 3), F(4, 3) */
    tc_depthwise_isa depthwise;
    tc_map_isa map;
};

const struct tc_isa *tc_isa_now(void);
/* The kernels for a pass's products of so many columns, those of the packed side, each a sum of so many steps. */
const struct tc_isa *tc_isa_for(int pass, int64_t columns, int64_t steps);

/* Sets flush-to-zero and denormals-are-zero; returns the state before, for tc_ftz_restore. */
unsigned tc_ftz_set(void);
void tc_ftz_restore(unsigned state);

/* 0 .. threads - 1 in a parallel region, for a thread's own part of the scratch. */
static inline int tc_thread_index(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

#endif
