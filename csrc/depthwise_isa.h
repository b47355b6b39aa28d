/* The depthwise kernels of one instruction set. Implemented once, in depthwise_body.h. */
#ifndef TINYCONV_DEPTHWISE_ISA_H
#define TINYCONV_DEPTHWISE_ISA_H

#include "finish_isa.h"

enum { TC_LANES = 16 }; /* channels of a group of lanes: a cache line, whole vectors */

/* An output row's columns and the input rows under them, which are copies: a pixel is TC_LANES channels, the next pixel
 * behind it; what lies outside the input is zero. */
typedef struct {
    int64_t rows;           /* input rows, or of narrow groups those of one slot each */
    const float *const *x;  /* of each row, the first tap under column 0 */
    float *const *w;        /* of each row, the weights [tap][TC_LANES]; gradients are summed there */
    int64_t groups, x_group, w_group; /* of lanes; floats in x and w from one to the next */
    int64_t taps, tap;      /* of a row; pixels from one to the next */
    int64_t step;           /* pixels from a column's tap to the next column's */
    int past;               /* y, at whole cache lines, is written past the caches */
} tc_depthwise_rows;

/* A vector of channels put together from those of a pixel: lane l is x[from + lane[l]]. */
typedef struct {
    int64_t from, to;       /* where the vector stands in the copy of pixel 0 */
    int32_t vectors;        /* the lanes are in so many vectors at `from`, 1 or 2; 0: farther apart */
    int32_t lane[16];
} tc_expansion;

typedef struct {
    int width;              /* floats of a vector */
    /* y[p * y_step + g * TC_LANES + l] = (bias ? bias[g * TC_LANES + l] : 0) + sum over rows r, taps t of X * W,
     * X = x[r][g * x_group + (p * step + t * tap) * TC_LANES + l], W = w[r][g * w_group + t * TC_LANES + l],
     * p < count, g < groups, l < TC_LANES; `finish`, or NULL: what is then done to y */
    void (*forward)(const tc_depthwise_rows *d, int64_t count, const float *bias, float *y, int64_t y_step,
                    const tc_finish *finish);
    /* W += sum over p < count of X * dy[p * dy_step + g * TC_LANES + l] */
    void (*weight_grad)(const tc_depthwise_rows *d, int64_t count, const float *dy, int64_t dy_step);
    /* to[g * to_group + p * TC_LANES + l] = x[p * x_step + g * TC_LANES + l], p < count */
    void (*copy)(int64_t count, const float *x, int64_t x_step, int64_t groups, float *to, int64_t to_group);
    /* the vectors of `count` pixels, x_step floats apart in x and TC_LANES in `to` */
    void (*expand)(int64_t count, const float *x, int64_t x_step, int64_t vectors, const tc_expansion *e, float *to);
} tc_depthwise_isa;

#endif
