/* Softmax and the losses. */
#ifndef TINYCONV_MAP_LOSS_H
#define TINYCONV_MAP_LOSS_H

#include <math.h>

#include "map_elem.h"
#include "tinyconv.h"

/* A NaN may be passed over: it comes back through the sum of exponentials. */
static inline float map_row_largest(int64_t c, const float *x) {
    mvf most = mv_set(-INFINITY);
    MAP_LANES(c, at, lanes) {
        const mvf v = map_get(x + at, lanes, -INFINITY);
        most = mv_select(v > most, v, most);
    }
    return mv_largest(most);
}

/* e (or NULL) = exp(x - most); returns their sum */
static inline float map_row_exp(int64_t c, const float *x, float most, float *e) {
    mvf sum = mv_set(0);
    MAP_LANES(c, at, lanes) {
        const mvf v = mv_exp(map_get(x + at, lanes, -INFINITY) - most);
        sum += lanes == MV ? v : mv_load_part((const float *)&v, lanes, 0);
        if (e)
            map_put(e + at, v, lanes);
    }
    return mv_sum(sum);
}

static void map_softmax(int64_t rows, int64_t c, const float *x, float *y) {
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const float by = 1.0f / map_row_exp(c, x, map_row_largest(c, x), y);
        MAP_LANES(c, at, lanes)
            map_put(y + at, map_get(y + at, lanes, 0) * by, lanes);
    }
}

/* dx = y (dy - sum of y dy) */
static void map_softmax_grad(int64_t rows, int64_t c, const float *y, const float *dy, float *dx) {
    for (int64_t r = 0; r < rows; r++, y += c, dy += c, dx += c) {
        mvf sum = mv_set(0);
        MAP_LANES(c, at, lanes)
            sum += map_get(y + at, lanes, 0) * map_get(dy + at, lanes, 0);
        const float along = mv_sum(sum);
        MAP_LANES(c, at, lanes)
            map_put(dx + at, map_get(y + at, lanes, 0) * (map_get(dy + at, lanes, 0) - along), lanes);
    }
}

/* Focal loss of one row: with p = exp(-loss), loss becomes (1 - p)^gamma loss; returns its slope over the former. */
static inline double map_focus(double gamma, double *loss) {
    const double own = *loss > 0 ? *loss : 0, p = exp(-own), rest = -expm1(-own);
    const double power = rest > 0 ? pow(rest, gamma - 1) : 0;
    *loss *= power * rest;
    return power * (rest + gamma * p * own);
}

/* With z = x - max: loss = log sum exp z - (1 - e) z[label] - e/c sum z;  dx = scale (softmax - target), each times
 * the weight of the label. */
static void map_xent(int64_t rows, int64_t c, float smoothing, float gamma, float scale, const float *x,
                     const int32_t *labels, const float *weights, double *losses, float *dx) {
    const float spread = smoothing / (float)c;
    for (int64_t r = 0; r < rows; r++, x += c) {
        const float most = map_row_largest(c, x), sum = map_row_exp(c, x, most, dx);
        losses[r] = log((double)sum) - (1 - (double)smoothing) * ((double)x[labels[r]] - most);
        if (smoothing != 0) {
            mvf off = mv_set(0);
            MAP_LANES(c, at, lanes)
                off += map_get(x + at, lanes, most) - most;
            losses[r] -= (double)smoothing / (double)c * mv_sum(off);
        }
        double slope = weights ? weights[labels[r]] : 1;
        losses[r] *= slope;
        if (gamma != 0)
            slope *= map_focus(gamma, &losses[r]);
        if (dx) {
            const float by = 1.0f / sum, each = (float)(scale * slope);
            MAP_LANES(c, at, lanes)
                map_put(dx + at, (map_get(dx + at, lanes, 0) * by - spread) * each, lanes);
            dx[labels[r]] -= (1 - smoothing) * each;
            dx += c;
        }
    }
}

/* Elements of one float sum before it is added to the double one. */
enum { MAP_LOSS_BLOCK = 1024 };

/* log(1 + e) with the rounding of 1 + e made good */
static inline mvf map_log_1p(mvf e) {
    const mvf u = 1.0f + e;
    return mv_log(u) + (e - (u - 1.0f)) / u;
}

/* x is logits: loss = max(x, 0) - x t + log(1 + exp(-|x|));  dx = scale (sigmoid(x) - t) */
static double map_bce(int64_t n, float scale, const float *x, const float *target, float *dx) {
    double total = 0;
    for (int64_t low = 0; low < n; low += MAP_LOSS_BLOCK) {
        const int64_t m = n - low < MAP_LOSS_BLOCK ? n - low : MAP_LOSS_BLOCK;
        mvf sum = mv_set(0);
        MAP_LANES(m, at, lanes) {
            const mvf v = map_get(x + low + at, lanes, 0), t = map_get(target + low + at, lanes, 0);
            const mvf e = mv_exp(-mv_abs(v)), loss = (mv_at_least(v, mv_set(0)) - v * t) + map_log_1p(e);
            sum += lanes == MV ? loss : mv_load_part((const float *)&loss, lanes, 0);
            if (dx)
                map_put(dx + low + at, (mv_select(v < mv_set(0), e, mv_set(1)) / (1.0f + e) - t) * scale, lanes);
        }
        total += mv_sum(sum);
    }
    return total;
}

/* log(1 + exp(x)) = -log(1 - p) with p = sigmoid(x), from e = exp(-|x|) */
static inline mvf map_softplus(mvf x, mvf e) {
    return mv_at_least(x, mv_set(0)) + map_log_1p(e);
}

/* x is logits, p = sigmoid(x), q = 1 - p: loss = -alpha t q^gamma log p - (1 - alpha) (1 - t) p^gamma log q;
 * of its two parts the slopes are q^gamma (gamma p log p - q) and p^gamma (p - gamma q log q) */
static double map_focal(int64_t n, float gamma, float alpha, float scale, const float *x, const float *target,
                        float *dx) {
    double total = 0;
    for (int64_t low = 0; low < n; low += MAP_LOSS_BLOCK) {
        const int64_t m = n - low < MAP_LOSS_BLOCK ? n - low : MAP_LOSS_BLOCK;
        mvf sum = mv_set(0);
        MAP_LANES(m, at, lanes) {
            const mvf v = map_get(x + low + at, lanes, 0), t = map_get(target + low + at, lanes, 0);
            const mvf e = mv_exp(-mv_abs(v)), u = 1.0f + e;
            const mvf large = 1.0f / u, small = e / u;
            const mvi below = v < mv_set(0);
            const mvf p = mv_select(below, small, large), q = mv_select(below, large, small);
            const mvf log_q = -map_softplus(v, e), log_p = -map_softplus(-v, e);
            const mvf yes = alpha * t * mv_exp(gamma * log_q), no = (1 - alpha) * (1 - t) * mv_exp(gamma * log_p);
            const mvf loss = -(yes * log_p + no * log_q);
            sum += lanes == MV ? loss : mv_load_part((const float *)&loss, lanes, 0);
            if (dx)
                map_put(dx + low + at,
                        (yes * (gamma * p * log_p - q) + no * (p - gamma * q * log_q)) * scale, lanes);
        }
        total += mv_sum(sum);
    }
    return total;
}

/* dp = a p + b t, a and b a value a channel */
static void map_dice_grad(int64_t rows, int64_t c, const float *a, const float *b, const float *p, const float *target,
                          float *dp) {
    const int64_t width = c == 1 ? rows : c;    /* of a row as it lies in memory */
    const mvf a1 = mv_set(a[0]), b1 = mv_set(b[0]);
    for (int64_t r = 0; r < (c == 1 ? 1 : rows); r++, p += c, target += c, dp += c)
        MAP_LANES(width, at, lanes) {
            const mvf slope_p = c == 1 ? a1 : map_get(a + at, lanes, 0);
            const mvf slope_t = c == 1 ? b1 : map_get(b + at, lanes, 0);
            map_put(dp + at, slope_p * map_get(p + at, lanes, 0) + slope_t * map_get(target + at, lanes, 0), lanes);
        }
}

/* loss = (x - t)^2;  dx = 2 scale (x - t) */
static double map_mse(int64_t n, float scale, const float *x, const float *target, float *dx) {
    double total = 0;
    for (int64_t low = 0; low < n; low += MAP_LOSS_BLOCK) {
        const int64_t m = n - low < MAP_LOSS_BLOCK ? n - low : MAP_LOSS_BLOCK;
        mvf sum = mv_set(0);
        MAP_LANES(m, at, lanes) {
            const mvf off = map_get(x + low + at, lanes, 0) - map_get(target + low + at, lanes, 0);
            sum += off * off;
            if (dx)
                map_put(dx + low + at, off * (2.0f * scale), lanes);
        }
        total += mv_sum(sum);
    }
    return total;
}

#endif
