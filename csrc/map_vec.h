/* Vectors of MV float lanes in GCC's vector types, and the functions the maps need on them.
 *
 * MV follows the ISA this file is compiled for. The same operations run on every lane, so an element's
 * value does not depend on where in a vector it lies, nor on how a range was cut. */
#ifndef TINYCONV_MAP_VEC_H
#define TINYCONV_MAP_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define MV 16
#elif defined(__AVX2__)
#define MV 8
#else
#define MV 4
#endif

typedef float mvf __attribute__((vector_size(4 * MV)));
typedef int32_t mvi __attribute__((vector_size(4 * MV)));
typedef uint8_t mvb __attribute__((vector_size(MV)));
typedef float mvf_mem __attribute__((vector_size(4 * MV), aligned(4), may_alias));
typedef int32_t mvi_mem __attribute__((vector_size(4 * MV), aligned(4), may_alias));
typedef uint8_t mvb_mem __attribute__((vector_size(MV), aligned(1), may_alias));

static inline mvf mv_load(const float *p) { return *(const mvf_mem *)p; }
static inline void mv_store(float *p, mvf v) { *(mvf_mem *)p = v; }
static inline mvf mv_set(float a) { return a - (mvf){0}; }
static inline mvi mv_seti(int32_t a) { return a - (mvi){0}; }

/* The first n < MV lanes; the others read as `rest` and are not stored. */
static inline mvf mv_load_part(const float *p, int64_t n, float rest)
{
    float lanes[MV];
    for (int64_t i = 0; i < MV; i++)
        lanes[i] = i < n ? p[i] : rest;
    return mv_load(lanes);
}
static inline void mv_store_part(float *p, mvf v, int64_t n)
{
    float lanes[MV];
    mv_store(lanes, v);
    for (int64_t i = 0; i < n; i++)
        p[i] = lanes[i];
}

/* mask lanes are 0 or -1, as comparisons give them */
static inline mvf mv_select(mvi mask, mvf yes, mvf no)
{
#if defined(__AVX2__) && MV == 8
    return __builtin_ia32_blendvps256(no, yes, (mvf)mask);
#else
    return (mvf)((mask & (mvi)yes) | (~mask & (mvi)no));
#endif
}
static inline mvi mv_selecti(mvi mask, mvi yes, mvi no) { return (mvi)mv_select(mask, (mvf)yes, (mvf)no); }
static inline mvf mv_keep(mvi mask, mvf v) { return (mvf)(mask & (mvi)v); }          /* v or 0 */
static inline mvf mv_abs(mvf v) { return (mvf)((mvi)v & 0x7fffffff); }
static inline mvf mv_like_sign(mvf v, mvf sign) { return (mvf)((mvi)v | ((mvi)sign & (int32_t)0x80000000)); }  /* v >= 0 */
/* a NaN in v stays */
static inline mvf mv_clip(mvf v, float low, float high)
{
    v = mv_select(v < mv_set(low), mv_set(low), v);
    return mv_select(v > mv_set(high), mv_set(high), v);
}

/* Lanes combined pairwise, always in the same order. */
static inline float mv_sum(mvf v)
{
    float lanes[MV];
    mv_store(lanes, v);
    for (int half = MV / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}
static inline float mv_largest(mvf v)
{
    float lanes[MV];
    mv_store(lanes, v);
    for (int half = MV / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    return lanes[0];
}

/* The polynomials below are near-minimax fits made for this file; the bound is on the fit alone. */

/* exp(a + b) = 2^n (1 + q) with |b| small beside a (b is the rounding error of a, or 0).
 * r = a + b - n ln 2, |r| <= 0.347;  q = r + r^2 P(r), 3e-9 */
static inline mvf mv_exp_parts(mvf a, mvf b, mvi *n)
{
    const mvf magic = mv_set(0x1.8p23f);              /* adding it rounds to an integer in the low bits */
    mvf x = mv_clip(a, -105.0f, 89.0f), t = x * 1.44269504f + magic, k = t - magic;
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
static inline mvf mv_exp_of(mvf a, mvf b)
{
    mvi n;
    mvf q = mv_exp_parts(a, b, &n);
    mvi half = n >> 1;
    return (1.0f + q) * mv_power_of_2(half) * mv_power_of_2(n - half);
}
static inline mvf mv_exp(mvf x) { return mv_exp_of(x, (mvf){0}); }

/* for x <= 0 (and NaN) */
static inline mvf mv_expm1_negative(mvf x)
{
    mvi n;
    mvf q = mv_exp_parts(x, (mvf){0}, &n);
    mvi far = n < -30;                                 /* exp(x) is lost beside 1 */
    mvf s = mv_power_of_2(mv_selecti(far, mv_seti(-30), n));
    return s * q + (s - 1.0f);
}

/* x > 0 and normal: x = 2^e (1 + f), log(1 + f) = f - f^2/2 + f^3 R(f) on [sqrt(1/2), sqrt(2)], 8e-10 */
static inline mvf mv_log(mvf x)
{
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

/* |x| < 0.625: x + x^3 P(x^2), 5e-9; else 1 - 2 / (exp(2|x|) + 1) */
static inline mvf mv_tanh(mvf x)
{
    mvf z = mv_abs(x), u = x * x, p = mv_set(-5.704986326e-03f);
    p = p * u + 2.063908657e-02f;
    p = p * u - 5.373971485e-02f;
    p = p * u + 1.333144219e-01f;
    p = p * u - 3.333328194e-01f;
    mvf near = x + x * u * p;
    mvf far = mv_like_sign(1.0f - 2.0f / (mv_exp(2.0f * z) + 1.0f), x);
    return mv_select(z < mv_set(0.625f), near, far);
}

/* Phi(x), the normal distribution, with small relative error in both tails, and its density.
 * Phi(-a) = exp(-a^2/2) t P(t), t = 1 / (1 + 0.35 a), 3.2e-8 for 0 <= a <= 14.5; beyond, float has only 0.
 * a^2 = h^2 + (a - h)(a + h) with h of 12 bits: the exponent's rounding would cost 1e-6 in the tails. */
static inline mvf mv_normal(mvf x, mvf *density)
{
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
