/* Random shapes of convolutions, for test_conv.c and test_depthwise.c. */
#ifndef TINYCONV_CHECK_SHAPES_H
#define TINYCONV_CHECK_SHAPES_H

#include "check_conv.h"

#define PICK(list) list[check_integer(0, (int64_t)(sizeof list / sizeof *list) - 1)]

static const int64_t CHANNELS[] = {1, 3, 7, 8, 15, 16, 17, 33, 64};
static const int64_t SIZES[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 28};
static const int64_t KERNELS[] = {1, 1, 2, 3, 3, 3, 5, 7, 11};
static const int64_t STRIDES[] = {1, 1, 1, 2, 2, 3, 4};

static int64_t outputs(int64_t in, int64_t k, int64_t s, int64_t before, int64_t behind, int64_t d) {
    const int64_t room = in + before + behind - (k - 1) * d - 1;
    return room < 0 ? 0 : room / s + 1;
}

/* One axis at random; 0 if the kernel does not fit. */
static int axis(int64_t *in, int64_t *out, int64_t *k, int64_t *s, int64_t *p, int64_t *d, int64_t most) {
    *in = PICK(SIZES);
    *k = PICK(KERNELS);
    *s = PICK(STRIDES);
    *d = check_integer(0, 3) ? 1 : check_integer(2, 3);
    *p = check_integer(0, 2) ? (*k - 1) * *d / 2 : check_integer(0, (*k - 1) * *d + 2);
    if (*in > most || *k > 2 * most)
        return 0;
    *out = outputs(*in, *k, *s, *p, check_integer(0, 2) ? *p : check_integer(0, *p + 2), *d);
    return *out > 0;
}

static int64_t work(const tc_conv_shape *s) {
    return s->n * s->od * s->oh * s->ow * s->kd * s->kh * s->kw * (s->c / s->groups) * s->k;
}

#endif
