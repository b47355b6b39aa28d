#include "ref_groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref.h"

/* where the j-th of a group's s * width values stands */
static int64_t value(int64_t s, int64_t c, int64_t width, int64_t sample, int64_t group, int64_t j) {
    return (sample * s + j / width) * c + group * width + j % width;
}

void ref_gn(int64_t n, int64_t s, int64_t c, int64_t groups, double eps, const double *x, const double *gamma,
            const double *beta, double *y, double *mean, double *var) {
    const int64_t width = c / groups, m = s * width;
    for (int64_t k = 0; k < n * groups; k++) {
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < m; j++)
            sum += x[value(s, c, width, k / groups, k % groups, j)];
        mean[k] = sum / (double)m;
        for (int64_t j = 0; j < m; j++)
            squares += pow(x[value(s, c, width, k / groups, k % groups, j)] - mean[k], 2);
        var[k] = squares / (double)m;
        for (int64_t j = 0; j < m; j++) {
            const int64_t i = value(s, c, width, k / groups, k % groups, j);
            y[i] = (x[i] - mean[k]) / sqrt(var[k] + eps) * gamma[i % c] + beta[i % c];
        }
    }
}

void ref_gn_grad(int64_t n, int64_t s, int64_t c, int64_t groups, double eps, const double *x, const double *dy,
                 const double *gamma, double *dx, double *dgamma, double *dbeta) {
    const int64_t width = c / groups, m = s * width;
    double *ones = calloc((size_t)c, sizeof *ones), *zeros = calloc((size_t)c, sizeof *zeros);
    double *u = malloc((size_t)(n * s * c) * sizeof *u), *mean = malloc((size_t)(n * groups) * sizeof *mean);
    double *var = malloc((size_t)(n * groups) * sizeof *var);
    for (int64_t i = 0; i < c; i++)
        ones[i] = 1, dgamma[i] = 0, dbeta[i] = 0;
    ref_gn(n, s, c, groups, eps, x, ones, zeros, u, mean, var);
    for (int64_t i = 0; i < n * s * c; i++) {
        dgamma[i % c] += dy[i] * u[i];
        dbeta[i % c] += dy[i];
    }
    for (int64_t k = 0; k < n * groups; k++) {
        double sum = 0, sum_u = 0;
        for (int64_t j = 0; j < m; j++) {
            const int64_t i = value(s, c, width, k / groups, k % groups, j);
            sum += dy[i] * gamma[i % c];
            sum_u += dy[i] * gamma[i % c] * u[i];
        }
        for (int64_t j = 0; j < m; j++) {
            const int64_t i = value(s, c, width, k / groups, k % groups, j);
            dx[i] = (dy[i] * gamma[i % c] - sum / (double)m - u[i] * sum_u / (double)m) / sqrt(var[k] + eps);
        }
    }
    free(ones), free(zeros), free(u), free(mean), free(var);
}

void ref_shuffle(int64_t rows, int64_t c, int64_t groups, const float *x, float *y) {
    for (int64_t k = 0; k < rows * c; k++) {
        const int64_t i = k % c / (c / groups), j = k % c % (c / groups);
        y[k / c * c + j * groups + i] = x[k];
    }
}

void ref_dropblock(const tc_block_shape *s, double rate, uint64_t seed, uint64_t step, uint64_t layer, int64_t first,
                   char *dropped) {
    memset(dropped, 0, (size_t)(s->n * s->d * s->h * s->w * s->c));
    for (int64_t i = 0; i < s->n * s->d * s->h * s->w * s->c; i++) {
        const int64_t w = i / s->c % s->w, h = i / s->c / s->w % s->h, d = i / s->c / s->w / s->h % s->d;
        if (d + s->kd > s->d || h + s->kh > s->h || w + s->kw > s->w ||
            ref_dropout_keeps(rate, seed, step, layer, (uint64_t)(first + i)))
            continue;
        for (int64_t jd = 0; jd < s->kd; jd++)
            for (int64_t jh = 0; jh < s->kh; jh++)
                for (int64_t jw = 0; jw < s->kw; jw++)
                    dropped[i + ((jd * s->h + jh) * s->w + jw) * s->c] = 1;
    }
}
