/* The depthwise kernels of one instruction set. Implemented once, in depthwise_body.h. */
#ifndef TINYCONV_DEPTHWISE_ISA_H
#define TINYCONV_DEPTHWISE_ISA_H

#include <stdint.h>

/* Columns of one output row and the input rows under them. The channels of a pixel stand side by side. */
typedef struct {
    int64_t rows;           /* input rows, or of narrow groups those of one slot each */
    const float *const *x;  /* of each row, where x_at is added to */
    float *const *w;        /* of each row its first tap's weights, where w_at is added to; gradients are summed there */
    int64_t x_at, w_at;     /* to tap 0 of column 0 */
    int64_t taps;           /* of a row */
    int64_t tap, step;      /* floats in x from a tap to the next, and from a column's tap to the next column's */
    int64_t w_tap;          /* floats in w from a tap to the next */
    int64_t c;              /* channels */
} tc_depthwise_rows;

/* A vector of channels put together from those of a pixel: lane l is x[from + lane[l]]. */
typedef struct {
    int64_t from;
    int32_t vectors;        /* the lanes are in so many vectors at `from`, 1 or 2; 0: farther apart */
    int32_t lane[16];
} tc_expansion;

typedef struct {
    int width;              /* floats of a vector */
    /* y[p * y_step + j] = (bias ? bias[j] : 0) + sum over rows r, taps t of X(r)[t * tap + p * step + j] * W(r)[t * w_tap + j],
     * p < count, j < c; X(r) = x[r] + x_at, W(r) = w[r] + w_at */
    void (*forward)(const tc_depthwise_rows *d, int64_t count, const float *bias, float *y, int64_t y_step);
    /* W(r)[t * w_tap + j] += sum over p < count of X(r)[t * tap + p * step + j] * dy[p * dy_step + j] */
    void (*weight_grad)(const tc_depthwise_rows *d, int64_t count, const float *dy, int64_t dy_step);
    /* to[p * to_step + v * width ..] = vector v of the expansions of the pixel x + p * x_step, p < count */
    void (*expand)(int64_t count, const float *x, int64_t x_step, int64_t vectors, const tc_expansion *e, float *to,
                   int64_t to_step);
} tc_depthwise_isa;

#endif
