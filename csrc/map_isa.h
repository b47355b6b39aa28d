/* The vector bodies of everything that is not a convolution, one table per ISA (isa.h).
 * Each works on a range that the driver gives it; none starts threads. */
#ifndef TINYCONV_MAP_ISA_H
#define TINYCONV_MAP_ISA_H

#include "tinyconv.h"

typedef struct {
    /* elementwise, over n floats; y may be x */
    void (*add)(int64_t n, const float *a, const float *b, float *y);
} tc_map_isa;

#endif
