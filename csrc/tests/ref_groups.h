/* Naive references, in double, of layer and group normalisation, the factor per channel, the shuffle and the masks. */
#ifndef TINYCONV_REF_GROUPS_H
#define TINYCONV_REF_GROUPS_H

#include "../tinyconv.h"

/* x (n, s, c); mean, var (n, groups). Layer normalisation of (rows, c) is n = rows, s = 1, groups = 1. */
void ref_gn(int64_t n, int64_t s, int64_t c, int64_t groups, double eps, const double *x, const double *gamma,
            const double *beta, double *y, double *mean, double *var);
void ref_gn_grad(int64_t n, int64_t s, int64_t c, int64_t groups, double eps, const double *x, const double *dy,
                 const double *gamma, double *dx, double *dgamma, double *dbeta);
void ref_shuffle(int64_t rows, int64_t c, int64_t groups, const float *x, float *y);
/* 1 where a block of a drawn corner holds the value, by looking at every block; keeps: ref_dropout_keeps of a corner */
void ref_dropblock(const tc_block_shape *s, double rate, uint64_t seed, uint64_t step, uint64_t layer, int64_t first,
                   char *dropped);

#endif
