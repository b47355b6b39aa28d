/* Resizing of maps: threads split rows of the output, in the gradient rows of the input. */
#include "ranges.h"
#include "tinyconv.h"

static double resize_work(const tc_resize_shape *s) {
    return 8.0 * (double)(s->n * s->c) * (double)(s->id * s->ih * s->iw + s->od * s->oh * s->ow);
}

void tc_resize(const tc_resize_shape *s, const float *x, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, resize_work(s));
    TC_RANGES(threads, s->n * s->od * s->oh, 1, low, high, isa->map.resize(s, low, high, x, y));
}

void tc_resize_grad(const tc_resize_shape *s, const float *dy, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, resize_work(s));
    TC_RANGES(threads, s->n * s->id * s->ih, 1, low, high, isa->map.resize_grad(s, low, high, dy, dx));
}
