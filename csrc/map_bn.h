/* Batch normalisation, with an addition and an activation behind it; and the activations' gradients before its own.
 *
 * Each is one pass over memory: pieces of a few thousand floats, which stay in L1, go through the bodies of the parts
 * one after another, so that the results are the parts' to the last bit. */
#ifndef TINYCONV_MAP_BN_H
#define TINYCONV_MAP_BN_H

#include "map_sums.h"

enum { MAP_PIECE = 2048 };      /* floats */

/* The rows of a piece, which is contiguous: whole strips, or of some of the channels one row. */
static int64_t map_piece_rows(map_columns m, int64_t c) {
    const int64_t strips = MAP_PIECE / (m.width * m.repeat);
    return m.width < c ? 1 : strips * m.repeat;
}

/* for each piece of the rows [low, high): `n` floats from o on */
#define MAP_PIECES(m, c, low, high, o, n) \
    for (int64_t r_ = (low), step_ = map_piece_rows(m, c), o, n; \
         r_ < (high) && \
         (o = r_ * (c) + (m).at, n = (r_ + step_ < (high) ? step_ : (high) - r_) * (m).width, 1); r_ += step_)

/* y = (x - centre) scale + shift of a piece, whose strips have `lanes` floats */
static void map_piece_affine(int64_t lanes, int64_t n, const float *x, const float *centre, const float *scale,
                             const float *shift, float *y) {
    for (int64_t o = 0; o < n; o += lanes) {
        const int64_t wide = n - o < lanes ? n - o : lanes;
#pragma GCC ivdep
        for (int64_t i = 0; i < wide; i++)
            y[o + i] = (x[o + i] - centre[i]) * scale[i] + shift[i];
    }
}

/* ------------------------------------------------------------------ forward
 * A block's sums are taken about the mean of those before it, the first block's about its own: one pass over memory,
 * and no cancellation. Blocks are merged as Chan, Golub and LeVeque (1979): delta = mean_b - mean;
 * squares += squares_b + delta^2 n n_b / (n + n_b). */
static void map_bn_stats(int64_t rows, int64_t c, const float *x, double *mean, double *squares) {
    float s[MAP_WIDE], s2[MAP_WIDE], centre[MAP_WIDE];
    double sum[MAP_WIDE], sum2[MAP_WIDE];
    memset(mean, 0, (size_t)c * sizeof *mean);
    memset(squares, 0, (size_t)c * sizeof *squares);
    MAP_COLUMNS(c, m) {
        const int64_t lanes = m.width * m.repeat;
        MAP_BLOCKS(rows, map_block_rows(m), low, high) {
            const double now = (double)(high - low), each = 1 / now, share = now / (double)high;
            const double weight = (double)low * share;
            if (low == 0) {
                map_clear(lanes, s);
                map_block_sum(m, c, low, high, x, s);
                memset(sum, 0, sizeof *sum * (size_t)m.width);
                map_fold(m, s, sum);
            }
            for (int64_t i = 0; i < m.width; i++)
                centre[i] = (float)(low == 0 ? sum[i] * each : mean[m.at + i]);
            for (int64_t i = m.width; i < lanes; i++)
                centre[i] = centre[i - m.width];
            map_clear(lanes, s);
            map_clear(lanes, s2);
            map_block_squares(m, c, low, high, x, centre, s, s2);
            memset(sum, 0, sizeof *sum * (size_t)m.width);
            memset(sum2, 0, sizeof *sum2 * (size_t)m.width);
            map_fold(m, s, sum);
            map_fold(m, s2, sum2);
            for (int64_t i = 0; i < m.width; i++) {
                const double off = sum[i] * each, delta = centre[i] + off - mean[m.at + i];
                mean[m.at + i] += delta * share;
                squares[m.at + i] += (sum2[i] - sum[i] * off) + delta * delta * weight;
            }
        }
    }
}

/* y = act(x normalised + residual) */
static void map_bn_act(const tc_bn_forward *b, int64_t low, int64_t high, float *y) {
    float centre[MAP_WIDE], scale[MAP_WIDE], shift[MAP_WIDE], normal[MAP_PIECE];
    const int64_t c = b->c;
    MAP_COLUMNS(c, m) {
        const int64_t lanes = m.width * m.repeat;
        map_widen(m, b->mean, centre);
        map_widen(m, b->beta, shift);
        for (int64_t i = 0; i < m.width; i++)
            scale[i] = (float)(b->gamma[m.at + i] / sqrt((double)b->var[m.at + i] + b->eps));
        for (int64_t i = m.width; i < lanes; i++)
            scale[i] = scale[i - m.width];
        MAP_PIECES(m, c, low, high, o, n) {
            float *to = b->residual ? normal : y + o;       /* y may be the residual */
            map_piece_affine(lanes, n, b->x + o, centre, scale, shift, to);
            if (b->residual)
                map_add(n, normal, b->residual + o, y + o);
            if (b->kind != TC_LINEAR)
                map_act(b->kind, n, b->a, y + o, y + o);
        }
    }
}

/* ------------------------------------------------------------------ gradients */

/* The n floats from `at` on of act'(saved) (dy + more), which stand in `to` or are dy's own; `saved` are theirs. */
static const float *map_incoming(const tc_incoming *in, const float *saved, int64_t at, int64_t n, float *to) {
    const float *g = in->dy + at;
    if (in->more) {
        map_add(n, g, in->more + at, to);
        g = to;
    }
    if (in->kind != TC_LINEAR) {
        map_act_grad(in->kind, n, in->a, saved, g, to);
        g = to;
    }
    return g;
}

/* What a set of columns needs of a batch normalisation, as wide as a strip. */
typedef struct { float centre[MAP_WIDE], scale[MAP_WIDE], shift[MAP_WIDE]; } map_norm;

/* The same for a batch normalisation: what is saved may be what it had computed. */
static const float *map_bn_incoming(const tc_bn_backward *b, const map_norm *w, int64_t lanes, int64_t at, int64_t n,
                                    float *to) {
    float again[MAP_PIECE];
    if (b->in.kind == TC_LINEAR || b->in.saved)
        return map_incoming(&b->in, b->in.saved ? b->in.saved + at : NULL, at, n, to);
    map_piece_affine(lanes, n, b->x + at, w->centre, w->scale, w->shift, again);
    return map_incoming(&b->in, again, at, n, to);
}

static void map_norm_of(const tc_bn_backward *b, const float *scale, map_columns m, map_norm *w) {
    map_widen(m, b->mean, w->centre);
    if (scale)
        map_widen(m, scale, w->scale);
    if (b->beta)
        map_widen(m, b->beta, w->shift);
}

/* Most nets' case, a ReLU behind the norm and nothing added, needs no piece in between: g of an element is `d`, or 0
 * where the ReLU's input, from x - mean = `a`, was not above 0. */
static int map_relu_alone(const tc_bn_backward *b) {
    return b->in.kind == TC_RELU && !b->in.saved && !b->in.more && !b->g;
}
static inline float map_masked(int relu, float a, float scale, float shift, float d) {
    return !relu || a * scale + shift > 0 ? d : 0;
}

/* s += g (x - centre), s1 += g; `relu`: g is d where the ReLU was open */
MAP_INLINE void map_piece_bn(int relu, const map_norm *w, int64_t lanes, int64_t n, const float *x, const float *d,
                             float *restrict s, float *restrict s1) {
    const float *restrict centre = w->centre, *restrict scale = w->scale, *restrict shift = w->shift;
    int64_t o = 0;
    for (; o + 4 * lanes <= n; o += 4 * lanes) {
        const float *p = x + o, *q = p + 2 * lanes, *e = d + o, *f = e + 2 * lanes;
        for (int64_t i = 0; i < lanes; i++) {
            const float a0 = p[i] - centre[i], a1 = p[i + lanes] - centre[i];
            const float a2 = q[i] - centre[i], a3 = q[i + lanes] - centre[i];
            const float by = relu ? scale[i] : 0, to = relu ? shift[i] : 0;
            const float g0 = map_masked(relu, a0, by, to, e[i]), g1 = map_masked(relu, a1, by, to, e[i + lanes]);
            const float g2 = map_masked(relu, a2, by, to, f[i]), g3 = map_masked(relu, a3, by, to, f[i + lanes]);
            s[i] += (g0 * a0 + g1 * a1) + (g2 * a2 + g3 * a3);
            s1[i] += (g0 + g1) + (g2 + g3);
        }
    }
    for (; o < n; o += lanes) {
        const int64_t wide = n - o < lanes ? n - o : lanes;
        for (int64_t i = 0; i < wide; i++) {
            const float a = x[o + i] - centre[i];
            const float g = map_masked(relu, a, relu ? scale[i] : 0, relu ? shift[i] : 0, d[o + i]);
            s[i] += g * a;
            s1[i] += g;
        }
    }
}

/* dx = scale ((g - off) - (x - centre) by) */
MAP_INLINE void map_piece_bn_grad(int relu, const map_norm *w, const float *off, const float *by, int64_t lanes,
                                  int64_t n, const float *x, const float *d, float *dx) {
    for (int64_t o = 0; o < n; o += lanes) {
        const int64_t wide = n - o < lanes ? n - o : lanes;
#pragma GCC ivdep
        for (int64_t i = 0; i < wide; i++) {
            const float a = x[o + i] - w->centre[i], g = map_masked(relu, a, w->scale[i], w->shift[i], d[o + i]);
            dx[o + i] = w->scale[i] * ((g - off[i]) - a * by[i]);
        }
    }
}

/* Over the rows [low, high): sums of g (x - mean) and of g, the gradient that comes in; writes g where it is wanted. */
static void map_bn_sums(const tc_bn_backward *b, const float *scale, int64_t low, int64_t high, double *g_x,
                        double *g_1) {
    float s[MAP_WIDE], s1[MAP_WIDE], own[MAP_PIECE];
    map_norm w;
    const int64_t c = b->c;
    memset(g_x, 0, (size_t)c * sizeof *g_x);
    memset(g_1, 0, (size_t)c * sizeof *g_1);
    MAP_COLUMNS(c, m) {
        const int64_t lanes = m.width * m.repeat;
        map_norm_of(b, scale, m, &w);
        MAP_BLOCKS(high - low, map_block_rows(m), from, to) {
            map_clear(lanes, s);
            map_clear(lanes, s1);
            MAP_PIECES(m, c, low + from, low + to, o, n) {
                if (map_relu_alone(b))
                    map_piece_bn(1, &w, lanes, n, b->x + o, b->in.dy + o, s, s1);
                else
                    map_piece_bn(0, &w, lanes, n, b->x + o,
                                 map_bn_incoming(b, &w, lanes, o, n, b->g ? b->g + o : own), s, s1);
            }
            map_fold(m, s, g_x + m.at);
            map_fold(m, s1, g_1 + m.at);
        }
    }
}

/* dx = scale ((g - shift) - (x - mean) slope) */
static void map_bn_grad(const tc_bn_backward *b, const float *scale, const float *shift, const float *slope,
                        int64_t low, int64_t high, float *dx) {
    float off[MAP_WIDE], by[MAP_WIDE], own[MAP_PIECE];
    map_norm w;
    const int64_t c = b->c;
    MAP_COLUMNS(c, m) {
        const int64_t lanes = m.width * m.repeat;
        map_norm_of(b, scale, m, &w);
        map_widen(m, shift, off);
        map_widen(m, slope, by);
        MAP_PIECES(m, c, low, high, o, n) {
            const float *x = b->x + o;
            if (map_relu_alone(b))
                map_piece_bn_grad(1, &w, off, by, lanes, n, x, b->in.dy + o, dx + o);
            else
                map_piece_bn_grad(0, &w, off, by, lanes, n, x,
                                  b->g ? b->g + o : map_bn_incoming(b, &w, lanes, o, n, own), dx + o);
        }
    }
}

/* dx = act'(saved) (dy + more), n floats from `at` on */
static void map_act_grad_of(const tc_incoming *in, int64_t at, int64_t n, float *dx) {
    for (int64_t low = at, next; low < at + n; low = next) {
        next = low + MAP_PIECE < at + n ? low + MAP_PIECE : at + n;
        map_incoming(in, in->saved + low, low, next - low, dx + low);
    }
}

/* The same of the rows [low, high), and its sum over them. */
static void map_act_sums(const tc_incoming *in, int64_t low, int64_t high, int64_t c, float *dx, double *sum) {
    float s[MAP_WIDE];
    memset(sum, 0, (size_t)c * sizeof *sum);
    MAP_COLUMNS(c, m)
        MAP_BLOCKS(high - low, map_block_rows(m), from, to) {
            MAP_PIECES(m, c, low + from, low + to, o, n)
                map_incoming(in, in->saved + o, o, n, dx + o);
            map_clear(m.width * m.repeat, s);
            map_block_sum(m, c, low + from, low + to, dx, s);
            map_fold(m, s, sum + m.at);
        }
}

#endif
