/* Softmax, losses and the optimiser against ref.c. */
#include "check.h"
#include "ref.h"

static const double EPS = 0x1p-24;
static const int64_t classes[] = {1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 33, 64, 100, 1000};
static const int64_t row_counts[] = {1, 2, 5, 64, 129};
enum { CLASSES = sizeof classes / sizeof *classes, ROWS = sizeof row_counts / sizeof *row_counts };

static char label[128];
static const char *name(const char *what, int64_t rows, int64_t c) {
    snprintf(label, sizeof label, "%s %lldx%lld", what, (long long)rows, (long long)c);
    return label;
}

static void check_softmax(int64_t rows, int64_t c, double range) {
    const int64_t n = rows * c;
    float *x = check_input(n, -range, range), *dy = check_input(n, -1, 1), *y[4], *dx[4];
    double *want = check_doubles(n), *bound = check_doubles(n), *want_dx = check_doubles(n);
    double *bound_dx = check_doubles(n);
    ref_softmax(rows, c, check_widen(x, n), want);
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(n);
        tc_softmax(rows, c, x, y[t], t);
    }
    ref_softmax_grad(rows, c, check_widen(y[1], n), check_widen(dy, n), want_dx);
    for (int64_t i = 0; i < n; i++) {
        bound[i] = (4e-7 + EPS * 2 * range + EPS * (double)c / 8) * want[i] + 1e-37;
        bound_dx[i] = y[1][i] * EPS * (8 + (double)c / 8) + 1e-37;
    }
    for (int t = 1; t <= 3; t++) {
        dx[t] = check_output(n);
        tc_softmax_grad(rows, c, y[1], dy, dx[t], t);
    }
    check_close(name("softmax", rows, c), n, y[1], want, bound, 0);
    check_close(name("softmax_grad", rows, c), n, dx[1], want_dx, bound_dx, 0);
    for (int t = 2; t <= 3; t++) {
        check_same(name("softmax threads", rows, c), (size_t)n * 4, y[t], y[1]);
        check_same(name("softmax_grad threads", rows, c), (size_t)n * 4, dx[t], dx[1]);
    }
    check_free_all(name("softmax", rows, c));
}

static void check_xent(int64_t rows, int64_t c, double smoothing, double gamma, int weighted, double scale,
                       double range) {
    const int64_t n = rows * c;
    float *x = check_input(n, -range, range), *dx[4], *loss[4];
    int32_t *labels = check_alloc((size_t)rows * sizeof *labels, 0);
    for (int64_t r = 0; r < rows; r++)
        labels[r] = (int32_t)check_integer(0, c - 1);
    const float *weights = weighted ? check_input(c, 0, 2) : NULL;
    const double most = (weighted ? 2 : 1) * (1 + gamma);
    double *want_dx = check_doubles(n), *bound = check_doubles(n);
    const double want = ref_xent(rows, c, (float)smoothing, (float)gamma, (float)scale, check_widen(x, n), labels,
                                 weights ? check_widen(weights, c) : NULL, want_dx);
    for (int t = 1; t <= 3; t++) {
        dx[t] = check_output(n);
        loss[t] = check_output(1);
        tc_xent(rows, c, (float)smoothing, (float)gamma, (float)scale, x, labels, weights, loss[t], dx[t],
                check_alloc((size_t)rows * 8, 0xA5), t);
    }
    float *alone = check_output(1);
    tc_xent(rows, c, (float)smoothing, (float)gamma, (float)scale, x, labels, weights, alone, NULL,
            check_alloc((size_t)rows * 8, 0xA5), 2);
    for (int64_t i = 0; i < n; i++)      /* softmax - target: relative to both, which may cancel */
        bound[i] = most * (1e-6 + EPS * (2 * range + (double)c / 8)) * scale / (double)rows;
    check_close(name("xent", rows, c), 1, loss[1], &want, NULL, most * (2e-6 * (1 + range) + EPS * (double)c / 8));
    check_close(name("xent dx", rows, c), n, dx[1], want_dx, bound, 0);
    check_same(name("xent without dx", rows, c), 4, alone, loss[1]);
    for (int t = 2; t <= 3; t++) {
        check_same(name("xent threads", rows, c), 4, loss[t], loss[1]);
        check_same(name("xent dx threads", rows, c), (size_t)n * 4, dx[t], dx[1]);
    }
    check_free_all(name("xent", rows, c));
}

typedef void (*loss_kernel)(int64_t, float, const float *, const float *, float *, float *, void *, int);
typedef double (*loss_reference)(int64_t, double, const double *, const double *, double *);

static void check_elementwise(const char *what, loss_kernel kernel, loss_reference reference, int64_t n, double scale,
                              double range) {
    float *x = check_input(n, -range, range), *target = check_input(n, 0, 1), *dx[4], *loss[4];
    double *want_dx = check_doubles(n);
    const double want = reference(n, (float)scale, check_widen(x, n), check_widen(target, n), want_dx);
    for (int t = 1; t <= 3; t++) {
        dx[t] = check_output(n);
        loss[t] = check_output(1);
        kernel(n, (float)scale, x, target, loss[t], dx[t], check_alloc(64 * 8, 0xA5), t);
    }
    float *alone = check_output(1);
    kernel(n, (float)scale, x, target, alone, NULL, check_alloc(64 * 8, 0xA5), 2);
    check_close(name(what, n, 1), 1, loss[1], &want, NULL, 20 * EPS * (fabs(want) + range));
    check_close(name("its dx", n, 1), n, dx[1], want_dx, NULL, 8 * EPS * scale / (double)n * (1 + range));
    check_same(name("it without dx", n, 1), 4, alone, loss[1]);
    for (int t = 2; t <= 3; t++) {
        check_same(name("its threads", n, 1), 4, loss[t], loss[1]);
        check_same(name("its dx threads", n, 1), (size_t)n * 4, dx[t], dx[1]);
    }
    check_free_all(name(what, n, 1));
}

static void focal(int64_t n, float scale, const float *x, const float *target, float *loss, float *dx, void *scratch,
                  int threads) {
    tc_focal(n, 2, 0.25f, scale, x, target, loss, dx, scratch, threads);
}
static double ref_paper_focal(int64_t n, double scale, const double *x, const double *target, double *dx) {
    return ref_focal(n, 2, 0.25, scale, x, target, dx);
}

static void check_dice(int64_t n, int64_t s, int64_t c, int numbered) {
    const int64_t size = n * s * c;
    float *p = check_input(size, 0, 1), *target = numbered ? NULL : check_input(size, 0, 1), *dp[4], *loss[4];
    int32_t *labels = numbered ? check_alloc((size_t)(n * s) * sizeof *labels, 0) : NULL;
    for (int64_t r = 0; numbered && r < n * s; r++)
        labels[r] = (int32_t)check_integer(0, c - 1);
    double *want_dp = check_doubles(size), *bound = check_doubles(size);
    const double want = ref_dice(n, s, c, 0.5, 0.7f, check_widen(p, size), target ? check_widen(target, size) : NULL,
                                 labels, want_dp);
    const size_t room = (size_t)tc_dice_scratch(n, c);
    for (int t = 1; t <= 3; t++) {
        dp[t] = check_output(size);
        loss[t] = check_output(1);
        tc_dice(n, s, c, 0.5f, 0.7f, p, target, labels, loss[t], dp[t], check_alloc(room, 0xA5), t);
    }
    float *alone = check_output(1);
    tc_dice(n, s, c, 0.5f, 0.7f, p, target, labels, alone, NULL, check_alloc(room, 0xA5), 2);
    for (int64_t i = 0; i < size; i++)
        bound[i] = 1e-6 / (double)(n * c);
    check_close(name("dice", n * s, c), 1, loss[1], &want, NULL, 1e-6);
    check_close(name("dice dp", n * s, c), size, dp[1], want_dp, bound, 2e-6);
    check_same(name("dice without dp", n * s, c), 4, alone, loss[1]);
    for (int t = 2; t <= 3; t++) {
        check_same(name("dice threads", n * s, c), 4, loss[t], loss[1]);
        check_same(name("dice dp threads", n * s, c), (size_t)size * 4, dp[t], dp[1]);
    }
    check_free_all(name("dice", n * s, c));
}

static void check_sgd(int64_t n, double momentum, double decay, int nesterov) {
    float *w = check_input(n, -1, 1), *g = check_input(n, -1, 1), *v = check_input(n, -1, 1), *w_t[4], *v_t[4];
    double *want_w = check_widen(w, n), *want_v = check_widen(v, n), *wide_g = check_widen(g, n);
    const float lr = 0.1f, m = (float)momentum, d = (float)decay;
    for (int step = 0; step < 3; step++)
        ref_sgd(n, lr, m, d, nesterov, want_w, wide_g, want_v);
    for (int t = 1; t <= 3; t++) {
        w_t[t] = check_copy(w, n);
        v_t[t] = check_copy(v, n);
        for (int step = 0; step < 3; step++)
            tc_sgd(n, lr, m, d, nesterov, 1, w_t[t], g, v_t[t], t);
    }
    check_close(name("sgd w", n, nesterov), n, w_t[1], want_w, NULL, 20 * EPS);
    check_close(name("sgd v", n, nesterov), n, v_t[1], want_v, NULL, 30 * EPS);
    for (int t = 2; t <= 3; t++) {
        check_same(name("sgd w threads", n, nesterov), (size_t)n * 4, w_t[t], w_t[1]);
        check_same(name("sgd v threads", n, nesterov), (size_t)n * 4, v_t[t], v_t[1]);
    }
    check_free_all(name("sgd", n, nesterov));
}

enum { ADAM, ADAMW, RMSPROP };
static const char *optimisers[] = {"adam", "adamw", "rmsprop"};

static void check_moments(int kind, int64_t n) {
    float *w = check_input(n, -1, 1), *g = check_input(n, -1, 1), *zero = check_input(n, 0, 0), *got[4][3];
    double *want[3] = {check_widen(w, n), check_widen(zero, n), check_widen(zero, n)}, *wide_g = check_widen(g, n);
    const tc_adam_options adam = {0.9, 0.99, 1e-3, 0.1, kind == ADAMW};
    const tc_rmsprop_options rms = {0.9, 0.8, 1e-3, 0.1};
    const float lr = 0.0625f, by = 0.75f;
    enum { STEPS = 5 };
    for (int step = 0; step < STEPS; step++)
        if (kind == RMSPROP)
            ref_rmsprop(n, &rms, lr, by, want[0], wide_g, want[1], want[2]);
        else
            ref_adam(n, &adam, lr, step + 1, by, want[0], wide_g, want[1], want[2]);
    for (int t = 1; t <= 3; t++) {
        got[t][0] = check_copy(w, n);
        got[t][1] = check_copy(zero, n);
        got[t][2] = check_copy(zero, n);
        for (int step = 0; step < STEPS; step++)
            if (kind == RMSPROP)
                tc_rmsprop(n, &rms, lr, by, got[t][0], g, got[t][1], got[t][2], t);
            else
                tc_adam(n, &adam, lr, (uint64_t)step, by, got[t][0], g, got[t][1], got[t][2], t);
    }
    for (int k = 0; k < 3; k++) {
        check_close(name(optimisers[kind], n, k), n, got[1][k], want[k], NULL, 60 * EPS);
        for (int t = 2; t <= 3; t++)
            check_same(name("its threads", n, k), (size_t)n * 4, got[t][k], got[1][k]);
    }
    check_free_all(name(optimisers[kind], n, 0));
}

static void check_averages_and_norms(int64_t n) {
    float *w = check_input(n, -1, 1), *e = check_input(n, -1, 1), *followed[4];
    double *wide = check_widen(w, n), *want = check_widen(e, n), total = 0, before = 3, sums[4], bare;
    for (int64_t i = 0; i < n; i++) {
        want[i] += (1 - 4.0 / 13) * (wide[i] - want[i]);
        total += wide[i] * wide[i];
    }
    for (int t = 1; t <= 3; t++) {
        followed[t] = check_copy(e, n);
        tc_ema(n, 0.9, 2, w, followed[t], t);
        tc_square_sum(n, &before, w, &sums[t], check_alloc(64 * 8, 0xA5), t);
        check_same(name("ema threads", n, t), (size_t)n * 4, followed[t], followed[1]);
        check_same(name("square sum threads", n, t), 8, &sums[t], &sums[1]);
    }
    tc_square_sum(n, NULL, w, &bare, check_alloc(64 * 8, 0xA5), 1);
    check_close(name("ema", n, 1), n, followed[1], want, NULL, 4 * EPS);
    check_true(fabs(sums[1] - total - 3) <= 1e-6 * (total + 3) && fabs(bare - total) <= 1e-6 * total,
               "square sum %lld: %g, %g", (long long)n, sums[1], bare);
    check_free_all(name("ema", n, 0));
}

static void check_clip_factor(void) {
    const double small = 4, large = 25;
    check_true(tc_clip_factor(3, NULL) == 1 && tc_clip_factor(3, &small) == 1, "no clipping below the norm");
    check_true(tc_clip_factor(3, &large) == 0.6f, "clipping above the norm");
}

/* The references' gradients by central differences. */
static void check_references(void) {
    enum { R = 3, C = 5, N = R * C };
    const double h = 1e-5;
    const int32_t labels[R] = {0, 4, 2};
    double x[N], target[N], dy[N], y[N], dx[8][N], up[N], down[N];
    for (int i = 0; i < N; i++)
        x[i] = check_uniform(-2, 2), target[i] = check_uniform(0, 1), dy[i] = check_uniform(-1, 1);
    ref_softmax(R, C, x, y);
    ref_softmax_grad(R, C, y, dy, dx[0]);
    ref_xent(R, C, 0.1, 0, 1.5, x, labels, target, dx[1]);
    ref_bce(N, 1.5, x, target, dx[2]);
    ref_mse(N, 1.5, x, target, dx[3]);
    ref_focal(N, 2, 0.25, 1.5, x, target, dx[4]);
    ref_xent(R, C, 0, 2, 1.5, x, labels, NULL, dx[5]);
    ref_dice(1, R, C, 0.5, 1.5, x, target, NULL, dx[6]);
    ref_dice(1, R, C, 0.5, 1.5, x, NULL, labels, dx[7]);
    for (int i = 0; i < N; i++) {
        const double before = x[i];
        double loss[8][2] = {{0}};
        for (int side = 0; side < 2; side++) {
            x[i] = before + (side ? h : -h);
            ref_softmax(R, C, x, side ? up : down);
            for (int j = 0; j < N; j++)
                loss[0][side] += dy[j] * (side ? up : down)[j];
            loss[1][side] = 1.5 * ref_xent(R, C, 0.1, 0, 1, x, labels, target, NULL);
            loss[2][side] = 1.5 * ref_bce(N, 1, x, target, NULL);
            loss[3][side] = 1.5 * ref_mse(N, 1, x, target, NULL);
            loss[4][side] = 1.5 * ref_focal(N, 2, 0.25, 1, x, target, NULL);
            loss[5][side] = 1.5 * ref_xent(R, C, 0, 2, 1, x, labels, NULL, NULL);
            loss[6][side] = 1.5 * ref_dice(1, R, C, 0.5, 1, x, target, NULL, NULL);
            loss[7][side] = 1.5 * ref_dice(1, R, C, 0.5, 1, x, NULL, labels, NULL);
        }
        x[i] = before;
        for (int k = 0; k < 8; k++) {
            const double slope = (loss[k][1] - loss[k][0]) / (2 * h);
            check_true(fabs(slope - dx[k][i]) < 1e-8, "reference gradient %d.%d: %g, by differences %g", k, i,
                       dx[k][i], slope);
        }
    }
}

static void check_limits(void) {
    float x[6] = {1000, -1000, 0, -INFINITY, 3, 3}, y[6], dx[6], loss;
    double scratch[2];
    tc_softmax(2, 3, x, y, 1);
    check_close("softmax far apart", 6, y, (double[]){1, 0, 0, 0, 0.5, 0.5}, NULL, 1e-7);
    tc_xent(2, 3, 0, 0, 1, x, (int32_t[]){1, 2}, NULL, &loss, dx, scratch, 1);
    check_close("xent far apart", 1, &loss, (double[]){(2000 + log(2)) / 2}, NULL, 1e-3);
    check_close("xent dx far apart", 6, dx, (double[]){0.5, -0.5, 0, 0, 0.25, -0.25}, NULL, 1e-7);
    x[5] = NAN;
    tc_softmax(2, 3, x, y, 1);
    check_close("softmax with NaN", 6, y, (double[]){1, 0, 0, NAN, NAN, NAN}, NULL, 1e-7);
    tc_xent(2, 3, 0, 0, 1, x, (int32_t[]){0, 1}, NULL, &loss, dx, scratch, 1);
    check_true(isnan(loss) && !isnan(dx[0]) && isnan(dx[4]), "xent with NaN");
    float wide[3] = {500, -500, 0}, target[3] = {1, 0, 1};
    double sums[64];
    tc_bce(3, 1, wide, target, &loss, dx, sums, 1);
    check_close("bce far out", 1, &loss, (double[]){log(2) / 3}, NULL, 1e-7);
}

int main(void) {
    check_begin("test_loss");
    check_seed(4);
    check_references();
    check_limits();
    check_clip_factor();
    for (int i = 0; i < CLASSES; i++)
        for (int r = 0; r < ROWS; r++) {
            if (!check_pick())
                continue;
            const int64_t rows = row_counts[r], c = classes[i];
            check_softmax(rows, c, 3);
            check_softmax(rows, c, 40);
            check_xent(rows, c, 0, 0, 0, 1, 4);
            check_xent(rows, c, 0.1, 0, 1, 0.4, 30);
            check_xent(rows, c, 0, 2, 0, 1, 4);
            check_dice(rows, 1, c, 0);
            check_dice(1, rows, c, 1);
        }
    check_softmax(3001, 21, 5);
    check_xent(3001, 21, 0.1, 0, 1, 1, 5);
    check_xent(3001, 21, 0, 0.5, 1, 1, 5);
    check_dice(3, 4099, 1, 0);
    check_dice(2, 1031, 21, 1);
    static const int64_t lengths[] = {1, 7, 8, 9, 64, 65, 640, 4097, 50021};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        check_elementwise("bce", tc_bce, ref_bce, lengths[i], 1, 8);
        check_elementwise("bce", tc_bce, ref_bce, lengths[i], 0.3, 30);
        check_elementwise("focal", focal, ref_paper_focal, lengths[i], 1, 8);
        check_elementwise("focal", focal, ref_paper_focal, lengths[i], 0.3, 30);
        check_elementwise("mse", tc_mse, ref_mse, lengths[i], 0.7, 2);
        check_sgd(lengths[i], 0, 0, 0);
        check_sgd(lengths[i], 0.9, 5e-4, 0);
        check_sgd(lengths[i], 0.9, 5e-4, 1);
        for (int kind = ADAM; kind <= RMSPROP; kind++)
            check_moments(kind, lengths[i]);
        check_averages_and_norms(lengths[i]);
    }
    return check_end();
}
