/* One convolution in all three passes against the references, on 1, 2 and 3 threads. */
#ifndef TINYCONV_CHECK_CONV_H
#define TINYCONV_CHECK_CONV_H

#include "check.h"
#include "ref_conv.h"

static const double EPS = 0x1p-24;


static int64_t count_x(const tc_conv_shape *s) { return s->n * s->id * s->ih * s->iw * s->c; }
static int64_t count_y(const tc_conv_shape *s) { return s->n * s->od * s->oh * s->ow * s->k; }
static int64_t count_w(const tc_conv_shape *s) { return s->k * s->kd * s->kh * s->kw * (s->c / s->groups); }

/* What sums of `terms` terms may be off by: a rounding for each, at most the sum of their sizes times it. Winograd's
 * errors are those of all outputs of a tile, `amplified`: 0 for the others. */
static void bounds(double *size, int64_t count, double terms, double amplified) {
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, size[i]);
    for (int64_t i = 0; i < count; i++)
        size[i] = (terms + 4) * EPS * (amplified > 0 ? amplified * most : size[i]) + 1e-37;
}

static void run_post(const tc_conv_shape *s, int pass, const float *a, const float *b, const tc_post *post, float *out,
                     int threads) {
    void *scratch = check_scratch(tc_conv_scratch(s, pass, threads));
    if (pass == TC_WEIGHT_GRAD) {
        tc_conv_weight_grad(s, a, b, out, scratch, threads);
        return;
    }
    const float *packed = b;
    if (tc_conv_packed(s, pass)) {
        float *to = check_output(tc_conv_packed(s, pass));
        tc_conv_pack(s, pass, b, to, threads);
        packed = to;
    }
    if (pass == TC_FORWARD)
        tc_conv_forward(s, a, packed, post, out, scratch, threads);
    else
        tc_conv_data_grad(s, a, packed, out, scratch, threads);
}

static void run(const tc_conv_shape *s, int pass, const float *a, const float *b, const float *bias, float *out,
                int threads) {
    run_post(s, pass, a, b, &(tc_post){.bias = bias, .act = TC_LINEAR}, out, threads);
}

static void describe(const tc_conv_shape *s, int pass, int threads, char *to, size_t size) {
    static const char *const PASS[] = {"forward", "data gradient", "weight gradient"};
    snprintf(to, size,
             "%s (%s) n%lld %lldx%lldx%lld c%lld -> %lldx%lldx%lld k%lld kernel %lldx%lldx%lld stride %lld,%lld,%lld "
             "pad %lld,%lld,%lld dilation %lld,%lld,%lld groups %lld threads %d",
             PASS[pass], tc_conv_algorithm(s, pass), (long long)s->n, (long long)s->id, (long long)s->ih,
             (long long)s->iw, (long long)s->c, (long long)s->od, (long long)s->oh, (long long)s->ow, (long long)s->k,
             (long long)s->kd, (long long)s->kh, (long long)s->kw, (long long)s->sd, (long long)s->sh, (long long)s->sw,
             (long long)s->pd, (long long)s->ph, (long long)s->pw, (long long)s->dd, (long long)s->dh, (long long)s->dw,
             (long long)s->groups, threads);
}

static double dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static double dot_size(const float *a, const double *size, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)a[i]) * size[i];
    return sum;
}

/* What follows a convolution in its epilogue: the bits of the same operations one after the other. */
static void test_post(const tc_conv_shape *s, const float *x, const float *w, const float *bias, const float *plain) {
    char name[400];
    const int64_t count = count_y(s);
    const int act = (int)check_integer(TC_LINEAR, TC_TANH);
    const float *add = check_integer(0, 1) ? check_input(count, -1, 1) : NULL;
    float *want = check_copy(plain, count);
    if (add)
        tc_add(count, want, add, want, 1);
    if (act != TC_LINEAR)
        tc_act(act, count, 0.1f, want, want, 1);
    for (int threads = 1; threads <= 3; threads++) {
        float *y = check_output(count);
        run_post(s, TC_FORWARD, x, w, &(tc_post){bias, add, act, 0.1f}, y, threads);
        describe(s, TC_FORWARD, threads, name, sizeof name);
        check_same(name, (size_t)count * sizeof(float), y, want);
    }
}

static void test_shape(const tc_conv_shape *s, int with_bias, double amplified) {
    char name[400];
    const int64_t counts[3] = {count_y(s), count_x(s), count_w(s)};
    const double terms[3] = {(double)(s->kd * s->kh * s->kw * s->c / s->groups),
                             (double)(s->kd * s->kh * s->kw * s->k / s->groups),
                             (double)(s->n * s->od * s->oh * s->ow)};
    float *x = check_input(counts[1], -1, 1), *w = check_input(counts[2], -1, 1), *dy = check_input(counts[0], -1, 1);
    float *bias = with_bias ? check_input(s->k, -1, 1) : NULL;
    float *first[3];
    double *size[3];
    for (int pass = 0; pass < 3; pass++) {
        double *want = check_doubles(counts[pass]);
        size[pass] = check_doubles(counts[pass]);
        if (pass == TC_FORWARD)
            ref_conv_forward(s, x, w, bias, want, size[pass]);
        else if (pass == TC_DATA_GRAD)
            ref_conv_data_grad(s, dy, w, want, size[pass]);
        else
            ref_conv_weight_grad(s, x, dy, want, size[pass]);
        bounds(size[pass], counts[pass], terms[pass], amplified);
        for (int threads = 1; threads <= 3; threads++) {
            float *out = check_output(counts[pass]);
            run(s, pass, pass == TC_DATA_GRAD ? dy : x, pass == TC_WEIGHT_GRAD ? dy : w, bias, out, threads);
            describe(s, pass, threads, name, sizeof name);
            if (threads == 1)
                check_close(name, counts[pass], first[pass] = out, want, size[pass], 0);
            else
                check_same(name, (size_t)counts[pass] * sizeof(float), out, first[pass]);
        }
    }
    if (!with_bias) { /* <dY, conv(X)> = <conv*(dY), X> = <dW, W> */
        const double y = dot(dy, first[0], counts[0]), allowed = dot_size(dy, size[0], counts[0]);
        check_true(fabs(y - dot(x, first[1], counts[1])) <= allowed + dot_size(x, size[1], counts[1]),
                   "%s: adjoint of the data gradient", name);
        check_true(fabs(y - dot(w, first[2], counts[2])) <= allowed + dot_size(w, size[2], counts[2]),
                   "%s: adjoint of the weight gradient", name);
    }
    test_post(s, x, w, bias, first[TC_FORWARD]);
    check_free_all(name);
}

#endif
