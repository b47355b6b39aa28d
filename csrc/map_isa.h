/* The vector bodies of everything that is not a convolution, one table per ISA (isa.h).
 * Each works on the range its driver gives it: `n` floats, `rows` of c, or rows [low, high) of a shape; none starts
 * threads. Elementwise bodies allow the output to be an input. */
#ifndef TINYCONV_MAP_ISA_H
#define TINYCONV_MAP_ISA_H

#include "tinyconv.h"

enum { MAP_LANE = 16 };     /* channels that dropblock works on at a time */

/* w = shrink w - rate m / (root sqrt(v) + eps) after m = keep1 m + take1 g', v = keep2 v + take2 g'^2 */
typedef struct {
    float rate, root, eps, keep1, take1, keep2, take2, decay, shrink;
} tc_adam_rates;

typedef struct {
    /* map_elem.h */
    void (*act)(int kind, int64_t n, float a, const float *x, float *y);
    void (*act_grad)(int kind, int64_t n, float a, const float *saved, const float *dy, float *dx);
    void (*add)(int64_t n, const float *a, const float *b, float *y);
    void (*mul)(int64_t n, const float *a, const float *b, float *y);
    void (*scale)(int64_t n, float by, const float *x, float *y);
    void (*dropout)(int64_t n, uint32_t least, float scale, uint64_t counter, const float *x, float *y);
    /* map_optim.h */
    void (*sgd)(int64_t n, float lr, float momentum, float decay, int nesterov, float by, float *w, const float *g,
                float *v);
    void (*adam)(int64_t n, const tc_adam_rates *r, float by, float *w, const float *g, float *m, float *v);
    void (*rmsprop)(int64_t n, float lr, float keep, float take, float momentum, float eps, float decay, float by,
                    float *w, const float *g, float *s, float *v);
    void (*follow)(int64_t n, float by, const float *w, float *e);
    /* map_rows.h: b, a, mean, ... hold a value a channel, except in mul_rows one a row */
    void (*mul_channels)(int64_t rows, int64_t c, const float *a, const float *b, float *y);
    void (*mul_rows)(int64_t rows, int64_t c, const float *a, const float *b, float *y);
    void (*add_channels)(int64_t rows, int64_t c, const float *a, const float *b, float *y);
    void (*prelu)(int64_t rows, int64_t c, const float *x, const float *a, float *y);
    void (*prelu_grad)(int64_t rows, int64_t c, const float *x, const float *a, const float *dy, float *dx);
    void (*input)(int64_t rows, int64_t c, int is_uint8, const void *x, const float *mean, const float *std, float *y);
    void (*gn_apply)(int64_t rows, int64_t c, const float *x, const float *mean, const float *scale,
                     const float *shift, float *y);
    void (*gn_grad)(int64_t rows, int64_t c, const float *x, const float *dy, const float *mean, const float *scale,
                    const float *shift, const float *slope, float *dx);
    void (*lrn)(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x, float *y);
    void (*lrn_grad)(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x,
                     const float *dy, float *dx);
    /* map_sums.h: over the rows, a double a channel */
    void (*sum_rows)(int64_t rows, int64_t c, const float *x, double *sum);
    void (*prelu_sums)(int64_t rows, int64_t c, const float *x, const float *dy, double *da);
    void (*product_sums)(int64_t rows, int64_t c, const float *a, const float *b, double *sum);
    void (*mul_sums)(int64_t rows, int64_t c, const float *a, const float *b, float *sum);
    double (*dot)(int64_t n, const float *a, const float *b);
    /* map_bn.h: rows [low, high), except in act_grad_of floats from `at` on; sums are a double a channel */
    void (*bn_stats)(int64_t rows, int64_t c, const float *x, double *mean, double *squares);   /* about that mean */
    void (*bn_act)(const tc_bn_forward *b, int64_t low, int64_t high, float *y);
    void (*bn_sums)(const tc_bn_backward *b, const float *scale, int64_t low, int64_t high, double *g_x, double *g_1);
    void (*bn_grad)(const tc_bn_backward *b, const float *scale, const float *shift, const float *slope, int64_t low,
                    int64_t high, float *dx);
    void (*act_grad_of)(const tc_incoming *in, int64_t at, int64_t n, float *dx);
    void (*act_sums)(const tc_incoming *in, int64_t low, int64_t high, int64_t c, float *dx, double *sum);
    /* map_ln.h; sums: dgamma, dbeta; lanes: 2 c floats */
    void (*ln)(int64_t rows, int64_t c, float eps, const float *x, const float *gamma, const float *beta, float *y);
    void (*ln_grad)(int64_t rows, int64_t c, float eps, const float *x, const float *dy, const float *gamma, float *dx,
                    double *sums, float *lanes);
    /* map_drop.h: `dropped` is (samples, MAP_LANE channels at a time, positions, MAP_LANE) */
    void (*block_mask)(const tc_block_shape *s, int64_t low, int64_t high, uint32_t least, uint64_t counter,
                       uint8_t *dropped);       /* of its first two axes */
    void (*block_apply)(const tc_block_shape *s, int64_t low, int64_t high, float scale, const uint8_t *dropped,
                        const float *x, float *y);      /* positions of samples */
    /* map_shuffle.h */
    void (*shuffle)(int64_t rows, int64_t c, int64_t groups, const float *x, float *y);
    /* map_pool.h: output rows, for gradients input rows, of (n, d, h) */
    void (*maxpool)(const tc_pool_shape *s, int64_t low, int64_t high, const float *x, float *y, void *index);
    void (*maxpool_grad)(const tc_pool_shape *s, int64_t low, int64_t high, const float *dy, const void *index,
                         float *dx);
    void (*avgpool)(const tc_pool_shape *s, int64_t low, int64_t high, const float *x, float *y);
    void (*avgpool_grad)(const tc_pool_shape *s, int64_t low, int64_t high, const float *dy, float *dx);
    /* map_resize.h: output rows, for the gradient input rows, of (n, d, h) */
    void (*resize)(const tc_resize_shape *s, int64_t low, int64_t high, const float *x, float *y);
    void (*resize_grad)(const tc_resize_shape *s, int64_t low, int64_t high, const float *dy, float *dx);
    /* map_loss.h */
    void (*softmax)(int64_t rows, int64_t c, const float *x, float *y);
    void (*softmax_grad)(int64_t rows, int64_t c, const float *y, const float *dy, float *dx);
    void (*xent)(int64_t rows, int64_t c, float smoothing, float gamma, float scale, const float *x,
                 const int32_t *labels, const float *weights, double *losses, float *dx);
    double (*bce)(int64_t n, float scale, const float *x, const float *target, float *dx);
    double (*mse)(int64_t n, float scale, const float *x, const float *target, float *dx);
    double (*focal)(int64_t n, float gamma, float alpha, float scale, const float *x, const float *target, float *dx);
    void (*dice_grad)(int64_t rows, int64_t c, const float *a, const float *b, const float *p, const float *target,
                      float *dp);
} tc_map_isa;

#endif
