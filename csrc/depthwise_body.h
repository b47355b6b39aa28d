/* Included once by each isa_*.c: the functions of tc_depthwise_isa. A vector holds channels, which do not meet: every
 * tap is a multiply-add of vectors. Two of them a cycle is the peak, and two loads: so a load is used several times.
 * Forward, a tile of columns of an output row stands in registers beside three or five taps of a row; the weight
 * gradient sums a few taps of a few rows beside some pixels of dy. Either way a vector of the input is loaded once for
 * all of them: 5 loads for the 9 multiply-adds of 3x3. Distances in the input are known, addresses cost nothing. */
#ifndef TINYCONV_DEPTHWISE_BODY_H
#define TINYCONV_DEPTHWISE_BODY_H

#include "depthwise_isa.h"
#include "gemm_body.h"

enum { DW_COLUMNS = 8 };

/* Past the caches: a line is not read before it is written. */
#if defined(__AVX512F__) || (defined(__AVX2__) && TC_WIDTH == 8)
#define DW_STORE_PAST(y, v) __asm__("vmovntps %1, %0" : "=m"(*(tc_vec *)(y)) : "v"(v))
#endif

/* How columns' taps stand to each other: as neighbours one or two pixels from those of the next column (the distances
 * that are compiled in), in any way one pixel from them, in any way at all. */
#define DW_KINDS(MACRO) MACRO(1, 1) MACRO(2, 1) MACRO(1, 0) MACRO(0, 0)

static int dw_kind(const tc_depthwise_rows *d) {
    return d->tap == 1 && d->step <= 2 ? (int)d->step - 1 : d->step == 1 ? 2 : 3;
}

/* ------------------------------------------------------------------ forward */
/* T neighbouring taps of one row for P columns, S pixels from one to the next. */
TC_INLINE void dw_taps(const int P, const int T, const int S, const float *x, const float *w, tc_vec acc[DW_COLUMNS]) {
    tc_vec taps[5];
#pragma GCC unroll 5
    for (int t = 0; t < T; t++)
        taps[t] = tc_load(w + t * TC_LANES);
    /* A column's sums follow each other closely: with a stride of two, odd pixels first keep them apart. */
#pragma GCC unroll 2
    for (int odd = S - 1; odd >= 0; odd--)
#pragma GCC unroll 32
        for (int q = odd; q < (P - 1) * S + T; q += S) {
            const tc_vec v = tc_load(x + q * TC_LANES);
#pragma GCC unroll 5
            for (int t = 0; t < T; t++)
                if (q >= t && (q - t) % S == 0 && (q - t) / S < P)
                    TC_FMA(acc[(q - t) / S], v, taps[t]);
        }
}

/* One tap for P columns, S pixels apart (0: `step` floats). */
TC_INLINE void dw_tap(const int P, const int S, const float *x, int64_t step, const float *w, tc_vec acc[DW_COLUMNS]) {
    const tc_vec tap = tc_load(w);
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
        acc[p] += tc_load(x + p * (S ? S * TC_LANES : step)) * tap;
}

TC_INLINE void dw_tile(const int P, const int S, const int DENSE, const tc_depthwise_rows *d, int64_t x_at,
                       int64_t w_at, const float *bias, float *y, int64_t y_step, const tc_finish *clip) {
    const int64_t step = d->step * TC_LANES, tap = DENSE ? TC_LANES : d->tap * TC_LANES;
    tc_vec acc[DW_COLUMNS];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
        acc[p] = bias ? tc_load(bias) : (tc_vec){0};
    for (int64_t r = 0; r < d->rows; r++) {
        const float *x = d->x[r] + x_at, *w = d->w[r] + w_at;
        int64_t left = d->taps;
        if (DENSE) {
            for (; left >= 5; left -= 5, x += 5 * TC_LANES, w += 5 * TC_LANES)
                dw_taps(P, 5, S, x, w, acc);
            for (; left >= 3; left -= 3, x += 3 * TC_LANES, w += 3 * TC_LANES)
                dw_taps(P, 3, S, x, w, acc);
        }
        for (; left; left--, x += tap, w += TC_LANES)
            dw_tap(P, S, x, step, w, acc);
    }
    __asm__ volatile("" : "+r"(y_step)); /* addresses in y are not worth registers before */
    if (clip)
#pragma GCC unroll 8
        for (int p = 0; p < P; p++)
            acc[p] = finish_vector(*clip, y + p * y_step, acc[p]);
#ifdef DW_STORE_PAST
    if (d->past) {
#pragma GCC unroll 8
        for (int p = 0; p < P; p++, y += y_step)
            DW_STORE_PAST(y, acc[p]);
        return;
    }
#endif
#pragma GCC unroll 8
    for (int p = 0; p < P; p++, y += y_step)
        tc_store(y, acc[p]);
}

typedef void dw_function(const tc_depthwise_rows *, int64_t, const float *, float *, int64_t, const tc_finish *);

#define DW_TILE(S, DENSE, P)                                                                                          \
    static __attribute__((noinline)) void dw_##P##_##S##_##DENSE(const tc_depthwise_rows *d, int64_t at,              \
                                                                 const float *bias, float *y, int64_t y_step,         \
                                                                 const tc_finish *clip) {                             \
        for (int64_t g = 0; g < d->groups; g++)                                                                       \
            for (int64_t l = 0; l < TC_LANES; l += TC_WIDTH, y += TC_WIDTH) {                                         \
                dw_tile(P, S, DENSE, d, at + g * d->x_group + l, g * d->w_group + l, bias, y, y_step, clip);          \
                bias += bias ? TC_WIDTH : 0;                                                                          \
            }                                                                                                         \
    }
#define DW_TILES(S, DENSE)                                                                                            \
    DW_TILE(S, DENSE, 1) DW_TILE(S, DENSE, 2) DW_TILE(S, DENSE, 3) DW_TILE(S, DENSE, 4)                               \
    DW_TILE(S, DENSE, 5) DW_TILE(S, DENSE, 6) DW_TILE(S, DENSE, 7) DW_TILE(S, DENSE, 8)
#define DW_TABLE(S, DENSE)                                                                                            \
    {dw_1_##S##_##DENSE, dw_2_##S##_##DENSE, dw_3_##S##_##DENSE, dw_4_##S##_##DENSE,                                  \
     dw_5_##S##_##DENSE, dw_6_##S##_##DENSE, dw_7_##S##_##DENSE, dw_8_##S##_##DENSE},
DW_KINDS(DW_TILES)
static dw_function *const dw_table[4][DW_COLUMNS] = {DW_KINDS(DW_TABLE)};

static void depthwise_forward(const tc_depthwise_rows *d, int64_t count, const float *bias, float *y, int64_t y_step,
                              const tc_finish *finish) {
    dw_function *const *table = dw_table[dw_kind(d)];
    const tc_finish *clip = tc_finish_clip(finish);
    const int64_t tiles = (count + DW_COLUMNS - 1) / DW_COLUMNS, columns = tiles ? count / tiles : 0;
    int64_t wider = count - columns * tiles; /* so many tiles are wider by a column */
    for (int64_t p = 0, size; p < count; p += size) {
        size = columns + (wider-- > 0);
        table[size - 1](d, p * d->step * TC_LANES, bias, y + p * y_step, y_step, clip);
        if (finish && !clip) {
            float *out[DW_COLUMNS];
            for (int64_t i = 0; i < size; i++)
                out[i] = y + (p + i) * y_step;
            tc_finish_rows(finish, size, d->groups * TC_LANES, out, 0);
        }
    }
#if defined(__SSE__)
    if (d->past)
        __builtin_ia32_sfence(); /* before other threads read y */
#endif
}

/* ------------------------------------------------------------------ weight gradient */
/* U columns, S pixels from one to the next, of R rows of T neighbouring taps: they share the input. */
TC_INLINE void dw_grad_columns(const int R, const int T, const int U, const int S, const float **x, const float *dy,
                               int64_t dy_step, tc_vec acc[3][8]) {
    tc_vec v[4];
#pragma GCC unroll 4
    for (int u = 0; u < U; u++)
        v[u] = tc_load(dy + u * dy_step);
#pragma GCC unroll 16
    for (int q = 0; q < (U - 1) * S + T; q++)
#pragma GCC unroll 3
        for (int r = 0; r < R; r++) {
            const tc_vec pixel = tc_load(x[r] + q * TC_LANES);
#pragma GCC unroll 8
            for (int t = 0; t < T; t++)
                if (q >= t && (q - t) % S == 0 && (q - t) / S < U)
                    TC_FMA(acc[r][t], pixel, v[(q - t) / S]);
        }
}

/* One column. */
TC_INLINE void dw_grad_column(const int R, const int T, const float **x, int64_t tap, const float *dy,
                              tc_vec acc[3][8]) {
    const tc_vec v = tc_load(dy);
#pragma GCC unroll 3
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            acc[r][t] += tc_load(x[r] + t * tap) * v;
}

TC_INLINE void dw_grad_tile(const int R, const int T, const int S, const int DENSE, const tc_depthwise_rows *d,
                            int64_t count, int64_t r, int64_t x_at, int64_t w_at, const float *dy, int64_t dy_step) {
    const int U = R * T > 11 ? 3 : 4; /* and one of the input: 16 registers */
    const int64_t tap = DENSE ? TC_LANES : d->tap * TC_LANES, step = S ? S * TC_LANES : d->step * TC_LANES;
    const float *x[3];
    tc_vec acc[3][8];
#pragma GCC unroll 3
    for (int i = 0; i < R; i++) {
        x[i] = d->x[r + i] + x_at;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            acc[i][t] = (tc_vec){0};
    }
    int64_t left = count;
    for (; DENSE && left >= U; left -= U, dy += U * dy_step) {
        dw_grad_columns(R, T, U, S, x, dy, dy_step, acc);
#pragma GCC unroll 3
        for (int i = 0; i < R; i++)
            x[i] += U * step;
    }
    for (; left; left--, dy += dy_step) {
        dw_grad_column(R, T, x, tap, dy, acc);
#pragma GCC unroll 3
        for (int i = 0; i < R; i++)
            x[i] += step;
    }
#pragma GCC unroll 3
    for (int i = 0; i < R; i++) {
        float *w = d->w[r + i] + w_at;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            tc_store(w + t * TC_LANES, tc_load(w + t * TC_LANES) + acc[i][t]);
    }
}

typedef void dw_grad_function(const tc_depthwise_rows *, int64_t, int64_t, int64_t, const float *, int64_t);

#define DW_GRAD(S, DENSE, R, T)                                                                                       \
    static __attribute__((noinline)) void dw_grad_##R##_##T##_##S##_##DENSE(                                          \
        const tc_depthwise_rows *d, int64_t count, int64_t r, int64_t t, const float *dy, int64_t dy_step) {          \
        for (int64_t g = 0; g < d->groups; g++)                                                                       \
            for (int64_t l = 0; l < TC_LANES; l += TC_WIDTH, dy += TC_WIDTH)                                          \
                dw_grad_tile(R, T, S, DENSE, d, count, r, g * d->x_group + t * d->tap * TC_LANES + l,                 \
                             g * d->w_group + t * TC_LANES + l, dy, dy_step);                                         \
    }
#define DW_GRADS(S, DENSE)                                                                                            \
    DW_GRAD(S, DENSE, 1, 1) DW_GRAD(S, DENSE, 1, 2) DW_GRAD(S, DENSE, 1, 3) DW_GRAD(S, DENSE, 1, 4)                   \
    DW_GRAD(S, DENSE, 1, 5) DW_GRAD(S, DENSE, 1, 6) DW_GRAD(S, DENSE, 1, 7) DW_GRAD(S, DENSE, 1, 8)                   \
    DW_GRAD(S, DENSE, 2, 1) DW_GRAD(S, DENSE, 2, 2) DW_GRAD(S, DENSE, 2, 3) DW_GRAD(S, DENSE, 2, 4)                   \
    DW_GRAD(S, DENSE, 2, 5)                                                                                           \
    DW_GRAD(S, DENSE, 3, 1) DW_GRAD(S, DENSE, 3, 2) DW_GRAD(S, DENSE, 3, 3) DW_GRAD(S, DENSE, 3, 4)
#define DW_GRAD_TABLE(S, DENSE)                                                                                       \
    {{dw_grad_1_1_##S##_##DENSE, dw_grad_1_2_##S##_##DENSE, dw_grad_1_3_##S##_##DENSE, dw_grad_1_4_##S##_##DENSE,     \
      dw_grad_1_5_##S##_##DENSE, dw_grad_1_6_##S##_##DENSE, dw_grad_1_7_##S##_##DENSE, dw_grad_1_8_##S##_##DENSE},    \
     {dw_grad_2_1_##S##_##DENSE, dw_grad_2_2_##S##_##DENSE, dw_grad_2_3_##S##_##DENSE, dw_grad_2_4_##S##_##DENSE,     \
      dw_grad_2_5_##S##_##DENSE},                                                                                     \
     {dw_grad_3_1_##S##_##DENSE, dw_grad_3_2_##S##_##DENSE, dw_grad_3_3_##S##_##DENSE, dw_grad_3_4_##S##_##DENSE}},
DW_KINDS(DW_GRADS)
static dw_grad_function *const dw_grad_table[4][3][8] = {DW_KINDS(DW_GRAD_TABLE)};

/* Parts of the taps and rows, about equal, of at most twelve sums. */
static void depthwise_weight_grad(const tc_depthwise_rows *d, int64_t count, const float *dy, int64_t dy_step) {
    const int64_t most = d->rows == 1 ? 8 : 5, parts = (d->taps + most - 1) / most;
    for (int64_t i = 0, t = 0, end; i < parts; i++, t = end) {
        end = d->taps * (i + 1) / parts;
        const int64_t rows = end - t > 5 ? 1 : end - t > 4 ? 2 : 3, row_parts = (d->rows + rows - 1) / rows;
        for (int64_t j = 0, r = 0, next; j < row_parts; j++, r = next) {
            next = d->rows * (j + 1) / row_parts;
            dw_grad_table[dw_kind(d)][next - r - 1][end - t - 1](d, count, r, t, dy, dy_step);
        }
    }
}


/* ------------------------------------------------------------------ copies of the input */
static void depthwise_copy(int64_t count, const float *x, int64_t x_step, int64_t groups, float *to, int64_t to_group) {
    for (int64_t p = 0; p < count; p++, x += x_step, to += TC_LANES)
        for (int64_t g = 0; g < groups; g++)
#pragma GCC unroll 4
            for (int l = 0; l < TC_LANES; l += TC_WIDTH)
                tc_store(to + g * to_group + l, tc_load(x + g * TC_LANES + l));
}

typedef int32_t dw_lanes __attribute__((vector_size(4 * TC_WIDTH)));

static void depthwise_expand(int64_t count, const float *x, int64_t x_step, int64_t vectors, const tc_expansion *e,
                             float *copy) {
    for (int64_t v = 0; v < vectors; v++, e++) {
        const float *from = x + e->from;
        float *to = copy + e->to;
        dw_lanes lane;
        memcpy(&lane, e->lane, sizeof lane);
        if (e->vectors == 1)
            for (int64_t p = 0; p < count; p++)
                tc_store(to + p * TC_LANES, __builtin_shuffle(tc_load(from + p * x_step), lane));
        else if (e->vectors == 2)
            for (int64_t p = 0; p < count; p++)
                tc_store(to + p * TC_LANES, __builtin_shuffle(tc_load(from + p * x_step),
                                                              tc_load(from + p * x_step + TC_WIDTH), lane));
        else
            for (int64_t p = 0; p < count; p++)
                for (int l = 0; l < TC_WIDTH; l++)
                    to[p * TC_LANES + l] = from[p * x_step + e->lane[l]];
    }
}

#define TC_DEPTHWISE_TABLE                                                                                            \
    {.width = TC_WIDTH, .forward = depthwise_forward, .weight_grad = depthwise_weight_grad, .copy = depthwise_copy,   \
     .expand = depthwise_expand}

#endif
