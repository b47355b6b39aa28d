/* Pooling bodies: vectors over the channels of a pixel.
 *
 * The last vector of a pixel begins at c - MV and overlaps the one before. With fewer than MV channels a vector
 * reaches into the next pixel: reading that is harmless, and what is written there is overwritten when its turn
 * comes; where there is no next pixel in the array, or in this thread's range, vectors are loaded and
 * stored in part. */
#ifndef TINYCONV_MAP_POOL_H
#define TINYCONV_MAP_POOL_H

#include "map_sums.h"

/* One axis: sizes of input and output, window, stride, padding. */
typedef struct { int64_t in, out, k, s, p, adaptive; } map_axis;
/* Inputs low .. high of a window, and the input its first tap stands on (before 0 in the padding). */
typedef struct { int64_t low, high, first; } map_window;
typedef struct { int64_t low, high; } map_span;

#define MAP_AXIS(s, x) ((map_axis){(s)->i##x, (s)->o##x, (s)->k##x, (s)->s##x, (s)->p##x, (s)->adaptive})

static inline map_window map_window_of(const map_axis *a, int64_t o) {
    if (a->adaptive) {
        const int64_t low = o * a->in / a->out;
        return (map_window){low, ((o + 1) * a->in + a->out - 1) / a->out, low};
    }
    const int64_t first = o * a->s - a->p, end = first + a->k;
    return (map_window){first > 0 ? first : 0, end < a->in ? end : a->in, first};
}

/* The outputs whose windows hold input i. */
static inline map_span map_covering(const map_axis *a, int64_t i) {
    if (a->adaptive)
        return (map_span){i * a->out / a->in, ((i + 1) * a->out + a->in - 1) / a->in};
    const int64_t low = i + a->p < a->k ? 0 : (i + a->p - a->k) / a->s + 1, high = (i + a->p) / a->s + 1;
    return (map_span){low, high < a->out ? high : a->out};
}

/* The outputs whose windows lie wholly in the input. */
static inline map_span map_whole(const map_axis *a) {
    if (a->adaptive || a->in + a->p < a->k)
        return (map_span){0, 0};
    const int64_t low = (a->p + a->s - 1) / a->s, high = (a->in + a->p - a->k) / a->s + 1;
    return (map_span){low, high < a->out ? high : a->out};
}

/* Vectors of a pixel of c channels: at = 0, MV, .., c - MV; one, of c lanes, if c < MV. */
#define MAP_VECTORS(c, at) \
    for (int64_t at = 0; at < (c); at = at + MV < (c) && at + 2 * MV > (c) && (c) > MV ? (c) - MV : at + MV)

static inline mvf map_load(const float *p, int64_t lanes) {
    return lanes >= MV ? mv_load(p) : mv_load_part(p, lanes, 0);
}
static inline void map_store(float *p, mvf v, int64_t lanes) {
    if (lanes >= MV)
        mv_store(p, v);
    else
        mv_store_part(p, v, lanes);
}

static inline void map_store_index(void *index, int64_t at, mvi where, int bytes, int64_t lanes) {
    if (bytes && lanes >= MV) {
        *(mvb_mem *)((uint8_t *)index + at) = __builtin_convertvector(where, mvb);
    } else if (!bytes && lanes >= MV) {
        *(mvi_mem *)((int32_t *)index + at) = where;
    } else {
        for (int64_t i = 0; i < lanes; i++) {
            if (bytes)
                ((uint8_t *)index)[at + i] = (uint8_t)where[i];
            else
                ((int32_t *)index)[at + i] = where[i];
        }
    }
}

static inline mvi map_load_index(const void *index, int64_t at, int bytes, int64_t lanes) {
    if (lanes >= MV && bytes)
        return __builtin_convertvector(*(const mvb_mem *)((const uint8_t *)index + at), mvi);
    if (lanes >= MV)
        return *(const mvi_mem *)((const int32_t *)index + at);
    mvi where = mv_seti(-1);
    for (int64_t i = 0; i < lanes; i++)
        where[i] = bytes ? ((const uint8_t *)index)[at + i] : ((const int32_t *)index)[at + i];
    return where;
}

/* Rows of an array: r = (image * d + z) * h + y */
typedef struct { int64_t image, z, y; } map_row;
static inline map_row map_row_of(int64_t r, int64_t d, int64_t h) { return (map_row){r / h / d, r / h % d, r % h}; }

/* ------------------------------------------------------------------ forward */
enum { MAP_TAPS = 32 };     /* windows of more have no list of offsets */

/* What the rows of one call share. */
typedef struct {
    const tc_pool_shape *s;
    map_axis d, h, w;
    map_span whole_d, whole_h, whole_w;
    int64_t taps, offset[MAP_TAPS];     /* of a whole window's taps from its corner */
    const float *x, *x_end;
    float *y, *y_end;                   /* y_end: of this range of rows */
    void *index;
    int bytes;
} map_pooling;

static map_pooling map_pooling_of(const tc_pool_shape *s, int64_t high, const float *x, float *y, void *index) {
    map_pooling p = {.s = s, .d = MAP_AXIS(s, d), .h = MAP_AXIS(s, h), .w = MAP_AXIS(s, w), .x = x, .y = y,
                     .index = index};
    p.whole_d = map_whole(&p.d);
    p.whole_h = map_whole(&p.h);
    p.whole_w = map_whole(&p.w);
    p.taps = s->kd * s->kh * s->kw;
    p.bytes = p.taps <= 256;
    p.x_end = x + s->n * s->id * s->ih * s->iw * s->c;
    p.y_end = y + high * s->ow * s->c;
    for (int64_t t = 0; t < p.taps && t < MAP_TAPS; t++)
        p.offset[t] = ((t / s->kw / s->kh * s->ih + t / s->kw % s->kh) * s->iw + t % s->kw) * s->c;
    return p;
}

/* Beats the best so far: larger, or the first NaN. */
static inline mvi map_better(mvf now, mvf best) { return (now > best) | ((now != now) & (best == best)); }

/* Outputs [low, high) of row r, whose windows are whole; `corner` is that of output 0, maybe before x. Fewer than
 * MV channels are safe: the caller keeps the last pixels away. */
MAP_INLINE void map_max_whole(const map_pooling *p, int64_t taps, int64_t r, int64_t low, int64_t high,
                              int64_t corner) {
    const int64_t c = p->s->c, step = p->s->sw * c;
    for (int64_t o = low; o < high; o++) {
        const float *x = p->x + corner + o * step;
        const int64_t out = (r * p->s->ow + o) * c;
        MAP_VECTORS(c, at) {
            mvf best = mv_load(x + at);
            mvi where = mv_seti(0);
            for (int64_t t = 1; t < taps; t++) {
                const mvf now = mv_load(x + p->offset[t] + at);
                const mvi better = map_better(now, best);
                best = mv_select(better, now, best);
                where = mv_selecti(better, mv_seti((int32_t)t), where);
            }
            mv_store(p->y + out + at, best);
            if (p->index)
                map_store_index(p->index, out + at, where, 1, MV);
        }
    }
}
MAP_INLINE void map_avg_whole(const map_pooling *p, int64_t taps, int64_t r, int64_t low, int64_t high,
                              int64_t corner) {
    const int64_t c = p->s->c, step = p->s->sw * c;
    const float share = 1.0f / (float)taps;
    for (int64_t o = low; o < high; o++) {
        const float *x = p->x + corner + o * step;
        float *y = p->y + (r * p->s->ow + o) * c;
        MAP_VECTORS(c, at) {
            mvf sum = mv_load(x + at);
            for (int64_t t = 1; t < taps; t++)
                sum += mv_load(x + p->offset[t] + at);
            mv_store(y + at, sum * share);
        }
    }
}
static void map_whole_row(const map_pooling *p, int max, int64_t r, int64_t low, int64_t high, int64_t corner) {
    if (max && p->taps == 4)
        map_max_whole(p, 4, r, low, high, corner);
    else if (max && p->taps == 9)
        map_max_whole(p, 9, r, low, high, corner);
    else if (max)
        map_max_whole(p, p->taps, r, low, high, corner);
    else if (p->taps == 4)
        map_avg_whole(p, 4, r, low, high, corner);
    else
        map_avg_whole(p, p->taps, r, low, high, corner);
}

/* Any window: clipped, adaptive, at the end of the array. */
static void map_max_pixel(const map_pooling *p, map_row row, map_window wd, map_window wh, map_window ww, int64_t out) {
    const tc_pool_shape *s = p->s;
    const int64_t c = s->c, plane = s->iw * c;
    const float *image = p->x + row.image * s->id * s->ih * plane;
    const float *last = image + ((wd.high - 1) * s->ih + wh.high - 1) * plane + (ww.high - 1) * c;
    const int64_t load = c >= MV || last + MV <= p->x_end ? MV : c;
    const int64_t store = c >= MV || p->y + out + MV <= p->y_end ? MV : c;
    const int empty = wd.low >= wd.high || wh.low >= wh.high || ww.low >= ww.high;
    MAP_VECTORS(c, at) {
        mvf best = mv_set(empty ? 0 : -INFINITY);
        mvi where = mv_seti(-1);
        for (int64_t z = wd.low; z < wd.high; z++)
            for (int64_t v = wh.low; v < wh.high; v++) {
                const float *x = image + (z * s->ih + v) * plane + at;
                int32_t tap = (int32_t)(((z - wd.first) * s->kh + v - wh.first) * s->kw - ww.first + ww.low);
                for (int64_t u = ww.low; u < ww.high; u++, tap++) {
                    const mvf now = map_load(x + u * c, load);
                    const mvi better = map_better(now, best) | (where < mv_seti(0));
                    best = mv_select(better, now, best);
                    where = mv_selecti(better, mv_seti(tap), where);
                }
            }
        map_store(p->y + out + at, best, store);
        if (p->index)
            map_store_index(p->index, out + at, where, p->bytes, store);
    }
}
static void map_avg_pixel(const map_pooling *p, map_row row, map_window wd, map_window wh, map_window ww, int64_t out) {
    const tc_pool_shape *s = p->s;
    const int64_t c = s->c, plane = s->iw * c, count = (wd.high - wd.low) * (wh.high - wh.low) * (ww.high - ww.low);
    const float *image = p->x + row.image * s->id * s->ih * plane;
    const float *last = image + ((wd.high - 1) * s->ih + wh.high - 1) * plane + (ww.high - 1) * c;
    const int64_t load = c >= MV || last + MV <= p->x_end ? MV : c;
    const int64_t store = c >= MV || p->y + out + MV <= p->y_end ? MV : c;
    const float share = count > 0 ? 1.0f / (float)count : 0;
    MAP_VECTORS(c, at) {
        mvf sum = mv_set(0);
        for (int64_t z = wd.low; z < wd.high; z++)
            for (int64_t v = wh.low; v < wh.high; v++)
                for (int64_t u = ww.low; u < ww.high; u++)
                    sum += map_load(image + (z * s->ih + v) * plane + u * c + at, load);
        map_store(p->y + out + at, sum * share, store);
    }
}
/* A large window, as sums over rows: reads straight on, and in double from block to block. */
static void map_avg_large(const map_pooling *p, map_row row, map_window wd, map_window wh, map_window ww, int64_t out) {
    const tc_pool_shape *s = p->s;
    const int64_t c = s->c, width = ww.high - ww.low, height = wh.high - wh.low, joined = width == s->iw;
    const double share = 1.0 / (double)((wd.high - wd.low) * height * width);
    float lanes[MAP_WIDE];
    double sum[MAP_WIDE];
    MAP_COLUMNS(c, m) {
        memset(sum, 0, sizeof *sum * (size_t)m.width);
        for (int64_t z = wd.low; z < wd.high; z++)
            for (int64_t v = wh.low; v < wh.high; v += joined ? height : 1) {
                const float *x = p->x + (((row.image * s->id + z) * s->ih + v) * s->iw + ww.low) * c;
                MAP_BLOCKS(joined ? height * width : width, map_block_rows(m), low, high) {
                    map_clear(m.width * m.repeat, lanes);
                    map_block_sum(m, c, low, high, x, lanes);
                    map_fold(m, lanes, sum);
                }
            }
        for (int64_t i = 0; i < m.width; i++)
            p->y[out + m.at + i] = (float)(sum[i] * share);
    }
}

MAP_INLINE void map_pool_rows(const map_pooling *p, int max, int64_t low, int64_t high) {
    const tc_pool_shape *s = p->s;
    for (int64_t r = low; r < high; r++) {
        const map_row row = map_row_of(r, s->od, s->oh);
        const map_window wd = map_window_of(&p->d, row.z), wh = map_window_of(&p->h, row.y);
        map_span whole = {s->ow, s->ow};
        int64_t corner = 0;
        if (p->taps <= MAP_TAPS && row.z >= p->whole_d.low && row.z < p->whole_d.high && row.y >= p->whole_h.low &&
            row.y < p->whole_h.high && p->whole_w.low < p->whole_w.high) {
            corner = (((row.image * s->id + wd.low) * s->ih + wh.low) * s->iw - s->pw) * s->c;
            whole = p->whole_w;
            while (s->c < MV && whole.high > whole.low &&
                   (p->x + corner + (whole.high - 1) * s->sw * s->c + p->offset[p->taps - 1] + MV > p->x_end ||
                    p->y + (r * s->ow + whole.high - 1) * s->c + MV > p->y_end))
                whole.high--;
        }
        for (int64_t o = 0; o < s->ow; o++) {       /* in order, for vectors reach into the next pixel */
            if (o == whole.low && o < whole.high) {
                map_whole_row(p, max, r, whole.low, whole.high, corner);
                o = whole.high - 1;
                continue;
            }
            const map_window ww = map_window_of(&p->w, o);
            const int64_t out = (r * s->ow + o) * s->c;
            if (max)
                map_max_pixel(p, row, wd, wh, ww, out);
            else if ((wd.high - wd.low) * (wh.high - wh.low) * (ww.high - ww.low) > MAP_TAPS)
                map_avg_large(p, row, wd, wh, ww, out);
            else
                map_avg_pixel(p, row, wd, wh, ww, out);
        }
    }
}

static void map_maxpool(const tc_pool_shape *s, int64_t low, int64_t high, const float *x, float *y, void *index) {
    const map_pooling p = map_pooling_of(s, high, x, y, index);
    map_pool_rows(&p, 1, low, high);
}

static void map_avgpool(const tc_pool_shape *s, int64_t low, int64_t high, const float *x, float *y) {
    const map_pooling p = map_pooling_of(s, high, x, y, NULL);
    map_pool_rows(&p, 0, low, high);
}

/* ------------------------------------------------------------------ gradients
 * An input row takes from the output rows whose windows hold it, window after window: rows are split among threads, so
 * none writes another's, and the order of every sum is fixed. Windows that do not overlap store, others add. */
typedef struct {
    const tc_pool_shape *s;
    map_axis d, h, w;
    const float *dy, *dy_end;
    const void *index;
    float *dx, *dx_end;         /* dx_end: of this range of rows */
} map_spreading;

/* How a row is spread, known where the code is compiled. */
typedef struct {
    int max, bytes;     /* by maximum positions, held in bytes; else averages */
    int add;            /* windows overlap */
    int safe;           /* whole vectors may be loaded and stored everywhere in the row */
    int64_t n;          /* inputs of every window, 0 if they differ */
} map_spread_form;

/* Which lanes of the vector at `at` count: those of this pixel, and in a sum not those the vector before had. */
static inline mvi map_lanes(int64_t c, int64_t at, int add) {
    if (c < MV)
        return mv_first(c);
    return add && at % MV ? ~mv_first(MV - c % MV) : mv_seti(-1);
}

/* Adds to (or stores in) the inputs [ww.low, ww.high) of an input row what output `out` gives them; `tap` is that of
 * ww.low (max), `share` of each (average). */
MAP_INLINE void map_spread(const map_spreading *p, map_spread_form f, int64_t out, map_window ww, float *row,
                           int32_t tap, float share) {
    const int64_t c = p->s->c, n = f.n ? f.n : ww.high - ww.low;
    const int64_t load = f.safe || p->dy + out + MV <= p->dy_end ? MV : c;
    float *dx = row + ww.low * c;
    MAP_VECTORS(c, at) {
        mvf g = mv_keep(map_lanes(c, at, f.add), map_load(p->dy + out + at, load));
        mvi where = mv_seti(0);
        if (f.max)
            where = map_load_index(p->index, out + at, f.bytes, load);
        else
            g *= share;
        for (int64_t j = 0; j < n; j++) {
            float *to = dx + j * c + at;
            const int64_t store = f.safe || to + MV <= p->dx_end ? MV : c;
            const mvf part = f.max ? mv_keep(where == mv_seti(tap + (int32_t)j), g) : g;
            map_store(to, f.add ? map_load(to, store) + part : part, store);
        }
    }
}

/* What output row `out` gives input row `row`; `tap` is that of the windows' first column, `count` their clipped
 * height. */
MAP_INLINE void map_spread_row(const map_spreading *p, map_spread_form f, int64_t out, float *row, int64_t tap,
                               int64_t count) {
    const tc_pool_shape *s = p->s;
    int64_t width = f.n;
    float share = f.n ? 1.0f / (float)(count * f.n) : 0;
    for (int64_t o = 0; o < s->ow; o++) {
        const map_window ww = f.n ? (map_window){o * f.n, o * f.n + f.n, o * f.n} : map_window_of(&p->w, o);
        if (!f.max && !f.n && ww.high - ww.low != width) {
            width = ww.high - ww.low;
            share = 1.0f / (float)(count * width);
        }
        map_spread(p, f, out + o * s->c, ww, row, (int32_t)(tap + ww.low - ww.first), share);
    }
}

MAP_INLINE void map_spread_rows(const map_spreading *p, int max, int bytes, int add, int64_t low, int64_t high) {
    const tc_pool_shape *s = p->s;
    const int64_t reach = s->c < MV ? MV : 0;       /* of a vector beyond its pixel, at most */
    const int tiled = !s->adaptive && s->sw == s->kw && !s->pw && s->ow * s->sw >= s->iw;     /* windows fill the row */
    for (int64_t r = low; r < high; r++) {
        const map_row at = map_row_of(r, s->id, s->ih);
        const map_span d = map_covering(&p->d, at.z), h = map_covering(&p->h, at.y);
        float *row = p->dx + r * s->iw * s->c;
        if (add || !tiled || d.low >= d.high || h.low >= h.high)
            memset(row, 0, (size_t)(s->iw * s->c) * sizeof *row);
        for (int64_t z = d.low; z < d.high; z++)
            for (int64_t v = h.low; v < h.high; v++) {
                const map_window wd = map_window_of(&p->d, z), wh = map_window_of(&p->h, v);
                const int64_t tap = ((at.z - wd.first) * s->kh + at.y - wh.first) * s->kw;
                const int64_t out = ((at.image * s->od + z) * s->oh + v) * s->ow * s->c;
                const int64_t count = (wd.high - wd.low) * (wh.high - wh.low);
                const int safe = row + s->iw * s->c + reach <= p->dx_end &&
                                 p->dy + out + s->ow * s->c + reach <= p->dy_end;
                if (safe && !add && tiled && s->kw == 2 && s->ow * 2 == s->iw)
                    map_spread_row(p, (map_spread_form){max, bytes, 0, 1, 2}, out, row, tap, count);
                else if (safe)
                    map_spread_row(p, (map_spread_form){max, bytes, add, 1, 0}, out, row, tap, count);
                else
                    map_spread_row(p, (map_spread_form){max, bytes, add, 0, 0}, out, row, tap, count);
            }
    }
}

static map_spreading map_spreading_of(const tc_pool_shape *s, int64_t high, const float *dy, const void *index,
                                      float *dx) {
    return (map_spreading){s, MAP_AXIS(s, d), MAP_AXIS(s, h), MAP_AXIS(s, w), dy,
                           dy + s->n * s->od * s->oh * s->ow * s->c, index, dx, dx + high * s->iw * s->c};
}

static int map_overlaps(const tc_pool_shape *s) {
    return s->adaptive || s->sd < s->kd || s->sh < s->kh || s->sw < s->kw;
}

static void map_maxpool_grad(const tc_pool_shape *s, int64_t low, int64_t high, const float *dy, const void *index,
                             float *dx) {
    const map_spreading p = map_spreading_of(s, high, dy, index, dx);
    if (s->kd * s->kh * s->kw > 256)
        map_spread_rows(&p, 1, 0, 1, low, high);
    else if (map_overlaps(s))
        map_spread_rows(&p, 1, 1, 1, low, high);
    else
        map_spread_rows(&p, 1, 1, 0, low, high);
}

static void map_avgpool_grad(const tc_pool_shape *s, int64_t low, int64_t high, const float *dy, float *dx) {
    const map_spreading p = map_spreading_of(s, high, dy, NULL, dx);
    if (map_overlaps(s))
        map_spread_rows(&p, 0, 0, 1, low, high);
    else
        map_spread_rows(&p, 0, 0, 0, low, high);
}

#endif
