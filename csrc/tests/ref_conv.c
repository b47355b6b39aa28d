#include "ref_conv.h"

#include <math.h>
#include <string.h>

void ref_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, double *c,
              double *size) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, of = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += (double)a[i * lda + l] * b[l * ldb + j];
                of += fabs((double)a[i * lda + l] * b[l * ldb + j]);
            }
            c[i * n + j] = sum;
            size[i * n + j] = of;
        }
}

/* Calls `term` for every product of the convolution: indices of x, w and y. */
typedef void on_term(void *context, int64_t x, int64_t w, int64_t y);

static void terms(const tc_conv_shape *s, on_term *term, void *context) {
    const int64_t cg = s->c / s->groups, kg = s->k / s->groups;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t od = 0; od < s->od; od++)
            for (int64_t oh = 0; oh < s->oh; oh++)
                for (int64_t ow = 0; ow < s->ow; ow++)
                    for (int64_t jd = 0; jd < s->kd; jd++)
                        for (int64_t jh = 0; jh < s->kh; jh++)
                            for (int64_t jw = 0; jw < s->kw; jw++) {
                                const int64_t d = od * s->sd - s->pd + jd * s->dd;
                                const int64_t h = oh * s->sh - s->ph + jh * s->dh;
                                const int64_t w = ow * s->sw - s->pw + jw * s->dw;
                                if (d < 0 || d >= s->id || h < 0 || h >= s->ih || w < 0 || w >= s->iw)
                                    continue;
                                const int64_t x = (((n * s->id + d) * s->ih + h) * s->iw + w) * s->c;
                                const int64_t y = (((n * s->od + od) * s->oh + oh) * s->ow + ow) * s->k;
                                const int64_t tap = (jd * s->kh + jh) * s->kw + jw, taps = s->kd * s->kh * s->kw;
                                for (int64_t k = 0; k < s->k; k++)
                                    for (int64_t c = 0; c < cg; c++)
                                        term(context, x + k / kg * cg + c, (k * taps + tap) * cg + c, y + k);
                            }
}

typedef struct {
    const float *a, *b;
    double *to, *size;
    int which; /* of x, w, y the one that is summed to */
} sums;

static void add_term(void *context, int64_t x, int64_t w, int64_t y) {
    const sums *s = context;
    const int64_t at[3] = {x, w, y};
    const double product = (double)s->a[at[s->which == 0 ? 1 : 0]] * s->b[at[s->which == 2 ? 1 : 2]];
    s->to[at[s->which]] += product;
    s->size[at[s->which]] += fabs(product);
}

void ref_conv_forward(const tc_conv_shape *s, const float *x, const float *w, const float *bias, double *y,
                      double *size) {
    const int64_t count = s->n * s->od * s->oh * s->ow * s->k;
    for (int64_t i = 0; i < count; i++) {
        y[i] = bias ? bias[i % s->k] : 0;
        size[i] = fabs(y[i]);
    }
    terms(s, add_term, &(sums){x, w, y, size, 2});
}

void ref_conv_data_grad(const tc_conv_shape *s, const float *dy, const float *w, double *dx, double *size) {
    const size_t bytes = (size_t)(s->n * s->id * s->ih * s->iw * s->c) * sizeof(double);
    memset(dx, 0, bytes);
    memset(size, 0, bytes);
    terms(s, add_term, &(sums){w, dy, dx, size, 0});
}

void ref_conv_weight_grad(const tc_conv_shape *s, const float *x, const float *dy, double *dw, double *size) {
    const size_t bytes = (size_t)(s->k * s->kd * s->kh * s->kw * (s->c / s->groups)) * sizeof(double);
    memset(dw, 0, bytes);
    memset(size, 0, bytes);
    terms(s, add_term, &(sums){x, dy, dw, size, 1});
}
