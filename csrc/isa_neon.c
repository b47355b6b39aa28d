/* NEON, which every aarch64 has: 6 x 16 sums in 24 of 32 registers. */
#if defined(__aarch64__)
#define TC_ISA neon
#define TC_WIDTH 4
#define TC_VECTORS 4
#define TC_ROWS 6
#include "isa.h"
#include "depthwise_body.h"
#include "gemm_body.h"
#include "map_body.h"
#include "winograd_body.h"
const struct tc_isa tc_isa_neon = {"neon", NULL, 0, TC_GEMM_TABLE, TC_WINOGRAD_TABLE, TC_DEPTHWISE_TABLE,
                                   TC_MAP_TABLE};
#endif
