/* Local response normalisation across channels. Channel i's window is i - size/2 .. i + (size - 1)/2, clipped. */
#ifndef TINYCONV_MAP_LRN_H
#define TINYCONV_MAP_LRN_H

#include <math.h>

#include "map_vec.h"
#include "tinyconv.h"

/* A row is worked off in chunks of channels: MAP_LRN floats hold a chunk and what its windows reach, zeros beyond
 * the row. Windows above MAP_LRN_SIZE, which no network has, go the long way. */
enum { MAP_LRN = 1024, MAP_LRN_SIZE = 256 };

/* s^-beta; of 3/4, the published exponent, by square roots: half the work */
static inline mvf map_power(mvf s, float beta) {
    if (beta != 0.75f)
        return mv_exp(mv_log(s) * -beta);
    const mvf root = mv_sqrt(s);
    return 1.0f / (root * mv_sqrt(root));
}

/* sum[i] = a[i] + .. + a[i + size - 1] for i < n; arrays of whole vectors */
static void map_slide(int64_t n, int64_t size, const float *a, float *sum) {
    for (int64_t i = 0; i < n; i += MV) {
        mvf s = mv_load(a + i);
        for (int64_t j = 1; j < size; j++)
            s += mv_load(a + i + j);
        mv_store(sum + i, s);
    }
}

/* scale[i] = k + alpha/size sum over the window of channel low + i, for i < n; low may be negative */
static void map_lrn_scale(int64_t c, int64_t low, int64_t n, int64_t size, float alpha, float k, const float *x,
                          float *scale) {
    float squares[MAP_LRN + 2 * MAP_LRN_SIZE];
    const float each = alpha / (float)size;
    const int64_t first = low - size / 2;
    const int64_t reach = n + size + MV, begin = first < 0 ? -first : 0, end = reach < c - first ? reach : c - first;
    for (int64_t i = 0; i < begin; i++)
        squares[i] = 0;
    for (int64_t i = begin; i < end; i++)
        squares[i] = x[first + i] * x[first + i];
    for (int64_t i = end; i < reach; i++)
        squares[i] = 0;
    map_slide(n, size, squares, scale);
    for (int64_t i = 0; i < n; i++)
        scale[i] = k + each * scale[i];
}

/* The same for one channel and any size. */
static double map_lrn_scale_of(int64_t c, int64_t channel, int64_t size, float alpha, float k, const float *x) {
    double sum = 0;
    for (int64_t j = channel - size / 2; j <= channel + (size - 1) / 2; j++)
        sum += j >= 0 && j < c ? (double)x[j] * x[j] : 0;
    return k + (double)alpha / (double)size * sum;
}

static void map_lrn(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x, float *y) {
    float scale[MAP_LRN + MV];
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        for (int64_t low = 0; low < c && size <= MAP_LRN_SIZE; low += MAP_LRN) {
            const int64_t n = c - low < MAP_LRN ? c - low : MAP_LRN;
            map_lrn_scale(c, low, n, size, alpha, k, x, scale);
            int64_t i = 0;
            for (; i + MV <= n; i += MV)
                mv_store(y + low + i, mv_load(x + low + i) * map_power(mv_load(scale + i), beta));
            if (i < n)
                mv_store_part(y + low + i, mv_load_part(x + low + i, n - i, 0) *
                              map_power(mv_load_part(scale + i, n - i, 1), beta), n - i);
        }
        for (int64_t i = 0; i < c && size > MAP_LRN_SIZE; i++)
            y[i] = (float)(x[i] * pow(map_lrn_scale_of(c, i, size, alpha, k, x), -beta));
    }
}

/* dx_i = dy_i s_i^-beta - 2 alpha beta / size x_i sum of t_j over the j whose windows hold i, which are
 * i - (size - 1)/2 .. i + size/2; t = dy x s^(-beta - 1) */
static void map_lrn_grad_chunk(int64_t c, int64_t low, int64_t n, int64_t size, float alpha, float beta, float k,
                               const float *x, const float *dy, float *dx) {
    float scale[MAP_LRN + MV], power[MAP_LRN + MV], t[MAP_LRN + MAP_LRN_SIZE + 2 * MV], sum[MAP_LRN + MV];
    const int64_t after = (size - 1) / 2, from = low - after, m = n + size - 1;
    const float factor = 2 * alpha * beta / (float)size;
    map_lrn_scale(c, from, m, size, alpha, k, x, scale);
    for (int64_t i = 0; i < m; i += MV) {
        const mvf s = mv_load(scale + i), p = map_power(s, beta);
        mv_store(power + i, p);
        mv_store(t + i, p / s);
    }
    const int64_t begin = from < 0 ? -from : 0, end = m < c - from ? m : c - from;
    for (int64_t i = 0; i < begin; i++)        /* beyond the row, and in the lanes past m: nothing */
        t[i] = 0;
    for (int64_t i = begin; i < end; i++)
        t[i] *= dy[from + i] * x[from + i];
    for (int64_t i = end; i < m + MV; i++)
        t[i] = 0;
    map_slide(n, size, t, sum);
    for (int64_t i = 0; i < n; i++)
        dx[low + i] = dy[low + i] * power[after + i] - factor * x[low + i] * sum[i];
}

static void map_lrn_grad(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k,
                         const float *x, const float *dy, float *dx) {
    const int64_t chunk = MAP_LRN - size;
    for (int64_t r = 0; r < rows; r++, x += c, dy += c, dx += c) {
        for (int64_t low = 0; low < c && size <= MAP_LRN_SIZE; low += chunk)
            map_lrn_grad_chunk(c, low, c - low < chunk ? c - low : chunk, size, alpha, beta, k, x, dy, dx);
        for (int64_t i = 0; i < c && size > MAP_LRN_SIZE; i++) {
            double sum = 0;
            for (int64_t j = i - (size - 1) / 2; j <= i + size / 2; j++)
                if (j >= 0 && j < c)
                    sum += dy[j] * x[j] * pow(map_lrn_scale_of(c, j, size, alpha, k, x), -beta - 1.0);
            dx[i] = (float)(dy[i] * pow(map_lrn_scale_of(c, i, size, alpha, k, x), -beta) -
                            2.0 * alpha * beta / (double)size * x[i] * sum);
        }
    }
}

#endif
