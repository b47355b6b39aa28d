/* Included once by each isa_*.c: the transforms of Winograd's minimal filtering, y = At [(G g) . (Bt d)].
 *
 * m outputs of a filter g of 3 taps over n = m + 2 inputs d take n products. Multiplying polynomials h (m coefficients)
 * and g (3) by their values at n points p, and going back from the values of the product to its coefficients, is
 *     s = V^-1 [(Vg g) . (Vh h)],  rows of V, Vg, Vh: 1, p, p^2, ...; at infinity the highest coefficient.
 * A filter is the transpose of that in h: y = Vh^t [(Vg g) . (V^-t d)]. So A = Vh, G = Vg, and Bt = V^-t, whose rows
 * are the coefficients of Lagrange's polynomials; their denominators, the products of the differences of p from all
 * other points, are divided out in G. Two dimensions are one after the other: Y = At [(G g Gt) . (Bt d B)] A.
 *
 * F(4, 3) takes 0, +-a, +-b and infinity with a^2 = 1/2, b^2 = 2: ab = 1, and rounding errors are half those of
 * 0, +-1, +-2. F(2, 3) takes 0, +-1 and infinity.
 * S. Winograd, Arithmetic Complexity of Computations (1980); A. Lavin, S. Gray, Fast Algorithms for Convolutional
 * Neural Networks (2016); B. Barabasz, A. Anderson, K. Soodhalter, D. Gregg, Error Analysis and Improving the Accuracy
 * of Winograd Convolution for Deep Neural Networks (2020). */
#ifndef TINYCONV_WINOGRAD_BODY_H
#define TINYCONV_WINOGRAD_BODY_H

#include "gemm_body.h"
#include "winograd_isa.h"

#define WINO_A 0.707106781186547524f /* sqrt(1/2) */
#define WINO_B 1.41421356237309505f  /* sqrt(2) */

/* ------------------------------------------------------------------ one dimension: vectors of channels */
typedef void wino_1d(const tc_vec *from, tc_vec *to);

/* Bt of F(4, 3): with N(x) = x (x^2 - a^2) (x^2 - b^2), row p holds N / (x - p), row infinity N:
 *     0:  x^4 - 5/2 x^2 + 1
 *     a:  x^4 + a x^3 - 2 x^2 - 2a x          b:  x^4 + b x^3 - 1/2 x^2 - b/2 x      -a, -b: odd powers' signs change
 *     oo: x^5 - 5/2 x^3 + x */
TC_INLINE void input_4(const tc_vec *d, tc_vec *v) {
    const tc_vec a_even = d[4] - 2.0f * d[2], a_odd = WINO_A * (d[3] - 2.0f * d[1]);
    const tc_vec b_even = d[4] - 0.5f * d[2], b_odd = WINO_B * (d[3] - 0.5f * d[1]);
    v[0] = d[0] + d[4] - 2.5f * d[2];
    v[1] = a_even + a_odd;
    v[2] = a_even - a_odd;
    v[3] = b_even + b_odd;
    v[4] = b_even - b_odd;
    v[5] = d[1] + d[5] - 2.5f * d[3];
}

/* At of F(4, 3): y_i = sum over p of p^i m_p, and m_oo in y_3 */
TC_INLINE void output_4(const tc_vec *m, tc_vec *y) {
    const tc_vec a_sum = m[1] + m[2], a_difference = m[1] - m[2];
    const tc_vec b_sum = m[3] + m[4], b_difference = m[3] - m[4];
    y[0] = m[0] + a_sum + b_sum;
    y[1] = WINO_A * a_difference + WINO_B * b_difference;
    y[2] = 0.5f * a_sum + 2.0f * b_sum;
    y[3] = WINO_A / 2 * a_difference + (2 * WINO_B * b_difference + m[5]);
}

/* A of F(4, 3): z_p = sum over i of p^i y_i, z_oo = y_3 */
TC_INLINE void output_grad_4(const tc_vec *y, tc_vec *z) {
    const tc_vec a_even = y[0] + 0.5f * y[2], a_odd = WINO_A * y[1] + WINO_A / 2 * y[3];
    const tc_vec b_even = y[0] + 2.0f * y[2], b_odd = WINO_B * y[1] + 2 * WINO_B * y[3];
    z[0] = y[0];
    z[1] = a_even + a_odd;
    z[2] = a_even - a_odd;
    z[3] = b_even + b_odd;
    z[4] = b_even - b_odd;
    z[5] = y[3];
}

/* G of F(4, 3): (g_0 + p g_1 + p^2 g_2) / N'(p), N'(0) = 1, N'(+-a) = -3/2, N'(+-b) = 6; u_oo = g_2 */
TC_INLINE void weights_4(const tc_vec *g, tc_vec *u) {
    const tc_vec a_even = -2 / 3.0f * g[0] - 1 / 3.0f * g[2], a_odd = -2 / 3.0f * WINO_A * g[1];
    const tc_vec b_even = 1 / 6.0f * g[0] + 1 / 3.0f * g[2], b_odd = 1 / 6.0f * WINO_B * g[1];
    u[0] = g[0];
    u[1] = a_even + a_odd;
    u[2] = a_even - a_odd;
    u[3] = b_even + b_odd;
    u[4] = b_even - b_odd;
    u[5] = g[2];
}

/* Gt of F(4, 3) */
TC_INLINE void weights_grad_4(const tc_vec *u, tc_vec *g) {
    const tc_vec a_sum = u[1] + u[2], a_difference = u[1] - u[2];
    const tc_vec b_sum = u[3] + u[4], b_difference = u[3] - u[4];
    g[0] = u[0] - 2 / 3.0f * a_sum + 1 / 6.0f * b_sum;
    g[1] = 1 / 6.0f * WINO_B * b_difference - 2 / 3.0f * WINO_A * a_difference;
    g[2] = u[5] - 1 / 3.0f * a_sum + 1 / 3.0f * b_sum;
}

/* Bt of F(2, 3): 0: 1 - x^2;  +-1: x^2 +- x;  oo: x^3 - x */
TC_INLINE void input_2(const tc_vec *d, tc_vec *v) {
    v[0] = d[0] - d[2];
    v[1] = d[2] + d[1];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
}

/* At, A, G and Gt of F(2, 3); N'(+-1) = 2 */
TC_INLINE void output_2(const tc_vec *m, tc_vec *y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
}

TC_INLINE void output_grad_2(const tc_vec *y, tc_vec *z) {
    z[0] = y[0];
    z[1] = y[0] + y[1];
    z[2] = y[0] - y[1];
    z[3] = y[1];
}

TC_INLINE void weights_2(const tc_vec *g, tc_vec *u) {
    const tc_vec even = 0.5f * g[0] + 0.5f * g[2], odd = 0.5f * g[1];
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
}

TC_INLINE void weights_grad_2(const tc_vec *u, tc_vec *g) {
    const tc_vec sum = 0.5f * u[1] + 0.5f * u[2], difference = 0.5f * u[1] - 0.5f * u[2];
    g[0] = u[0] + sum;
    g[1] = difference;
    g[2] = u[3] + sum;
}

/* ------------------------------------------------------------------ one or two dimensions */
/* Where the values of a transform stand, in whole vectors: value i at base + i * step, at at[i], or in a patch. Vectors
 * of channels follow each other, or in pairs, `panel` floats from one pair to the next. */
typedef struct {
    float *base;
    int64_t step, panel;
    float *const *at;
    const tc_patch *patch;
    const float *bias, *const *add; /* of outputs, all of which may be NULL */
    const tc_finish *clip;
} wino_side;

TC_INLINE float *wino_place(wino_side s, int i) { return s.at ? s.at[i] : s.base + i * s.step; }

TC_INLINE const float *wino_pixel(wino_side s, int y, int x, int n) {
    return s.patch ? s.patch->row[y] + x * s.patch->pitch : wino_place(s, y * n + x);
}

TC_INLINE int wino_outside(wino_side s, int x) { return s.patch && (x < s.patch->first || x >= s.patch->end); }

/* Output i, channels t and on. */
TC_INLINE tc_vec wino_finished(wino_side to, int i, int64_t t, tc_vec v) {
    if (to.bias)
        v += tc_load(to.bias + t);
    if (to.clip)
        v = mv_clip(to.add ? v + tc_load(to.add[i] + t) : v, to.clip->low, to.clip->high);
    return v;
}

/* One vector of channels, `f` floats behind where they stand and `t` behind where they go: a column. */
TC_INLINE void wino_column(wino_1d *transform, const int in, const int out, wino_side from, int64_t f, wino_side to,
                           int64_t t) {
    tc_vec a[6], b[6];
#pragma GCC unroll 6
    for (int y = 0; y < in; y++)
        a[y] = tc_load(wino_pixel(from, y, 0, 1) + f);
    transform(a, b);
#pragma GCC unroll 6
    for (int y = 0; y < out; y++)
        tc_store(wino_place(to, y) + t, wino_finished(to, y, t, b[y]));
}

/* A square: columns, then rows. */
TC_INLINE void wino_square(wino_1d *transform, const int in, const int out, wino_side from, int64_t f, wino_side to,
                           int64_t t) {
    tc_vec between[6][6], a[6], b[6];
#pragma GCC unroll 1 /* the tile has more vectors than there are registers: less code is all there is to gain */
    for (int x = 0; x < in; x++) {
        if (wino_outside(from, x)) {
#pragma GCC unroll 6
            for (int y = 0; y < out; y++)
                between[y][x] = (tc_vec){0};
            continue;
        }
#pragma GCC unroll 6
        for (int y = 0; y < in; y++)
            a[y] = tc_load(wino_pixel(from, y, x, in) + f);
        transform(a, b);
#pragma GCC unroll 6
        for (int y = 0; y < out; y++)
            between[y][x] = b[y];
    }
#pragma GCC unroll 1
    for (int y = 0; y < out; y++) {
        transform(between[y], b);
#pragma GCC unroll 6
        for (int x = 0; x < out; x++)
            tc_store(wino_place(to, y * out + x) + t, wino_finished(to, y * out + x, t, b[x]));
    }
}

/* Floats from where a transformed row begins to its channel j. */
TC_INLINE int64_t wino_channel(wino_side s, int64_t j) {
    return s.panel ? j / TC_PANEL * s.panel + j % TC_PANEL : j;
}

TC_INLINE void wino_vector(wino_1d *transform, const int square, const int in, const int out, wino_side from,
                           int64_t f, wino_side to, int64_t t) {
    if (square)
        wino_square(transform, in, out, from, f, to, t);
    else
        wino_column(transform, in, out, from, f, to, t);
}

/* All vectors; what is left of less than one is copied into one and out of it. */
TC_INLINE void wino_channels(wino_1d *transform, const int square, const int in, const int out, wino_side from,
                             int64_t f, wino_side to, int64_t t, int64_t count) {
    const int across = square ? in : 1;
    int64_t j = 0;
    for (; j + TC_WIDTH <= count; j += TC_WIDTH)
        wino_vector(transform, square, in, out, from, f + j, to, t + wino_channel(to, j));
    if (j == count)
        return;
    float x[36 * TC_WIDTH] __attribute__((aligned(64))) = {0}, y[36 * TC_WIDTH] __attribute__((aligned(64)));
    for (int i = 0; i < in * across; i++)
        if (!wino_outside(from, i % across))
            tc_copy_part(x + i * TC_WIDTH, wino_pixel(from, i / across, i % across, across) + f + j, count - j);
    wino_vector(transform, square, in, out, (wino_side){.base = x, .step = TC_WIDTH}, 0,
                (wino_side){.base = y, .step = TC_WIDTH}, 0);
    for (int i = 0; i < out * (square ? out : 1); i++) {
        float *at = wino_place(to, i) + t + wino_channel(to, j);
        for (int64_t l = 0; l < count - j; l++) {
            float *v = y + i * TC_WIDTH + l;
            if (to.bias)
                *v += to.bias[t + j + l];
            if (to.clip && to.add)
                *v += to.add[i][t + j + l];
            if (to.clip)
                *v = *v < to.clip->low ? to.clip->low : *v > to.clip->high ? to.clip->high : *v;
        }
        if (to.at)
            tc_copy_part(at, y + i * TC_WIDTH, count - j);
        else
            tc_store(at, tc_load(y + i * TC_WIDTH));
    }
}

#define WINO_TRANSFORMS(M, SQUARE)                                                                                    \
    static void wino_input_##M##_##SQUARE(const tc_patch *d, int64_t first, int64_t count, float *v, int64_t panel,   \
                                          int64_t step) {                                                             \
        const wino_side to = {.base = v, .step = step, .panel = panel};                                               \
        wino_channels(input_##M, SQUARE, M + 2, M + 2, (wino_side){.patch = d}, first, to, 0, count);                 \
    }                                                                                                                 \
    static void wino_output_##M##_##SQUARE(const float *m, int64_t step, const float *bias, int64_t first,            \
                                           int64_t count, float *const *y, const float *const *add,                   \
                                           const tc_finish *clip) {                                                   \
        const wino_side from = {.base = (float *)m, .step = step}, plain = {.at = y, .bias = bias};                   \
        const wino_side clipped = {.at = y, .bias = bias, .add = add, .clip = clip};                                  \
        if (clip)                                                                                                     \
            wino_channels(output_##M, SQUARE, M + 2, M, from, 0, clipped, first, count);                              \
        else                                                                                                          \
            wino_channels(output_##M, SQUARE, M + 2, M, from, 0, plain, first, count);                                \
    }                                                                                                                 \
    static void wino_weights_##M##_##SQUARE(float *u, int64_t step, int64_t count) {                                  \
        const wino_side side = {.base = u, .step = step};                                                             \
        wino_channels(weights_##M, SQUARE, 3, M + 2, side, 0, side, 0, count);                                        \
    }                                                                                                                 \
    static void wino_output_grad_##M##_##SQUARE(const tc_patch *dy, int64_t first, int64_t count, float *z,           \
                                                int64_t step) {                                                       \
        const wino_side to = {.base = z, .step = step};                                                               \
        wino_channels(output_grad_##M, SQUARE, M, M + 2, (wino_side){.patch = dy}, first, to, 0, count);              \
    }                                                                                                                 \
    static void wino_weights_grad_##M##_##SQUARE(const float *du, int64_t step, int64_t count, float *const *dg) {    \
        const wino_side from = {.base = (float *)du, .step = step};                                                   \
        wino_channels(weights_grad_##M, SQUARE, M + 2, 3, from, 0, (wino_side){.at = dg}, 0, count);                  \
    }
WINO_TRANSFORMS(4, 1)
WINO_TRANSFORMS(2, 1)
WINO_TRANSFORMS(4, 0)
WINO_TRANSFORMS(2, 0)

#define WINO_ENTRY(M, SQUARE)                                                                                         \
    {.input = wino_input_##M##_##SQUARE, .output = wino_output_##M##_##SQUARE,                                        \
     .weights = wino_weights_##M##_##SQUARE, .output_grad = wino_output_grad_##M##_##SQUARE,                          \
     .weights_grad = wino_weights_grad_##M##_##SQUARE}
#define TC_WINOGRAD_TABLE {{WINO_ENTRY(2, 0), WINO_ENTRY(4, 0)}, {WINO_ENTRY(2, 1), WINO_ENTRY(4, 1)}}

#endif
