/* From a step's operands and attributes to a kernel's arguments. One line an operation; runtime/cpu.py writes them
 * in the order that stands here. */
#include "program.h"

#include <string.h>

#define KERNEL(op) static void run_##op(const tc_step *s, const tc_context *r)
#define P(n) at(s, r, n)
#define I(n) (s->i[n])
#define F(n) ((float)s->f[n])
#define SHAPE(type) ((const type *)s->i)

_Static_assert(sizeof(tc_conv_shape) < sizeof(int64_t) * TC_INTS, "a shape and a pass fit into a step");

static inline void *at(const tc_step *s, const tc_context *r, int n) {
    return s->base[n] < 0 ? NULL : r->base[s->base[n]] + s->offset[n];
}

/* convolution: its shape, in all three passes and their packing (whose last integer is the pass) */
KERNEL(conv) {
    const tc_post post = {.bias = P(2), .act = TC_LINEAR};
    tc_conv_forward(SHAPE(tc_conv_shape), P(0), P(1), &post, P(3), r->scratch, r->threads);
}
/* and the activation */
KERNEL(conv_post) {
    const tc_post post = {P(2), P(3), (int)I(23), F(0)};
    tc_conv_forward(SHAPE(tc_conv_shape), P(0), P(1), &post, P(4), r->scratch, r->threads);
}
KERNEL(conv_dx) { tc_conv_data_grad(SHAPE(tc_conv_shape), P(0), P(1), P(2), r->scratch, r->threads); }
KERNEL(conv_dw) { tc_conv_weight_grad(SHAPE(tc_conv_shape), P(0), P(1), P(2), r->scratch, r->threads); }
KERNEL(pack) { tc_conv_pack(SHAPE(tc_conv_shape), (int)I(23), P(0), P(1), r->threads); }
static int64_t scratch_conv(const tc_step *s, int t) { return tc_conv_scratch(SHAPE(tc_conv_shape), TC_FORWARD, t); }
static int64_t scratch_conv_dx(const tc_step *s, int t) {
    return tc_conv_scratch(SHAPE(tc_conv_shape), TC_DATA_GRAD, t);
}
static int64_t scratch_conv_dw(const tc_step *s, int t) {
    return tc_conv_scratch(SHAPE(tc_conv_shape), TC_WEIGHT_GRAD, t);
}

/* pooling: its shape */
KERNEL(maxpool) { tc_maxpool(SHAPE(tc_pool_shape), P(0), P(1), P(2), r->threads); }
KERNEL(maxpool_grad) { tc_maxpool_grad(SHAPE(tc_pool_shape), P(0), P(1), P(2), r->threads); }
KERNEL(avgpool) { tc_avgpool(SHAPE(tc_pool_shape), P(0), P(1), r->threads); }
KERNEL(avgpool_grad) { tc_avgpool_grad(SHAPE(tc_pool_shape), P(0), P(1), r->threads); }

/* resizing: its shape */
KERNEL(resize) { tc_resize(SHAPE(tc_resize_shape), P(0), P(1), r->threads); }
KERNEL(resize_grad) { tc_resize_grad(SHAPE(tc_resize_shape), P(0), P(1), r->threads); }

/* normalisation and sums: rows, channels */
static int64_t scratch_rows(const tc_step *s, int t) { (void)t; return tc_bn_scratch(I(0), I(1)); }
KERNEL(bn_stats) { tc_bn_stats(I(0), I(1), P(0), P(1), P(2), r->scratch, r->threads); }
KERNEL(bn_fold) {     /* output channels, weights of each */
    tc_bn_fold(I(0), I(1), s->f[0], P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7));
    (void)r;
}
KERNEL(bn_running) { tc_bn_running(I(0), I(1), F(0), P(0), P(1), P(2), P(3)); (void)r; }
KERNEL(bn_apply) {
    const tc_bn_forward b = {I(0), I(1), F(0), P(0), P(1), P(2), P(3), P(4), NULL, TC_LINEAR, 0};
    tc_bn_act(&b, P(5), r->threads);
}
KERNEL(bn_grad) {
    const tc_bn_backward b = {I(0), I(1), F(0), P(0), P(2), P(3), P(4), NULL, {TC_LINEAR, 0, NULL, P(1), NULL}, NULL};
    tc_bn_grad(&b, P(5), P(6), P(7), r->scratch, r->threads);
}
/* ... and the activation */
KERNEL(bn_act) {
    const tc_bn_forward b = {I(0), I(1), F(0), P(0), P(1), P(2), P(3), P(4), P(5), (int)I(2), F(1)};
    tc_bn_act(&b, P(6), r->threads);
}
KERNEL(bn_act_grad) {
    const tc_incoming in = {(int)I(2), F(1), P(6), P(1), P(7)};
    const tc_bn_backward b = {I(0), I(1), F(0), P(0), P(2), P(3), P(4), P(5), in, P(11)};
    tc_bn_grad(&b, P(8), P(9), P(10), r->scratch, r->threads);
}
/* ... and max pooling: its shape, the activation */
static int64_t scratch_bn_act_pool(const tc_step *s, int t) { return tc_bn_act_pool_scratch(SHAPE(tc_pool_shape), t); }
KERNEL(bn_act_pool) {
    const tc_pool_shape *p = SHAPE(tc_pool_shape);
    const tc_bn_forward b = {p->n * p->id * p->ih * p->iw, p->c, F(0), P(0), P(1), P(2), P(3), P(4), NULL, (int)I(18),
                             F(1)};
    tc_bn_act_pool(p, &b, P(5), P(6), r->scratch, r->threads);
}
KERNEL(act_bias_grad) {
    const tc_incoming in = {(int)I(2), F(0), P(0), P(1), P(2)};
    tc_act_bias_grad(I(0), I(1), &in, P(3), P(4), r->scratch, r->threads);
}
static int64_t scratch_ln(const tc_step *s, int t) { (void)t; return tc_ln_scratch(I(0), I(1)); }
KERNEL(ln) { tc_ln(I(0), I(1), F(0), P(0), P(1), P(2), P(3), r->threads); }
KERNEL(ln_grad) { tc_ln_grad(I(0), I(1), F(0), P(0), P(1), P(2), P(3), P(4), P(5), r->scratch, r->threads); }
KERNEL(scale) { tc_scale(I(0), I(1), P(0), P(1), P(2), r->threads); }
KERNEL(scale_grad) { tc_scale_grad(I(0), I(1), P(0), P(1), P(2), P(3), P(4), r->scratch, r->threads); }
KERNEL(lrn) { tc_lrn(I(0), I(1), I(2), F(0), F(1), F(2), P(0), P(1), r->threads); }
KERNEL(lrn_grad) { tc_lrn_grad(I(0), I(1), I(2), F(0), F(1), F(2), P(0), P(1), P(2), r->threads); }
KERNEL(bias_grad) { tc_sum_rows(I(0), I(1), P(0), P(1), r->scratch, r->threads); }

/* samples, positions, channels, groups */
static int64_t scratch_gn(const tc_step *s, int t) { (void)t; return tc_gn_scratch(I(0), I(1), I(2)); }
KERNEL(gn) {
    tc_gn(I(0), I(1), I(2), I(3), F(0), P(0), P(1), P(2), P(3), P(4), P(5), r->scratch, r->threads);
}
KERNEL(gn_grad) {
    tc_gn_grad(I(0), I(1), I(2), I(3), F(0), P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7), r->scratch, r->threads);
}

/* elementwise */
KERNEL(act) { tc_act((int)I(0), I(1), F(0), P(0), P(1), r->threads); }
KERNEL(act_grad) { tc_act_grad((int)I(0), I(1), F(0), P(0), P(1), P(2), r->threads); }
KERNEL(add_act) { tc_add_act((int)I(0), I(1), F(0), P(0), P(1), P(2), r->threads); }
KERNEL(add_act_grad) {
    const tc_incoming in = {(int)I(0), F(0), P(0), P(1), P(2)};
    tc_add_act_grad(I(1), &in, P(3), r->threads);
}
KERNEL(prelu) { tc_prelu(I(0), I(1), P(0), P(1), P(2), r->threads); }
KERNEL(prelu_grad) { tc_prelu_grad(I(0), I(1), P(0), P(1), P(2), P(3), P(4), r->scratch, r->threads); }
KERNEL(bias_add) { tc_bias_add(I(0), I(1), P(0), P(1), P(2), r->threads); }
KERNEL(add) { tc_add(I(0), P(0), P(1), P(2), r->threads); }
KERNEL(mul) { tc_mul(I(0), I(1), I(2), I(3), I(4), P(0), P(1), P(2), r->threads); }
KERNEL(mul_reduce) { tc_mul_reduce(I(0), I(1), I(2), I(3), I(4), P(0), P(1), P(2), r->threads); }
KERNEL(dropout) { tc_dropout(I(0), F(0), r->seed, r->step, (uint64_t)I(1), I(2), P(0), P(1), r->threads); }
KERNEL(droppath) { tc_droppath(I(0), I(1), F(0), r->seed, r->step, (uint64_t)I(2), I(3), P(0), P(1), r->threads); }
static int64_t scratch_dropblock(const tc_step *s, int t) {
    (void)t;
    return tc_dropblock_scratch(SHAPE(tc_block_shape));
}
KERNEL(dropblock) {     /* the shape, the layer, the first position */
    tc_dropblock(SHAPE(tc_block_shape), F(0), F(1), r->seed, r->step, (uint64_t)I(8), I(9), P(0), P(1), r->scratch,
                 r->threads);
}
KERNEL(shuffle) { tc_shuffle(I(0), I(1), I(2), P(0), P(1), r->threads); }
KERNEL(window) { tc_window(SHAPE(tc_window_shape), P(0), P(1), r->threads); }
KERNEL(input) { tc_input(I(0), I(1), (int)I(2), P(0), P(1), P(2), P(3), r->threads); }

/* rows, channels of the result, channels of each part */
KERNEL(concat) {
    int64_t column = 0;
    for (int part = 0; part < s->operands - 1; part++) {
        tc_place(I(0), I(2 + part), I(1), column, P(part), P(s->operands - 1), r->threads);
        column += I(2 + part);
    }
}

/* a view: bytes to move where the result does not share its input's memory */
KERNEL(reshape) {
    if (P(0) != P(1))
        memcpy(P(1), P(0), (size_t)I(0));
}

/* softmax and losses: rows, channels (bce, mse: values) */
static int64_t scratch_xent(const tc_step *s, int t) { (void)t; return I(0) * (int64_t)sizeof(double); }
static int64_t scratch_loss(const tc_step *s, int t) { (void)s; (void)t; return 64 * sizeof(double); }
KERNEL(softmax) { tc_softmax(I(0), I(1), P(0), P(1), r->threads); }
KERNEL(softmax_grad) { tc_softmax_grad(I(0), I(1), P(0), P(1), P(2), r->threads); }
KERNEL(xent) {
    tc_xent(I(0), I(1), F(1), F(2), F(0), P(0), P(1), P(2), P(3), P(4), r->scratch, r->threads);
}
KERNEL(focal) { tc_focal(I(0), F(1), F(2), F(0), P(0), P(1), P(2), P(3), r->scratch, r->threads); }
/* samples, positions, channels, whether the target is labels */
static int64_t scratch_dice(const tc_step *s, int t) { (void)t; return tc_dice_scratch(I(0), I(2)); }
KERNEL(dice) {
    tc_dice(I(0), I(1), I(2), F(1), F(0), P(0), I(3) ? NULL : P(1), I(3) ? P(1) : NULL, P(2), P(3), r->scratch,
            r->threads);
}
KERNEL(bce) { tc_bce(I(0), F(0), P(0), P(1), P(2), P(3), r->scratch, r->threads); }
KERNEL(mse) { tc_mse(I(0), F(0), P(0), P(1), P(2), P(3), r->scratch, r->threads); }

/* optimisers: values; their last float and operand are the clipping's */
KERNEL(square_sum) { tc_square_sum(I(0), P(0), P(1), P(2), r->scratch, r->threads); }
KERNEL(sgd) {
    tc_sgd(I(0), r->lr, F(0), F(1), (int)I(1), tc_clip_factor(s->f[2], P(3)), P(0), P(1), P(2), r->threads);
}
KERNEL(adam) {
    const tc_adam_options o = {s->f[0], s->f[1], s->f[2], s->f[3], (int)I(1)};
    tc_adam(I(0), &o, r->lr, r->step, tc_clip_factor(s->f[4], P(4)), P(0), P(1), P(2), P(3), r->threads);
}
KERNEL(rmsprop) {
    const tc_rmsprop_options o = {s->f[0], s->f[1], s->f[2], s->f[3]};
    tc_rmsprop(I(0), &o, r->lr, tc_clip_factor(s->f[4], P(4)), P(0), P(1), P(2), P(3), r->threads);
}
KERNEL(ema) { tc_ema(I(0), s->f[0], r->step, P(0), P(1), r->threads); }

#define ROW(op, scratch) {#op, run_##op, scratch}
static const tc_kernel kernels[] = {
    ROW(conv, scratch_conv), ROW(conv_post, scratch_conv), ROW(conv_dx, scratch_conv_dx), ROW(conv_dw, scratch_conv_dw),
    ROW(pack, NULL),
    ROW(maxpool, NULL), ROW(maxpool_grad, NULL), ROW(avgpool, NULL), ROW(avgpool_grad, NULL),
    ROW(resize, NULL), ROW(resize_grad, NULL), ROW(bias_add, NULL),
    ROW(bn_stats, scratch_rows), ROW(bn_fold, NULL), ROW(bn_running, NULL), ROW(bn_apply, NULL),
    ROW(bn_grad, scratch_rows), ROW(bn_act, NULL), ROW(bn_act_grad, scratch_rows),
    ROW(bn_act_pool, scratch_bn_act_pool), ROW(act_bias_grad, scratch_rows),
    ROW(add_act, NULL), ROW(add_act_grad, NULL),
    ROW(ln, NULL), ROW(ln_grad, scratch_ln), ROW(gn, scratch_gn), ROW(gn_grad, scratch_gn),
    ROW(scale, NULL), ROW(scale_grad, scratch_rows), ROW(lrn, NULL), ROW(lrn_grad, NULL), ROW(bias_grad, scratch_rows),
    ROW(act, NULL), ROW(act_grad, NULL), ROW(prelu, NULL), ROW(prelu_grad, scratch_rows),
    ROW(add, NULL), ROW(mul, NULL), ROW(mul_reduce, NULL), ROW(dropout, NULL),
    ROW(droppath, NULL), ROW(dropblock, scratch_dropblock), ROW(shuffle, NULL), ROW(window, NULL), ROW(input, NULL),
    ROW(concat, NULL), ROW(reshape, NULL),
    ROW(softmax, NULL), ROW(softmax_grad, NULL), ROW(xent, scratch_xent), ROW(bce, scratch_loss),
    ROW(mse, scratch_loss), ROW(focal, scratch_loss), ROW(dice, scratch_dice),
    ROW(square_sum, scratch_loss), ROW(sgd, NULL), ROW(adam, NULL), ROW(rmsprop, NULL), ROW(ema, NULL),
};

const tc_kernel *tc_kernel_named(const char *name) {
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (!strcmp(kernels[i].name, name))
            return &kernels[i];
    return NULL;
}

int64_t tc_step_scratch(const tc_step *step, int threads) {
    return step->kernel->scratch ? step->kernel->scratch(step, threads) : 0;
}

void tc_program_run(const tc_step *steps, int64_t first, int64_t last, const tc_context *run) {
    tc_context own = *run;
    for (int64_t i = first; i < last; i++) {
        own.scratch = run->scratch + steps[i].scratch;
        steps[i].kernel->run(&steps[i], &own);
    }
}
