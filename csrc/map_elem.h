/* Elementwise bodies. `ivdep`: an output may be one of the inputs (never a shifted one), which vectors do not mind. */
#ifndef TINYCONV_MAP_ELEM_H
#define TINYCONV_MAP_ELEM_H

#include "map_vec.h"
#include "tinyconv.h"

/* Vectors of a row of c, `lanes` of them used; loads fill the others with a value that changes nothing. */
#define MAP_LANES(c, at, lanes) \
    for (int64_t at = 0, lanes; at < (c) && (lanes = (c) - at < MV ? (c) - at : MV, 1); at += MV)

static inline mvf map_get(const float *p, int64_t lanes, float rest) {
    return lanes == MV ? mv_load(p) : mv_load_part(p, lanes, rest);
}
static inline void map_put(float *p, mvf v, int64_t lanes) {
    if (lanes == MV)
        mv_store(p, v);
    else
        mv_store_part(p, v, lanes);
}

/* y = f(x) by vectors, the last one in part. */
#define MAP_UNARY(n, x, y, v, expression) \
    do { \
        int64_t i_ = 0; \
        for (; i_ + MV <= (n); i_ += MV) { \
            const mvf v = mv_load((x) + i_); \
            mv_store((y) + i_, expression); \
        } \
        if (i_ < (n)) { \
            const mvf v = mv_load_part((x) + i_, (n) - i_, 0); \
            mv_store_part((y) + i_, expression, (n) - i_); \
        } \
    } while (0)
#define MAP_BINARY(n, x, z, y, v, w, expression) \
    do { \
        int64_t i_ = 0; \
        for (; i_ + MV <= (n); i_ += MV) { \
            const mvf v = mv_load((x) + i_), w = mv_load((z) + i_); \
            mv_store((y) + i_, expression); \
        } \
        if (i_ < (n)) { \
            const mvf v = mv_load_part((x) + i_, (n) - i_, 0), w = mv_load_part((z) + i_, (n) - i_, 0); \
            mv_store_part((y) + i_, expression, (n) - i_); \
        } \
    } while (0)

static inline mvf map_gelu(mvf x) {
    mvf density;
    return x * mv_normal(x, &density);
}
static inline mvf map_gelu_slope(mvf x) {
    mvf density, phi = mv_normal(x, &density);
    return phi + x * density;
}
static inline mvf map_silu_slope(mvf x) {
    mvf s = mv_sigmoid(x);
    return s + x * s * (1.0f - s);
}
static inline mvf map_hswish_slope(mvf x) {
    mvf inside = (2.0f * x + 3.0f) * (1.0f / 6.0f);
    return mv_select(x <= mv_set(-3), mv_set(0), mv_select(x >= mv_set(3), mv_set(1), inside));
}

#define MAP_ACTIVATIONS(MACRO) \
    MACRO(TC_RELU) MACRO(TC_RELU6) MACRO(TC_LEAKY) MACRO(TC_ELU) MACRO(TC_GELU) \
    MACRO(TC_SILU) MACRO(TC_HSWISH) MACRO(TC_SIGMOID) MACRO(TC_HSIGMOID) MACRO(TC_TANH)

/* Comparisons are such that a NaN stays one. */
static inline __attribute__((always_inline)) mvf map_activation(const int kind, mvf v, float a) {
    const mvf zero = mv_set(0);
    switch (kind) {
    case TC_RELU: return mv_at_least(v, zero);
    case TC_RELU6: return mv_clip(v, 0, 6);
    case TC_LEAKY: return mv_select(v > zero, v, a * v);
    case TC_ELU: return mv_select(v > zero, v, a * mv_expm1(mv_at_most(v, zero)));
    case TC_GELU: return map_gelu(v);
    case TC_SILU: return v * mv_sigmoid(v);
    case TC_HSWISH: return v * mv_clip(v + 3.0f, 0, 6) * (1.0f / 6.0f);
    case TC_SIGMOID: return mv_sigmoid(v);
    case TC_HSIGMOID: return mv_clip(v * (1.0f / 6.0f) + 0.5f, 0, 1);
    case TC_TANH: return mv_tanh(v);
    default: return v;
    }
}

static void map_act(int kind, int64_t n, float a, const float *x, float *y) {
#define MAP_ACT_KIND(kind) case kind: MAP_UNARY(n, x, y, v, map_activation(kind, v, a)); break;
    switch (kind) {
    MAP_ACTIVATIONS(MAP_ACT_KIND)
    }
}

static void map_act_grad(int kind, int64_t n, float a, const float *saved, const float *dy, float *dx) {
    const mvf zero = mv_set(0), one = mv_set(1), six = mv_set(6);
    switch (kind) {      /* s is the output, from gelu to hswish the input */
    case TC_RELU: MAP_BINARY(n, saved, dy, dx, s, g, mv_keep(s > zero, g)); break;
    case TC_RELU6: MAP_BINARY(n, saved, dy, dx, s, g, mv_keep((s > zero) & (s < six), g)); break;
    case TC_LEAKY: MAP_BINARY(n, saved, dy, dx, s, g, mv_select(s > zero, g, a * g)); break;
    case TC_ELU: MAP_BINARY(n, saved, dy, dx, s, g, mv_select(s > zero, g, (s + a) * g)); break;
    case TC_GELU: MAP_BINARY(n, saved, dy, dx, s, g, g * map_gelu_slope(s)); break;
    case TC_SILU: MAP_BINARY(n, saved, dy, dx, s, g, g * map_silu_slope(s)); break;
    case TC_HSWISH: MAP_BINARY(n, saved, dy, dx, s, g, g * map_hswish_slope(s)); break;
    case TC_SIGMOID: MAP_BINARY(n, saved, dy, dx, s, g, g * (s * (one - s))); break;
    case TC_HSIGMOID: MAP_BINARY(n, saved, dy, dx, s, g, mv_keep((s > zero) & (s < one), g * (1.0f / 6.0f))); break;
    case TC_TANH: MAP_BINARY(n, saved, dy, dx, s, g, g * (one - s * s)); break;
    }
}

static void map_add(int64_t n, const float *a, const float *b, float *y) {
    MAP_BINARY(n, a, b, y, v, w, v + w);
}

static void map_mul(int64_t n, const float *a, const float *b, float *y) {
    MAP_BINARY(n, a, b, y, v, w, v * w);
}

static void map_scale(int64_t n, float by, const float *x, float *y) {
    MAP_UNARY(n, x, y, v, v * by);
}

/* splitmix64's finaliser */
static inline mvu map_mix(mvu z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Element i is kept where the top 32 bits of the mix of counter + i are at least `least`. */
static void map_dropout(int64_t n, uint32_t least, float scale, uint64_t counter, const float *x, float *y) {
    const mvi sign = mv_seti(INT32_MIN), from = mv_seti((int32_t)least) ^ sign;     /* compared as unsigned */
    mvu low, high;      /* counters of the vector's halves */
    for (int j = 0; j < MV / 2; j++) {
        low[j] = counter + (uint64_t)j;
        high[j] = low[j] + MV / 2;
    }
    for (int64_t i = 0; i < n; i += MV, low += MV, high += MV) {
        const mvi hash = __builtin_shuffle((mvi)map_mix(low), (mvi)map_mix(high), MV_LANES * 2 + 1);
        const mvi keep = (hash ^ sign) >= from;
        if (i + MV <= n)
            mv_store(y + i, mv_keep(keep, mv_load(x + i) * scale));
        else
            mv_store_part(y + i, mv_keep(keep, mv_load_part(x + i, n - i, 0) * scale), n - i);
    }
}

#endif
