/* Resizing against loops in double precision, over sizes and channels; the gradient also by the adjoint identity. */
#include "check.h"

static char label[256];
static const char *name(const tc_resize_shape *s, const char *what) {
    snprintf(label, sizeof label, "%s%s n%lld c%lld %lldx%lldx%lld -> %lldx%lldx%lld", what, s->linear ? " linear" : "",
             (long long)s->n, (long long)s->c, (long long)s->id, (long long)s->ih, (long long)s->iw, (long long)s->od,
             (long long)s->oh, (long long)s->ow);
    return label;
}

/* The share of input i in output o along one axis, from the definition. */
static double share(int64_t in, int64_t out, int64_t linear, int64_t o, int64_t i) {
    if (!linear)
        return (int64_t)floor((double)(o * in) / (double)out) == i;
    double at = ((double)o + 0.5) * (double)in / (double)out - 0.5;
    at = at < 0 ? 0 : at > (double)(in - 1) ? (double)(in - 1) : at;
    return fmax(0, 1 - fabs(at - (double)i));
}

/* y += M x, or (back) x += M^T y, over every pair of positions */
static void reference(const tc_resize_shape *s, int back, double *x, double *y) {
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t o = 0; o < s->od * s->oh * s->ow; o++)
            for (int64_t i = 0; i < s->id * s->ih * s->iw; i++) {
                const double w = share(s->iw, s->ow, s->linear, o % s->ow, i % s->iw) *
                                 share(s->ih, s->oh, s->linear, o / s->ow % s->oh, i / s->iw % s->ih) *
                                 share(s->id, s->od, s->linear, o / s->ow / s->oh, i / s->iw / s->ih);
                double *from = x + (n * s->id * s->ih * s->iw + i) * s->c;
                double *to = y + (n * s->od * s->oh * s->ow + o) * s->c;
                for (int64_t c = 0; w > 0 && c < s->c; c++) {
                    if (back)
                        from[c] += w * to[c];
                    else
                        to[c] += w * from[c];
                }
            }
}

static void check(const tc_resize_shape *s) {
    const int64_t in = s->n * s->id * s->ih * s->iw * s->c, out = s->n * s->od * s->oh * s->ow * s->c;
    float *x = check_input(in, -1, 1), *dy = check_input(out, -1, 1), *y[4], *dx[4];
    double *want = check_doubles(out), *want_dx = check_doubles(in);
    memset(want, 0, (size_t)out * sizeof *want);
    memset(want_dx, 0, (size_t)in * sizeof *want_dx);
    reference(s, 0, check_widen(x, in), want);
    reference(s, 1, want_dx, check_widen(dy, out));
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(out);
        dx[t] = check_output(in);
        tc_resize(s, x, y[t], t);
        tc_resize_grad(s, dy, dx[t], t);
    }
    check_close(name(s, "resize"), out, y[1], want, NULL, s->linear ? 1e-6 : 0);
    const double taps = ((double)s->od / (double)s->id + 2) * ((double)s->oh / (double)s->ih + 2) *
                        ((double)s->ow / (double)s->iw + 2);
    check_close(name(s, "resize_grad"), in, dx[1], want_dx, NULL, 2e-7 * taps + 1e-6);
    double forward = 0, backward = 0, size = 0;         /* <dy, R x> = <R* dy, x> */
    for (int64_t i = 0; i < out; i++)
        forward += (double)dy[i] * (double)y[1][i], size += fabs((double)dy[i] * (double)y[1][i]);
    for (int64_t i = 0; i < in; i++)
        backward += (double)dx[1][i] * (double)x[i];
    check_true(fabs(forward - backward) <= 1e-6 * (size + 1), "%s: %.9g and %.9g", name(s, "resize adjoint"), forward,
               backward);
    for (int t = 2; t <= 3; t++) {
        check_same(name(s, "resize threads"), (size_t)out * 4, y[t], y[1]);
        check_same(name(s, "resize_grad threads"), (size_t)in * 4, dx[t], dx[1]);
    }
    check_free_all(name(s, "resize"));
}

int main(void) {
    static const int64_t channels[] = {1, 3, 4, 7, 8, 10, 16, 17, 33};
    /* from and to, 2-D: doubled, by 3, not whole, the same, to a single one and from it, smaller, very large factors */
    static const int64_t planes[][4] = {{4, 5, 8, 10},  {3, 2, 9, 6},  {7, 5, 15, 9}, {6, 4, 6, 4},  {5, 7, 1, 1},
                                        {1, 1, 6, 5},   {9, 8, 4, 5},  {1, 9, 1, 18}, {8, 1, 16, 1}, {2, 2, 80, 3},
                                        {3, 2, 4, 150}, {2, 70, 3, 140}};
    check_begin("test_resize");
    check_seed(1);
    for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
        for (int64_t linear = 0; linear < 2; linear++) {
            const int64_t ch = channels[c];
            for (size_t i = 0; i < sizeof planes / sizeof *planes; i++) {
                const int64_t *p = planes[i];
                const int64_t n = 1 + ((int64_t)c + (int64_t)i) % 3;
                const tc_resize_shape plane = {n, 1, p[0], p[1], ch, 1, p[2], p[3], linear};
                if (check_pick())
                    check(&plane);
            }
            const tc_resize_shape all[] = {{2, 1, 1, 13, ch, 1, 1, 26, linear},   {3, 1, 1, 140, ch, 1, 1, 150, linear},
                                           {2, 2, 3, 4, ch, 4, 6, 8, linear},     {1, 3, 4, 2, ch, 5, 4, 7, linear},
                                           {2, 4, 3, 5, ch, 2, 3, 5, linear},
                                           {1, 1, 17, 19, ch, 1, 34, 38, linear}};
            for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                if (check_pick())
                    check(&all[i]);
        }
    return check_end();
}
