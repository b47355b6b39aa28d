/* Naive references of the kernels that are not convolutions, in double precision: written to be plainly right.
 * Arguments as in tinyconv.h, arrays in double; maximum positions as int64. */
#ifndef TINYCONV_REF_H
#define TINYCONV_REF_H

#include "../tinyconv.h"

void ref_maxpool(const tc_pool_shape *s, const double *x, double *y, int64_t *index);
void ref_maxpool_grad(const tc_pool_shape *s, const double *dy, const int64_t *index, double *dx);
void ref_avgpool(const tc_pool_shape *s, const double *x, double *y);
void ref_avgpool_grad(const tc_pool_shape *s, const double *dy, double *dx);

void ref_bn_stats(int64_t rows, int64_t c, const double *x, double *mean, double *var);
void ref_bn_apply(int64_t rows, int64_t c, double eps, const double *x, const double *mean, const double *var,
                  const double *gamma, const double *beta, double *y);
void ref_bn_grad(int64_t rows, int64_t c, double eps, const double *x, const double *dy, const double *mean,
                 const double *var, const double *gamma, double *dx, double *dgamma, double *dbeta);
void ref_lrn(int64_t rows, int64_t c, int64_t size, double alpha, double beta, double k, const double *x, double *y);
void ref_lrn_grad(int64_t rows, int64_t c, int64_t size, double alpha, double beta, double k, const double *x,
                  const double *dy, double *dx);
void ref_sum_rows(int64_t rows, int64_t c, const double *x, double *sum);

double ref_act(int kind, double a, double x);
double ref_act_slope(int kind, double a, double x);          /* of the input, whatever tc_act_grad is given */
void ref_prelu(int64_t rows, int64_t c, const double *x, const double *a, double *y);
void ref_prelu_grad(int64_t rows, int64_t c, const double *x, const double *a, const double *dy, double *dx,
                    double *da);
void ref_mul(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const double *a, const double *b, double *y);
void ref_mul_reduce(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const double *dy, const double *a,
                    double *db);
int ref_dropout_keeps(double p, uint64_t seed, uint64_t step, uint64_t layer, uint64_t i);
void ref_window(const tc_window_shape *s, const double *x, double *y);

void ref_softmax(int64_t rows, int64_t c, const double *x, double *y);
void ref_softmax_grad(int64_t rows, int64_t c, const double *y, const double *dy, double *dx);
double ref_xent(int64_t rows, int64_t c, double smoothing, double gamma, double scale, const double *x,
                const int32_t *labels, const double *weights, double *dx);
double ref_focal(int64_t n, double gamma, double alpha, double scale, const double *x, const double *target,
                 double *dx);
double ref_dice(int64_t n, int64_t s, int64_t c, double smooth, double scale, const double *p, const double *target,
                const int32_t *labels, double *dp);
double ref_bce(int64_t n, double scale, const double *x, const double *target, double *dx);
double ref_mse(int64_t n, double scale, const double *x, const double *target, double *dx);

void ref_sgd(int64_t n, double lr, double momentum, double decay, int nesterov, double *w, const double *g, double *v);
void ref_adam(int64_t n, const tc_adam_options *o, double lr, int t, double by, double *w, const double *g, double *m,
              double *v);
void ref_rmsprop(int64_t n, const tc_rmsprop_options *o, double lr, double by, double *w, const double *g, double *s,
                 double *v);

#endif
