/* The Winograd transforms of one instruction set. Implemented once, in winograd_body.h. */
#ifndef TINYCONV_WINOGRAD_ISA_H
#define TINYCONV_WINOGRAD_ISA_H

#include "finish_isa.h"

/* A square of pixels, or a column: pixel x of row y stands at row[y] + x * pitch. Columns outside [first, end) are
 * zeros and not read; rows outside the map point to zeros. */
typedef struct {
    const float *row[6];
    int64_t pitch, first, end;
} tc_patch;

/* Of F(m x m, 3 x 3), n = m + 2: a tile of m x m outputs reads n x n inputs and takes n x n products, the points; of
 * F(m, 3), along one axis, m, n, n and 3 taps, and there is no transform from the right below.
 * Pixels of the outputs come as pointers, row by row; those outside the map point to where results are thrown away.
 * Point e of the transformed tile stands at base + e * step. A transformed row of j channels is written, and may be
 * read, in whole vectors; pixels are not touched beyond their channels. */
typedef struct {
    /* v[e][j] = (Bt d B)[e][first + j], j < count; d: n x n pixels. `panel`: floats from a gemm's panel of channels to
     * the next in v */
    void (*input)(const tc_patch *d, int64_t first, int64_t count, float *v, int64_t panel, int64_t step);
    /* y[i][first + j] = (At m A)[i][j] + bias[first + j], j < count; y: m x m pixels; bias or NULL;
     * `clip`, or NULL: then add[i][first + j] is added, unless add is NULL, and the sum clipped */
    void (*output)(const float *m, int64_t step, const float *bias, int64_t first, int64_t count, float *const *y,
                   const float *const *add, const tc_finish *clip);
    /* u[e][j] = (G g Gt)[e][j], j < count, a multiple of vectors; the taps of g stand in u's first points */
    void (*weights)(float *u, int64_t step, int64_t count);
    /* z[e][j] = (A dy At)[e][first + j], j < count: the transpose of `output` */
    void (*output_grad)(const tc_patch *dy, int64_t first, int64_t count, float *z, int64_t step);
    /* dg[tap][j] = (Gt du G)[tap][j], j < count: the transpose of `weights` */
    void (*weights_grad)(const float *du, int64_t step, int64_t count, float *const *dg);
} tc_winograd_isa;

#endif
