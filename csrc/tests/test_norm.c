/* Batch normalisation, local response normalisation and sums over rows against ref.c. */
#include "check.h"
#include "ref.h"

static const double EPS = 0x1p-24;       /* of one float rounding */
static const int64_t channels[] = {1, 3, 6, 7, 8, 10, 15, 16, 17, 33, 64, 100, 1031};
static const int64_t row_counts[] = {1, 2, 3, 5, 16, 63, 100, 257};
enum { CHANNELS = sizeof channels / sizeof *channels, ROWS = sizeof row_counts / sizeof *row_counts };

static char label[128];
static const char *name(const char *what, int64_t rows, int64_t c) {
    snprintf(label, sizeof label, "%s %lldx%lld", what, (long long)rows, (long long)c);
    return label;
}

/* |a| summed over the rows, a channel */
static double *absolute_sums(int64_t rows, int64_t c, const double *a) {
    double *sum = check_doubles(c);
    for (int64_t i = 0; i < c; i++)
        sum[i] = 0;
    for (int64_t i = 0; i < rows * c; i++)
        sum[i % c] += fabs(a[i]);
    return sum;
}

static void check_stats(int64_t rows, int64_t c, double centre, double spread) {
    float *x = check_input(rows * c, centre - spread, centre + spread), *mean[4], *var[4];
    double *want_mean = check_doubles(c), *want_var = check_doubles(c), *bound = check_doubles(c);
    double *bound_var = check_doubles(c);
    ref_bn_stats(rows, c, check_widen(x, rows * c), want_mean, want_var);
    for (int64_t i = 0; i < c; i++) {
        bound[i] = EPS * (fabs(want_mean[i]) + 20 * sqrt(want_var[i]));
        bound_var[i] = 30 * EPS * want_var[i];
    }
    for (int t = 1; t <= 3; t++) {
        mean[t] = check_output(c);
        var[t] = check_output(c);
        tc_bn_stats(rows, c, x, mean[t], var[t], check_scratch(tc_bn_scratch(rows, c)), t);
    }
    check_close(name("bn_stats mean", rows, c), c, mean[1], want_mean, bound, 0);
    check_close(name("bn_stats var", rows, c), c, var[1], want_var, bound_var, 0);
    for (int t = 2; t <= 3; t++) {
        check_same(name("bn_stats mean threads", rows, c), (size_t)c * 4, mean[t], mean[1]);
        check_same(name("bn_stats var threads", rows, c), (size_t)c * 4, var[t], var[1]);
    }
    check_free_all(name("bn_stats", rows, c));
}

static void check_running(int64_t rows, int64_t c) {
    float *mean = check_input(c, -1, 1), *var = check_input(c, 0, 2), *kept_mean = check_input(c, -1, 1);
    float *kept_var = check_input(c, 0, 2);
    double *want_mean = check_doubles(c), *want_var = check_doubles(c);
    const double unbiased = rows > 1 ? (double)rows / (double)(rows - 1) : 1;
    for (int64_t i = 0; i < c; i++) {
        want_mean[i] = 0.9 * kept_mean[i] + 0.1 * mean[i];
        want_var[i] = 0.9 * kept_var[i] + 0.1 * unbiased * var[i];
    }
    tc_bn_running(rows, c, 0.1f, mean, var, kept_mean, kept_var);
    check_close(name("bn_running mean", rows, c), c, kept_mean, want_mean, NULL, 4 * EPS);
    check_close(name("bn_running var", rows, c), c, kept_var, want_var, NULL, 16 * EPS);
    check_free_all(name("bn_running", rows, c));
}

static void check_apply(int64_t rows, int64_t c, double centre, double spread) {
    const int64_t n = rows * c;
    float *x = check_input(n, centre - spread, centre + spread), *dy = check_input(n, -1, 1);
    float *mean = check_input(c, centre, centre);
    float *var = check_input(c, spread * spread / 4, spread * spread), *gamma = check_input(c, -2, 2);
    float *beta = check_input(c, -1, 1);
    const float eps = (float)(1e-3 * spread * spread);
    double *want = check_doubles(n), *bound = check_doubles(n), *wx = check_widen(x, n), *wdy = check_widen(dy, n);
    double *wmean = check_widen(mean, c), *wvar = check_widen(var, c), *wgamma = check_widen(gamma, c);
    double *wbeta = check_widen(beta, c);
    ref_bn_apply(rows, c, eps, wx, wmean, wvar, wgamma, wbeta, want);
    for (int64_t i = 0; i < n; i++)
        bound[i] = 4 * EPS * (fabs(want[i] - beta[i % c]) + fabs(beta[i % c]));

    double *want_dx = check_doubles(n), *want_dgamma = check_doubles(c), *want_dbeta = check_doubles(c);

    double *terms = check_doubles(n);
    ref_bn_grad(rows, c, eps, wx, wdy, wmean, wvar, wgamma, want_dx, want_dgamma, want_dbeta);
    double *sum_dy = absolute_sums(rows, c, wdy);
    for (int64_t i = 0; i < n; i++)
        terms[i] = wdy[i] * (wx[i] - wmean[i % c]) / sqrt(wvar[i % c] + eps);
    double *sum_terms = absolute_sums(rows, c, terms), *bound_dx = check_doubles(n);
    for (int64_t i = 0; i < n; i++) {
        const double sigma = sqrt(wvar[i % c] + eps), normal = fabs(wx[i] - wmean[i % c]) / sigma;
        const double size = fabs(wdy[i]) + (sum_dy[i % c] + normal * sum_terms[i % c]) / (double)rows;
        bound_dx[i] = 24 * EPS * fabs(wgamma[i % c]) / sigma * size;
    }
    for (int64_t i = 0; i < c; i++) {
        sum_dy[i] *= 20 * EPS;
        sum_terms[i] *= 22 * EPS;
    }
    float *y[4], *dx[4], *dgamma[4], *dbeta[4];
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(n);
        dx[t] = check_output(n);
        dgamma[t] = check_output(c);
        dbeta[t] = check_output(c);
        const tc_bn_forward forward = {rows, c, eps, x, mean, var, gamma, beta, NULL, TC_LINEAR, 0};
        const tc_bn_backward backward = {rows, c, eps, x, mean, var, gamma, NULL, {TC_LINEAR, 0, NULL, dy, NULL}, NULL};
        tc_bn_act(&forward, y[t], t);
        tc_bn_grad(&backward, dx[t], dgamma[t], dbeta[t], check_scratch(tc_bn_scratch(rows, c)), t);
    }
    check_close(name("bn_apply", rows, c), n, y[1], want, bound, 0);
    check_close(name("bn_grad dx", rows, c), n, dx[1], want_dx, bound_dx, 0);
    check_close(name("bn_grad dgamma", rows, c), c, dgamma[1], want_dgamma, sum_terms, 0);
    check_close(name("bn_grad dbeta", rows, c), c, dbeta[1], want_dbeta, sum_dy, 0);
    for (int t = 2; t <= 3; t++) {
        check_same(name("bn_apply threads", rows, c), (size_t)n * 4, y[t], y[1]);
        check_same(name("bn_grad dx threads", rows, c), (size_t)n * 4, dx[t], dx[1]);
        check_same(name("bn_grad dgamma threads", rows, c), (size_t)c * 4, dgamma[t], dgamma[1]);
        check_same(name("bn_grad dbeta threads", rows, c), (size_t)c * 4, dbeta[t], dbeta[1]);
    }
    check_free_all(name("bn_apply", rows, c));
}

static void check_sum_rows(int64_t rows, int64_t c) {
    float *x = check_input(rows * c, -1, 1), *sum[4];
    double *want = check_doubles(c), *wide = check_widen(x, rows * c);
    ref_sum_rows(rows, c, wide, want);
    double *bound = absolute_sums(rows, c, wide);
    for (int64_t i = 0; i < c; i++)
        bound[i] *= 20 * EPS;
    for (int t = 1; t <= 3; t++) {
        sum[t] = check_output(c);
        tc_sum_rows(rows, c, x, sum[t], check_scratch(tc_bn_scratch(rows, c)), t);
    }
    check_close(name("sum_rows", rows, c), c, sum[1], want, bound, 0);
    check_same(name("sum_rows threads", rows, c), (size_t)c * 4, sum[2], sum[1]);
    check_same(name("sum_rows threads", rows, c), (size_t)c * 4, sum[3], sum[1]);
    check_free_all(name("sum_rows", rows, c));
}

static void check_lrn(int64_t rows, int64_t c, int64_t size, double alpha, double beta, double k) {
    const int64_t n = rows * c;
    float *x = check_input(n, -3, 3), *dy = check_input(n, -1, 1), *y[4], *dx[4];
    double *want = check_doubles(n), *want_dx = check_doubles(n), *bound = check_doubles(n);
    double *bound_dx = check_doubles(n);
    double *wx = check_widen(x, n), *wdy = check_widen(dy, n), *product = check_doubles(n);
    const float a = (float)alpha, b = (float)beta, kf = (float)k;
    ref_lrn(rows, c, size, a, b, kf, wx, want);
    ref_lrn_grad(rows, c, size, a, b, kf, wx, wdy, want_dx);
    for (int64_t i = 0; i < n; i++)
        product[i] = fabs(wdy[i] * wx[i]);
    for (int64_t i = 0; i < n; i++) {       /* the second term's size: that of its absolute values */
        double around = 0;
        for (int64_t j = i % c - size; j <= i % c + size; j++)
            around += j >= 0 && j < c ? product[i / c * c + j] : 0;
        bound[i] = 20 * EPS * fabs(want[i]);
        bound_dx[i] = 20 * EPS * (fabs(wdy[i]) + around * 2 * alpha * beta / (double)size * fabs(wx[i]) / k) *
                      pow(k, -beta);
    }
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(n);
        dx[t] = check_output(n);
        tc_lrn(rows, c, size, a, b, kf, x, y[t], t);
        tc_lrn_grad(rows, c, size, a, b, kf, x, dy, dx[t], t);
    }
    check_close(name("lrn", rows, c), n, y[1], want, bound, 0);
    check_close(name("lrn_grad", rows, c), n, dx[1], want_dx, bound_dx, 0);
    for (int t = 2; t <= 3; t++) {
        check_same(name("lrn threads", rows, c), (size_t)n * 4, y[t], y[1]);
        check_same(name("lrn_grad threads", rows, c), (size_t)n * 4, dx[t], dx[1]);
    }
    check_free_all(name("lrn", rows, c));
}

/* The references' gradients by central differences of their forward passes. */
static void bn_of(int64_t rows, int64_t c, const double *x, const double *gamma, const double *beta, double *y) {
    double mean[8], var[8];
    ref_bn_stats(rows, c, x, mean, var);
    ref_bn_apply(rows, c, 1e-3, x, mean, var, gamma, beta, y);
}
static void check_references(void) {
    enum { ROWS_ = 7, C = 5, N = ROWS_ * C };
    const double h = 1e-5;
    double x[N], dy[N], gamma[C], beta[C], mean[C], var[C], dx[N], dgamma[C], dbeta[C], up[N], down[N];
    for (int i = 0; i < N; i++)
        x[i] = check_uniform(-2, 2), dy[i] = check_uniform(-1, 1);
    for (int i = 0; i < C; i++)
        gamma[i] = check_uniform(-2, 2), beta[i] = check_uniform(-1, 1);
    ref_bn_stats(ROWS_, C, x, mean, var);
    ref_bn_grad(ROWS_, C, 1e-3, x, dy, mean, var, gamma, dx, dgamma, dbeta);
    for (int which = 0; which < N + 2 * C + N; which++) {
        const int lrn = which >= N + 2 * C;
        double *at = which < N ? &x[which] : which < N + C ? &gamma[which - N] : lrn ? &x[which - N - 2 * C] :
            &beta[which - N - C];
        double want, slope = 0, before = *at;
        if (lrn)
            ref_lrn_grad(ROWS_, C, 3, 0.4, 0.75, 1.5, x, dy, dx);
        want = which < N ? dx[which] : which < N + C ? dgamma[which - N] : lrn ? dx[which - N - 2 * C] :
            dbeta[which - N - C];
        for (int side = -1; side <= 1; side += 2) {
            *at = before + side * h;
            if (lrn)
                ref_lrn(ROWS_, C, 3, 0.4, 0.75, 1.5, x, side < 0 ? down : up);
            else
                bn_of(ROWS_, C, x, gamma, beta, side < 0 ? down : up);
        }
        *at = before;
        for (int i = 0; i < N; i++)
            slope += dy[i] * (up[i] - down[i]) / (2 * h);
        check_true(fabs(slope - want) < 1e-7, "reference gradient %d: %g, by differences %g", which, want, slope);
    }
}

int main(void) {
    check_begin("test_norm");
    check_seed(2);
    check_references();
    for (int c = 0; c < CHANNELS; c++)
        for (int r = 0; r < ROWS; r++) {
            if (!check_pick())
                continue;
            const int64_t rows = row_counts[r], ch = channels[c];
            check_stats(rows, ch, 0.5, 1);
            check_stats(rows, ch, 1000, 0.02);
            check_running(rows, ch);
            check_apply(rows, ch, 0.5, 1);
            check_apply(rows, ch, 1000, 0.02);
            check_sum_rows(rows, ch);
            check_lrn(rows, ch, 5, 5e-4, 0.75, 2);
            check_lrn(rows, ch, 1 + r, 1.5, 0.5 + 0.1 * r, 0.7);
        }
    static const int64_t large[][2] = {{20011, 10}, {40013, 1}, {4099, 64}, {1033, 257}, {129, 2048}, {5003, 33},
                                       {30001, 6}};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        if (!check_pick())
            continue;
        check_stats(large[i][0], large[i][1], -3, 2);
        check_stats(large[i][0], large[i][1], 1000, 0.01);
        check_apply(large[i][0], large[i][1], 1, 2);
        check_sum_rows(large[i][0], large[i][1]);
    }
    check_lrn(500, 96, 5, 1e-2, 0.75, 1);
    check_lrn(3, 3000, 5, 1e-2, 0.75, 1);
    check_lrn(2, 2100, 250, 1e-1, 0.75, 1);
    check_lrn(1, 300, 280, 1e-1, 0.75, 1);
    /* constant channels: no variance, and nothing that cancels to less than none */
    float *x = check_input(1000 * 3, 7, 7), *mean = check_output(3), *var = check_output(3);
    tc_bn_stats(1000, 3, x, mean, var, check_scratch(tc_bn_scratch(1000, 3)), 2);
    check_close("bn_stats of a constant", 3, var, (double[]){0, 0, 0}, NULL, 0);
    /* one far row at the beginning must not spoil the rest */
    float *spike = check_input(4000, 999.99, 1000.01);
    double want_mean, want_var;
    spike[0] = 0;
    ref_bn_stats(4000, 1, check_widen(spike, 4000), &want_mean, &want_var);
    tc_bn_stats(4000, 1, spike, mean, var, check_scratch(tc_bn_scratch(4000, 1)), 1);
    check_close("bn_stats after an outlier: mean", 1, mean, &want_mean, NULL, 1e-4);
    check_close("bn_stats after an outlier: variance", 1, var, &want_var, NULL, 1e-5 * want_var);
    check_free_all("bn_stats");
    return check_end();
}
