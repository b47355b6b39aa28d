/* Fused normalisation, addition and activation: to the bit what their parts give one after another, and close to the
 * formulas in double; out of place and over every operand that may be overwritten. */
#include "check.h"
#include "ref.h"

static const double EPS = 0x1p-24;       /* of one float rounding */
static const int64_t shapes[][2] = {{1, 1}, {2, 3}, {5, 7}, {3, 16}, {63, 10}, {100, 33}, {257, 64}, {17, 1000},
                                    {9, 1031}, {2, 2100}, {6003, 6}, {350, 128}};
enum { SHAPES = sizeof shapes / sizeof *shapes, KINDS = TC_TANH + 1, LARGE = 10000 };

static char label[128];
static const char *name(const char *what, int64_t rows, int64_t c, int kind) {
    snprintf(label, sizeof label, "%s %lldx%lld kind %d", what, (long long)rows, (long long)c, kind);
    return label;
}

static int from_output(int kind) { return kind != TC_GELU && kind != TC_SILU && kind != TC_HSWISH; }
/* Whether a slope may be taken from the activation's input as well. */
static int from_input(int kind) { return kind <= TC_LEAKY || !from_output(kind); }

/* The operands of one case, and what the parts make of them. */
typedef struct {
    int64_t rows, c, n;
    int kind;
    float *x, *mean, *var, *gamma, *beta, *residual, *dy, *more;
    float *y, *saved, *g, *dx, *dgamma, *dbeta;
} fused_case;

static const float A = 0.3f, VARIANCE_EPS = 1e-3f;

static fused_case case_of(int64_t rows, int64_t c, int kind, int residual, int more) {
    fused_case k = {.rows = rows, .c = c, .n = rows * c, .kind = kind};
    k.x = check_input(k.n, -3, 4);
    k.mean = check_input(c, 0, 1);
    k.var = check_input(c, 0.5, 2);
    k.gamma = check_input(c, -2, 2);
    k.beta = check_input(c, -1, 1);
    k.residual = residual ? check_input(k.n, -2, 2) : NULL;
    k.dy = check_input(k.n, -1, 1);
    k.more = more ? check_input(k.n, -1, 1) : NULL;
    for (int64_t i = 0; i < k.n; i++) {     /* where rounding decides on which side of a kink a value is */
        const double v = (k.x[i] - (double)k.mean[i % c]) * k.gamma[i % c] / sqrt(k.var[i % c] + (double)VARIANCE_EPS) +
                         k.beta[i % c] + (residual ? k.residual[i] : 0);
        if (fabs(v) < 1e-4 || fabs(v - 6) < 1e-4 || fabs(fabs(v) - 3) < 1e-4) {
            k.dy[i] = 0;
            if (more)
                k.more[i] = 0;
        }
    }
    return k;
}

static tc_bn_forward forward_of(const fused_case *k) {
    return (tc_bn_forward){k->rows, k->c, VARIANCE_EPS, k->x, k->mean, k->var, k->gamma, k->beta, NULL, TC_LINEAR, 0};
}

static tc_bn_backward backward_of(const fused_case *k, const float *dy) {
    const tc_incoming in = {TC_LINEAR, 0, NULL, dy, NULL};
    return (tc_bn_backward){k->rows, k->c, VARIANCE_EPS, k->x, k->mean, k->var, k->gamma, NULL, in, NULL};
}

/* bn_apply, add, act; add, act_grad, bn_grad: each for itself */
static void run_parts(fused_case *k) {
    const int64_t n = k->n, bytes = tc_bn_scratch(k->rows, k->c);
    tc_bn_forward forward = forward_of(k);
    float *v = check_output(n);
    k->y = check_output(n);
    k->g = check_output(n);
    k->dx = check_output(n);
    k->dgamma = check_output(k->c);
    k->dbeta = check_output(k->c);
    tc_bn_act(&forward, v, 1);
    if (k->residual)
        tc_add(n, v, k->residual, v, 1);
    memcpy(k->y, v, (size_t)n * 4);
    if (k->kind != TC_LINEAR)
        tc_act(k->kind, n, A, v, k->y, 1);
    k->saved = from_output(k->kind) ? k->y : v;
    memcpy(k->g, k->dy, (size_t)n * 4);
    if (k->more)
        tc_add(n, k->dy, k->more, k->g, 1);
    if (k->kind != TC_LINEAR)
        tc_act_grad(k->kind, n, A, k->saved, k->g, k->g, 1);
    tc_bn_backward backward = backward_of(k, k->g);
    tc_bn_grad(&backward, k->dx, k->dgamma, k->dbeta, check_scratch(bytes), 1);
}

/* The parts against the formulas in double. */
static void check_parts(const fused_case *k) {
    const int64_t n = k->n, c = k->c;
    double *v = check_doubles(n), *g = check_doubles(n), *dx = check_doubles(n), *dgamma = check_doubles(c);
    double *dbeta = check_doubles(c), *bound = check_doubles(n), *sums = check_doubles(c);
    double *x = check_widen(k->x, n), *mean = check_widen(k->mean, c), *var = check_widen(k->var, c);
    double *gamma = check_widen(k->gamma, c), *beta = check_widen(k->beta, c);
    ref_bn_apply(k->rows, c, VARIANCE_EPS, x, mean, var, gamma, beta, v);
    for (int64_t i = 0; i < c; i++)
        sums[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        v[i] += k->residual ? k->residual[i] : 0;
        g[i] = ((double)k->dy[i] + (k->more ? k->more[i] : 0)) *
               (k->kind == TC_LINEAR ? 1 : ref_act_slope(k->kind, A, v[i]));
        if (k->kind != TC_LINEAR)
            v[i] = ref_act(k->kind, A, v[i]);
        sums[i % c] += fabs(g[i]) + EPS;
        bound[i] = 100 * EPS;
    }
    check_close(name("parts y", k->rows, c, k->kind), n, k->y, v, bound, 0);
    check_close(name("parts g", k->rows, c, k->kind), n, k->g, g, bound, 0);
    ref_bn_grad(k->rows, c, VARIANCE_EPS, x, g, mean, var, gamma, dx, dgamma, dbeta);
    for (int64_t i = 0; i < n; i++)
        bound[i] = 2000 * EPS * (1 + sums[i % c] / (double)k->rows);
    check_close(name("parts dx", k->rows, c, k->kind), n, k->dx, dx, bound, 0);
    for (int64_t i = 0; i < c; i++)
        sums[i] = 1000 * EPS * (sums[i] + (double)k->rows);
    check_close(name("parts dgamma", k->rows, c, k->kind), c, k->dgamma, dgamma, sums, 0);
    check_close(name("parts dbeta", k->rows, c, k->kind), c, k->dbeta, dbeta, sums, 0);
}

static void check_forward(const fused_case *k) {
    for (int threads = 1; threads <= 3; threads++)
        for (int over = 0; over < 3; over++) {      /* nothing, x, the residual */
            tc_bn_forward b = forward_of(k);
            b.kind = k->kind;
            b.a = A;
            b.residual = k->residual;
            float *y = check_output(k->n);
            if (over == 1)
                memcpy(y, k->x, (size_t)k->n * 4), b.x = y;
            if (over == 2 && !k->residual)
                continue;
            if (over == 2)
                memcpy(y, k->residual, (size_t)k->n * 4), b.residual = y;
            tc_bn_act(&b, y, threads);
            check_same(name("bn_act", k->rows, k->c, k->kind), (size_t)k->n * 4, y, k->y);
        }
}

/* One call: `over` tells what dx stands over, `keep` whether g is wanted; `again` takes the slope from x. */
static void check_backward_once(const fused_case *k, int over, int keep, int again, int threads) {
    const size_t bytes = (size_t)k->n * 4;
    float *dx = check_output(k->n), *g = keep ? check_output(k->n) : NULL, *dgamma = check_output(k->c);
    float *dbeta = check_output(k->c);
    tc_bn_backward b = backward_of(k, k->dy);
    b.in = (tc_incoming){k->kind, A, again || k->kind == TC_LINEAR ? NULL : k->saved, k->dy, k->more};
    b.beta = again ? k->beta : NULL;
    b.g = g;
    const float **operands[] = {NULL, &b.in.dy, &b.in.more, &b.in.saved, &b.x};
    if (over && !*operands[over])
        return;
    if (over)
        memcpy(dx, *operands[over], bytes), *operands[over] = dx;
    if (keep && over != 1)      /* g over dy, where that is not dx's place */
        memcpy(g, k->dy, bytes), b.in.dy = g;
    tc_bn_grad(&b, dx, dgamma, dbeta, check_scratch(tc_bn_scratch(k->rows, k->c)), threads);
    check_same(name("bn_act_grad dx", k->rows, k->c, k->kind), bytes, dx, k->dx);
    check_same(name("bn_act_grad dgamma", k->rows, k->c, k->kind), (size_t)k->c * 4, dgamma, k->dgamma);
    check_same(name("bn_act_grad dbeta", k->rows, k->c, k->kind), (size_t)k->c * 4, dbeta, k->dbeta);
    if (keep)
        check_same(name("bn_act_grad g", k->rows, k->c, k->kind), bytes, g, k->g);
}

static void check_bn(int64_t rows, int64_t c, int kind, int residual, int more) {
    for (int over = 0; over < 5; over++)
        for (int keep = 0; keep < 2; keep++)
            for (int again = 0; again < 2; again++) {
                if ((kind == TC_LINEAR && (again || keep > more)) || (again && (residual || !from_input(kind))))
                    continue;
                check_seed((uint64_t)(rows * 7 + c + kind));
                fused_case k = case_of(rows, c, kind, residual, more);
                run_parts(&k);
                if (!over && !keep && !again) {
                    check_parts(&k);
                    check_forward(&k);
                }
                for (int threads = kind > TC_RELU ? 3 : 1; threads <= 3; threads++)
                    check_backward_once(&k, over, keep, again, threads);
                check_free_all(name("bn_act_grad", rows, c, kind));
            }
}

/* act_grad with a sum before it and one over the rows behind it; add and act */
static void check_act(int64_t rows, int64_t c, int kind, int more) {
    fused_case k = case_of(rows, c, kind, 0, more);
    const int64_t n = k.n;
    const size_t bytes = (size_t)n * 4;
    run_parts(&k);
    float *sum = check_output(c), *both = check_output(n);
    tc_sum_rows(rows, c, k.g, sum, check_scratch(tc_bn_scratch(rows, c)), 1);
    tc_add(n, k.x, k.dy, both, 1);
    tc_act(kind, n, A, both, both, 1);
    for (int threads = 1; threads <= 3; threads++)
        for (int over = 0; over < 3; over++) {
            float *dx = check_output(n), *db = check_output(c), *y = check_output(n), *flat = check_output(n);
            const float *x = k.x, *z = k.dy;
            tc_incoming in = {kind, A, k.saved, k.dy, k.more};
            if (over == 1)
                memcpy(dx, k.dy, bytes), in.dy = dx, memcpy(y, x, bytes), x = y;
            if (over == 2)
                memcpy(y, z, bytes), z = y;
            if (over == 2 && more)
                memcpy(dx, k.more, bytes), in.more = dx;
            tc_incoming apart = {kind, A, k.saved, k.dy, k.more};
            tc_act_bias_grad(rows, c, &in, dx, db, check_scratch(tc_bn_scratch(rows, c)), threads);
            tc_add_act_grad(n, &apart, flat, threads);
            tc_add_act(kind, n, A, x, z, y, threads);
            check_same(name("act_bias_grad dx", rows, c, kind), bytes, dx, k.g);
            check_same(name("act_bias_grad db", rows, c, kind), (size_t)c * 4, db, sum);
            check_same(name("add_act_grad", rows, c, kind), bytes, flat, k.g);
            check_same(name("add_act", rows, c, kind), bytes, y, both);
        }
    check_free_all(name("act_bias_grad", rows, c, kind));
}

/* A norm, an activation and max pooling whose windows fill x: bands of several rows, the last of fewer, and of one. */
static void check_pool(void) {
    static const int64_t cases[][7] = {{2, 1, 3, 5, 2, 2, 7}, {3, 2, 4, 4, 2, 3, 16}, {1, 1, 1, 1, 1, 1, 1},
                                       {2, 1, 9, 16, 2, 2, 130}, {1, 1, 2, 3, 17, 16, 40}, {1, 1, 2, 120, 3, 2, 64}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t n = cases[i][0], d = cases[i][1], oh = cases[i][2], ow = cases[i][3], kh = cases[i][4],
                      kw = cases[i][5], c = cases[i][6], out = n * d * oh * ow * c;
        const tc_pool_shape s = {.n = n, .id = d, .ih = oh * kh, .iw = ow * kw, .c = c, .od = d, .oh = oh, .ow = ow,
                                 .kd = 1, .kh = kh, .kw = kw, .sd = 1, .sh = kh, .sw = kw};
        const size_t item = kh * kw > 256 ? 4 : 1;
        for (int kind = TC_LINEAR; kind <= TC_RELU6; kind++) {
            fused_case k = case_of(n * d * oh * kh * ow * kw, c, kind, 0, 0);
            tc_bn_forward b = forward_of(&k);
            b.kind = kind;
            float *between = check_output(k.n), *want = check_output(out);
            void *where = check_output(out);
            tc_bn_act(&b, between, 1);
            tc_maxpool(&s, between, want, where, 1);
            for (int threads = 1; threads <= 3; threads++) {
                float *y = check_output(out), *alone = check_output(out);
                void *index = check_output(out);
                tc_bn_act_pool(&s, &b, y, index, check_scratch(tc_bn_act_pool_scratch(&s, threads)), threads);
                tc_bn_act_pool(&s, &b, alone, NULL, check_scratch(tc_bn_act_pool_scratch(&s, threads)), threads);
                check_same(name("bn_act_pool", k.rows, c, kind), (size_t)out * 4, y, want);
                check_same(name("bn_act_pool alone", k.rows, c, kind), (size_t)out * 4, alone, want);
                check_same(name("bn_act_pool index", k.rows, c, kind), (size_t)out * item, index, where);
            }
            check_free_all(name("bn_act_pool", k.rows, c, kind));
        }
    }
}

int main(void) {
    check_begin("test_fused");
    check_seed(5);
    check_pool();
    for (int s = 0; s < SHAPES; s++)
        for (int kind = TC_LINEAR; kind < KINDS; kind++) {
            if (!check_pick() || (shapes[s][0] * shapes[s][1] > LARGE && kind > TC_RELU && kind != TC_SILU))
                continue;
            for (int residual = 0; residual < 2; residual++)
                for (int more = 0; more < 2; more++)
                    check_bn(shapes[s][0], shapes[s][1], kind, residual, more);
            for (int more = 0; more < 2 && kind != TC_LINEAR; more++)
                check_act(shapes[s][0], shapes[s][1], kind, more);
        }
    return check_end();
}
