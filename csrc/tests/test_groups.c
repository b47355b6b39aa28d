/* Layer and group normalisation, the factor per channel and the shuffle against ref_groups.c. */
#include "check.h"
#include "ref.h"
#include "ref_groups.h"

static const double EPS = 0x1p-24;       /* of one float rounding */

static char label[128];
static const char *name(const char *what, int64_t n, int64_t s, int64_t c, int64_t groups) {
    snprintf(label, sizeof label, "%s %lldx%lldx%lld g%lld", what, (long long)n, (long long)s, (long long)c,
             (long long)groups);
    return label;
}

typedef struct {
    int64_t n, s, c, groups;
    float eps, *x, *dy, *gamma, *beta;
    double *y, *mean, *var, *dx, *dgamma, *dbeta;                      /* wanted */
    double *bound_y, *bound_dx, *bound_dgamma, *bound_dbeta;
} example;

/* Data of a given spread about a centre, what ref_groups.c makes of them, and what rounding may do to it. The mean is a
 * float: half a unit of it is allowed for in u = (x - mean) / sigma; `exact` where the kernel keeps the rest. */
static example example_of(int64_t n, int64_t s, int64_t c, int64_t groups, double centre, double spread, int exact) {
    const int64_t all = n * s * c, m = s * c / groups;
    example e = {.n = n, .s = s, .c = c, .groups = groups, .eps = (float)(1e-3 * spread * spread)};
    e.x = check_input(all, centre - spread, centre + spread);
    e.dy = check_input(all, -1, 1);
    e.gamma = check_input(c, -2, 2);
    e.beta = check_input(c, -1, 1);
    double **of_all[] = {&e.y, &e.dx, &e.bound_y, &e.bound_dx}, **of_groups[] = {&e.mean, &e.var};
    double **of_channels[] = {&e.dgamma, &e.dbeta, &e.bound_dgamma, &e.bound_dbeta};
    for (int i = 0; i < 4; i++)
        *of_all[i] = check_doubles(all), *of_channels[i] = check_doubles(c);
    for (int i = 0; i < 2; i++)
        *of_groups[i] = check_doubles(n * groups);
    double *x = check_widen(e.x, all), *dy = check_widen(e.dy, all), *gamma = check_widen(e.gamma, c);
    ref_gn(n, s, c, groups, e.eps, x, gamma, check_widen(e.beta, c), e.y, e.mean, e.var);
    ref_gn_grad(n, s, c, groups, e.eps, x, dy, gamma, e.dx, e.dgamma, e.dbeta);
    double *sum = check_doubles(n * groups), *sum_u = check_doubles(n * groups);
    for (int64_t k = 0; k < n * groups; k++)
        sum[k] = sum_u[k] = 0;
    for (int64_t i = 0; i < c; i++)
        e.bound_dgamma[i] = e.bound_dbeta[i] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < all; i++) {
            const int64_t ch = i % c, k = i / (s * c) * groups + ch / (c / groups);
            const double sigma = sqrt(e.var[k] + e.eps), u = fabs(x[i] - e.mean[k]) / sigma;
            const double off = (exact ? 4 : 4 + fabs(e.mean[k]) / sigma) * EPS, g = fabs(dy[i] * gamma[ch]);
            if (pass == 0) {
                sum[k] += g / (double)m;
                sum_u[k] += g * (u + 1) / (double)m;
                e.bound_dgamma[ch] += fabs(dy[i]) * (34 * EPS * u + off);
                e.bound_dbeta[ch] += 34 * EPS * fabs(dy[i]);
            } else {
                e.bound_y[i] = 12 * EPS * (u * fabs(gamma[ch]) + fabs(e.beta[ch])) + off * fabs(gamma[ch]);
                e.bound_dx[i] = (24 * EPS + off) * (g + sum[k] + (u + 1) * sum_u[k]) / sigma;
            }
        }
    return e;
}

typedef struct { float *y, *dx, *dgamma, *dbeta; } result;

static void check_results(const char *what, const example *e, const result *r) {
    const int64_t all = e->n * e->s * e->c;
    char part[64];
    const struct { const char *what; int64_t n; const double *want, *bound; } parts[] = {
        {"y", all, e->y, e->bound_y}, {"dx", all, e->dx, e->bound_dx}, {"dgamma", e->c, e->dgamma, e->bound_dgamma},
        {"dbeta", e->c, e->dbeta, e->bound_dbeta}};
    for (int i = 0; i < 4; i++) {
        float *const got[] = {(&r[1].y)[i], (&r[2].y)[i], (&r[3].y)[i]};
        snprintf(part, sizeof part, "%s %s", what, parts[i].what);
        check_close(name(part, e->n, e->s, e->c, e->groups), parts[i].n, got[0], parts[i].want, parts[i].bound, 0);
        for (int t = 1; t < 3; t++)
            check_same(name(part, e->n, e->s, e->c, e->groups), (size_t)parts[i].n * 4, got[t], got[0]);
    }
}

static void check_ln(int64_t rows, int64_t c, double centre, double spread) {
    const example e = example_of(rows, 1, c, 1, centre, spread, 1);
    result r[4];
    for (int t = 1; t <= 3; t++) {
        r[t] = (result){check_output(rows * c), check_output(rows * c), check_output(c), check_output(c)};
        tc_ln(rows, c, e.eps, e.x, e.gamma, e.beta, r[t].y, t);
        tc_ln_grad(rows, c, e.eps, e.x, e.dy, e.gamma, r[t].dx, r[t].dgamma, r[t].dbeta,
                   check_scratch(tc_ln_scratch(rows, c)), t);
    }
    check_results("ln", &e, r);
    float *y = check_copy(e.x, rows * c), *dx = check_copy(e.dy, rows * c);       /* in place */
    tc_ln(rows, c, e.eps, y, e.gamma, e.beta, y, 2);
    tc_ln_grad(rows, c, e.eps, e.x, dx, e.gamma, dx, r[2].dgamma, r[2].dbeta, check_scratch(tc_ln_scratch(rows, c)), 2);
    check_same(name("ln in place", rows, 1, c, 1), (size_t)(rows * c) * 4, y, r[1].y);
    check_same(name("ln_grad in place", rows, 1, c, 1), (size_t)(rows * c) * 4, dx, r[1].dx);
    check_free_all(name("ln", rows, 1, c, 1));
}

static void check_gn(int64_t n, int64_t s, int64_t c, int64_t groups, double centre, double spread) {
    const example e = example_of(n, s, c, groups, centre, spread, 0);
    const int64_t all = n * s * c;
    const size_t stats = (size_t)(n * groups) * 4;
    double *bound_mean = check_doubles(n * groups), *bound_var = check_doubles(n * groups);
    result r[4];
    float *mean[4], *var[4];
    for (int64_t k = 0; k < n * groups; k++) {
        bound_mean[k] = EPS * (fabs(e.mean[k]) + 20 * sqrt(e.var[k]));
        bound_var[k] = 30 * EPS * e.var[k];
    }
    for (int t = 1; t <= 3; t++) {
        r[t] = (result){check_output(all), check_output(all), check_output(c), check_output(c)};
        mean[t] = check_output(n * groups);
        var[t] = check_output(n * groups);
        tc_gn(n, s, c, groups, e.eps, e.x, e.gamma, e.beta, r[t].y, mean[t], var[t],
              check_scratch(tc_gn_scratch(n, s, c)), t);
        tc_gn_grad(n, s, c, groups, e.eps, e.x, e.dy, mean[t], var[t], e.gamma, r[t].dx, r[t].dgamma, r[t].dbeta,
                   check_scratch(tc_gn_scratch(n, s, c)), t);
    }
    check_results("gn", &e, r);
    check_close(name("gn mean", n, s, c, groups), n * groups, mean[1], e.mean, bound_mean, 0);
    check_close(name("gn var", n, s, c, groups), n * groups, var[1], e.var, bound_var, 0);
    for (int t = 2; t <= 3; t++) {
        check_same(name("gn mean threads", n, s, c, groups), stats, mean[t], mean[1]);
        check_same(name("gn var threads", n, s, c, groups), stats, var[t], var[1]);
    }
    float *y = check_copy(e.x, all), *dx = check_copy(e.dy, all);                 /* in place */
    void *scratch = check_scratch(tc_gn_scratch(n, s, c));
    tc_gn(n, s, c, groups, e.eps, y, e.gamma, e.beta, y, mean[2], var[2], scratch, 2);
    tc_gn_grad(n, s, c, groups, e.eps, e.x, dx, mean[1], var[1], e.gamma, dx, r[2].dgamma, r[2].dbeta, scratch, 2);
    check_same(name("gn in place", n, s, c, groups), (size_t)all * 4, y, r[1].y);
    check_same(name("gn_grad in place", n, s, c, groups), (size_t)all * 4, dx, r[1].dx);
    check_free_all(name("gn", n, s, c, groups));
}

static void check_scale(int64_t rows, int64_t c) {
    const int64_t n = rows * c;
    float *x = check_input(n, -1, 1), *w = check_input(c, -2, 2), *dy = check_input(n, -1, 1), *y[4], *dx[4], *dw[4];
    double *want = check_doubles(n), *want_dx = check_doubles(n), *want_dw = check_doubles(c), *sum = check_doubles(c);
    for (int64_t i = 0; i < c; i++)
        want_dw[i] = sum[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        want[i] = (double)x[i] * w[i % c];
        want_dx[i] = (double)dy[i] * w[i % c];
        want_dw[i % c] += (double)dy[i] * x[i];
        sum[i % c] += 20 * EPS * fabs((double)dy[i] * x[i]);
    }
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(n);
        dx[t] = check_copy(dy, n);      /* in place */
        dw[t] = check_output(c);
        tc_scale(rows, c, x, w, y[t], t);
        tc_scale_grad(rows, c, x, w, dx[t], dx[t], dw[t], check_scratch(tc_bn_scratch(rows, c)), t);
        check_same(name("scale threads", rows, 1, c, 1), (size_t)n * 4, y[t], y[1]);
        check_same(name("scale_grad dx threads", rows, 1, c, 1), (size_t)n * 4, dx[t], dx[1]);
        check_same(name("scale_grad dw threads", rows, 1, c, 1), (size_t)c * 4, dw[t], dw[1]);
    }
    check_close(name("scale", rows, 1, c, 1), n, y[1], want, NULL, 2 * EPS);
    check_close(name("scale_grad dx", rows, 1, c, 1), n, dx[1], want_dx, NULL, 2 * EPS);
    check_close(name("scale_grad dw", rows, 1, c, 1), c, dw[1], want_dw, sum, 0);
    check_free_all(name("scale", rows, 1, c, 1));
}

static void check_shuffle(int64_t rows, int64_t c, int64_t groups) {
    const int64_t n = rows * c;
    float *x = check_input(n, -1, 1), *want = check_output(n);
    ref_shuffle(rows, c, groups, x, want);
    for (int t = 1; t <= 3; t++) {
        float *y = check_output(n), *back = check_output(n);
        tc_shuffle(rows, c, groups, x, y, t);
        tc_shuffle(rows, c, c / groups, y, back, t);
        check_same(name("shuffle", rows, 1, c, groups), (size_t)n * 4, y, want);
        check_same(name("shuffle and back", rows, 1, c, groups), (size_t)n * 4, back, x);
    }
    check_free_all(name("shuffle", rows, 1, c, groups));
}

/* The reference's gradients by central differences of its forward pass. */
static void check_reference(int64_t n, int64_t s, int64_t c, int64_t groups) {
    const int64_t all = n * s * c;
    const double h = 1e-5;
    double *x = check_doubles(all), *dy = check_doubles(all), *gamma = check_doubles(c), *beta = check_doubles(c);
    double *dx = check_doubles(all), *dgamma = check_doubles(c), *dbeta = check_doubles(c), *y = check_doubles(all);
    double *mean = check_doubles(n * groups), *var = check_doubles(n * groups);
    for (int64_t i = 0; i < all; i++)
        x[i] = check_uniform(-2, 2), dy[i] = check_uniform(-1, 1);
    for (int64_t i = 0; i < c; i++)
        gamma[i] = check_uniform(-2, 2), beta[i] = check_uniform(-1, 1);
    ref_gn_grad(n, s, c, groups, 1e-3, x, dy, gamma, dx, dgamma, dbeta);
    for (int64_t which = 0; which < all + 2 * c; which++) {
        double *at = which < all ? &x[which] : which < all + c ? &gamma[which - all] : &beta[which - all - c];
        const double want = which < all ? dx[which] : which < all + c ? dgamma[which - all] : dbeta[which - all - c];
        const double before = *at;
        double slope = 0;
        for (int side = -1; side <= 1; side += 2) {
            *at = before + side * h;
            ref_gn(n, s, c, groups, 1e-3, x, gamma, beta, y, mean, var);
            for (int64_t i = 0; i < all; i++)
                slope += side * dy[i] * y[i] / (2 * h);
        }
        *at = before;
        check_true(fabs(slope - want) < 1e-6, "reference gradient %lld: %g, by differences %g", (long long)which, want,
                   slope);
    }
    check_free_all("reference");
}

int main(void) {
    check_begin("test_groups");
    check_seed(3);
    check_reference(3, 4, 6, 2);
    check_reference(5, 1, 4, 1);
    static const int64_t channels[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 100, 1031};
    static const int64_t rows[] = {1, 2, 5, 31, 33, 64, 257};
    for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            if (!check_pick())
                continue;
            check_ln(rows[r], channels[c], 0.5, 1);
            check_ln(rows[r], channels[c], 1000, 0.02);
            check_scale(rows[r], channels[c]);
        }
    static const int64_t large[][2] = {{20011, 10}, {4099, 64}, {1033, 257}, {129, 2048}, {9, 9001}, {30001, 6}};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        check_ln(large[i][0], large[i][1], 2, 1);
        check_scale(large[i][0], large[i][1]);
    }
    static const int64_t grouped[][2] = {{1, 1}, {2, 2}, {6, 3}, {8, 1}, {12, 4}, {16, 16}, {32, 8}, {33, 3}, {64, 32},
                                         {100, 5}, {1032, 3}};
    static const int64_t positions[] = {1, 2, 9, 130, 3001}, samples[] = {1, 2, 17};
    for (size_t c = 0; c < sizeof grouped / sizeof *grouped; c++)
        for (size_t s = 0; s < sizeof positions / sizeof *positions; s++)
            for (size_t n = 0; n < sizeof samples / sizeof *samples; n++) {
                const int64_t all = samples[n] * positions[s] * grouped[c][0];
                if (all > 700000 || !check_pick())
                    continue;
                check_gn(samples[n], positions[s], grouped[c][0], grouped[c][1], 0.5, 1);
                check_gn(samples[n], positions[s], grouped[c][0], grouped[c][1], 1000, 0.02);
            }
    check_gn(1, 40013, 16, 4, -3, 2);
    static const int64_t shuffled[][2] = {{1, 1}, {6, 1}, {6, 6}, {6, 2}, {6, 3}, {240, 3}, {272, 8}, {64, 32}, {60, 4},
                                          {60, 15}, {35, 5}, {35, 7}, {1030, 2}, {16, 2}, {24, 8}, {24, 12}};
    for (size_t i = 0; i < sizeof shuffled / sizeof *shuffled; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            check_shuffle(rows[r], shuffled[i][0], shuffled[i][1]);
    /* constant rows: no variance, and nothing that cancels to less than none */
    float *x = check_input(5 * 37, 0.1, 0.1), *gamma = check_input(37, 1, 1), *y = check_output(5 * 37);
    double zeros[5 * 37] = {0};
    tc_ln(5, 37, 1e-20f, x, gamma, check_input(37, 0, 0), y, 2);
    for (int i = 0; i < 5 * 37; i++)
        check_true(fabsf(y[i]) < 40, "ln of constant rows: %g", y[i]);
    float *mean = check_output(5), *var = check_output(5);
    tc_gn(5, 37, 1, 1, 1e-20f, x, gamma, gamma + 1, y, mean, var, check_scratch(tc_gn_scratch(5, 37, 1)), 2);
    check_close("gn variance of constants", 5, var, zeros, NULL, 1e-15);
    check_free_all("constants");
    return check_end();
}
