/* Any machine: GCC lowers the vectors of four to what there is. */
#define TC_ISA generic
#define TC_WIDTH 4
#define TC_ROWS 4
#include "isa.h"
#include "depthwise_body.h"
#include "gemm_body.h"
#include "map_body.h"
#include "winograd_body.h"
const struct tc_isa tc_isa_generic = {"generic", NULL, 0, TC_GEMM_TABLE, TC_WINOGRAD_TABLE, TC_DEPTHWISE_TABLE,
                                      TC_MAP_TABLE};
