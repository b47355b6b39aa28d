/* Double-precision references of the convolutions and products: naive loops over the definition. Each also gives the
 * sum of the terms' sizes, `size`, that rounding errors are in proportion to. */
#ifndef TINYCONV_REF_CONV_H
#define TINYCONV_REF_CONV_H

#include "../tinyconv.h"

void ref_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, double *c,
              double *size);
void ref_conv_forward(const tc_conv_shape *s, const float *x, const float *w, const float *bias, double *y,
                      double *size);
void ref_conv_data_grad(const tc_conv_shape *s, const float *dy, const float *w, double *dx, double *size);
void ref_conv_weight_grad(const tc_conv_shape *s, const float *x, const float *dy, double *dw, double *size);

#endif
