/* Winograd convolutions: what the passes share. */
#ifndef TINYCONV_CONV_WINOGRAD_H
#define TINYCONV_CONV_WINOGRAD_H

#include "conv.h"
#include "winograd_isa.h"

/* The outputs of a convolution in tiles of m x m, in order of image, depth, row, column; those at the far edges may
 * stand out over the map. A tile reads n x n inputs, n = m + 2, from its outputs' place less the padding, at each of
 * the kernel's depths: a 3-D convolution is the sum of its depths' 2-D ones, so their channels are one reduction.
 * Kernels of three taps along one axis only take tiles of one column, m x 1 outputs of n x 1 inputs. */
typedef struct {
    const tc_winograd_isa *isa;
    int64_t m, n, across;            /* across: the columns of a tile's outputs, m or 1 */
    int64_t points, taps;            /* of a tile: products; the kernel's at one depth, 9 or 3 */
    int64_t wide, tiles;             /* tiles of a map's row; of all images */
    int64_t in[3], out[3], p[3];     /* depth, height, width */
    int64_t depths, dilation;        /* of the kernel */
    int64_t c, k;                    /* channels of a pixel, of all groups */
} tc_tiling;

/* Room for `floats`, an odd number of cache lines: so far apart, things fall on different cache sets. */
static inline int64_t tc_winograd_step(int64_t floats) { return tc_round_up(floats, 32) + 16; }

/* Not empty, stride 1, 3 x 3 taps without dilation along h and w, or 3 along one axis alone; *as, unless NULL: the same
 * convolution with that axis as its height. */
int tc_winograd_fits(const tc_conv_shape *s, tc_conv_shape *as);
void tc_winograd_igemm(const tc_conv_shape *s, int pass, tc_igemm *g); /* of that */
void tc_tiling_get(const tc_igemm *g, int64_t m, tc_tiling *t);
/* A tile: its image and where its outputs begin. */
typedef struct {
    int64_t image, z, y, x;
} tc_tile;
tc_tile tc_tile_at(const tc_tiling *t, int64_t index);
void tc_tile_next(const tc_tiling *t, tc_tile *at);
/* Its inputs at one of the kernel's depths; its outputs' gradients. `zeros`: of n pixels. */
void tc_tile_inputs(const tc_tiling *t, tc_tile at, int64_t depth, const float *x, const float *zeros, tc_patch *patch);
void tc_tile_gradients(const tc_tiling *t, tc_tile at, const float *dy, const float *zeros, tc_patch *patch);
/* Pointers to its outputs; those outside the map point to `outside`. */
void tc_tile_outputs(const tc_tiling *t, tc_tile at, float *y, float *outside, float **pixel);
/* What a core will read, on its way into L2 while it multiplies: rows of tiles' pixels, a few at a time. */
typedef struct {
    tc_tile at;
    int64_t row, rows;               /* of the tile; all that are left */
} tc_fetch;
tc_fetch tc_fetch_begin(const tc_tiling *t, int64_t first, int64_t count);
/* The next rows, such that all have been asked for with the last of `slots` calls, numbered by `slot`: of the inputs
 * those that no tile before has, of the outputs channels [first, first + count). */
void tc_fetch_inputs(const tc_tiling *t, tc_fetch *f, int64_t slot, int64_t slots, const float *x);
void tc_fetch_outputs(const tc_tiling *t, tc_fetch *f, int64_t slot, int64_t slots, const float *y, int64_t first,
                      int64_t count);

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
