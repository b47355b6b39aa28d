/* Winograd convolutions: what the passes share. */
#ifndef TINYCONV_CONV_WINOGRAD_H
#define TINYCONV_CONV_WINOGRAD_H

#include "conv.h"
#include "winograd_isa.h"

/* The outputs of a convolution in tiles of m x m, in order of image, row, column; those at the far edges may stand
 * out over the map. A tile reads n x n inputs, n = m + 2, from its outputs' place less the padding. */
typedef struct {
    const tc_winograd_isa *isa;
    int64_t m, n, points;            /* points: n x n */
    int64_t high, wide, tiles;       /* tiles of a map; of all images */
    int64_t in[2], out[2], p[2];     /* maps' heights and widths */
    int64_t c, k;                    /* channels of a pixel, of all groups */
} tc_tiling;

/* Room for `floats`, an odd number of cache lines: so far apart, things fall on different cache sets. */
static inline int64_t tc_winograd_step(int64_t floats) { return tc_round_up(floats, 32) + 16; }

int tc_winograd_fits(const tc_conv_shape *s); /* not empty, a kernel 1x3x3 of stride and dilation 1 */
void tc_tiling_get(const tc_igemm *g, int64_t m, tc_tiling *t);
/* Pointers to the pixels of a tile; those outside the map point to `outside`. */
void tc_tile_inputs(const tc_tiling *t, int64_t tile, const float *x, const float *outside, const float **at);
void tc_tile_outputs(const tc_tiling *t, int64_t tile, const float *y, const float *outside, const float **at);
/* Channels [first, first + count) of a tile's pixels (of its inputs, those no tile before has) on their way into L2. */
void tc_tile_fetch_inputs(const tc_tiling *t, int64_t tile, const float *x, int64_t first, int64_t count);
void tc_tile_fetch_outputs(const tc_tiling *t, int64_t tile, const float *y, int64_t first, int64_t count);

/* conv_winograd.c: forward and data gradient by tiles of m x m, the m of the choice */
int64_t tc_winograd_packed(const tc_conv_shape *s, int pass, int64_t m); /* floats */
void tc_winograd_pack(const tc_conv_shape *s, int pass, int64_t m, const float *w, float *packed, int threads);
int64_t tc_winograd_scratch(const tc_conv_shape *s, int pass, int64_t m, int threads); /* bytes */
void tc_winograd_run(const tc_conv_shape *s, int pass, int64_t m, const float *x, const float *packed,
                     const tc_finish *finish, float *y, char *scratch, int threads);

/* conv_winograd_weights.c */
int64_t tc_winograd_grad_scratch(const tc_conv_shape *s, int64_t m, int threads); /* bytes */
void tc_winograd_grad(const tc_conv_shape *s, int64_t m, const float *x, const float *dy, float *dw, char *scratch,
                      int threads);

#endif
