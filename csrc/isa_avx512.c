/* AVX-512: compiled with -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma. Of 32 registers 24 hold sums. */
#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#define TC_ISA avx512
#define TC_WIDTH 16
#define TC_ROWS 12
#define TC_FMA(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b)) /* as in isa_avx2.c */
/* The same of one value in memory. */
#define TC_FMA_ONE(acc, value, b) __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(b), "m"(value))
/* The same of the lower eight lanes: for tiles of few columns. */
#define TC_FMA_HALF(acc, a, b) __asm__("vfmadd231ps %2%{1to8%}, %t1, %t0" : "+v"(acc) : "v"(b), "m"(a))
#include "isa.h"
#include "depthwise_body.h"
#include "gemm_body.h"
#include "map_body.h"
#include "winograd_body.h"
extern const struct tc_isa tc_isa_avx2 __attribute__((weak));
const struct tc_isa tc_isa_avx512 = {"avx512", &tc_isa_avx2, 0, TC_GEMM_TABLE, TC_WINOGRAD_TABLE, TC_DEPTHWISE_TABLE,
                                     TC_MAP_TABLE};
#endif
