/* AVX2 with FMA: compiled with -mavx2 -mfma. */
#if defined(__AVX2__) && defined(__FMA__)
#define TC_ISA avx2
#define TC_WIDTH 8
#define TC_ROWS 6
#include "isa.h"
#include "gemm_body.h"
#include "map_body.h"
const struct tc_isa tc_isa_avx2 = {"avx2", TC_GEMM_TABLE, TC_MAP_TABLE};
#endif
