/* Pooling: threads split rows of the output, in gradients rows of the input. */
#include "ranges.h"
#include "tinyconv.h"

static double pool_work(const tc_pool_shape *s) {
    return 4.0 * (double)(s->n * s->c) * (double)(s->id * s->ih * s->iw + s->od * s->oh * s->ow);
}

void tc_maxpool(const tc_pool_shape *s, const float *x, float *y, void *index, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, pool_work(s));
    TC_RANGES(threads, s->n * s->od * s->oh, 1, low, high, isa->map.maxpool(s, low, high, x, y, index));
}

void tc_maxpool_grad(const tc_pool_shape *s, const float *dy, const void *index, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, pool_work(s));
    TC_RANGES(threads, s->n * s->id * s->ih, 1, low, high, isa->map.maxpool_grad(s, low, high, dy, index, dx));
}

void tc_avgpool(const tc_pool_shape *s, const float *x, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, pool_work(s));
    TC_RANGES(threads, s->n * s->od * s->oh, 1, low, high, isa->map.avgpool(s, low, high, x, y));
}

void tc_avgpool_grad(const tc_pool_shape *s, const float *dy, float *dx, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    threads = tc_threads_for(threads, pool_work(s));
    TC_RANGES(threads, s->n * s->id * s->ih, 1, low, high, isa->map.avgpool_grad(s, low, high, dy, dx));
}
