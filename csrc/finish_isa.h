/* What a convolution does to its outputs while they are in L1. */
#ifndef TINYCONV_FINISH_ISA_H
#define TINYCONV_FINISH_ISA_H

#include <math.h>
#include <stdint.h>

#include "tinyconv.h"

/* tc_post of a tensor y: the bias is there when products begin, the rest when they have ended. */
typedef struct {
    const float *bias;
    const float *y, *add; /* `add` is laid out as y */
    int act;
    float a;
    int clips;            /* the activation only cuts off what is below `low` or above `high`: done in registers */
    float low, high;
} tc_finish;

static inline tc_finish tc_finish_of(const tc_post *post, const float *y) {
    tc_finish f = {.y = y, .act = TC_LINEAR};
    if (post) {
        f.bias = post->bias;
        f.add = post->add;
        f.act = post->act;
        f.a = post->a;
    }
    f.clips = f.act == TC_LINEAR || f.act == TC_RELU || f.act == TC_RELU6;
    f.low = f.act == TC_LINEAR ? -INFINITY : 0;
    f.high = f.act == TC_RELU6 ? 6 : INFINITY;
    return f;
}

/* For products that are the last ones of their outputs, or not: NULL where nothing is to be done behind them. */
static inline const tc_finish *tc_finish_after(const tc_finish *f, int last) {
    return last && (f->add || f->act != TC_LINEAR) ? f : NULL;
}

/* Of these the one for registers. */
static inline const tc_finish *tc_finish_clip(const tc_finish *f) { return f && f->clips ? f : NULL; }

#endif
