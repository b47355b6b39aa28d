/* Pooling: forward and gradients against ref.c over shapes, strides, padding, clipped windows and adaptive sizes. */
#include "check.h"
#include "ref.h"

static const int64_t channels[] = {1, 3, 6, 7, 8, 10, 15, 16, 17, 33, 64};
enum { CHANNELS = sizeof channels / sizeof *channels };

static char label[256];
static const char *name(const tc_pool_shape *s, const char *what) {
    snprintf(label, sizeof label,
             "%s n%lld %lldx%lldx%lld c%lld k%lldx%lldx%lld s%lldx%lldx%lld p%lldx%lldx%lld -> %lldx%lldx%lld%s", what,
             (long long)s->n, (long long)s->id, (long long)s->ih, (long long)s->iw, (long long)s->c, (long long)s->kd,
             (long long)s->kh, (long long)s->kw, (long long)s->sd, (long long)s->sh, (long long)s->sw, (long long)s->pd,
             (long long)s->ph, (long long)s->pw, (long long)s->od, (long long)s->oh, (long long)s->ow,
             s->adaptive ? " adaptive" : "");
    return label;
}

/* values: 0 for reals, 1 for a few integers (ties), 2 with NaN and infinities among them */
static void check_max(const tc_pool_shape *s, int values) {
    const int64_t in = s->n * s->id * s->ih * s->iw * s->c, out = s->n * s->od * s->oh * s->ow * s->c;
    const int bytes = s->kd * s->kh * s->kw <= 256;
    const size_t each = bytes ? 1 : 4;
    float *x = values ? check_integers(in, -2, 2) : check_input(in, -1, 1), *dy = check_input(out, -1, 1);
    const float odd[] = {NAN, -INFINITY, INFINITY};
    for (int64_t i = 0; values == 2 && i < in; i++)
        if (check_integer(0, 3) == 0)
            x[i] = odd[check_integer(0, 2)];
    double *want = check_doubles(out), *want_dx = check_doubles(in);
    int64_t *place = check_alloc((size_t)out * sizeof *place, 0);
    ref_maxpool(s, check_widen(x, in), want, place);
    ref_maxpool_grad(s, check_widen(dy, out), place, want_dx);
    float *y[4], *dx[4], *plain;
    void *index[4];
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(out);
        dx[t] = check_output(in);
        index[t] = check_alloc((size_t)out * each, 0xFF);
        tc_maxpool(s, x, y[t], index[t], t);
        tc_maxpool_grad(s, dy, index[t], dx[t], t);
    }
    plain = check_output(out);
    tc_maxpool(s, x, plain, NULL, 2);
    check_close(name(s, "maxpool"), out, y[1], want, NULL, 0);
    check_same(name(s, "maxpool without index"), (size_t)out * 4, plain, y[1]);
    int64_t wrong = 0;
    for (int64_t i = 0; i < out; i++)
        wrong += (bytes ? ((uint8_t *)index[1])[i] : ((int32_t *)index[1])[i]) != place[i];
    check_true(wrong == 0, "%s: %lld of %lld", name(s, "maxpool index"), (long long)wrong, (long long)out);
    check_close(name(s, "maxpool_grad"), in, dx[1], want_dx, NULL, 1e-6 * (double)(s->kd * s->kh * s->kw));
    for (int t = 2; t <= 3; t++) {
        check_same(name(s, "maxpool threads"), (size_t)out * 4, y[t], y[1]);
        check_same(name(s, "maxpool index threads"), (size_t)out * each, index[t], index[1]);
        check_same(name(s, "maxpool_grad threads"), (size_t)in * 4, dx[t], dx[1]);
    }
    check_free_all(name(s, "maxpool"));
}

static void check_avg(const tc_pool_shape *s) {
    const int64_t in = s->n * s->id * s->ih * s->iw * s->c, out = s->n * s->od * s->oh * s->ow * s->c;
    float *x = check_input(in, -1, 1), *dy = check_input(out, -1, 1);
    double *want = check_doubles(out), *want_dx = check_doubles(in), *wide = check_widen(x, in);
    double *wide_dy = check_widen(dy, out);
    ref_avgpool(s, wide, want);
    ref_avgpool_grad(s, wide_dy, want_dx);
    double forward = 0, backward = 0, size = 0;      /* the adjoint identity <dy, P x> = <P* dy, x> */
    for (int64_t i = 0; i < out; i++)
        forward += wide_dy[i] * want[i];
    for (int64_t i = 0; i < in; i++)
        backward += want_dx[i] * wide[i], size += fabs(want_dx[i] * wide[i]);
    check_true(fabs(forward - backward) <= 1e-12 * (size + 1), "%s", name(s, "ref_avgpool adjoint"));
    float *y[4], *dx[4];
    for (int t = 1; t <= 3; t++) {
        y[t] = check_output(out);
        dx[t] = check_output(in);
        tc_avgpool(s, x, y[t], t);
        tc_avgpool_grad(s, dy, dx[t], t);
    }
    check_close(name(s, "avgpool"), out, y[1], want, NULL, 2e-6);
    check_close(name(s, "avgpool_grad"), in, dx[1], want_dx, NULL, 3e-6);
    for (int t = 2; t <= 3; t++) {
        check_same(name(s, "avgpool threads"), (size_t)out * 4, y[t], y[1]);
        check_same(name(s, "avgpool_grad threads"), (size_t)in * 4, dx[t], dx[1]);
    }
    check_free_all(name(s, "avgpool"));
}

static int64_t floor_size(int64_t in, int64_t k, int64_t s, int64_t p) { return (in + 2 * p - k) / s + 1; }

/* A 2-D window, with `more` outputs than the floor rule gives as long as each window still holds an input. */
static void check_plane(int64_t n, int64_t h, int64_t w, int64_t c, int64_t k, int64_t stride, int64_t p,
                        int64_t more) {
    if (h + 2 * p < k || w + 2 * p < k)
        return;
    tc_pool_shape s = {.n = n, .id = 1, .ih = h, .iw = w, .c = c, .od = 1, .kd = 1, .kh = k, .kw = k, .sd = 1,
                       .sh = stride, .sw = stride, .pd = 0, .ph = p, .pw = p};
    s.oh = floor_size(h, k, stride, p) + more;
    s.ow = floor_size(w, k, stride, p) + more;
    if (more && ((s.oh - 1) * stride >= h + p || (s.ow - 1) * stride >= w + p))
        return;
    if (!check_pick())
        return;
    check_max(&s, (int)((h + w + c) % 3));
    check_avg(&s);
}

int main(void) {
    static const int64_t sizes[][2] = {{1, 1}, {2, 3}, {4, 4}, {5, 2}, {7, 7}, {8, 9}, {15, 14}, {1, 28}};
    static const int64_t windows[][3] = {{1, 1, 0}, {1, 2, 0}, {2, 2, 0}, {2, 1, 0}, {2, 2, 1}, {3, 2, 0}, {3, 2, 1},
                                         {3, 1, 1}, {3, 3, 0}, {2, 3, 0}, {5, 3, 2}, {7, 7, 0}, {5, 1, 0}};
    check_begin("test_pool");
    check_seed(1);
    for (int c = 0; c < CHANNELS; c++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t j = 0; j < sizeof windows / sizeof *windows; j++)
                for (int64_t more = 0; more < 2; more++)
                    check_plane(1 + (c + (int)i) % 3, sizes[i][0], sizes[i][1], channels[c], windows[j][0],
                                windows[j][1], windows[j][2], more);
    /* large enough for three threads, odd everywhere */
    check_plane(5, 33, 35, 17, 2, 2, 0, 1);
    check_plane(3, 41, 39, 33, 3, 2, 1, 0);
    check_plane(7, 29, 31, 6, 3, 1, 1, 0);
    check_plane(7, 28, 28, 6, 2, 2, 0, 0);
    /* more than 256 taps: int32 positions */
    check_plane(2, 20, 18, 9, 17, 1, 0, 0);
    check_plane(1, 19, 19, 3, 19, 1, 0, 0);
    for (int c = 0; c < CHANNELS; c++) {
        const int64_t ch = channels[c];
        const tc_pool_shape line = {2, 1, 1, 23, ch, 1, 1, 11, 1, 1, 3, 1, 1, 2, 0, 0, 0, 0};
        const tc_pool_shape flat = {2, 3, 4, 5, ch, 3, 2, 2, 1, 2, 2, 1, 2, 2, 0, 0, 0, 0};
        const tc_pool_shape volume = {1, 4, 5, 6, ch, 2, 3, 2, 3, 2, 3, 2, 2, 3, 1, 1, 0, 0};
        const tc_pool_shape global = {3, 2, 7, 5, ch, 1, 1, 1, 2, 7, 5, 2, 7, 5, 0, 0, 0, 0};
        const tc_pool_shape large = {2, 1, 31, 33, ch, 1, 1, 1, 1, 31, 33, 1, 31, 33, 0, 0, 0, 0};
        const tc_pool_shape adaptive = {2, 1, 7, 11, ch, 1, 3, 4, 1, 4, 4, 1, 1, 1, 0, 0, 0, 1};
        const tc_pool_shape stretched = {1, 2, 3, 5, ch, 3, 5, 7, 2, 2, 2, 1, 1, 1, 0, 0, 0, 1};
        const tc_pool_shape *all[] = {&line, &flat, &volume, &global, &large, &adaptive, &stretched};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            if (!check_pick())
                continue;
            check_max(all[i], (int)i % 3);
            check_avg(all[i]);
        }
    }
    return check_end();
}
