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

/* With z = x - max: loss = log sum exp z - (1 - e) z[label] - e/c sum z;  dx = scale (softmax - target) */
static void map_xent(int64_t rows, int64_t c, float smoothing, float scale, const float *x, const int32_t *labels,
                     double *losses, float *dx) {
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
        if (dx) {
            const float by = 1.0f / sum;
            MAP_LANES(c, at, lanes)
                map_put(dx + at, (map_get(dx + at, lanes, 0) * by - spread) * scale, lanes);
            dx[labels[r]] -= (1 - smoothing) * scale;
            dx += c;
        }
    }
}

/* Elements of one float sum before it is added to the double one. */
enum { MAP_LOSS_BLOCK = 1024 };

/* x is logits: loss = max(x, 0) - x t + log(1 + exp(-|x|));  dx = scale (sigmoid(x) - t) */
static double map_bce(int64_t n, float scale, const float *x, const float *target, float *dx) {
    double total = 0;
    for (int64_t low = 0; low < n; low += MAP_LOSS_BLOCK) {
        const int64_t m = n - low < MAP_LOSS_BLOCK ? n - low : MAP_LOSS_BLOCK;
        mvf sum = mv_set(0);
        MAP_LANES(m, at, lanes) {
            const mvf v = map_get(x + low + at, lanes, 0), t = map_get(target + low + at, lanes, 0);
            const mvf e = mv_exp(-mv_abs(v)), u = 1.0f + e;
            /* log(1 + e) with the rounding of 1 + e made good */
            const mvf loss = (mv_at_least(v, mv_set(0)) - v * t) + (mv_log(u) + (e - (u - 1.0f)) / u);
            sum += lanes == MV ? loss : mv_load_part((const float *)&loss, lanes, 0);
            if (dx)
                map_put(dx + low + at, (mv_select(v < mv_set(0), e, mv_set(1)) / u - t) * scale, lanes);
        }
        total += mv_sum(sum);
    }
    return total;
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
