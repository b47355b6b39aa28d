/* Layer normalisation: each row of x (rows, c) by itself. A row stays in L1 while it is read several times. */
#ifndef TINYCONV_MAP_LN_H
#define TINYCONV_MAP_LN_H

#include <math.h>

#include "map_sums.h"

enum { MAP_LN_ROWS = 32 };      /* whose gradients of gamma and beta are summed in float */

typedef struct { float centre, off, inverse; } map_moments;     /* mean centre + off, 1 / sqrt(variance + eps) */
static inline mvf map_centred(map_moments m, mvf x) { return (x - m.centre) - m.off; }

static inline double map_row_sum(int64_t c, const float *x) {
    double sum = 0;
    MAP_BLOCKS(c, MAP_BLOCK, low, high) {
        mvf s = mv_set(0);
        MAP_LANES(high - low, at, lanes)
            s += map_get(x + low + at, lanes, 0);
        sum += mv_sum(s);
    }
    return sum;
}

/* The squares are summed about the mean as float has it, and what that leaves out is taken off again. */
static map_moments map_moments_of(int64_t c, float eps, const float *x) {
    const float centre = (float)(map_row_sum(c, x) / (double)c);
    double first = 0, second = 0;
    MAP_BLOCKS(c, MAP_BLOCK, low, high) {
        mvf s = mv_set(0), s2 = mv_set(0);
        MAP_LANES(high - low, at, lanes) {
            const mvf d = map_get(x + low + at, lanes, centre) - centre;
            s += d;
            s2 += d * d;
        }
        first += mv_sum(s);
        second += mv_sum(s2);
    }
    const double off = first / (double)c, about = second / (double)c - off * off;
    const double variance = about < 0 ? 0 : about;      /* a NaN stays one */
    return (map_moments){centre, (float)off, (float)(1 / sqrt(variance + eps))};
}

static void map_ln(int64_t rows, int64_t c, float eps, const float *x, const float *gamma, const float *beta,
                   float *y) {
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const map_moments m = map_moments_of(c, eps, x);
        MAP_LANES(c, i, n) {
            const mvf u = map_centred(m, map_get(x + i, n, 0)) * m.inverse;
            map_put(y + i, u * map_get(gamma + i, n, 0) + map_get(beta + i, n, 0), n);
        }
    }
}

/* With g = gamma dy and u = (x - mean) / sigma: dx = (g - mean(g) - u mean(g u)) / sigma; s += dy u, s1 += dy */
static void map_ln_grad_row(int64_t c, float eps, const float *x, const float *dy, const float *gamma, float *dx,
                            float *s, float *s1) {
    const map_moments m = map_moments_of(c, eps, x);
    double sum_g = 0, sum_gu = 0;
    MAP_BLOCKS(c, MAP_BLOCK, low, high) {
        mvf a = mv_set(0), b = mv_set(0);
        MAP_LANES(high - low, at, lanes) {
            const int64_t i = low + at;
            const mvf g = map_get(dy + i, lanes, 0) * map_get(gamma + i, lanes, 0);
            a += g;
            b += g * map_centred(m, map_get(x + i, lanes, 0));
        }
        sum_g += mv_sum(a);
        sum_gu += mv_sum(b);
    }
    const float mean_g = (float)(sum_g / (double)c), mean_gu = (float)(sum_gu * m.inverse / (double)c);
    MAP_LANES(c, i, n) {
        const mvf u = map_centred(m, map_get(x + i, n, 0)) * m.inverse, d = map_get(dy + i, n, 0);
        map_put(dx + i, (d * map_get(gamma + i, n, 0) - mean_g - u * mean_gu) * m.inverse, n);
        map_put(s + i, map_get(s + i, n, 0) + d * u, n);
        map_put(s1 + i, map_get(s1 + i, n, 0) + d, n);
    }
}

/* sums: dgamma and dbeta, c each; lanes: 2 c floats of scratch; dx may be dy */
static void map_ln_grad(int64_t rows, int64_t c, float eps, const float *x, const float *dy, const float *gamma,
                        float *dx, double *sums, float *lanes) {
    memset(sums, 0, (size_t)(2 * c) * sizeof *sums);
    MAP_BLOCKS(rows, MAP_LN_ROWS, low, high) {
        map_clear(2 * c, lanes);
        for (int64_t r = low; r < high; r++)
            map_ln_grad_row(c, eps, x + r * c, dy + r * c, gamma, dx + r * c, lanes, lanes + c);
        for (int64_t i = 0; i < 2 * c; i++)
            sums[i] += lanes[i];
    }
}

#endif
