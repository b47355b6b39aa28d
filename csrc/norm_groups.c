/* Group normalisation: x is (n, s, c); a group is c/groups neighbouring channels at all s positions of a sample.
 *
 * Both passes reduce over positions, a channel apart, in (sample, part) pairs; put the channels of a group together;
 * and then run over all n * s rows with four numbers a channel of each sample. */
#include <math.h>

#include "parts.h"
#include "ranges.h"
#include "tinyconv.h"

typedef struct {
    int64_t n, s, c, groups, parts;     /* parts of a sample: few samples are cut further */
    double *sums;                       /* (n, parts, 2, c) */
    float *numbers;                     /* (n, 4, c) */
} shape;

static int64_t parts_a_sample(int64_t n, int64_t s, int64_t c) {
    const int64_t most = TC_MOST_PARTS / n > 1 ? TC_MOST_PARTS / n : 1, parts = tc_parts_of(s, c);
    return parts < most ? parts : most;
}

int64_t tc_gn_scratch(int64_t n, int64_t s, int64_t c) {
    return n * c * (parts_a_sample(n, s, c) * 2 * (int64_t)sizeof(double) + 4 * (int64_t)sizeof(float));
}

static shape shape_of(int64_t n, int64_t s, int64_t c, int64_t groups, void *scratch) {
    shape g = {n, s, c, groups, parts_a_sample(n, s, c), scratch, NULL};
    g.numbers = (float *)(g.sums + n * g.parts * 2 * c);
    return g;
}

static double *sums_of(const shape *g, int64_t sample) { return g->sums + sample * g->parts * 2 * g->c; }
static float *numbers_of(const shape *g, int64_t sample) { return g->numbers + sample * 4 * g->c; }

/* for (sample, part) pairs [low, high): `row` is the first of x, `count` how many, `to` where the 2 c sums go */
#define EACH_PART(g, low, high, row, count, to) \
    for (int64_t u_ = (low), row, count; \
         u_ < (high) && (row = tc_first_row((g)->s, (g)->parts, u_ % (g)->parts), \
                         count = tc_first_row((g)->s, (g)->parts, u_ % (g)->parts + 1) - row, \
                         row += u_ / (g)->parts * (g)->s, 1); u_++) \
        for (double *to = (g)->sums + u_ * 2 * (g)->c; to; to = NULL)

/* for the rows [low, high) of all n * s, a sample at a time: `count` rows from `row` on, of `sample` */
#define EACH_SAMPLE(g, low, high, sample, row, count) \
    for (int64_t row = (low), sample, count; \
         row < (high) && (sample = row / (g)->s, count = (sample + 1) * (g)->s - row, \
                          count = count < (high) - row ? count : (high) - row, 1); row += count)

/* ------------------------------------------------------------------ forward */
static void moments_parts(const struct tc_isa *isa, const shape *g, int64_t low, int64_t high, const float *x) {
    EACH_PART(g, low, high, row, count, sums)
        isa->map.bn_stats(count, g->c, x + row * g->c, sums, sums + g->c);
}

/* From the channels' moments to their group's: all have the same count, s. */
static void moments_samples(const shape *g, int64_t low, int64_t high, float eps, const float *gamma, float *mean,
                            float *var) {
    const int64_t width = g->c / g->groups;
    for (int64_t sample = low; sample < high; sample++) {
        const double *means = sums_of(g, sample), *squares = means + g->c;
        float *wide_mean = numbers_of(g, sample), *scale = wide_mean + g->c;
        tc_merge_moments(g->s, g->parts, g->c, sums_of(g, sample));
        for (int64_t group = 0; group < g->groups; group++) {
            const int64_t first = group * width, at = sample * g->groups + group;
            double sum = 0, about = 0;
            for (int64_t i = first; i < first + width; i++)
                sum += means[i];
            const double centre = sum / (double)width;
            for (int64_t i = first; i < first + width; i++)
                about += squares[i] + (double)g->s * (means[i] - centre) * (means[i] - centre);
            mean[at] = (float)centre;
            var[at] = (float)(about / (double)(g->s * width));
            const double inverse = 1 / sqrt((double)var[at] + eps);
            for (int64_t i = first; i < first + width; i++) {
                wide_mean[i] = mean[at];
                scale[i] = (float)(gamma[i] * inverse);
            }
        }
    }
}

static void apply_rows(const struct tc_isa *isa, const shape *g, int64_t low, int64_t high, const float *x,
                       const float *beta, float *y) {
    EACH_SAMPLE(g, low, high, sample, row, count) {
        const float *mean = numbers_of(g, sample);
        isa->map.gn_apply(count, g->c, x + row * g->c, mean, mean + g->c, beta, y + row * g->c);
    }
}

void tc_gn(int64_t n, int64_t s, int64_t c, int64_t groups, float eps, const float *x, const float *gamma,
           const float *beta, float *y, float *mean, float *var, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const shape g = shape_of(n, s, c, groups, scratch);
    threads = tc_threads_for(threads, 14.0 * (double)(n * s * c));
    TC_RANGES(threads, n * g.parts, 1, low, high, moments_parts(isa, &g, low, high, x));
    TC_RANGES(threads, n, 1, low, high, moments_samples(&g, low, high, eps, gamma, mean, var));
    TC_RANGES(threads, n * s, 16, low, high, apply_rows(isa, &g, low, high, x, beta, y));
}

/* ------------------------------------------------------------------ backward */
static void spread_mean(const shape *g, int64_t low, int64_t high, const float *mean) {
    for (int64_t sample = low; sample < high; sample++)
        for (int64_t i = 0; i < g->c; i++)
            numbers_of(g, sample)[i] = mean[sample * g->groups + i / (g->c / g->groups)];
}

static void sums_parts(const struct tc_isa *isa, const shape *g, int64_t low, int64_t high, const float *x,
                       const float *dy) {
    EACH_PART(g, low, high, row, count, sums) {
        const tc_bn_backward b = {.c = g->c, .x = x + row * g->c, .mean = numbers_of(g, u_ / g->parts),
                                  .in = {.kind = TC_LINEAR, .dy = dy + row * g->c}};
        isa->map.bn_sums(&b, NULL, 0, count, sums, sums + g->c);
    }
}

/* With u = (x - mean) / sigma over the m = s c/groups values of a group:
 * dx = (gamma dy - mean(gamma dy) - u mean(gamma dy u)) / sigma = scale dy - shift - (x - mean) slope */
static void numbers_samples(const shape *g, int64_t low, int64_t high, float eps, const float *var,
                            const float *gamma) {
    const int64_t c = g->c, width = c / g->groups;
    const double count = (double)(g->s * width);
    for (int64_t sample = low; sample < high; sample++) {
        double *dy_x = sums_of(g, sample), *dy_1 = dy_x + c;
        float *scale = numbers_of(g, sample) + c, *shift = scale + c, *slope = shift + c;
        tc_merge_sums(g->parts, 2 * c, dy_x);
        for (int64_t first = 0; first < c; first += width) {
            const double inverse = 1 / sqrt((double)var[sample * g->groups + first / width] + eps);
            double sum = 0, sum_u = 0;
            for (int64_t i = first; i < first + width; i++) {
                dy_x[i] *= inverse;     /* what the sample adds to dgamma */
                sum += gamma[i] * dy_1[i];
                sum_u += gamma[i] * dy_x[i];
            }
            for (int64_t i = first; i < first + width; i++) {
                scale[i] = (float)(gamma[i] * inverse);
                shift[i] = (float)(sum / count * inverse);
                slope[i] = (float)(sum_u / count * inverse * inverse);
            }
        }
    }
}

static void grad_rows(const struct tc_isa *isa, const shape *g, int64_t low, int64_t high, const float *x,
                      const float *dy, float *dx) {
    EACH_SAMPLE(g, low, high, sample, row, count) {
        const float *mean = numbers_of(g, sample);
        isa->map.gn_grad(count, g->c, x + row * g->c, dy + row * g->c, mean, mean + g->c, mean + 2 * g->c,
                         mean + 3 * g->c, dx + row * g->c);
    }
}

void tc_gn_grad(int64_t n, int64_t s, int64_t c, int64_t groups, float eps, const float *x, const float *dy,
                const float *mean, const float *var, const float *gamma, float *dx, float *dgamma, float *dbeta,
                void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const shape g = shape_of(n, s, c, groups, scratch);
    threads = tc_threads_for(threads, 16.0 * (double)(n * s * c));
    TC_RANGES(threads, n, 1, low, high, spread_mean(&g, low, high, mean));
    TC_RANGES(threads, n * g.parts, 1, low, high, sums_parts(isa, &g, low, high, x, dy));
    TC_RANGES(threads, n, 1, low, high, numbers_samples(&g, low, high, eps, var, gamma));
    TC_RANGES(threads, n * s, 16, low, high, grad_rows(isa, &g, low, high, x, dy, dx));
    for (int64_t sample = 1; sample < n; sample++)
        for (int64_t i = 0; i < 2 * c; i++)
            g.sums[i] += sums_of(&g, sample)[i];
    for (int64_t i = 0; i < c; i++) {
        dgamma[i] = (float)g.sums[i];
        dbeta[i] = (float)g.sums[c + i];
    }
}
