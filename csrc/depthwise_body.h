/* Included once by each isa_*.c: the functions of tc_depthwise_isa. A vector holds channels, which do not meet: every tap
 * is a multiply-add of vectors. A tile is DW_COLUMNS columns of an output row; with three taps of a row in registers every
 * vector of the input is loaded once for all of them: 5 loads under 9 multiply-adds where the stride is 1. */
#ifndef TINYCONV_DEPTHWISE_BODY_H
#define TINYCONV_DEPTHWISE_BODY_H

#include "depthwise_isa.h"
#include "gemm_body.h"

enum {
    DW_COLUMNS = 8,
    DW_GRAD_COLUMNS = 24 /* between two visits to the sums; more would push the rows out of L1 */
};

/* ------------------------------------------------------------------ forward */
/* T taps of one row for P columns, S steps of a tap apart; S = 0: a single tap, columns `step` apart. */
TC_INLINE void dw_taps(const int P, const int T, const int S, const float *x, int64_t tap, int64_t step, const float *w,
                       int64_t w_tap, tc_vec acc[DW_COLUMNS]) {
    tc_vec taps[3];
#pragma GCC unroll 3
    for (int t = 0; t < T; t++)
        taps[t] = tc_load(w + t * w_tap);
    if (!S) {
#pragma GCC unroll 8
        for (int p = 0; p < P; p++, x += step)
            acc[p] += tc_load(x) * taps[0];
        return;
    }
#pragma GCC unroll 32
    for (int q = 0; q < (P - 1) * S + T; q++, x += tap) {
        const tc_vec v = tc_load(x);
#pragma GCC unroll 3
        for (int t = 0; t < T; t++)
            if (q >= t && (q - t) % S == 0 && (q - t) / S < P)
                TC_FMA(acc[(q - t) / S], v, taps[t]);
    }
}

TC_INLINE void dw_tile(const int P, const int S, const tc_depthwise_rows *d, int64_t at, const float *bias, float *y,
                       int64_t y_step, int64_t j) {
    tc_vec acc[DW_COLUMNS];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
        acc[p] = bias ? tc_load(bias + j) : (tc_vec){0};
    for (int64_t r = 0; r < d->rows; r++) {
        const float *x = d->x[r] + d->x_at + at + j, *w = d->w[r] + d->w_at + j;
        int64_t t = d->taps;
        if (S)
            for (; t >= 3; t -= 3, x += 3 * d->tap, w += 3 * d->w_tap)
                dw_taps(P, 3, S, x, d->tap, d->step, w, d->w_tap, acc);
        for (; t; t--, x += d->tap, w += d->w_tap)
            dw_taps(P, 1, 0, x, d->tap, d->step, w, d->w_tap, acc);
    }
#pragma GCC unroll 8
    for (int p = 0; p < P; p++, y += y_step)
        tc_store(y + j, acc[p]);
}

/* Channels in vectors; the last one overlaps the one before. */
#define DW_TILE(P, S)                                                                                                 \
    static __attribute__((noinline)) void dw_##P##_##S(const tc_depthwise_rows *d, int64_t at, const float *bias,     \
                                                       float *y, int64_t y_step) {                                    \
        for (int64_t j = 0; j + TC_WIDTH <= d->c; j += TC_WIDTH)                                                      \
            dw_tile(P, S, d, at, bias, y, y_step, j);                                                                 \
        if (d->c % TC_WIDTH)                                                                                          \
            dw_tile(P, S, d, at, bias, y, y_step, d->c - TC_WIDTH);                                                   \
    }
DW_TILE(8, 0) DW_TILE(8, 1) DW_TILE(8, 2) DW_TILE(4, 0) DW_TILE(4, 1) DW_TILE(4, 2) DW_TILE(2, 0) DW_TILE(1, 0)

static void dw_scalar(const tc_depthwise_rows *d, int64_t count, const float *bias, float *y, int64_t y_step) {
    for (int64_t p = 0; p < count; p++)
        for (int64_t j = 0; j < d->c; j++) {
            float sum = bias ? bias[j] : 0;
            for (int64_t r = 0; r < d->rows; r++) {
                const float *x = d->x[r] + d->x_at + p * d->step + j, *w = d->w[r] + d->w_at + j;
                for (int64_t t = 0; t < d->taps; t++)
                    sum += x[t * d->tap] * w[t * d->w_tap];
            }
            y[p * y_step + j] = sum;
        }
}

static void depthwise_forward(const tc_depthwise_rows *d, int64_t count, const float *bias, float *y, int64_t y_step) {
    static void (*const eight[])(const tc_depthwise_rows *, int64_t, const float *, float *, int64_t) = {
        dw_8_0, dw_8_1, dw_8_2};
    static void (*const four[])(const tc_depthwise_rows *, int64_t, const float *, float *, int64_t) = {
        dw_4_0, dw_4_1, dw_4_2};
    if (d->c < TC_WIDTH) {
        dw_scalar(d, count, bias, y, y_step);
        return;
    }
    const int s = d->step == d->tap ? 1 : d->step == 2 * d->tap ? 2 : 0;
    int64_t p = 0;
    for (; p + 8 <= count; p += 8)
        eight[s](d, p * d->step, bias, y + p * y_step, y_step);
    for (; p + 4 <= count; p += 4)
        four[s](d, p * d->step, bias, y + p * y_step, y_step);
    for (; p + 2 <= count; p += 2)
        dw_2_0(d, p * d->step, bias, y + p * y_step, y_step);
    if (p < count)
        dw_1_0(d, p * d->step, bias, y + p * y_step, y_step);
}

/* ------------------------------------------------------------------ weight gradient */
/* R rows and T taps of each summed in registers; the lanes before `keep` are another vector's. */
TC_INLINE void dw_grad_tile(const int R, const int T, int64_t count, const float *const *x, int64_t at, int64_t tap,
                            int64_t step, const float *dy, int64_t dy_step, float *const *w, int64_t w_at,
                            int64_t w_tap, int keep) {
    tc_vec acc[3][5];
    const float *row[3];
#pragma GCC unroll 3
    for (int r = 0; r < R; r++) {
        row[r] = x[r] + at;
#pragma GCC unroll 5
        for (int t = 0; t < T; t++)
            acc[r][t] = (tc_vec){0};
    }
    for (int64_t p = 0; p < count; p++, dy += dy_step) {
        const tc_vec v = tc_load(dy);
#pragma GCC unroll 3
        for (int r = 0; r < R; r++) {
#pragma GCC unroll 5
            for (int t = 0; t < T; t++)
                acc[r][t] += tc_load(row[r] + t * tap) * v;
            row[r] += step;
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < R; r++)
#pragma GCC unroll 5
        for (int t = 0; t < T; t++) {
            float *to = w[r] + w_at + t * w_tap;
            const tc_vec sum = tc_load(to) + acc[r][t];
            if (!keep)
                tc_store(to, sum);
            else
                for (int l = keep; l < TC_WIDTH; l++)
                    to[l] = sum[l];
        }
}

#define DW_GRAD(R, T)                                                                                                 \
    static __attribute__((noinline)) void dw_grad_##R##_##T(const tc_depthwise_rows *d, int64_t count, int64_t r,     \
                                                            int64_t t, int64_t at, const float *dy,                   \
                                                            int64_t dy_step) {                                        \
        const int64_t x_at = d->x_at + t * d->tap + at, w_at = d->w_at + t * d->w_tap, end = d->c - TC_WIDTH;         \
        for (int64_t j = 0; j <= end; j += TC_WIDTH)                                                                  \
            dw_grad_tile(R, T, count, d->x + r, x_at + j, d->tap, d->step, dy + j, dy_step, d->w + r, w_at + j,       \
                         d->w_tap, 0);                                                                                \
        if (d->c % TC_WIDTH)                                                                                          \
            dw_grad_tile(R, T, count, d->x + r, x_at + end, d->tap, d->step, dy + end, dy_step, d->w + r, w_at + end, \
                         d->w_tap, (int)(TC_WIDTH - d->c % TC_WIDTH));                                                \
    }
DW_GRAD(1, 1) DW_GRAD(1, 2) DW_GRAD(1, 3) DW_GRAD(1, 4) DW_GRAD(1, 5)
DW_GRAD(2, 1) DW_GRAD(2, 2) DW_GRAD(2, 3) DW_GRAD(2, 4) DW_GRAD(2, 5)
DW_GRAD(3, 1) DW_GRAD(3, 2) DW_GRAD(3, 3) DW_GRAD(3, 4) DW_GRAD(3, 5)

static void dw_grad_scalar(const tc_depthwise_rows *d, int64_t count, const float *dy, int64_t dy_step) {
    for (int64_t r = 0; r < d->rows; r++)
        for (int64_t t = 0; t < d->taps; t++)
            for (int64_t j = 0; j < d->c; j++) {
                const float *x = d->x[r] + d->x_at + t * d->tap + j;
                float sum = 0;
                for (int64_t p = 0; p < count; p++)
                    sum += x[p * d->step] * dy[p * dy_step + j];
                d->w[r][d->w_at + t * d->w_tap + j] += sum;
            }
}

static void depthwise_weight_grad(const tc_depthwise_rows *d, int64_t count, const float *dy, int64_t dy_step) {
    static void (*const table[3][5])(const tc_depthwise_rows *, int64_t, int64_t, int64_t, int64_t, const float *,
                                     int64_t) = {
        {dw_grad_1_1, dw_grad_1_2, dw_grad_1_3, dw_grad_1_4, dw_grad_1_5},
        {dw_grad_2_1, dw_grad_2_2, dw_grad_2_3, dw_grad_2_4, dw_grad_2_5},
        {dw_grad_3_1, dw_grad_3_2, dw_grad_3_3, dw_grad_3_4, dw_grad_3_5}};
    if (d->c < TC_WIDTH) {
        dw_grad_scalar(d, count, dy, dy_step);
        return;
    }
    for (int64_t p = 0, n; p < count; p += n) {
        n = count - p < DW_GRAD_COLUMNS ? count - p : DW_GRAD_COLUMNS;
        for (int64_t t = 0, taps; t < d->taps; t += taps) {
            const int64_t left = d->taps - t, parts = (left + 4) / 5;
            taps = (left + parts - 1) / parts;
            const int64_t most = taps > 4 ? 2 : 3; /* of 16 registers twelve can hold sums */
            for (int64_t r = 0, rows; r < d->rows; r += rows) {
                rows = d->rows - r < most ? d->rows - r : most;
                table[rows - 1][taps - 1](d, n, r, t, p * d->step, dy + p * dy_step, dy_step);
            }
        }
    }
}

/* ------------------------------------------------------------------ narrow groups */
typedef int32_t dw_lanes __attribute__((vector_size(4 * TC_WIDTH)));

static void depthwise_expand(int64_t count, const float *x, int64_t x_step, int64_t vectors, const tc_expansion *e,
                             float *to, int64_t to_step) {
    for (int64_t v = 0; v < vectors; v++, e++, to += TC_WIDTH) {
        const float *from = x + e->from;
        dw_lanes lane;
        memcpy(&lane, e->lane, sizeof lane);
        if (e->vectors == 1)
            for (int64_t p = 0; p < count; p++)
                tc_store(to + p * to_step, __builtin_shuffle(tc_load(from + p * x_step), lane));
        else if (e->vectors == 2)
            for (int64_t p = 0; p < count; p++)
                tc_store(to + p * to_step, __builtin_shuffle(tc_load(from + p * x_step),
                                                             tc_load(from + p * x_step + TC_WIDTH), lane));
        else
            for (int64_t p = 0; p < count; p++)
                for (int l = 0; l < TC_WIDTH; l++)
                    to[p * to_step + l] = from[p * x_step + e->lane[l]];
    }
}

#define TC_DEPTHWISE_TABLE                                                                                            \
    {.width = TC_WIDTH, .forward = depthwise_forward, .weight_grad = depthwise_weight_grad, .expand = depthwise_expand}

#endif
