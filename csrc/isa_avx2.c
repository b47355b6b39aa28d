/* AVX2 with FMA: compiled with -mavx2 -mfma. */
#if defined(__AVX2__) && defined(__FMA__)
#define TC_ISA avx2
#define TC_WIDTH 8
#define TC_ROWS 6
/* As acc += a * b, but in place: of unrolled steps GCC 12 would copy accumulators to and fro for want of registers. */
#define TC_FMA(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b))
#include "isa.h"
#include "depthwise_body.h"
#include "gemm_body.h"
#include "map_body.h"
#include "winograd_body.h"
const struct tc_isa tc_isa_avx2 = {"avx2", NULL, 0, TC_GEMM_TABLE, TC_WINOGRAD_TABLE, TC_DEPTHWISE_TABLE,
                                   TC_MAP_TABLE};
#endif
