/* Activations, sums and products of tensors, dropout, windows, concatenation, the input's normalisation. */
#include <string.h>

#include "hash.h"
#include "ranges.h"
#include "tinyconv.h"

enum { BLOCK = 2048 };      /* floats that two bodies work on one after the other: they stay in L1 */

/* Rough floating-point operations an element beside the bytes it moves. */
static double act_cost(int kind) {
    const int plain = kind == TC_RELU || kind == TC_RELU6 || kind == TC_LEAKY || kind == TC_HSWISH ||
                      kind == TC_HSIGMOID;
    return plain ? 8 : 40;
}

void tc_act(int kind, int64_t n, float a, const float *x, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (double)n * act_cost(kind));
    TC_RANGES(threads, n, TC_GRAIN, low, high, isa->map.act(kind, high - low, a, x + low, y + low));
}

void tc_act_grad(int kind, int64_t n, float a, const float *saved, const float *dy, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const double cost = kind == TC_GELU || kind == TC_SILU ? 40 : 12;
    threads = tc_threads_for(threads, (double)n * cost);
    TC_RANGES(threads, n, TC_GRAIN, low, high, isa->map.act_grad(kind, high - low, a, saved + low, dy + low, dx + low));
}

static void add_act_range(const struct tc_isa *isa, int kind, int64_t n, float a, const float *x, const float *z,
                          float *y) {
    for (int64_t low = 0; low < n; low += BLOCK) {
        const int64_t m = n - low < BLOCK ? n - low : BLOCK;
        isa->map.add(m, x + low, z + low, y + low);
        isa->map.act(kind, m, a, y + low, y + low);
    }
}

void tc_add_act(int kind, int64_t n, float a, const float *x, const float *z, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (double)n * (4 + act_cost(kind)));
    TC_RANGES(threads, n, TC_GRAIN, low, high, add_act_range(isa, kind, high - low, a, x + low, z + low, y + low));
}

void tc_add_act_grad(int64_t n, const tc_incoming *in, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 16.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high, isa->map.act_grad_of(in, low, high - low, dx));
}

void tc_prelu(int64_t rows, int64_t c, const float *x, const float *a, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 16, low, high, isa->map.prelu(high - low, c, x + low * c, a, y + low * c));
}

void tc_bias_add(int64_t rows, int64_t c, const float *x, const float *bias, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 16, low, high, isa->map.add_channels(high - low, c, x + low * c, bias, y + low * c));
}

void tc_add(int64_t n, const float *a, const float *b, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 12.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high, isa->map.add(high - low, a + low, b + low, y + low));
}

/* rows [low, high) of all n * s, an image at a time where b belongs to images */
static void mul_range(const struct tc_isa *isa, int64_t low, int64_t high, int64_t s, int64_t c, int64_t bs, int64_t bc,
                      const float *a, const float *b, float *y) {
    if (bs == s) {
        if (bc == c)
            isa->map.mul((high - low) * c, a + low * c, b + low * c, y + low * c);
        else
            isa->map.mul_rows(high - low, c, a + low * c, b + low, y + low * c);
        return;
    }
    for (int64_t r = low, next; r < high; r = next) {
        const int64_t image = r / s;
        next = (image + 1) * s < high ? (image + 1) * s : high;
        if (bc == c)
            isa->map.mul_channels(next - r, c, a + r * c, b + image * c, y + r * c);
        else
            isa->map.scale((next - r) * c, b[image], a + r * c, y + r * c);
    }
}

void tc_mul(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const float *a, const float *b, float *y,
            int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 12.0 * (double)(n * s * c));
    TC_RANGES(threads, n * s, 16, low, high, mul_range(isa, low, high, s, c, bs, bc, a, b, y));
}

/* outputs of images, or of rows, [low, high) */
static void mul_reduce_range(const struct tc_isa *isa, int64_t low, int64_t high, int64_t s, int64_t c, int64_t bs,
                             int64_t bc, const float *dy, const float *a, float *db) {
    if (bs == s && bc == c) {
        isa->map.mul((high - low) * c, dy + low * c, a + low * c, db + low * c);
    } else if (bs == s) {
        for (int64_t r = low; r < high; r++)
            db[r] = (float)isa->map.dot(c, dy + r * c, a + r * c);
    } else if (bc != c) {
        for (int64_t i = low; i < high; i++)
            db[i] = (float)isa->map.dot(s * c, dy + i * s * c, a + i * s * c);
    } else {
        for (int64_t i = low; i < high; i++)
            isa->map.mul_sums(s, c, dy + i * s * c, a + i * s * c, db + i * c);
    }
}

void tc_mul_reduce(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const float *dy, const float *a, float *db,
                   int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, 8.0 * (double)(n * s * c));
    TC_RANGES(threads, bs == s ? n * s : n, 1, low, high, mul_reduce_range(isa, low, high, s, c, bs, bc, dy, a, db));
}

void tc_dropout(int64_t n, float p, uint64_t seed, uint64_t step, uint64_t layer, int64_t first, const float *x,
                float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const uint64_t counter = tc_stream(seed, step, layer) + (uint64_t)first;
    if (p >= 1) {
        memset(y, 0, (size_t)n * sizeof *y);
        return;
    }
    const uint32_t least = tc_least_kept(p);
    const float scale = p > 0 ? 1.0f / (1.0f - p) : 1.0f;
    threads = tc_threads_for(threads, 16.0 * (double)n);
    TC_RANGES(threads, n, TC_GRAIN, low, high,
              isa->map.dropout(high - low, least, scale, counter + (uint64_t)low, x + low, y + low));
}

/* ------------------------------------------------------------------ moving */
static void fill_zero(float *y, int64_t n) {
    if (n > 0)
        memset(y, 0, (size_t)n * sizeof *y);
}

/* memcpy's call costs more than a handful of channels */
static inline void copy(float *y, const float *x, int64_t n) {
    if (n >= 16)
        memcpy(y, x, (size_t)n * sizeof *y);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i];
}

/* Of `out` positions, those [low, high) that come from the input; position o is input o - before. */
static void inside(int64_t in, int64_t out, int64_t before, int64_t *low, int64_t *high) {
    *low = before > 0 ? before : 0;
    *high = in + before < out ? in + before : out;
    if (*low > out)
        *low = out;
    if (*high < *low)
        *high = *low;
}

static void window_rows(const tc_window_shape *s, int64_t low, int64_t high, const float *x, float *y) {
    int64_t w0, w1, c0, c1;
    inside(s->iw, s->ow, s->bw, &w0, &w1);
    inside(s->ic, s->oc, s->bc, &c0, &c1);
    const int whole = s->ic == s->oc && s->bc == 0;
    for (int64_t r = low; r < high; r++) {
        const int64_t image = r / s->oh / s->od, d = r / s->oh % s->od - s->bd, h = r % s->oh - s->bh;
        float *row = y + r * s->ow * s->oc;
        if (d < 0 || d >= s->id || h < 0 || h >= s->ih || w0 == w1 || c0 == c1) {
            fill_zero(row, s->ow * s->oc);
            continue;
        }
        const float *from = x + (((image * s->id + d) * s->ih + h) * s->iw + w0 - s->bw) * s->ic;
        fill_zero(row, w0 * s->oc);
        fill_zero(row + w1 * s->oc, (s->ow - w1) * s->oc);
        if (whole) {
            memcpy(row + w0 * s->oc, from, (size_t)((w1 - w0) * s->ic) * sizeof *y);
            continue;
        }
        for (int64_t w = w0; w < w1; w++, from += s->ic) {
            float *pixel = row + w * s->oc;
            for (int64_t i = 0; i < c0; i++)
                pixel[i] = 0;
            copy(pixel + c0, from + c0 - s->bc, c1 - c0);
            for (int64_t i = c1; i < s->oc; i++)
                pixel[i] = 0;
        }
    }
}

void tc_window(const tc_window_shape *s, const float *x, float *y, int threads) {
    const int64_t rows = s->n * s->od * s->oh;
    threads = tc_threads_for(threads, 8.0 * (double)(rows * s->ow * s->oc));
    TC_RANGES(threads, rows, 1, low, high, window_rows(s, low, high, x, y));
}

static void place_rows(int64_t rows, int64_t cx, int64_t cy, const float *x, float *y) {
    for (int64_t r = 0; r < rows; r++)
        copy(y + r * cy, x + r * cx, cx);
}

void tc_place(int64_t rows, int64_t cx, int64_t cy, int64_t at, const float *x, float *y, int threads) {
    threads = tc_threads_for(threads, 8.0 * (double)(rows * cx));
    TC_RANGES(threads, rows, 16, low, high, place_rows(high - low, cx, cy, x + low * cx, y + low * cy + at));
}

void tc_input(int64_t rows, int64_t c, int is_uint8, const void *x, const float *mean, const float *std, float *y,
              int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t each = is_uint8 ? 1 : (int64_t)sizeof(float);
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    TC_RANGES(threads, rows, 16, low, high,
              isa->map.input(high - low, c, is_uint8, (const char *)x + low * c * each, mean, std, y + low * c));
}
