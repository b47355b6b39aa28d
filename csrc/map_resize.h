/* Resizing bodies: vectors over the channels of a pixel, which lie as in pooling (map_pool.h).
 *
 * Of `in` positions along an axis, output o of `out` reads: nearest: floor(o in/out); linear: i and i + 1 by the shares
 * 1 - f and f, where i + f = (o + 1/2) in/out - 1/2, clamped to 0 .. in - 1. */
#ifndef TINYCONV_MAP_RESIZE_H
#define TINYCONV_MAP_RESIZE_H

#include "map_pool.h"

typedef struct { int64_t in, out, linear; } map_resized;
#define MAP_RESIZED(s, x) ((map_resized){(s)->i##x, (s)->o##x, (s)->linear && (s)->i##x != (s)->o##x})

/* What an output reads: (1 - share) of `first` and share of `second`. */
typedef struct { int64_t first, second; float share; } map_reading;

static inline map_reading map_reading_of(const map_resized *a, int64_t o) {
    if (!a->linear) {
        const int64_t i = a->in == a->out ? o : o * a->in / a->out;
        return (map_reading){i, i, 0};
    }
    const int64_t unit = 2 * a->out, source = (2 * o + 1) * a->in - a->out;     /* i + f, times unit */
    const int64_t i = source > 0 ? source / unit : 0;
    const float share = source > 0 ? (float)(source - i * unit) / (float)unit : 0;
    return (map_reading){i, i + 1 < a->in ? i + 1 : i, share};
}

/* The share of input i in output o, which reads it or a neighbour. */
static inline float map_share(const map_resized *a, int64_t o, int64_t i) {
    if (!a->linear)
        return 1;
    const int64_t unit = 2 * a->out, away = (2 * o + 1) * a->in - a->out - i * unit;
    if ((away < 0 && i == 0) || (away > 0 && i + 1 == a->in))
        return 1;
    const int64_t near = unit - (away < 0 ? -away : away);
    return near > 0 ? (float)near / (float)unit : 0;
}

/* floor(a / b) for b > 0 */
static inline int64_t map_floor(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* The outputs that read input i. */
static inline map_span map_readers_of(const map_resized *a, int64_t i) {
    if (!a->linear)
        return (map_span){(i * a->out + a->in - 1) / a->in, ((i + 1) * a->out + a->in - 1) / a->in};
    /* i - 1 < (o + 1/2) in/out - 1/2 < i + 1, at the edges without that bound */
    const int64_t low = i ? map_floor((2 * i - 1) * a->out - a->in, 2 * a->in) + 1 : 0;
    const int64_t high = i + 1 < a->in ? map_floor((2 * i + 3) * a->out - a->in - 1, 2 * a->in) + 1 : a->out;
    return (map_span){low > 0 ? low : 0, high < a->out ? high : a->out};
}

/* ------------------------------------------------------------------ forward */
enum { MAP_STRIP = 128 };       /* pixels of a row whose readings are worked out once for all rows */

typedef struct {
    int64_t c;
    const float *x_end, *y_end;         /* y_end: how far vectors of fewer than MV channels may be stored */
} map_edges;

/* `count` outputs, each of n rows of x (times `weight`) at one or two pixels. */
MAP_INLINE void map_resize_strip(map_edges e, int n, int two, const float *const *rows, const float *weight,
                                 const map_reading *readings, int64_t count, float *y) {
    for (int64_t o = 0; o < count; o++, y += e.c) {
        const map_reading r = readings[o];
        const float rest = 1 - r.share;
        const int64_t load = e.c >= MV || rows[n - 1] + r.second * e.c + MV <= e.x_end ? MV : e.c;
        const int64_t store = e.c >= MV || y + MV <= e.y_end ? MV : e.c;
        MAP_VECTORS(e.c, at) {
            mvf sum = mv_set(0);
            for (int j = 0; j < n; j++) {
                mvf v = map_load(rows[j] + r.first * e.c + at, load);
                if (two)
                    v = v * rest + map_load(rows[j] + r.second * e.c + at, load) * r.share;
                sum = n == 1 ? v : sum + v * weight[j];
            }
            map_store(y + at, sum, store);
        }
    }
}

/* The rows of x that output row `at` reads, and their weights; returns how many. */
static int map_rows_read(const tc_resize_shape *s, map_row at, const float *x, const float **rows, float *weight) {
    const map_resized d = MAP_RESIZED(s, d), h = MAP_RESIZED(s, h);
    const map_reading z = map_reading_of(&d, at.z), v = map_reading_of(&h, at.y);
    int n = 0;
    for (int i = 0; i <= d.linear; i++)
        for (int j = 0; j <= h.linear; j++, n++) {
            rows[n] = x + ((at.image * s->id + (i ? z.second : z.first)) * s->ih + (j ? v.second : v.first)) *
                              s->iw * s->c;
            weight[n] = (i ? z.share : 1 - z.share) * (j ? v.share : 1 - v.share);
        }
    return n;
}

static void map_resize(const tc_resize_shape *s, int64_t low, int64_t high, const float *x, float *y) {
    const map_resized across = MAP_RESIZED(s, w);
    map_reading readings[MAP_STRIP];
    for (int64_t from = 0; from < s->ow; from += MAP_STRIP) {
        const int64_t count = s->ow - from < MAP_STRIP ? s->ow - from : MAP_STRIP;
        for (int64_t o = 0; o < count; o++)
            readings[o] = map_reading_of(&across, from + o);
        for (int64_t r = low; r < high; r++) {
            const float *rows[4];
            float weight[4], *to = y + (r * s->ow + from) * s->c;
            const int n = map_rows_read(s, map_row_of(r, s->od, s->oh), x, rows, weight);
            /* With several strips the next row's beginning is done already. */
            const map_edges e = {s->c, x + s->n * s->id * s->ih * s->iw * s->c,
                                 y + (s->ow <= MAP_STRIP ? high : r + 1) * s->ow * s->c};
            if (!across.linear && n == 1)
                map_resize_strip(e, 1, 0, rows, weight, readings, count, to);
            else if (across.linear && n == 1)
                map_resize_strip(e, 1, 1, rows, weight, readings, count, to);
            else if (across.linear && n == 2)
                map_resize_strip(e, 2, 1, rows, weight, readings, count, to);
            else if (across.linear)
                map_resize_strip(e, 4, 1, rows, weight, readings, count, to);
            else
                map_resize_strip(e, n, 0, rows, weight, readings, count, to);
        }
    }
}

/* ------------------------------------------------------------------ gradient
 * An input takes from all outputs that read it, in order. Rows are split among threads: every sum is one thread's. */
enum { MAP_SHARES = 16, MAP_TAKEN = 32 };

/* The outputs [low, high) that read input `i`, and what the first MAP_SHARES of them read of it. */
typedef struct {
    int64_t i, low, high;
    float share[MAP_SHARES];
} map_taking;

static map_taking map_taking_of(const map_resized *a, int64_t i) {
    const map_span span = map_readers_of(a, i);
    map_taking t = {i, span.low, span.high, {0}};
    for (int64_t o = t.low; o < t.high && o < t.low + MAP_SHARES; o++)
        t.share[o - t.low] = map_share(a, o, i);
    return t;
}
static inline float map_share_in(const map_taking *t, const map_resized *a, int64_t o) {
    return o - t->low < MAP_SHARES ? t->share[o - t->low] : map_share(a, o, t->i);
}

typedef struct {
    const tc_resize_shape *s;
    map_resized d, h, w;
    const float *dy, *dy_end;
} map_unresizing;

/* One input pixel; `dy` is the image's. taps: w's, known where the code is compiled, or 0. */
MAP_INLINE void map_resize_take(const map_unresizing *p, const map_taking *d, const map_taking *h, const map_taking *w,
                                int64_t taps, int64_t load, int64_t store, const float *dy, float *dx) {
    const int64_t c = p->s->c, wide = p->s->ow * c, high = p->s->oh * wide;
    MAP_VECTORS(c, at) {
        mvf sum = mv_set(0);
        for (int64_t z = d->low; z < d->high; z++)
            for (int64_t v = h->low; v < h->high; v++) {
                const float *row = dy + z * high + v * wide + w->low * c + at;
                mvf along = mv_set(0);
                for (int64_t j = 0; j < (taps ? taps : w->high - w->low); j++)
                    along += map_load(row + j * c, load) * (taps ? w->share[j] : map_share_in(w, &p->w, w->low + j));
                sum += along * (map_share_in(d, &p->d, z) * map_share_in(h, &p->h, v));
            }
        map_store(dx + at, sum, store);
    }
}

static void map_resize_pixel_grad(const map_unresizing *p, const map_taking *d, const map_taking *h,
                                  const map_taking *w, const float *dy, float *dx, const float *dx_end) {
    const tc_resize_shape *s = p->s;
    const int64_t c = s->c, taps = w->high - w->low;
    const float *last = dy + (((d->high - 1) * s->oh + h->high - 1) * s->ow + w->high - 1) * c;
    const int64_t load = c >= MV || last + MV <= p->dy_end ? MV : c, store = c >= MV || dx + MV <= dx_end ? MV : c;
    if (load == MV && store == MV && taps == 4)
        map_resize_take(p, d, h, w, 4, MV, MV, dy, dx);
    else if (load == MV && store == MV && taps == 2)
        map_resize_take(p, d, h, w, 2, MV, MV, dy, dx);
    else
        map_resize_take(p, d, h, w, 0, load, store, dy, dx);
}

static void map_resize_grad(const tc_resize_shape *s, int64_t low, int64_t high, const float *dy, float *dx) {
    const int64_t c = s->c, image = s->od * s->oh * s->ow * c;
    const map_unresizing p = {s, MAP_RESIZED(s, d), MAP_RESIZED(s, h), MAP_RESIZED(s, w), dy, dy + s->n * image};
    map_taking across[MAP_TAKEN];
    for (int64_t from = 0; from < s->iw; from += MAP_TAKEN) {
        const int64_t count = s->iw - from < MAP_TAKEN ? s->iw - from : MAP_TAKEN;
        for (int64_t i = 0; i < count; i++)
            across[i] = map_taking_of(&p.w, from + i);
        for (int64_t r = low; r < high; r++) {
            const map_row at = map_row_of(r, s->id, s->ih);
            const map_taking d = map_taking_of(&p.d, at.z), h = map_taking_of(&p.h, at.y);
            const float *end = dx + (s->iw <= MAP_TAKEN ? high : r + 1) * s->iw * c;
            for (int64_t i = 0; i < count; i++) {
                float *to = dx + (r * s->iw + from + i) * c;
                map_resize_pixel_grad(&p, &d, &h, &across[i], dy + at.image * image, to, end);
            }
        }
    }
}

#endif
