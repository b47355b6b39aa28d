/* Included once by each isa_*.c, compiled with that ISA's flags: the functions of tc_map_isa. */
#ifndef TINYCONV_MAP_BODY_H
#define TINYCONV_MAP_BODY_H

#include "map_isa.h"

static void map_add(int64_t n, const float *a, const float *b, float *y)
{
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

#define TC_MAP_TABLE { .add = map_add }

#endif
