/* Pooling bodies: vectors over the channels of a pixel.
 *
 * The last vector of a pixel begins at c - MV and overlaps the one before. With fewer than MV channels a vector reaches into the next pixel: reading
 * that is harmless, and what is written there is overwritten when its turn comes; where there is no next pixel in the
 * array, or in this thread's range, the vector is loaded and stored in part. */
#ifndef TINYCONV_MAP_POOL_H
#define TINYCONV_MAP_POOL_H

#include "map_sums.h"

/* One axis: sizes of input and output, window, stride, padding. */
typedef struct { int64_t in, out, k, s, p, adaptive; } map_axis;
/* Inputs low .. high of a window, and the input its first tap stands on (before 0 in the padding). */
typedef struct { int64_t low, high, first; } map_window;

#define MAP_AXIS(s, x) ((map_axis){(s)->i##x, (s)->o##x, (s)->k##x, (s)->s##x, (s)->p##x, (s)->adaptive})

static inline map_window map_window_of(const map_axis *a, int64_t o) {
    if (a->adaptive) {
        const int64_t low = o * a->in / a->out;
        return (map_window){low, ((o + 1) * a->in + a->out - 1) / a->out, low};
    }
    const int64_t first = o * a->s - a->p, end = first + a->k;
    return (map_window){first > 0 ? first : 0, end < a->in ? end : a->in, first};
}

/* Moves low .. high, the outputs whose windows hold input i, on from those of i - 1 (begin with 0, 0). */
static inline void map_covering(const map_axis *a, int64_t i, int64_t *low, int64_t *high) {
    while (*low < a->out && map_window_of(a, *low).high <= i)
        ++*low;
    if (*high < *low)
        *high = *low;
    while (*high < a->out && map_window_of(a, *high).low <= i)
        ++*high;
}

static inline mvi mv_load_bytes(const uint8_t *p) { return __builtin_convertvector(*(const mvb_mem *)p, mvi); }

/* Vectors of a pixel of c channels: at = 0, MV, .., c - MV; one of c lanes if c < MV. */
#define MAP_VECTORS(c, at) for (int64_t at = 0; at < (c); at = at + MV < (c) && at + 2 * MV > (c) && (c) > MV ? (c) - MV : at + MV)

static inline mvf map_load(const float *p, int64_t lanes) { return lanes >= MV ? mv_load(p) : mv_load_part(p, lanes, 0); }
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
    if (lanes >= MV)
        return bytes ? mv_load_bytes((const uint8_t *)index + at) : (mvi)mv_load((const float *)index + at);
    int32_t where[MV];
    for (int64_t i = 0; i < MV; i++)
        where[i] = i >= lanes ? -1 : bytes ? ((const uint8_t *)index)[at + i] : ((const int32_t *)index)[at + i];
    return (mvi)mv_load((const float *)where);
}

/* Rows of an array: r = (image * d + z) * h + y */
typedef struct { int64_t image, z, y; } map_row;
static inline map_row map_row_of(int64_t r, int64_t d, int64_t h) { return (map_row){r / h / d, r / h % d, r % h}; }

/* ------------------------------------------------------------------ maximum */
static inline __attribute__((always_inline)) void map_maxpool_rows(const tc_pool_shape *s, int64_t low, int64_t high,
                                                                   const float *x, float *y, void *index, int bytes) {
    const map_axis d = MAP_AXIS(s, d), h = MAP_AXIS(s, h), w = MAP_AXIS(s, w);
    const int64_t c = s->c, x_end = s->n * s->id * s->ih * s->iw * c, y_end = high * s->ow * c;
    for (int64_t r = low; r < high; r++) {
        const map_row row = map_row_of(r, s->od, s->oh);
        const map_window wd = map_window_of(&d, row.z), wh = map_window_of(&h, row.y);
        for (int64_t ow = 0; ow < s->ow; ow++) {
            const map_window ww = map_window_of(&w, ow);
            const int64_t out = (r * s->ow + ow) * c;
            const int64_t corner = (((row.image * s->id + wd.low) * s->ih + wh.low) * s->iw + ww.low) * c;
            const int64_t last = (((row.image * s->id + wd.high - 1) * s->ih + wh.high - 1) * s->iw + ww.high - 1) * c;
            const int empty = wd.low >= wd.high || wh.low >= wh.high || ww.low >= ww.high;
            const int64_t load = c >= MV || last + MV <= x_end ? MV : c, store = c >= MV || out + MV <= y_end ? MV : c;
            const int32_t corner_tap = (int32_t)(((wd.low - wd.first) * s->kh + wh.low - wh.first) * s->kw + ww.low - ww.first);
            MAP_VECTORS(c, at) {
                mvf best = empty ? mv_set(0) : map_load(x + corner + at, load);
                mvi where = mv_seti(corner_tap);
                for (int64_t z = wd.low; z < wd.high; z++)
                    for (int64_t v = wh.low; v < wh.high; v++) {
                        const float *p = x + ((row.image * s->id + z) * s->ih + v) * s->iw * c + at;
                        int32_t tap = (int32_t)(((z - wd.first) * s->kh + v - wh.first) * s->kw - ww.first + ww.low);
                        for (int64_t u = ww.low; u < ww.high; u++, tap++) {
                            const mvf now = map_load(p + u * c, load);
                            const mvi better = ~(now <= best) & (best == best);
                            best = mv_select(better, now, best);
                            if (index)
                                where = mv_selecti(better, mv_seti(tap), where);
                        }
                    }
                map_store(y + out + at, best, store);
                if (index)
                    map_store_index(index, out + at, where, bytes, store);
            }
        }
    }
}

static int map_index_bytes(const tc_pool_shape *s) { return s->kd * s->kh * s->kw <= 256; }

static void map_maxpool(const tc_pool_shape *s, int64_t low, int64_t high, const float *x, float *y, void *index) {
    if (!index)
        map_maxpool_rows(s, low, high, x, y, NULL, 0);
    else if (map_index_bytes(s))
        map_maxpool_rows(s, low, high, x, y, index, 1);
    else
        map_maxpool_rows(s, low, high, x, y, index, 0);
}

/* Each input pixel gathers from the outputs whose windows hold it: no two threads write one place, and the order of
 * the sum is fixed, overlapping windows or not. */
static inline __attribute__((always_inline)) void map_maxpool_gather(const tc_pool_shape *s, int64_t low, int64_t high,
                                                                     const float *dy, const void *index, float *dx, int bytes) {
    const map_axis d = MAP_AXIS(s, d), h = MAP_AXIS(s, h), w = MAP_AXIS(s, w);
    const int64_t c = s->c, y_end = s->n * s->od * s->oh * s->ow * c, x_end = high * s->iw * c;
    for (int64_t r = low; r < high; r++) {
        const map_row row = map_row_of(r, s->id, s->ih);
        int64_t d0 = 0, d1 = 0, h0 = 0, h1 = 0, w0 = 0, w1 = 0;
        map_covering(&d, row.z, &d0, &d1);
        map_covering(&h, row.y, &h0, &h1);
        for (int64_t u = 0; u < s->iw; u++) {
            map_covering(&w, u, &w0, &w1);
            const int64_t in = (r * s->iw + u) * c;
            const int64_t last = (((row.image * s->od + d1 - 1) * s->oh + h1 - 1) * s->ow + w1 - 1) * c;
            const int64_t load = c >= MV || last + MV <= y_end ? MV : c, store = c >= MV || in + MV <= x_end ? MV : c;
            MAP_VECTORS(c, at) {
                mvf sum = mv_set(0);
                for (int64_t z = d0; z < d1; z++)
                    for (int64_t v = h0; v < h1; v++)
                        for (int64_t o = w0; o < w1; o++) {
                            const int64_t tap_z = row.z - map_window_of(&d, z).first;
                            const int64_t tap_v = row.y - map_window_of(&h, v).first;
                            const int64_t tap = (tap_z * s->kh + tap_v) * s->kw + u - map_window_of(&w, o).first;
                            const int64_t out = (((row.image * s->od + z) * s->oh + v) * s->ow + o) * c + at;
                            const mvi here = map_load_index(index, out, bytes, load) == mv_seti((int32_t)tap);
                            sum += mv_keep(here, map_load(dy + out, load));
                        }
                map_store(dx + in + at, sum, store);
            }
        }
    }
}

static void map_maxpool_grad(const tc_pool_shape *s, int64_t low, int64_t high, const float *dy, const void *index, float *dx) {
    if (map_index_bytes(s))
        map_maxpool_gather(s, low, high, dy, index, dx, 1);
    else
        map_maxpool_gather(s, low, high, dy, index, dx, 0);
}

/* ------------------------------------------------------------------ average */
static void map_avgpool(const tc_pool_shape *s, int64_t low, int64_t high, const float *x, float *y) {
    const map_axis d = MAP_AXIS(s, d), h = MAP_AXIS(s, h), w = MAP_AXIS(s, w);
    const int64_t c = s->c, x_end = s->n * s->id * s->ih * s->iw * c, y_end = high * s->ow * c;
    for (int64_t r = low; r < high; r++) {
        const map_row row = map_row_of(r, s->od, s->oh);
        const map_window wd = map_window_of(&d, row.z), wh = map_window_of(&h, row.y);
        for (int64_t ow = 0; ow < s->ow; ow++) {
            const map_window ww = map_window_of(&w, ow);
            const int64_t out = (r * s->ow + ow) * c, count = (wd.high - wd.low) * (wh.high - wh.low) * (ww.high - ww.low);
            const int64_t last = (((row.image * s->id + wd.high - 1) * s->ih + wh.high - 1) * s->iw + ww.high - 1) * c;
            const int64_t load = c >= MV || last + MV <= x_end ? MV : c, store = c >= MV || out + MV <= y_end ? MV : c;
            const int empty = wd.low >= wd.high || wh.low >= wh.high || ww.low >= ww.high;
            const float share = empty ? 0 : 1.0f / (float)count;
            MAP_VECTORS(c, at) {
                mvf sum = mv_set(0);
                for (int64_t z = wd.low; z < wd.high; z++)
                    for (int64_t v = wh.low; v < wh.high; v++) {
                        const float *p = x + ((row.image * s->id + z) * s->ih + v) * s->iw * c + at;
                        for (int64_t u = ww.low; u < ww.high; u++)
                            sum += map_load(p + u * c, load);
                    }
                map_store(y + out + at, sum * share, store);
            }
        }
    }
}

static void map_avgpool_grad(const tc_pool_shape *s, int64_t low, int64_t high, const float *dy, float *dx) {
    const map_axis d = MAP_AXIS(s, d), h = MAP_AXIS(s, h), w = MAP_AXIS(s, w);
    const int64_t c = s->c, y_end = s->n * s->od * s->oh * s->ow * c, x_end = high * s->iw * c;
    for (int64_t r = low; r < high; r++) {
        const map_row row = map_row_of(r, s->id, s->ih);
        int64_t d0 = 0, d1 = 0, h0 = 0, h1 = 0, w0 = 0, w1 = 0;
        map_covering(&d, row.z, &d0, &d1);
        map_covering(&h, row.y, &h0, &h1);
        for (int64_t u = 0; u < s->iw; u++) {
            map_covering(&w, u, &w0, &w1);
            const int64_t in = (r * s->iw + u) * c;
            const int64_t last = (((row.image * s->od + d1 - 1) * s->oh + h1 - 1) * s->ow + w1 - 1) * c;
            const int64_t load = c >= MV || last + MV <= y_end ? MV : c, store = c >= MV || in + MV <= x_end ? MV : c;
            MAP_VECTORS(c, at) {
                mvf sum = mv_set(0);
                for (int64_t z = d0; z < d1; z++)
                    for (int64_t v = h0; v < h1; v++)
                        for (int64_t o = w0; o < w1; o++) {
                            const map_window wd = map_window_of(&d, z), wh = map_window_of(&h, v), ww = map_window_of(&w, o);
                            const int64_t count = (wd.high - wd.low) * (wh.high - wh.low) * (ww.high - ww.low);
                            const int64_t out = (((row.image * s->od + z) * s->oh + v) * s->ow + o) * c + at;
                            sum += map_load(dy + out, load) * (1.0f / (float)count);
                        }
                map_store(dx + in + at, sum, store);
            }
        }
    }
}

#endif
