/* Local response normalisation across channels. */
#ifndef TINYCONV_MAP_LRN_H
#define TINYCONV_MAP_LRN_H

#include "map_rows.h"

/* Channel i's window is i - size/2 .. i + (size - 1)/2, clipped. A row is worked off in chunks of channels, each with
 * what its windows reach; a window that a chunk cannot hold goes the long way. */
enum { MAP_LRN = 1024 };

static inline mvf map_power(mvf s, float minus_beta) { return mv_exp(mv_log(s) * minus_beta); }

/* scale[i] = k + alpha/size sum over the window of channel low + i, for i < n */
static void map_lrn_scale(int64_t c, int64_t low, int64_t n, int64_t size, float alpha, float k, const float *x, float *scale) {
    float squares[3 * MAP_LRN];
    const int64_t before = size / 2, after = (size - 1) / 2, reach = n + before + after;
    const float each = alpha / (float)size;
    if (size <= MAP_LRN) {
        for (int64_t i = 0, j = low - before; i < reach; i++, j++)
            squares[i] = j >= 0 && j < c ? x[j] * x[j] : 0;
        for (int64_t i = 0; i < n; i++)
            scale[i] = squares[i];
        for (int64_t t = 1; t < size; t++)
            for (int64_t i = 0; i < n; i++)
                scale[i] += squares[i + t];
        for (int64_t i = 0; i < n; i++)
            scale[i] = k + each * scale[i];
    } else {
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t j = low + i - before; j <= low + i + after; j++)
                sum += j >= 0 && j < c ? (double)x[j] * x[j] : 0;
            scale[i] = k + each * (float)sum;
        }
    }
}

static void map_lrn(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x, float *y) {
    float scale[MAP_LRN];
    for (int64_t r = 0; r < rows; r++, x += c, y += c)
        for (int64_t low = 0; low < c; low += MAP_LRN) {
            const int64_t n = c - low < MAP_LRN ? c - low : MAP_LRN;
            map_lrn_scale(c, low, n, size, alpha, k, x, scale);
            int64_t i = 0;
            for (; i + MV <= n; i += MV)
                mv_store(y + low + i, mv_load(x + low + i) * map_power(mv_load(scale + i), -beta));
            if (i < n)
                mv_store_part(y + low + i, mv_load_part(x + low + i, n - i, 0) *
                              map_power(mv_load_part(scale + i, n - i, 1), -beta), n - i);
        }
}

/* dx_i = dy_i s_i^-beta - 2 alpha beta / size x_i sum of t_j over the j whose windows hold i, t = dy x s^(-beta - 1) */
static void map_lrn_grad(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k,
                         const float *x, const float *dy, float *dx) {
    float scale[MAP_LRN], power[MAP_LRN], t[MAP_LRN], sum[MAP_LRN];
    const int64_t before = size / 2, after = (size - 1) / 2, chunk = size <= MAP_LRN / 2 ? MAP_LRN - size : 1;
    const float factor = 2 * alpha * beta / (float)size;
    for (int64_t r = 0; r < rows; r++, x += c, dy += c, dx += c)
        for (int64_t low = 0; low < c; low += chunk) {
            const int64_t n = c - low < chunk ? c - low : chunk;
            /* those that hold channel i are i - after .. i + before */
            const int64_t from = low - after > 0 ? low - after : 0, to = low + n + before < c ? low + n + before : c;
            for (int64_t i = 0; i < n; i++)
                sum[i] = 0;
            for (int64_t at = from; at < to; at += MAP_LRN) {
                const int64_t m = to - at < MAP_LRN ? to - at : MAP_LRN;
                map_lrn_scale(c, at, m, size, alpha, k, x, scale);
                for (int64_t i = 0; i < m; i += MV) {
                    const int64_t lanes = m - i < MV ? m - i : MV;
                    const mvf s = mv_load_part(scale + i, lanes, 1), p = map_power(s, -beta);
                    mv_store_part(power + i, p, lanes);
                    mv_store_part(t + i, mv_load_part(dy + at + i, lanes, 0) * mv_load_part(x + at + i, lanes, 0) * p / s, lanes);
                }
                for (int64_t i = 0; i < n; i++) {
                    const int64_t first = low + i - after > at ? low + i - after : at;
                    const int64_t last = low + i + before < at + m - 1 ? low + i + before : at + m - 1;
                    for (int64_t j = first; j <= last; j++)
                        sum[i] += t[j - at];
                }
                for (int64_t i = 0; i < n; i++)
                    if (low + i >= at && low + i < at + m)
                        dx[low + i] = dy[low + i] * power[low + i - at];
            }
            for (int64_t i = 0; i < n; i++)
                dx[low + i] -= factor * x[low + i] * sum[i];
        }
}

#endif
