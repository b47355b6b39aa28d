/* Batch normalisation, local response normalisation, sums over rows. */
#include <math.h>

#include "parts.h"
#include "ranges.h"
#include "tinyconv.h"

/* two sums a part and channel, and three factors a channel */
int64_t tc_bn_scratch(int64_t rows, int64_t c) {
    return c * (tc_parts_of(rows, c) * 2 * (int64_t)sizeof(double) + 3 * (int64_t)sizeof(float));
}

/* ------------------------------------------------------------------ statistics */
static void stats_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                        const float *x, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.bn_stats(next - r, c, x + r * c, scratch + p * 2 * c, scratch + (p * 2 + 1) * c);
}

void tc_bn_stats(int64_t rows, int64_t c, const float *x, float *mean, float *var, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *means = scratch, *squares = means + c;
    threads = tc_threads_for(threads, 6.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, stats_parts(isa, low, high, parts, rows, c, x, scratch));
    tc_merge_moments(rows, parts, c, means);
    for (int64_t i = 0; i < c; i++) {
        mean[i] = (float)means[i];
        var[i] = (float)(squares[i] / (double)rows);
    }
}

void tc_bn_running(int64_t rows, int64_t c, float momentum, const float *mean, const float *var,
                   float *running_mean, float *running_var) {
    const float unbiased = rows > 1 ? (float)((double)rows / (double)(rows - 1)) : 1.0f;
    for (int64_t i = 0; i < c; i++) {
        running_mean[i] = (1 - momentum) * running_mean[i] + momentum * mean[i];
        running_var[i] = (1 - momentum) * running_var[i] + momentum * (var[i] * unbiased);
    }
}

void tc_bn_fold(int64_t k, int64_t n, double eps, const float *w, const float *bias, const float *mean,
                const float *var, const float *gamma, const float *beta, float *folded, float *shift) {
    for (int64_t i = 0; i < k; i++) {
        const double factor = gamma[i] / sqrt(var[i] + eps);
        for (int64_t j = 0; j < n; j++)
            folded[i * n + j] = (float)(factor * w[i * n + j]);
        shift[i] = (float)(((bias ? bias[i] : 0.0) - mean[i]) * factor + beta[i]);
    }
}

void tc_bn_act(const tc_bn_forward *b, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (b->residual ? 12.0 : 8.0) * (double)(b->rows * b->c));
    TC_RANGES(threads, b->rows, 16, low, high, isa->map.bn_act(b, low, high, y));
}

/* ------------------------------------------------------------------ max pooling behind
 * Its windows fill x: a row of outputs takes the `positions` under it and nothing else. A band of such rows is
 * normalised and pooled while it is in L2, so that what is pooled is nowhere in memory whole. */
enum { BAND = 32 * 1024 };      /* floats */

typedef struct {
    int64_t outputs, positions;         /* rows of outputs; positions of x under one */
    int64_t rows, bytes;                /* of a band */
    tc_pool_shape shape;                /* of a band */
} pooled;

static pooled pooled_of(const tc_pool_shape *s) {
    pooled p = {.outputs = s->n * s->od * s->oh, .positions = s->kh * s->iw, .shape = *s};
    const int64_t row = p.positions * s->c;
    p.rows = BAND / row > 1 ? BAND / row : 1;
    p.bytes = p.rows * row * (int64_t)sizeof(float);
    p.shape.id = p.shape.od = p.shape.oh = 1;
    p.shape.ih = s->kh;
    return p;
}

int64_t tc_bn_act_pool_scratch(const tc_pool_shape *s, int threads) {
    return pooled_of(s).bytes * (threads > 1 ? threads : 1);
}

/* Rows [low, high) of outputs. */
static void pool_range(const struct tc_isa *isa, const tc_bn_forward *b, pooled p, int64_t low, int64_t high, float *y,
                       char *index, float *band) {
    const int64_t width = p.shape.ow * b->c, item = p.shape.kh * p.shape.kw > 256 ? 4 : 1;
    for (int64_t r = low; r < high; r += p.shape.n) {
        tc_bn_forward part = *b;
        p.shape.n = r + p.rows < high ? p.rows : high - r;
        part.x += r * p.positions * b->c;
        isa->map.bn_act(&part, 0, p.shape.n * p.positions, band);
        isa->map.maxpool(&p.shape, 0, p.shape.n, band, y + r * width, index ? index + r * width * item : NULL);
    }
}

void tc_bn_act_pool(const tc_pool_shape *s, const tc_bn_forward *b, float *y, void *index, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const pooled p = pooled_of(s);
    threads = tc_threads_for(threads, 12.0 * (double)(b->rows * b->c));
    TC_RANGES(threads, threads, 1, low, high,
              pool_range(isa, b, p, p.outputs * low / threads, p.outputs * high / threads, y, index,
                         (float *)((char *)scratch + p.bytes * low)));
}

/* ------------------------------------------------------------------ gradients */
static void grad_parts(const struct tc_isa *isa, const tc_bn_backward *b, const float *scale, int64_t low, int64_t high,
                       int64_t parts, double *scratch) {
    TC_ROW_PARTS(low, high, b->rows, parts, p, r, next)
        isa->map.bn_sums(b, scale, r, next, scratch + p * 2 * b->c, scratch + (p * 2 + 1) * b->c);
}

/* dx = gamma/sigma (g - dbeta/rows - (x - mean)/sigma dgamma/rows) = scale ((g - shift) - (x - mean) slope) */
void tc_bn_grad(const tc_bn_backward *b, float *dx, float *dgamma, float *dbeta, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t rows = b->rows, c = b->c, parts = tc_parts_of(rows, c);
    double *sums = scratch;
    float *scale = (float *)(sums + parts * c * 2), *shift = scale + c, *slope = shift + c;
    threads = tc_threads_for(threads, 8.0 * (double)(rows * c));
    for (int64_t i = 0; i < c; i++)
        scale[i] = (float)(b->gamma[i] / sqrt((double)b->var[i] + b->eps));
    TC_RANGES(threads, parts, 1, low, high, grad_parts(isa, b, scale, low, high, parts, sums));
    tc_merge_sums(parts, 2 * c, sums);
    for (int64_t i = 0; i < c; i++) {
        const double inverse = 1 / sqrt((double)b->var[i] + b->eps);
        dgamma[i] = (float)(sums[i] * inverse);
        dbeta[i] = (float)sums[c + i];
        shift[i] = (float)(dbeta[i] / (double)rows);
        slope[i] = (float)(dgamma[i] * inverse / (double)rows);
    }
    TC_RANGES(threads, rows, 16, low, high, isa->map.bn_grad(b, scale, shift, slope, low, high, dx));
}

static void act_parts(const struct tc_isa *isa, const tc_incoming *in, int64_t low, int64_t high, int64_t parts,
                      int64_t rows, int64_t c, float *dx, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.act_sums(in, r, next, c, dx, scratch + p * c);
}

void tc_act_bias_grad(int64_t rows, int64_t c, const tc_incoming *in, float *dx, float *db, void *scratch,
                      int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 12.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, act_parts(isa, in, low, high, parts, rows, c, dx, sums));
    tc_round_sums(parts, c, sums, db);
}

static void sum_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                      const float *x, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next)
        isa->map.sum_rows(next - r, c, x + r * c, scratch + p * c);
}

void tc_sum_rows(int64_t rows, int64_t c, const float *x, float *sum, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 4.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, sum_parts(isa, low, high, parts, rows, c, x, sums));
    tc_round_sums(parts, c, sums, sum);
}

static void prelu_parts(const struct tc_isa *isa, int64_t low, int64_t high, int64_t parts, int64_t rows, int64_t c,
                        const float *x, const float *a, const float *dy, float *dx, double *scratch) {
    TC_ROW_PARTS(low, high, rows, parts, p, r, next) {
        isa->map.prelu_sums(next - r, c, x + r * c, dy + r * c, scratch + p * c);
        isa->map.prelu_grad(next - r, c, x + r * c, a, dy + r * c, dx + r * c);
    }
}

void tc_prelu_grad(int64_t rows, int64_t c, const float *x, const float *a, const float *dy, float *dx, float *da,
                   void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const int64_t parts = tc_parts_of(rows, c);
    double *sums = scratch;
    threads = tc_threads_for(threads, 12.0 * (double)(rows * c));
    TC_RANGES(threads, parts, 1, low, high, prelu_parts(isa, low, high, parts, rows, c, x, a, dy, dx, sums));
    tc_round_sums(parts, c, sums, da);
}

/* ------------------------------------------------------------------ local response */
void tc_lrn(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x, float *y,
            int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (40.0 + (double)size) * (double)(rows * c));
    TC_RANGES(threads, rows, 1, low, high, isa->map.lrn(high - low, c, size, alpha, beta, k, x + low * c, y + low * c));
}

void tc_lrn_grad(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k,
                 const float *x, const float *dy, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, (60.0 + 2.0 * (double)size) * (double)(rows * c));
    TC_RANGES(threads, rows, 1, low, high,
              isa->map.lrn_grad(high - low, c, size, alpha, beta, k, x + low * c, dy + low * c, dx + low * c));
}
