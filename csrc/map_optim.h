/* Bodies of the optimisers: one pass over a weight, its gradient and what is kept of them. */
#ifndef TINYCONV_MAP_OPTIM_H
#define TINYCONV_MAP_OPTIM_H

#include "map_elem.h"
#include "tinyconv.h"

static void map_sgd(int64_t n, float lr, float momentum, float decay, int nesterov, float by, float *w, const float *g,
                    float *v) {
    const float own = nesterov ? 1.0f : 0.0f, kept = nesterov ? momentum : 1.0f;
    MAP_LANES(n, at, lanes) {
        const mvf old = map_get(w + at, lanes, 0);
        const mvf slope = by * map_get(g + at, lanes, 0) + decay * old;
        const mvf speed = momentum * map_get(v + at, lanes, 0) + slope;
        map_put(v + at, speed, lanes);
        map_put(w + at, old - lr * (own * slope + kept * speed), lanes);
    }
}

static void map_adam(int64_t n, const tc_adam_rates *r, float by, float *w, const float *g, float *m, float *v) {
    MAP_LANES(n, at, lanes) {
        const mvf old = map_get(w + at, lanes, 0);
        const mvf slope = by * map_get(g + at, lanes, 0) + r->decay * old;
        const mvf mean = r->keep1 * map_get(m + at, lanes, 0) + r->take1 * slope;
        const mvf square = r->keep2 * map_get(v + at, lanes, 0) + r->take2 * (slope * slope);
        map_put(m + at, mean, lanes);
        map_put(v + at, square, lanes);
        map_put(w + at, r->shrink * old - r->rate * mean / (r->root * mv_sqrt(square) + r->eps), lanes);
    }
}

static void map_rmsprop(int64_t n, float lr, float keep, float take, float momentum, float eps, float decay, float by,
                        float *w, const float *g, float *s, float *v) {
    MAP_LANES(n, at, lanes) {
        const mvf old = map_get(w + at, lanes, 0);
        const mvf slope = by * map_get(g + at, lanes, 0) + decay * old;
        const mvf square = keep * map_get(s + at, lanes, 0) + take * (slope * slope);
        const mvf speed = momentum * map_get(v + at, lanes, 0) + lr * slope / mv_sqrt(square + eps);
        map_put(s + at, square, lanes);
        map_put(v + at, speed, lanes);
        map_put(w + at, old - speed, lanes);
    }
}

/* e += by (w - e) */
static void map_follow(int64_t n, float by, const float *w, float *e) {
    MAP_LANES(n, at, lanes) {
        const mvf old = map_get(e + at, lanes, 0);
        map_put(e + at, old + by * (map_get(w + at, lanes, 0) - old), lanes);
    }
}

#endif
