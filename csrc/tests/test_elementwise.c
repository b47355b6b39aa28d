/* Activations, products, dropout, windows, concatenation and the input's normalisation against ref.c. */
#include "check.h"
#include "ref.h"

static const double EPS = 0x1p-24;
static const int64_t channels[] = {1, 3, 6, 7, 8, 10, 15, 16, 17, 33, 64, 257, 1031};
static const int64_t lengths[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 200, 40001};
static const char *const acts[] = {"relu", "relu6", "leaky", "elu", "gelu", "silu", "hswish", "sigmoid", "hsigmoid",
                                   "tanh"};
enum { CHANNELS = sizeof channels / sizeof *channels, LENGTHS = sizeof lengths / sizeof *lengths };

static char label[128];
static const char *name(const char *what, int64_t a, int64_t b) {
    snprintf(label, sizeof label, "%s %lldx%lld", what, (long long)a, (long long)b);
    return label;
}

static int from_output(int kind) { return kind != TC_GELU && kind != TC_SILU && kind != TC_HSWISH; }

/* What rounding may do to an activation: relative to the value, and to what it is computed from where that cancels. */
static double act_bound(int kind, double x, double want) {
    const double relative = kind == TC_GELU ? 1e-6 : kind == TC_ELU || kind == TC_SILU ? 5e-7 : 3e-7;
    return relative * fabs(want) + (kind == TC_HSWISH ? 4 * EPS * fabs(x) : kind == TC_HSIGMOID ? 4 * EPS : 0) +
        1.2e-38 * (1 + fabs(x));
}

static void check_act(int kind, int64_t n, double a, double range) {
    float *x = check_input(n, -range, range), *dy = check_input(n, -1, 1), *y[4], *dx[4];
    double *want = check_doubles(n), *bound = check_doubles(n), *want_dx = check_doubles(n);
    double *bound_dx = check_doubles(n);
    const float af = (float)a;
    for (int64_t i = 0; i < n; i++) {
        want[i] = ref_act(kind, af, x[i]);
        bound[i] = act_bound(kind, x[i], want[i]);
    }
    for (int t = 1; t <= 3; t++) {
        y[t] = check_copy(x, n);               /* in place */
        tc_act(kind, n, af, y[t], y[t], t);
    }
    float *apart = check_output(n);
    tc_act(kind, n, af, x, apart, 2);
    check_close(name(acts[kind], n, 1), n, y[1], want, bound, 0);
    check_same(name("act out of place", kind, n), (size_t)n * 4, apart, y[1]);
    for (int64_t i = 0; i < n; i++) {          /* near a kink the saved output and the input may fall on two sides */
        want_dx[i] = dy[i] * ref_act_slope(kind, af, x[i]);
        const double kinks[] = {0, kind == TC_RELU6 ? 6 : 3, -3};
        bound_dx[i] = fabs(dy[i]) * (2e-6 + (kind == TC_GELU || kind == TC_SILU ? 4e-7 * fabs(x[i]) : 0));
        for (int k = 0; k < 3; k++)
            if (fabs(x[i] - kinks[k]) < 1e-5)
                bound_dx[i] = fabs(dy[i]);
    }
    const float *saved = from_output(kind) ? apart : x;
    for (int t = 1; t <= 3; t++) {
        dx[t] = check_copy(dy, n);
        tc_act_grad(kind, n, af, saved, dx[t], dx[t], t);
    }
    check_close(name("act_grad", kind, n), n, dx[1], want_dx, bound_dx, 0);
    for (int t = 2; t <= 3; t++) {
        check_same(name("act threads", kind, n), (size_t)n * 4, y[t], y[1]);
        check_same(name("act_grad threads", kind, n), (size_t)n * 4, dx[t], dx[1]);
    }
    check_free_all(name("act", kind, n));
}

static void check_act_limits(void) {
    static const struct { int kind; float x; double y; } at[] = {
        {TC_RELU, INFINITY, INFINITY}, {TC_RELU, -INFINITY, 0}, {TC_RELU6, INFINITY, 6}, {TC_ELU, -INFINITY, -1},
        {TC_ELU, INFINITY, INFINITY}, {TC_SIGMOID, INFINITY, 1}, {TC_SIGMOID, -INFINITY, 0}, {TC_SIGMOID, -200, 0},
        {TC_SIGMOID, 0, 0.5}, {TC_TANH, INFINITY, 1}, {TC_TANH, -INFINITY, -1}, {TC_TANH, 0, 0}, {TC_TANH, 100, 1},
        {TC_GELU, INFINITY, INFINITY}, {TC_GELU, -40, 0}, {TC_GELU, 40, 40}, {TC_SILU, 100, 100}, {TC_SILU, -200, 0},
        {TC_HSIGMOID, -INFINITY, 0}, {TC_HSIGMOID, INFINITY, 1}, {TC_LEAKY, INFINITY, INFINITY}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        float y[11], x[11];
        double want[11];
        for (int j = 0; j < 11; j++)
            x[j] = at[i].x, want[j] = at[i].y;
        tc_act(at[i].kind, 11, 1, x, y, 1);
        check_close(acts[at[i].kind], 11, y, want, NULL, 1e-30);
    }
    for (int kind = TC_RELU; kind <= TC_TANH; kind++) {     /* a NaN is not swallowed */
        float x[9] = {1, NAN, 2, 3, 4, 5, 6, 7, NAN}, y[9];
        tc_act(kind, 9, 0.1f, x, y, 1);
        check_true(isnan(y[1]) && isnan(y[8]) && !isnan(y[2]), "%s of NaN", acts[kind]);
        for (double v = -5.05; v < 7; v += 0.1) {           /* the reference's slopes by central differences */
            const double h = 1e-6, want = (ref_act(kind, 0.1, v + h) - ref_act(kind, 0.1, v - h)) / (2 * h);
            check_true(fabs(want - ref_act_slope(kind, 0.1, v)) < 1e-8, "reference slope of %s at %g", acts[kind], v);
        }
    }
}

static void check_prelu(int64_t rows, int64_t c) {
    const int64_t n = rows * c;
    float *x = check_input(n, -1, 1), *a = check_input(c, -0.5, 0.5), *dy = check_input(n, -1, 1), *y[4], *dx[4],
        *da[4];
    double *want = check_doubles(n), *want_dx = check_doubles(n), *want_da = check_doubles(c);
    double *wx = check_widen(x, n), *wa = check_widen(a, c), *wdy = check_widen(dy, n);
    ref_prelu(rows, c, wx, wa, want);
    ref_prelu_grad(rows, c, wx, wa, wdy, want_dx, want_da);
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(n);
        dx[t] = check_output(n);
        da[t] = check_output(c);
        tc_prelu(rows, c, x, a, y[t], t);
        tc_prelu_grad(rows, c, x, a, dy, dx[t], da[t], check_scratch(tc_bn_scratch(rows, c)), t);
    }
    check_close(name("prelu", rows, c), n, y[1], want, NULL, EPS);
    check_close(name("prelu_grad dx", rows, c), n, dx[1], want_dx, NULL, EPS);
    check_close(name("prelu_grad da", rows, c), c, da[1], want_da, NULL, 20 * EPS * (double)rows);
    for (int t = 2; t <= 3; t++) {
        check_same(name("prelu threads", rows, c), (size_t)n * 4, y[t], y[1]);
        check_same(name("prelu_grad dx threads", rows, c), (size_t)n * 4, dx[t], dx[1]);
        check_same(name("prelu_grad da threads", rows, c), (size_t)c * 4, da[t], da[1]);
    }
    check_free_all(name("prelu", rows, c));
}

static void check_bias_add(int64_t rows, int64_t c) {
    const int64_t n = rows * c;
    float *x = check_input(n, -1, 1), *bias = check_input(c, -1, 1), *y = check_output(n), *own = check_copy(x, n);
    double *want = check_doubles(n);
    for (int64_t i = 0; i < n; i++)
        want[i] = (double)x[i] + bias[i % c];
    tc_bias_add(rows, c, x, bias, y, 3);
    tc_bias_add(rows, c, own, bias, own, 2);
    check_close(name("bias_add", rows, c), n, y, want, NULL, 2 * EPS);
    check_same(name("bias_add in place", rows, c), (size_t)n * 4, own, y);
    check_free_all(name("bias_add", rows, c));
}

static void check_add(int64_t n) {
    float *a = check_input(n, -1, 1), *b = check_input(n, -1, 1), *y = check_output(n);
    double *want = check_doubles(n);
    for (int64_t i = 0; i < n; i++)
        want[i] = (double)a[i] + b[i];
    tc_add(n, a, b, y, 3);
    check_close(name("add", n, 1), n, y, want, NULL, 2 * EPS);
    float *first = check_copy(a, n), *second = check_copy(b, n);
    tc_add(n, first, b, first, 2);
    tc_add(n, a, second, second, 1);
    check_same(name("add into a", n, 1), (size_t)n * 4, first, y);
    check_same(name("add into b", n, 1), (size_t)n * 4, second, y);
    check_free_all(name("add", n, 1));
}

static void check_mul(int64_t n, int64_t s, int64_t c, int64_t bs, int64_t bc) {
    const int64_t size = n * s * c, small = n * bs * bc;
    float *a = check_input(size, -1, 1), *b = check_input(small, -1, 1), *dy = check_input(size, -1, 1), *y[4], *db[4];
    double *want = check_doubles(size), *want_db = check_doubles(small), *wa = check_widen(a, size);
    double *wdy = check_widen(dy, size);
    ref_mul(n, s, c, bs, bc, wa, check_widen(b, small), want);
    ref_mul_reduce(n, s, c, bs, bc, wdy, wa, want_db);
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(size);
        db[t] = check_output(small);
        tc_mul(n, s, c, bs, bc, a, b, y[t], t);
        tc_mul_reduce(n, s, c, bs, bc, dy, a, db[t], t);
    }
    check_close(name("mul", s, c), size, y[1], want, NULL, EPS);
    check_close(name("mul_reduce", s, c), small, db[1], want_db, NULL, 20 * EPS * (double)(size / small));
    for (int t = 2; t <= 3; t++) {
        check_same(name("mul threads", s, c), (size_t)size * 4, y[t], y[1]);
        check_same(name("mul_reduce threads", s, c), (size_t)small * 4, db[t], db[1]);
    }
    check_free_all(name("mul", s, c));
}

static void check_dropout(int64_t n, double p, uint64_t seed, uint64_t step, uint64_t layer, int64_t first) {
    float *x = check_input(n, 1, 2), *y[4];
    const float pf = (float)p;
    double *want = check_doubles(n), kept = 0;
    for (int64_t i = 0; i < n; i++) {
        const int keep = ref_dropout_keeps(pf, seed, step, layer, (uint64_t)(first + i));
        want[i] = keep ? x[i] / (1 - (double)pf) : 0;
        kept += keep;
    }
    for (int t = 1; t <= 3; t++) {
        y[t] = check_copy(x, n);
        tc_dropout(n, pf, seed, step, layer, first, y[t], y[t], t);
    }
    float *apart = check_output(n);
    tc_dropout(n, pf, seed, step, layer, first, x, apart, 1);
    check_close(name("dropout", n, 1), n, y[1], want, NULL, p < 1 ? 4 * EPS * 2 / (1 - p) : 0);
    check_same(name("dropout out of place", n, 1), (size_t)n * 4, apart, y[1]);
    check_same(name("dropout threads", n, 1), (size_t)n * 4, y[2], y[1]);
    check_same(name("dropout threads", n, 1), (size_t)n * 4, y[3], y[1]);
    if (n > 1000)
        check_true(fabs(kept / (double)n - (1 - p)) < 5 * sqrt(p * (1 - p) / (double)n) + 1e-12,
                   "dropout %g of %lld kept %g", p, (long long)n, kept / (double)n);
    check_free_all(name("dropout", n, 1));
}

static void check_window(tc_window_shape s) {
    const int64_t in = s.n * s.id * s.ih * s.iw * s.ic, out = s.n * s.od * s.oh * s.ow * s.oc;
    float *x = check_input(in, -1, 1), *y[4];
    double *want = check_doubles(out);
    ref_window(&s, check_widen(x, in), want);
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(out);
        tc_window(&s, x, y[t], t);
        check_close(name("window", s.oh * s.ow, s.oc), out, y[t], want, NULL, 0);
    }
    check_free_all("window");
}

static void check_place(int64_t rows, int64_t cx, int64_t more) {
    const int64_t cy = 2 * cx + more;
    float *a = check_input(rows * cx, -1, 1), *b = check_input(rows * (cx + more), -1, 1);
    double *want = check_doubles(rows * cy);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cy; i++)
            want[r * cy + i] = i < cx ? a[r * cx + i] : b[r * (cx + more) + i - cx];
    for (int t = 1; t <= 3; t++) {
        float *y = check_output(rows * cy);
        tc_place(rows, cx, cy, 0, a, y, t);
        tc_place(rows, cx + more, cy, cx, b, y, t);
        check_close(name("place", rows, cx), rows * cy, y, want, NULL, 0);
    }
    check_free_all(name("place", rows, cx));
}

static void check_normalise(int64_t rows, int64_t c) {
    const int64_t n = rows * c;
    uint8_t *bytes = check_alloc((size_t)n, 0);
    float *x = check_input(n, -1, 1), *mean = check_input(c, 0.2, 0.6), *std = check_input(c, 0.1, 0.4);
    double *want = check_doubles(n), *want_bytes = check_doubles(n);
    for (int64_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)check_integer(0, 255);
        want[i] = (x[i] - (double)mean[i % c]) / std[i % c];
        want_bytes[i] = (bytes[i] / 255.0 - mean[i % c]) / std[i % c];
    }
    for (int t = 1; t <= 3; t++) {
        float *y = check_output(n), *y_bytes = check_output(n);
        tc_input(rows, c, 0, x, mean, std, y, t);
        tc_input(rows, c, 1, bytes, mean, std, y_bytes, t);
        check_close(name("input float", rows, c), n, y, want, NULL, 40 * EPS);
        check_close(name("input uint8", rows, c), n, y_bytes, want_bytes, NULL, 40 * EPS);
    }
    check_free_all(name("input", rows, c));
}

int main(void) {
    check_begin("test_elementwise");
    check_seed(3);
    check_act_limits();
    for (int i = 0; i < LENGTHS; i++) {
        for (int kind = TC_RELU; kind <= TC_TANH; kind++) {
            if (!check_pick())
                continue;
            check_act(kind, lengths[i], 0.1, 8);
            check_act(kind, lengths[i], 1, 0.1);
            check_act(kind, lengths[i], 1.5, 80);
        }
        check_add(lengths[i]);
        check_dropout(lengths[i], 0.3, 7, 11, 3, 0);
        check_dropout(lengths[i], 0.5, UINT64_MAX, 1u << 31, 1000, lengths[i]);
    }
    check_dropout(20000, 0, 1, 2, 3, 0);
    check_dropout(20000, 1, 1, 2, 3, 0);
    check_dropout(20000, 0.999, 1, 2, 3, INT64_C(5000000000));
    for (int i = 0; i < CHANNELS; i++) {
        const int64_t c = channels[i];
        if (!check_pick())
            continue;
        for (int64_t rows = 1; rows < 300; rows = rows * 3 + i % 2) {
            check_prelu(rows, c);
            check_bias_add(rows, c);
            check_normalise(rows, c);
            check_place(rows, c, i);
        }
        for (int64_t s = 1; s < 60; s = s * 4 + 1)
            for (int form = 0; form < 4; form++)
                check_mul(1 + i % 3, s, c, form & 1 ? s : 1, form & 2 ? c : 1);
        check_window((tc_window_shape){2, 1, 5, 7, c, 1, 9, 11, c, 0, 2, 2, 0});            /* pad */
        check_window((tc_window_shape){2, 3, 5, 7, c, 2, 3, 4, c, -1, -1, -2, 0});          /* crop */
        check_window((tc_window_shape){1, 2, 3, 4, c, 4, 3, 4, c + 5, 1, 0, 0, 3});         /* channels too */
        check_window((tc_window_shape){2, 1, 4, 4, c + 2, 1, 4, 4, c, 0, 0, 0, -1});        /* fewer channels */
        check_window((tc_window_shape){1, 1, 3, 3, c, 1, 2, 2, c, 0, 5, -4, 0});            /* nothing left */
        check_window((tc_window_shape){1, 1, 4, 6, c, 1, 6, 3, c, 0, -2, 2, 0});            /* crop here, pad there */
    }
    check_prelu(20011, 17);
    check_bias_add(20011, 17);
    check_normalise(30011, 3);
    check_place(5003, 24, 1);
    for (int form = 0; form < 4; form++)
        check_mul(5, 1201, 23, form & 1 ? 1201 : 1, form & 2 ? 23 : 1);
    check_window((tc_window_shape){4, 1, 33, 31, 17, 1, 37, 35, 17, 0, 2, 2, 0});
    return check_end();
}
