/* What a convolution does to its outputs while they are in L1. */
#ifndef TINYCONV_FINISH_ISA_H
#define TINYCONV_FINISH_ISA_H

#include <stdint.h>

#include "tinyconv.h"

/* tc_post of a tensor y: the bias is there when products begin, the rest when they have ended. */
typedef struct {
    const float *bias;
    const float *y, *add; /* `add` is laid out as y */
    int act;
    float a;
} tc_finish;

static inline tc_finish tc_finish_of(const tc_post *post, const float *y) {
    return post ? (tc_finish){post->bias, y, post->add, post->act, post->a} : (tc_finish){.y = y, .act = TC_LINEAR};
}

/* For products that are the last ones of their outputs, or not: NULL where nothing is to be done behind them. */
static inline const tc_finish *tc_finish_after(const tc_finish *f, int last) {
    return last && (f->add || f->act != TC_LINEAR) ? f : NULL;
}

#endif
