/* The kernels of isa_avx512.c for AVX2, two registers a vector: tested where there is no AVX-512. */
#define TC_ISA wide
#define TC_WIDTH 16
#define TC_ROWS 12
#include "../isa.h"
#include "../depthwise_body.h"
#include "../gemm_body.h"
#include "../map_body.h"
#include "../winograd_body.h"
const struct tc_isa tc_isa_wide = {"wide", NULL, 0, TC_GEMM_TABLE, TC_WINOGRAD_TABLE, TC_DEPTHWISE_TABLE,
                                   TC_MAP_TABLE};
