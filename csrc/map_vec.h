/* Vectors of MV float lanes in GCC's vector types, and the functions the maps need on them.
 *
 * MV is the width of the ISA this file is compiled for. The same operations run on every lane, so an element's
 * value does not depend on where in a vector it lies, nor on how a range was cut. */
#ifndef TINYCONV_MAP_VEC_H
#define TINYCONV_MAP_VEC_H

#include <stdint.h>
#include <string.h>

#define MV TC_WIDTH

#define MAP_INLINE static inline __attribute__((always_inline))

typedef float mvf __attribute__((vector_size(4 * MV)));
typedef int32_t mvi __attribute__((vector_size(4 * MV)));
typedef uint64_t mvu __attribute__((vector_size(4 * MV)));     /* MV / 2 lanes */
typedef uint8_t mvb __attribute__((vector_size(MV)));
typedef float mvf_mem __attribute__((vector_size(4 * MV), aligned(4), may_alias));
typedef int32_t mvi_mem __attribute__((vector_size(4 * MV), aligned(4), may_alias));
typedef uint8_t mvb_mem __attribute__((vector_size(MV), aligned(1), may_alias));

static inline mvf mv_load(const float *p) { return *(const mvf_mem *)p; }
static inline void mv_store(float *p, mvf v) { *(mvf_mem *)p = v; }
static inline mvf mv_set(float a) { return a - (mvf){0}; }
static inline mvi mv_seti(int32_t a) { return a - (mvi){0}; }

#if MV == 16
#define MV_LANES ((mvi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif MV == 8
#define MV_LANES ((mvi){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define MV_LANES ((mvi){0, 1, 2, 3})
#endif
/* -1 in the first n lanes, else 0 */
static inline mvi mv_first(int64_t n) { return MV_LANES < mv_seti((int32_t)n); }

/* The first n < MV lanes; the others read as `rest` and are neither touched in memory nor stored. */
static inline mvf mv_load_part(const float *p, int64_t n, float rest) {
#if defined(__AVX2__) && MV == 8
    const mvf v = __builtin_ia32_maskloadps256((const mvf *)p, mv_first(n));
    return __builtin_ia32_blendvps256(mv_set(rest), v, (mvf)mv_first(n));
#elif defined(__AVX512F__) && MV == 16
    return __builtin_ia32_loadups512_mask(p, mv_set(rest), (uint16_t)((1 << n) - 1));
#else
    float lanes[MV];
    for (int64_t i = 0; i < MV; i++)
        lanes[i] = i < n ? p[i] : rest;
    return mv_load(lanes);
#endif
}
static inline void mv_store_part(float *p, mvf v, int64_t n) {
#if defined(__AVX2__) && MV == 8
    __builtin_ia32_maskstoreps256((mvf *)p, mv_first(n), v);
#elif defined(__AVX512F__) && MV == 16
    __builtin_ia32_storeups512_mask(p, v, (uint16_t)((1 << n) - 1));
#else
    for (int64_t i = 0; i < n; i++)
        p[i] = v[i];
#endif
}

/* mask lanes are 0 or -1, as comparisons give them */
static inline mvf mv_select(mvi mask, mvf yes, mvf no) {
#if defined(__AVX2__) && MV == 8
    return __builtin_ia32_blendvps256(no, yes, (mvf)mask);
#else
    return (mvf)((mask & (mvi)yes) | (~mask & (mvi)no));
#endif
}
static inline mvi mv_selecti(mvi mask, mvi yes, mvi no) { return (mvi)mv_select(mask, (mvf)yes, (mvf)no); }
static inline mvf mv_keep(mvi mask, mvf v) { return (mvf)(mask & (mvi)v); }          /* v or 0 */
static inline mvf mv_abs(mvf v) { return (mvf)((mvi)v & 0x7fffffff); }
/* The larger of the two, v where it is NaN: the operands' order matters. */
static inline mvf mv_at_least(mvf v, mvf low) {
#if defined(__AVX2__) && MV == 8
    return __builtin_ia32_maxps256(low, v);
#elif defined(__AVX512F__) && MV == 16
    return __builtin_ia32_maxps512_mask(low, v, v, -1, 4);    /* 4: rounding as it is set */
#elif defined(__SSE__) && MV == 4
    return __builtin_ia32_maxps(low, v);
#else
    return mv_select(v < low, low, v);
#endif
}
static inline mvf mv_at_most(mvf v, mvf high) {
#if defined(__AVX2__) && MV == 8
    return __builtin_ia32_minps256(high, v);
#elif defined(__AVX512F__) && MV == 16
    return __builtin_ia32_minps512_mask(high, v, v, -1, 4);
#elif defined(__SSE__) && MV == 4
    return __builtin_ia32_minps(high, v);
#else
    return mv_select(v > high, high, v);
#endif
}
static inline mvf mv_clip(mvf v, float low, float high) {
    return mv_at_most(mv_at_least(v, mv_set(low)), mv_set(high));
}

static inline mvf mv_sqrt(mvf v) {
#if defined(__AVX512F__) && MV == 16
    return (mvf)__builtin_ia32_sqrtps512_mask(v, v, -1, 4);
#elif defined(__AVX2__) && MV == 8
    return __builtin_ia32_sqrtps256(v);
#elif defined(__SSE__) && MV == 4
    return __builtin_ia32_sqrtps(v);
#else
    for (int i = 0; i < MV; i++)
        v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}

/* Lanes combined pairwise, always in the same order. */
static inline float mv_sum(mvf v) {
    for (int half = MV / 2; half; half /= 2)
        v += __builtin_shuffle(v, MV_LANES ^ half);
    return v[0];
}
static inline float mv_largest(mvf v) {
    for (int half = MV / 2; half; half /= 2)
        v = mv_at_least(v, __builtin_shuffle(v, MV_LANES ^ half));
    return v[0];
}

/* The polynomials below are near-minimax fits made for this file; the bound is on the fit alone. */

/* exp(x + b) = 2^n (1 + q) with |b| small beside x (b is the rounding error of x, or 0), x in -105..89.
 * r = x + b - n ln 2, |r| <= 0.347;  q = r + r^2 P(r), 3e-9 */
static inline mvf mv_exp_parts(mvf x, mvf b, mvi *n) {
    const mvf magic = mv_set(0x1.8p23f);              /* adding it rounds to an integer in the low bits */
    mvf t = x * 1.44269504f + magic, k = t - magic;
    mvf r = ((x - k * 0x1.63p-1f) + b) + k * 2.12194440e-4f;      /* ln 2 = 0x1.63p-1 - 2.1219444e-4 */
    mvf p = mv_set(1.395063064e-03f);
    p = p * r + 8.368969952e-03f;
    p = p * r + 4.166620371e-02f;
    p = p * r + 1.666651817e-01f;
    p = p * r + 5.000000096e-01f;
    *n = (mvi)t - (mvi)magic;
    return r + r * r * p;
}
static inline mvf mv_power_of_2(mvi n) { return (mvf)((n + 127) << 23); }
/* In two steps, so that denormal results and those just below infinity come out right. */
static inline mvf mv_exp_of(mvf a, mvf b) {
    mvi n;
    mvf q = mv_exp_parts(mv_clip(a, -105.0f, 89.0f), b, &n);
    mvi half = n >> 1;
    return (1.0f + q) * mv_power_of_2(half) * mv_power_of_2(n - half);
}
static inline mvf mv_exp(mvf x) { return mv_exp_of(x, (mvf){0}); }

/* exp(x) - 1 = 2^n q + (2^n - 1), for x up to 60: no cancellation near 0 */
static inline mvf mv_expm1(mvf x) {
    mvi n;
    mvf q = mv_exp_parts(mv_at_least(x, mv_set(-105.0f)), (mvf){0}, &n);
    const mvi far = n < -30;                          /* exp(x) is lost beside 1 */
    mvf s = mv_power_of_2(mv_selecti(far, mv_seti(-30), n));
    return s * q + (s - 1.0f);
}

/* x > 0 and normal: x = 2^e (1 + f), log(1 + f) = f - f^2/2 + f^3 R(f) on [sqrt(1/2), sqrt(2)], 8e-10 */
static inline mvf mv_log(mvf x) {
    mvi bits = (mvi)x, e = (bits - 0x3f3504f3) >> 23;  /* 0x3f3504f3 is sqrt(1/2) */
    mvf f = (mvf)(bits - (e << 23)) - 1.0f, k = __builtin_convertvector(e, mvf);
    mvf r = mv_set(6.746638247e-02f);
    r = r * f - 1.167565120e-01f;
    r = r * f + 1.188816297e-01f;
    r = r * f - 1.240558907e-01f;
    r = r * f + 1.421955228e-01f;
    r = r * f - 1.666799584e-01f;
    r = r * f + 2.000211866e-01f;
    r = r * f - 2.500000960e-01f;
    r = r * f + 3.333331260e-01f;
    mvf low = r * f * f * f - 0.5f * f * f - k * 2.12194440e-4f;
    return k * 0x1.63p-1f + (f + low);
}

static inline mvf mv_sigmoid(mvf x) { return 1.0f / (1.0f + mv_exp(-x)); }

/* e / (e + 2) with e = exp(2x) - 1: small x keep their precision. Beyond 9.1 the result is 1 in float. */
static inline mvf mv_tanh(mvf x) {
    mvi n;
    const mvf q = mv_exp_parts(2.0f * mv_clip(x, -9.1f, 9.1f), (mvf){0}, &n), s = mv_power_of_2(n);
    const mvf e = s * q + (s - 1.0f); /* as expm1: no power is too small to count */
    return e / (e + 2.0f);
}

/* Phi(x), the normal distribution, with small relative error in both tails, and its density.
 * Phi(-a) = exp(-a^2/2) t P(t), t = 1 / (1 + 0.35 a), 3.2e-8 for 0 <= a <= 14.5; beyond, float has only 0.
 * a^2 = h^2 + (a - h)(a + h) with h of 12 bits: the exponent's rounding would cost 1e-6 in the tails. */
static inline mvf mv_normal(mvf x, mvf *density) {
    mvf a = mv_abs(x), t = 1.0f / (1.0f + 0.35f * a);
    a = mv_select(a > mv_set(14.5f), mv_set(14.5f), a);
    mvf h = (mvf)((mvi)a & (int32_t)0xfffff000);
    mvf e = mv_exp_of(-0.5f * h * h, -0.5f * ((a - h) * (a + h)));
    mvf p = mv_set(-2.915788571e-02f);
    p = p * t + 1.440309192e-01f;
    p = p * t - 2.558390028e-01f;
    p = p * t + 1.593196937e-01f;
    p = p * t - 2.321235193e-02f;
    p = p * t + 1.055525014e-01f;
    p = p * t + 1.198212879e-01f;
    p = p * t + 1.398635154e-01f;
    p = p * t + 1.396213068e-01f;
    mvf tail = e * t * p;
    *density = 0.398942280f * e;
    return mv_select(x > (mvf){0}, 1.0f - tail, tail);
}

#endif
