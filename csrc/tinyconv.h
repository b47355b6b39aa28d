/* tinyconv's C kernels. No Python here: this builds and tests alone.
 *
 * Tensors are float32, channels last: (n, d, h, w, c), rows of `c` contiguous floats.
 * 1-D data has d = h = 1, 2-D data d = 1. Every function writes all of its outputs,
 * reads nothing outside its inputs and allocates nothing; scratch is the caller's.
 * Results do not depend on `threads`, bit for bit: threads split outputs, or a
 * reduction is cut into a number of parts that depends on the shape alone. */
#ifndef TINYCONV_H
#define TINYCONV_H

#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ machine (cpu.c) */
const char *tc_isa_name(void);                 /* the one in use: "avx2", "generic", ... */
int tc_isa_count(void);                        /* those this build has and this CPU runs, best first */
const char *tc_isa_list(int i);
int tc_isa_force(const char *name);            /* 0 if it is not available; also TINYCONV_ISA at start */
int tc_has_openmp(void);
int tc_cpu_count(void);                        /* cpuset and cgroup quota, at least 1 */
int tc_threads_for(int threads, double work);  /* `work` in floating-point operations or bytes: few -> 1 */
double tc_least_work(double work);             /* what counts as few, for one thread; the value before. For tests: 0 */
double tc_measure_fma(int threads, double seconds);   /* GFLOP/s */
double tc_measure_read(int threads, double seconds);  /* GB/s */

/* ------------------------------------------------------------------ gemm, conv */
/* c[m][n] = a[m][k] b[k][n] (row major, leading dimensions in floats), packing included */
int64_t tc_gemm_scratch(int64_t m, int64_t n, int64_t k, int threads);   /* bytes */
void tc_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
             float *c, int64_t ldc, void *scratch, int threads);

/* x (n, id, ih, iw, c) * w (k, kd, kh, kw, c/groups) -> y (n, od, oh, ow, k).
 * Padding is what stands before the first element; what is missing behind the last is zero too. */
typedef struct {
    int64_t n, id, ih, iw, c;
    int64_t od, oh, ow, k;
    int64_t kd, kh, kw;
    int64_t sd, sh, sw;
    int64_t pd, ph, pw;
    int64_t dd, dh, dw;
    int64_t groups;
    int64_t algorithm;         /* one of those below; where it does not fit the shape, TC_DIRECT */
} tc_conv_shape;
enum { TC_CHOOSE = 0, TC_DIRECT = 1, TC_WINOGRAD_2X2 = 2, TC_WINOGRAD_4X4 = 3, TC_UNPACKED = 4 };

enum { TC_FORWARD = 0, TC_DATA_GRAD = 1, TC_WEIGHT_GRAD = 2 };
int64_t tc_conv_packed(const tc_conv_shape *s, int pass);                /* floats; FORWARD, DATA_GRAD */
int64_t tc_conv_scratch(const tc_conv_shape *s, int pass, int threads);  /* bytes */
/* "gemm", "igemm", "dwconv", "groupconv", "winograd2x2" or 4x4, along one axis 2x1 or 4x1, "unpacked" */
const char *tc_conv_algorithm(const tc_conv_shape *s, int pass);
/* Whether weights that would be packed for one call alone are better read as they stand: by TC_UNPACKED, to which they
 * are given in the place of packed ones. */
int tc_conv_unpacked(const tc_conv_shape *s, int pass);
/* What the algorithm does, in the units of the choice's cost model (conv_choice.c), terms[TC_TERMS]; returns the
 * floating-point operations of a step. For its calibration, by tiles that are square. */
enum { TC_STEPS, TC_INPUTS, TC_OUTPUTS, TC_WEIGHTS, TC_TERMS };
double tc_conv_terms(const tc_conv_shape *s, int pass, double *terms);
void tc_conv_pack(const tc_conv_shape *s, int pass, const float *w, float *packed, int threads);
/* What becomes of a convolution's outputs before they are written for good: y = act(conv + bias + add). */
typedef struct {
    const float *bias;         /* k, or NULL */
    const float *add;          /* laid out as y and apart from it, or NULL */
    int act;                   /* TC_RELU, ... or TC_LINEAR */
    float a;                   /* of the activation */
} tc_post;
void tc_conv_forward(const tc_conv_shape *s, const float *x, const float *packed, const tc_post *post /* or NULL */,
                     float *y, void *scratch, int threads);
void tc_conv_data_grad(const tc_conv_shape *s, const float *dy, const float *packed, float *dx,
                       void *scratch, int threads);
void tc_conv_weight_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw,
                         void *scratch, int threads);

/* ------------------------------------------------------------------ pooling */
/* Window of output o along one axis: [o*s - p, o*s - p + k) clipped to the input;
 * adaptive: [floor(o*in/out), ceil((o+1)*in/out)), k is then their largest. Averages divide by the clipped size. */
typedef struct {
    int64_t n, id, ih, iw, c;
    int64_t od, oh, ow;
    int64_t kd, kh, kw;
    int64_t sd, sh, sw;
    int64_t pd, ph, pw;
    int64_t adaptive;
} tc_pool_shape;
/* `index` holds the position of the maximum inside the unclipped window, (jd*kh + jh)*kw + jw (adaptive: inside the
 * clipped one, with k as strides); bytes if kd*kh*kw <= 256, else int32. Of equal maxima the first, NaN over all. */
void tc_maxpool(const tc_pool_shape *s, const float *x, float *y, void *index /* or NULL */, int threads);
void tc_maxpool_grad(const tc_pool_shape *s, const float *dy, const void *index, float *dx, int threads);
void tc_avgpool(const tc_pool_shape *s, const float *x, float *y, int threads);
void tc_avgpool_grad(const tc_pool_shape *s, const float *dy, float *dx, int threads);

/* ------------------------------------------------------------------ resizing */
/* On an axis of `in` positions, output o of `out` is: nearest: input floor(o in/out); linear: between the inputs around
 * (o + 1/2) in/out - 1/2, clamped to 0 .. in - 1. */
typedef struct { int64_t n, id, ih, iw, c, od, oh, ow, linear; } tc_resize_shape;
void tc_resize(const tc_resize_shape *s, const float *x, float *y, int threads);
void tc_resize_grad(const tc_resize_shape *s, const float *dy, float *dx, int threads);

/* ------------------------------------------------------------------ activations */
enum { TC_RELU, TC_RELU6, TC_LEAKY, TC_ELU, TC_GELU, TC_SILU, TC_HSWISH, TC_SIGMOID, TC_HSIGMOID, TC_TANH };
enum { TC_LINEAR = -1 };       /* no activation */
/* The gradient is taken from `saved`: the output for relu, relu6, leaky, elu, sigmoid, hsigmoid, tanh; else the input.
 * gelu is x * Phi(x) with erf; hsigmoid is clip(x/6 + 1/2, 0, 1); y may be x, dx may be dy. */
void tc_act(int kind, int64_t n, float a, const float *x, float *y, int threads);
void tc_act_grad(int kind, int64_t n, float a, const float *saved, const float *dy, float *dx, int threads);
/* y = act(x + z); y may be x or z */
void tc_add_act(int kind, int64_t n, float a, const float *x, const float *z, float *y, int threads);
/* A gradient on its way back through an activation: act'(saved) (dy + more); kind TC_LINEAR: dy + more. */
typedef struct {
    int kind;
    float a;
    const float *saved, *dy, *more /* or NULL */;
} tc_incoming;
void tc_add_act_grad(int64_t n, const tc_incoming *in, float *dx, int threads);     /* dx may be in.dy or in.more */

/* ------------------------------------------------------------------ normalisation; x is (rows, c) */
/* Biased variance, from shifted sums in fixed parts merged in double. */
void tc_bn_stats(int64_t rows, int64_t c, const float *x, float *mean, float *var, void *scratch, int threads);
int64_t tc_bn_scratch(int64_t rows, int64_t c);          /* bytes, for stats, grad and tc_sum_rows */
/* running = (1 - momentum) running + momentum batch; the kept variance is unbiased (rows / (rows - 1)) */
void tc_bn_running(int64_t rows, int64_t c, float momentum, const float *mean, const float *var,
                   float *running_mean, float *running_var);
/* Weights w (k, n) and a bias (k, or NULL) of a convolution, so that its outputs are normalised:
 * folded = w f, shift = (bias - mean) f + beta with f = gamma / sqrt(var + eps) */
void tc_bn_fold(int64_t k, int64_t n, double eps, const float *w, const float *bias, const float *mean,
                const float *var, const float *gamma, const float *beta, float *folded, float *shift);
/* y = act(gamma (x - mean) / sqrt(var + eps) + beta + residual); y may be x or residual */
typedef struct {
    int64_t rows, c;
    float eps;
    const float *x, *mean, *var, *gamma, *beta, *residual /* or NULL */;
    int kind;
    float a;
} tc_bn_forward;
void tc_bn_act(const tc_bn_forward *b, float *y, int threads);
/* The same, without a residual, and max pooling whose windows fill x: one as large as the stride, none along the first
 * axis, no rest. y, index: as of tc_maxpool. */
int64_t tc_bn_act_pool_scratch(const tc_pool_shape *s, int threads);        /* bytes */
void tc_bn_act_pool(const tc_pool_shape *s, const tc_bn_forward *b, float *y, void *index, void *scratch, int threads);
/* Its gradient by g, what comes in through the activation, which is written to `g` (or NULL: not). Without in.saved the
 * activation's slope is taken from its input, computed once more by gamma and beta (that of relu, relu6, leaky, gelu,
 * silu and hswish can be). dx may be any of x, in.dy, in.more and in.saved; g may be in.dy or in.more. */
typedef struct {
    int64_t rows, c;
    float eps;
    const float *x, *mean, *var, *gamma, *beta;
    tc_incoming in;
    float *g;
} tc_bn_backward;
void tc_bn_grad(const tc_bn_backward *b, float *dx, float *dgamma, float *dbeta, void *scratch, int threads);
/* dx = act'(in.saved) (in.dy + in.more) and db, its sum over the rows; dx may be in.dy or in.more;
 * scratch: tc_bn_scratch */
void tc_act_bias_grad(int64_t rows, int64_t c, const tc_incoming *in, float *dx, float *db, void *scratch, int threads);
/* y = x / (k + alpha/size * sum of x^2 over `size` channels around)^beta */
void tc_lrn(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k, const float *x, float *y,
            int threads);
void tc_lrn_grad(int64_t rows, int64_t c, int64_t size, float alpha, float beta, float k,
                 const float *x, const float *dy, float *dx, int threads);
void tc_sum_rows(int64_t rows, int64_t c, const float *x, float *sum, void *scratch, int threads);
/* Layer normalisation, each row by its own mean and biased variance (norm_rows.c). The gradient computes them again;
 * y may be x, dx may be dy. */
void tc_ln(int64_t rows, int64_t c, float eps, const float *x, const float *gamma, const float *beta, float *y,
           int threads);
int64_t tc_ln_scratch(int64_t rows, int64_t c);          /* bytes, for the gradient */
void tc_ln_grad(int64_t rows, int64_t c, float eps, const float *x, const float *dy, const float *gamma, float *dx,
                float *dgamma, float *dbeta, void *scratch, int threads);
/* Group normalisation of x (n, s, c) over the s positions and the c/groups channels of a group (norm_groups.c);
 * mean, var (biased): (n, groups). y may be x, dx may be dy. */
int64_t tc_gn_scratch(int64_t n, int64_t s, int64_t c);  /* bytes, for both */
void tc_gn(int64_t n, int64_t s, int64_t c, int64_t groups, float eps, const float *x, const float *gamma,
           const float *beta, float *y, float *mean, float *var, void *scratch, int threads);
void tc_gn_grad(int64_t n, int64_t s, int64_t c, int64_t groups, float eps, const float *x, const float *dy,
                const float *mean, const float *var, const float *gamma, float *dx, float *dgamma, float *dbeta,
                void *scratch, int threads);
/* y = w x, a factor a channel; y may be x, dx may be dy; scratch: tc_bn_scratch */
void tc_scale(int64_t rows, int64_t c, const float *x, const float *w, float *y, int threads);
void tc_scale_grad(int64_t rows, int64_t c, const float *x, const float *w, const float *dy, float *dx, float *dw,
                   void *scratch, int threads);

/* ------------------------------------------------------------------ elementwise */
void tc_prelu(int64_t rows, int64_t c, const float *x, const float *a, float *y, int threads);
void tc_prelu_grad(int64_t rows, int64_t c, const float *x, const float *a, const float *dy, float *dx, float *da,
                   void *scratch /* tc_bn_scratch */, int threads);
void tc_bias_add(int64_t rows, int64_t c, const float *x, const float *bias, float *y, int threads);  /* y may be x */
void tc_add(int64_t n, const float *a, const float *b, float *y, int threads);            /* y may be a or b */
/* a (n, s, c); b (n, bs, bc) with bs in {1, s}, bc in {1, c} */
void tc_mul(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const float *a, const float *b, float *y,
            int threads);
/* db = dy * a summed over the axes b was stretched along */
void tc_mul_reduce(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const float *dy, const float *a,
                   float *db, int threads);
/* y = x * keep / (1 - p), keep_i = hash(seed, step, layer, i) >= p; gradient: the same call on dy. y may be x.
 * u32 hash_i: z = i + 0x9E3779B97F4A7C15 * (seed ^ rotl(step, 20) ^ rotl(layer, 44)) (u64, wrapping), then splitmix64's
 * finaliser, top 32 bits; kept if hash_i >= (u32)(p * 2^32). i counts from `first`: x may be a part of a batch.
 * tinyconv.runtime.array_drop has the same in NumPy. */
void tc_dropout(int64_t n, float p, uint64_t seed, uint64_t step, uint64_t layer, int64_t first, const float *x,
                float *y, int threads);
/* As dropout, but i numbers the samples: x (n, size). y may be x (drop.c). */
void tc_droppath(int64_t n, int64_t size, float p, uint64_t seed, uint64_t step, uint64_t layer, int64_t first,
                 const float *x, float *y, int threads);
/* DropBlock: x (n, d, h, w, c). A block is kd x kh x kw positions of one sample and channel and lies inside the map; i
 * begins one with its first value if d, h, w leave room and hash_i < (u32)(rate * 2^32). Values in a block become 0,
 * the others x / (1 - p). The gradient: the same call on dy. y may be x. */
typedef struct { int64_t n, d, h, w, c, kd, kh, kw; } tc_block_shape;
int64_t tc_dropblock_scratch(const tc_block_shape *s);   /* bytes */
void tc_dropblock(const tc_block_shape *s, float p, float rate, uint64_t seed, uint64_t step, uint64_t layer,
                  int64_t first, const float *x, float *y, void *scratch, int threads);
/* y[r][j groups + i] = x[r][i c/groups + j]: the channels as a (groups, c/groups) matrix, transposed (shuffle.c) */
void tc_shuffle(int64_t rows, int64_t c, int64_t groups, const float *x, float *y, int threads);
/* y[o] = x[o - before] inside, 0 outside; before may be negative (crop); axes n excluded: d, h, w, c */
typedef struct { int64_t n, id, ih, iw, ic, od, oh, ow, oc, bd, bh, bw, bc; } tc_window_shape;
void tc_window(const tc_window_shape *s, const float *x, float *y, int threads);
/* y[r][at + j] = x[r][j] for j < cx: concatenation, a part at a time (rows, channels of x, channels of y) */
void tc_place(int64_t rows, int64_t cx, int64_t cy, int64_t at, const float *x, float *y, int threads);
/* y = (x - mean) / std per channel; x is uint8 (then divided by 255 first) or float */
void tc_input(int64_t rows, int64_t c, int is_uint8, const void *x, const float *mean, const float *std, float *y,
              int threads);

/* --------------------------------------------- losses: mean over rows (elements for bce, mse) times scale */
void tc_softmax(int64_t rows, int64_t c, const float *x, float *y, int threads);
void tc_softmax_grad(int64_t rows, int64_t c, const float *y, const float *dy, float *dx, int threads);
/* dx (or NULL) is the gradient of scale * mean; loss one float, the mean without scale, summed in double.
 * smoothing e: target (1-e) one-hot + e/c. weights (c, or NULL): a row's loss is multiplied by that of its label.
 * gamma: a row's loss l is multiplied by (1 - exp(-l))^gamma, 0: not (Lin et al. 2017).
 * Row losses go to scratch (rows doubles). */
void tc_xent(int64_t rows, int64_t c, float smoothing, float gamma, float scale, const float *x, const int32_t *labels,
             const float *weights, float *loss, float *dx, void *scratch, int threads);
void tc_bce(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx,
            void *scratch /* 64*8 bytes */, int threads);
void tc_mse(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx,
            void *scratch /* 64*8 bytes */, int threads);
/* Lin et al. 2017 on logits: p = sigmoid(x): -alpha t (1-p)^gamma log p - (1-alpha) (1-t) p^gamma log(1-p) */
void tc_focal(int64_t n, float gamma, float alpha, float scale, const float *x, const float *target, float *loss,
              float *dx, void *scratch /* 64*8 bytes */, int threads);
/* Milletari et al. 2016: p (n, s, c), of each sample and channel 1 - (2 sum p t + smooth) / (sum p^2 + sum t^2 +
 * smooth) over the s positions; the mean of these. t is `target` (n, s, c), or one-hot `labels` (n, s) where that is
 * NULL. */
int64_t tc_dice_scratch(int64_t n, int64_t c);           /* bytes */
void tc_dice(int64_t n, int64_t s, int64_t c, float smooth, float scale, const float *p, const float *target,
             const int32_t *labels, float *loss, float *dp, void *scratch, int threads);

/* ------------------------------------------------------------------ optimiser */
/* sum = before (NULL: 0) + sum of g^2, in double. */
void tc_square_sum(int64_t n, const double *before, const float *g, double *sum, void *scratch /* 64*8 bytes */,
                   int threads);
/* What gradients are to be multiplied by, whose squares sum up to `squares` (NULL: 1): clip / max(norm, clip). */
float tc_clip_factor(double clip, const double *squares);
/* In all of these g' = by g + decay w (decoupled: by g), lr is the learning rate, `step` counts from 0: t = step + 1 */
/* v = momentum v + g'; w -= lr (nesterov ? g' + momentum v : v) */
void tc_sgd(int64_t n, float lr, float momentum, float decay, int nesterov, float by, float *w, const float *g,
            float *v, int threads);
/* Kingma and Ba 2015: m = beta1 m + (1 - beta1) g'; v = beta2 v + (1 - beta2) g'^2;
 * w -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps); decoupled (Loshchilov, Hutter 2019): and lr decay w */
typedef struct { double beta1, beta2, eps, decay; int decoupled; } tc_adam_options;
void tc_adam(int64_t n, const tc_adam_options *o, double lr, uint64_t step, float by, float *w, const float *g,
             float *m, float *v, int threads);
/* s = rho s + (1 - rho) g'^2; v = momentum v + lr g' / sqrt(s + eps); w -= v */
typedef struct { double rho, momentum, eps, decay; } tc_rmsprop_options;
void tc_rmsprop(int64_t n, const tc_rmsprop_options *o, float lr, float by, float *w, const float *g, float *s,
                float *v, int threads);
/* e += (1 - d) (w - e), d = min(ema, (1 + t) / (10 + t)) */
void tc_ema(int64_t n, double ema, uint64_t step, const float *w, float *e, int threads);

#endif
