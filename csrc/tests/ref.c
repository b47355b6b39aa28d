#include "ref.h"

#include <math.h>
#include <string.h>

static void clear(int64_t n, double *a) { memset(a, 0, (size_t)n * sizeof *a); }

/* ------------------------------------------------------------------ pooling */
typedef void (*tap_visit)(void *context, int64_t in, int64_t out, int64_t tap, int64_t count);

typedef struct { int64_t low, high, first; } span;

static span window(int64_t in, int64_t out, int64_t k, int64_t stride, int64_t padding, int64_t adaptive, int64_t o) {
    if (adaptive) {
        span w = {(int64_t)floor((double)(o * in) / (double)out), (int64_t)ceil((double)((o + 1) * in) / (double)out),
                  0};
        w.first = w.low;
        return w;
    }
    span w = {o * stride - padding, o * stride - padding + k, o * stride - padding};
    w.low = w.low < 0 ? 0 : w.low;
    w.high = w.high > in ? in : w.high;
    return w;
}

/* Calls `visit` for every input in every output's window, first tap first. */
static void each_tap(const tc_pool_shape *s, tap_visit visit, void *context) {
    for (int64_t n = 0; n < s->n; n++)
    for (int64_t od = 0; od < s->od; od++)
    for (int64_t oh = 0; oh < s->oh; oh++)
    for (int64_t ow = 0; ow < s->ow; ow++) {
        span d = window(s->id, s->od, s->kd, s->sd, s->pd, s->adaptive, od);
        span h = window(s->ih, s->oh, s->kh, s->sh, s->ph, s->adaptive, oh);
        span w = window(s->iw, s->ow, s->kw, s->sw, s->pw, s->adaptive, ow);
        int64_t count = (d.high - d.low) * (h.high - h.low) * (w.high - w.low);
        for (int64_t id = d.low; id < d.high; id++)
        for (int64_t ih = h.low; ih < h.high; ih++)
        for (int64_t iw = w.low; iw < w.high; iw++)
            for (int64_t c = 0; c < s->c; c++)
                visit(context, (((n * s->id + id) * s->ih + ih) * s->iw + iw) * s->c + c,
                      (((n * s->od + od) * s->oh + oh) * s->ow + ow) * s->c + c,
                      ((id - d.first) * s->kh + ih - h.first) * s->kw + iw - w.first, count);
    }
}

typedef struct { const double *from; double *to; int64_t *index; } arrays;

static void visit_max(void *context, int64_t in, int64_t out, int64_t tap, int64_t count) {
    arrays *a = context;
    (void)count;
    if (a->index[out] < 0 || a->from[in] > a->to[out] || (isnan(a->from[in]) && !isnan(a->to[out]))) {
        a->to[out] = a->from[in];
        a->index[out] = tap;
    }
}
static void visit_max_grad(void *context, int64_t in, int64_t out, int64_t tap, int64_t count) {
    arrays *a = context;
    (void)count;
    if (a->index[out] == tap)
        a->to[in] += a->from[out];
}
static void visit_avg(void *context, int64_t in, int64_t out, int64_t tap, int64_t count) {
    arrays *a = context;
    (void)tap;
    a->to[out] += a->from[in] / (double)count;
}
static void visit_avg_grad(void *context, int64_t in, int64_t out, int64_t tap, int64_t count) {
    arrays *a = context;
    (void)tap;
    a->to[in] += a->from[out] / (double)count;
}

static int64_t in_size(const tc_pool_shape *s) { return s->n * s->id * s->ih * s->iw * s->c; }
static int64_t out_size(const tc_pool_shape *s) { return s->n * s->od * s->oh * s->ow * s->c; }

void ref_maxpool(const tc_pool_shape *s, const double *x, double *y, int64_t *index) {
    for (int64_t i = 0; i < out_size(s); i++)
        index[i] = -1;
    each_tap(s, visit_max, &(arrays){x, y, index});
}
void ref_maxpool_grad(const tc_pool_shape *s, const double *dy, const int64_t *index, double *dx) {
    clear(in_size(s), dx);
    each_tap(s, visit_max_grad, &(arrays){dy, dx, (int64_t *)index});
}
void ref_avgpool(const tc_pool_shape *s, const double *x, double *y) {
    clear(out_size(s), y);
    each_tap(s, visit_avg, &(arrays){x, y, NULL});
}
void ref_avgpool_grad(const tc_pool_shape *s, const double *dy, double *dx) {
    clear(in_size(s), dx);
    each_tap(s, visit_avg_grad, &(arrays){dy, dx, NULL});
}

/* ------------------------------------------------------------------ normalisation */
void ref_bn_stats(int64_t rows, int64_t c, const double *x, double *mean, double *var) {
    for (int64_t i = 0; i < c; i++) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += x[r * c + i];
        mean[i] = sum / (double)rows;
        for (int64_t r = 0; r < rows; r++)
            squares += (x[r * c + i] - mean[i]) * (x[r * c + i] - mean[i]);
        var[i] = squares / (double)rows;
    }
}
void ref_bn_apply(int64_t rows, int64_t c, double eps, const double *x, const double *mean, const double *var,
                  const double *gamma, const double *beta, double *y) {
    for (int64_t i = 0; i < rows * c; i++)
        y[i] = (x[i] - mean[i % c]) / sqrt(var[i % c] + eps) * gamma[i % c] + beta[i % c];
}
void ref_bn_grad(int64_t rows, int64_t c, double eps, const double *x, const double *dy, const double *mean,
                 const double *var, const double *gamma, double *dx, double *dgamma, double *dbeta) {
    clear(c, dgamma);
    clear(c, dbeta);
    for (int64_t i = 0; i < rows * c; i++) {
        dbeta[i % c] += dy[i];
        dgamma[i % c] += dy[i] * (x[i] - mean[i % c]) / sqrt(var[i % c] + eps);
    }
    for (int64_t i = 0; i < rows * c; i++) {
        double sigma = sqrt(var[i % c] + eps), normal = (x[i] - mean[i % c]) / sigma;
        dx[i] = gamma[i % c] / sigma * (dy[i] - dbeta[i % c] / (double)rows - normal * dgamma[i % c] / (double)rows);
    }
}
static double lrn_scale(int64_t c, int64_t size, double alpha, double k, const double *x, int64_t i) {
    double sum = 0;
    for (int64_t j = i - size / 2; j < i - size / 2 + size; j++)
        sum += j >= 0 && j < c ? x[j] * x[j] : 0;
    return k + alpha / (double)size * sum;
}
void ref_lrn(int64_t rows, int64_t c, int64_t size, double alpha, double beta, double k, const double *x, double *y) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < c; i++)
            y[r * c + i] = x[r * c + i] / pow(lrn_scale(c, size, alpha, k, x + r * c, i), beta);
}
void ref_lrn_grad(int64_t rows, int64_t c, int64_t size, double alpha, double beta, double k, const double *x,
                  const double *dy, double *dx) {
    clear(rows * c, dx);
    for (int64_t r = 0; r < rows; r++, x += c, dy += c, dx += c)
        for (int64_t i = 0; i < c; i++) {
            double scale = lrn_scale(c, size, alpha, k, x, i);
            dx[i] += dy[i] * pow(scale, -beta);
            for (int64_t j = i - size / 2; j < i - size / 2 + size; j++)
                if (j >= 0 && j < c)
                    dx[j] -= dy[i] * x[i] * beta * pow(scale, -beta - 1) * alpha / (double)size * 2 * x[j];
        }
}
void ref_sum_rows(int64_t rows, int64_t c, const double *x, double *sum) {
    clear(c, sum);
    for (int64_t i = 0; i < rows * c; i++)
        sum[i % c] += x[i];
}

/* ------------------------------------------------------------------ elementwise */
static double clip(double v, double low, double high) { return v < low ? low : v > high ? high : v; }
static double normal(double x) { return erfc(-x / sqrt(2)) / 2; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

double ref_act(int kind, double a, double x) {
    switch (kind) {
    case TC_RELU: return x < 0 ? 0 : x;
    case TC_RELU6: return clip(x, 0, 6);
    case TC_LEAKY: return x > 0 ? x : a * x;
    case TC_ELU: return x > 0 ? x : a * expm1(x);
    case TC_GELU: return x * normal(x);
    case TC_SILU: return x * sigmoid(x);
    case TC_HSWISH: return x * clip(x + 3, 0, 6) / 6;
    case TC_SIGMOID: return sigmoid(x);
    case TC_HSIGMOID: return clip(x / 6 + 0.5, 0, 1);
    default: return tanh(x);
    }
}
double ref_act_slope(int kind, double a, double x) {
    switch (kind) {
    case TC_RELU: return x > 0;
    case TC_RELU6: return x > 0 && x < 6;
    case TC_LEAKY: return x > 0 ? 1 : a;
    case TC_ELU: return x > 0 ? 1 : a * exp(x);
    case TC_GELU: return normal(x) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    case TC_SILU: return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    case TC_HSWISH: return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
    case TC_SIGMOID: return sigmoid(x) * (1 - sigmoid(x));
    case TC_HSIGMOID: return x > -3 && x < 3 ? 1.0 / 6 : 0;
    default: return 1 / (cosh(x) * cosh(x));
    }
}
void ref_prelu(int64_t rows, int64_t c, const double *x, const double *a, double *y) {
    for (int64_t i = 0; i < rows * c; i++)
        y[i] = x[i] > 0 ? x[i] : a[i % c] * x[i];
}
void ref_prelu_grad(int64_t rows, int64_t c, const double *x, const double *a, const double *dy, double *dx,
                    double *da) {
    clear(c, da);
    for (int64_t i = 0; i < rows * c; i++) {
        dx[i] = x[i] > 0 ? dy[i] : a[i % c] * dy[i];
        da[i % c] += x[i] > 0 ? 0 : dy[i] * x[i];
    }
}
static int64_t stretched(int64_t s, int64_t c, int64_t bs, int64_t bc, int64_t i) {
    int64_t channel = i % c, place = i / c % s, image = i / c / s;
    return (image * bs + (bs == 1 ? 0 : place)) * bc + (bc == 1 ? 0 : channel);
}
void ref_mul(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const double *a, const double *b, double *y) {
    for (int64_t i = 0; i < n * s * c; i++)
        y[i] = a[i] * b[stretched(s, c, bs, bc, i)];
}
void ref_mul_reduce(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc, const double *dy, const double *a,
                    double *db) {
    clear(n * bs * bc, db);
    for (int64_t i = 0; i < n * s * c; i++)
        db[stretched(s, c, bs, bc, i)] += dy[i] * a[i];
}
int ref_dropout_keeps(double p, uint64_t seed, uint64_t step, uint64_t layer, uint64_t i) {
    uint64_t key = seed ^ (step << 20 | step >> 44) ^ (layer << 44 | layer >> 20);
    uint64_t z = i + UINT64_C(0x9E3779B97F4A7C15) * key;
    z ^= z >> 30;
    z *= UINT64_C(0xBF58476D1CE4E5B9);
    z ^= z >> 27;
    z *= UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(z >> 32) >= floor(p * 4294967296.0);
}
void ref_window(const tc_window_shape *s, const double *x, double *y) {
    for (int64_t i = 0; i < s->n * s->od * s->oh * s->ow * s->oc; i++) {
        int64_t c = i % s->oc - s->bc, w = i / s->oc % s->ow - s->bw, h = i / s->oc / s->ow % s->oh - s->bh;
        int64_t d = i / s->oc / s->ow / s->oh % s->od - s->bd, n = i / s->oc / s->ow / s->oh / s->od;
        int within = c >= 0 && c < s->ic && w >= 0 && w < s->iw && h >= 0 && h < s->ih && d >= 0 && d < s->id;
        y[i] = within ? x[(((n * s->id + d) * s->ih + h) * s->iw + w) * s->ic + c] : 0;
    }
}

/* ------------------------------------------------------------------ losses */
void ref_softmax(int64_t rows, int64_t c, const double *x, double *y) {
    for (int64_t r = 0; r < rows; r++) {
        double most = x[r * c], sum = 0;
        for (int64_t i = 0; i < c; i++)
            most = fmax(most, x[r * c + i]);
        for (int64_t i = 0; i < c; i++)
            sum += exp(x[r * c + i] - most);
        for (int64_t i = 0; i < c; i++)
            y[r * c + i] = exp(x[r * c + i] - most) / sum;
    }
}
void ref_softmax_grad(int64_t rows, int64_t c, const double *y, const double *dy, double *dx) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < c; i++) {
            dx[r * c + i] = 0;
            for (int64_t j = 0; j < c; j++)
                dx[r * c + i] += dy[r * c + j] * y[r * c + j] * ((i == j) - y[r * c + i]);
        }
}
double ref_xent(int64_t rows, int64_t c, double smoothing, double gamma, double scale, const double *x,
                const int32_t *labels, const double *weights, double *dx) {
    double loss = 0;
    for (int64_t r = 0; r < rows; r++) {
        double most = x[r * c], sum = 0, own = 0, by = weights ? weights[labels[r]] : 1;
        for (int64_t i = 0; i < c; i++)
            most = fmax(most, x[r * c + i]);
        for (int64_t i = 0; i < c; i++)
            sum += exp(x[r * c + i] - most);
        for (int64_t i = 0; i < c; i++) {
            double target = (1 - smoothing) * (i == labels[r]) + smoothing / (double)c;
            double log_p = x[r * c + i] - most - log(sum);
            own -= target != 0 ? target * log_p : 0;
            if (dx)
                dx[r * c + i] = by * (exp(log_p) - target) * scale / (double)rows;
        }
        own *= by;
        double p = exp(-own), slope = gamma != 0 ? pow(1 - p, gamma) : 1;
        loss += slope * own;
        if (gamma != 0 && own > 0)
            slope += gamma * pow(1 - p, gamma - 1) * p * own;
        for (int64_t i = 0; dx && i < c; i++)
            dx[r * c + i] *= slope;
    }
    return loss / (double)rows;
}
static double focal_part(double gamma, double p) { return -pow(1 - p, gamma) * log(p); }
static double focal_slope(double gamma, double p) {   /* over the logit of p */
    return pow(1 - p, gamma) * (gamma * p * log(p) - (1 - p));
}
double ref_focal(int64_t n, double gamma, double alpha, double scale, const double *x, const double *target,
                 double *dx) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        double yes = alpha * target[i], no = (1 - alpha) * (1 - target[i]);
        loss += yes * focal_part(gamma, sigmoid(x[i])) + no * focal_part(gamma, sigmoid(-x[i]));
        if (dx)
            dx[i] = (yes * focal_slope(gamma, sigmoid(x[i])) - no * focal_slope(gamma, sigmoid(-x[i]))) * scale /
                    (double)n;
    }
    return loss / (double)n;
}
double ref_dice(int64_t n, int64_t s, int64_t c, double smooth, double scale, const double *p, const double *target,
                const int32_t *labels, double *dp) {
    double loss = 0;
    for (int64_t i = 0; i < n * c; i++) {
        double above = smooth, below = smooth;
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t r = i / c * s; r < (i / c + 1) * s; r++) {
                double v = p[r * c + i % c], t = target ? target[r * c + i % c] : labels[r] == i % c;
                if (pass == 0)
                    above += 2 * v * t, below += v * v + t * t;
                else if (dp)
                    dp[r * c + i % c] = (2 * v * above / (below * below) - 2 * t / below) * scale / (double)(n * c);
            }
        }
        loss += 1 - above / below;
    }
    return loss / (double)(n * c);
}
double ref_bce(int64_t n, double scale, const double *x, const double *target, double *dx) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        loss += target[i] * log1p(exp(-x[i])) + (1 - target[i]) * log1p(exp(x[i]));
        if (dx)
            dx[i] = (sigmoid(x[i]) - target[i]) * scale / (double)n;
    }
    return loss / (double)n;
}
double ref_mse(int64_t n, double scale, const double *x, const double *target, double *dx) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        loss += (x[i] - target[i]) * (x[i] - target[i]);
        if (dx)
            dx[i] = 2 * (x[i] - target[i]) * scale / (double)n;
    }
    return loss / (double)n;
}

/* ------------------------------------------------------------------ optimiser */
void ref_sgd(int64_t n, double lr, double momentum, double decay, int nesterov, double *w, const double *g, double *v) {
    for (int64_t i = 0; i < n; i++) {
        double slope = g[i] + decay * w[i];
        v[i] = momentum * v[i] + slope;
        w[i] -= lr * (nesterov ? slope + momentum * v[i] : v[i]);
    }
}
void ref_adam(int64_t n, const tc_adam_options *o, double lr, int t, double by, double *w, const double *g, double *m,
              double *v) {
    for (int64_t i = 0; i < n; i++) {
        double slope = by * g[i] + (o->decoupled ? 0 : o->decay * w[i]);
        m[i] = o->beta1 * m[i] + (1 - o->beta1) * slope;
        v[i] = o->beta2 * v[i] + (1 - o->beta2) * slope * slope;
        double mean = m[i] / (1 - pow(o->beta1, t)), square = v[i] / (1 - pow(o->beta2, t));
        w[i] -= lr * (mean / (sqrt(square) + o->eps) + (o->decoupled ? o->decay * w[i] : 0));
    }
}
void ref_rmsprop(int64_t n, const tc_rmsprop_options *o, double lr, double by, double *w, const double *g, double *s,
                 double *v) {
    for (int64_t i = 0; i < n; i++) {
        double slope = by * g[i] + o->decay * w[i];
        s[i] = o->rho * s[i] + (1 - o->rho) * slope * slope;
        v[i] = o->momentum * v[i] + lr * slope / sqrt(s[i] + o->eps);
        w[i] -= v[i];
    }
}
