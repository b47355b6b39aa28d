/* Bodies over x (rows, c) with a parameter a channel.
 *
 * A strip is `repeat` rows side by side, so that the inner loop is long and of whole vectors for any c; the
 * parameters are laid out to match. With more than MAP_WIDE channels there is a pass for each MAP_WIDE of them. */
#ifndef TINYCONV_MAP_ROWS_H
#define TINYCONV_MAP_ROWS_H

#include <math.h>

#include "map_elem.h"

enum { MAP_WIDE = 1024 };

/* Rows a strip: the least that makes whole cache lines and at least 64 floats, or 1 where that is too wide. */
static int64_t map_repeat(int64_t c) {
    int64_t repeat = 1;
    while (repeat * c % 16 || repeat * c < 64)
        repeat++;
    return repeat * c <= MAP_WIDE ? repeat : 1;
}

typedef struct { int64_t at, width, repeat; } map_columns;      /* channels at .. at + width; wide = width * repeat */

static map_columns map_columns_at(int64_t c, int64_t at) {
    const int64_t width = c - at < MAP_WIDE ? c - at : MAP_WIDE;
    return (map_columns){at, width, c <= MAP_WIDE ? map_repeat(c) : 1};
}

static void map_widen(map_columns m, const float *p, float *wide) {
    for (int64_t r = 0; r < m.repeat; r++)
        memcpy(wide + r * m.width, p + m.at, (size_t)m.width * sizeof *p);
}

/* Floats of the strip that begins at row r. */
static inline int64_t map_strip(map_columns m, int64_t rows, int64_t r) {
    return (rows - r < m.repeat ? rows - r : m.repeat) * m.width;
}

/* for each set of columns m; for each strip: o is where it begins, `wide` its length */
#define MAP_COLUMNS(c, m) \
    for (map_columns m = map_columns_at(c, 0); m.at < (c); m = map_columns_at(c, m.at + m.width))
#define MAP_STRIPS(m, rows, c, o, wide) \
    for (int64_t r_ = 0, o = m.at, wide; r_ < (rows) && (wide = map_strip(m, rows, r_), 1); \
         r_ += m.repeat, o = r_ * (c) + m.at)

/* y = a OP b, b a value a channel */
#define MAP_CHANNELS(name, OP)                                                                                        \
    static void name(int64_t rows, int64_t c, const float *a, const float *b, float *y) {                             \
        float with[MAP_WIDE];                                                                                         \
        MAP_COLUMNS(c, m) {                                                                                           \
            map_widen(m, b, with);                                                                                    \
            MAP_STRIPS(m, rows, c, o, wide) {                                                                         \
                _Pragma("GCC ivdep") for (int64_t i = 0; i < wide; i++) y[o + i] = a[o + i] OP with[i];               \
            }                                                                                                         \
        }                                                                                                             \
    }
MAP_CHANNELS(map_mul_channels, *)
MAP_CHANNELS(map_add_channels, +)

static void map_mul_rows(int64_t rows, int64_t c, const float *a, const float *b, float *y) {
    for (int64_t r = 0; r < rows; r++) {
        const float by = b[r];
#pragma GCC ivdep
        for (int64_t i = r * c; i < (r + 1) * c; i++)
            y[i] = a[i] * by;
    }
}

static void map_prelu(int64_t rows, int64_t c, const float *x, const float *a, float *y) {
    float slope[MAP_WIDE];
    MAP_COLUMNS(c, m) {
        map_widen(m, a, slope);
        MAP_STRIPS(m, rows, c, o, wide)
            MAP_BINARY(wide, x + o, slope, y + o, v, by, mv_select(v > mv_set(0), v, v * by));
    }
}

/* dx = dy where x > 0, else a dy */
static void map_prelu_grad(int64_t rows, int64_t c, const float *x, const float *a, const float *dy, float *dx) {
    float slope[MAP_WIDE];
    MAP_COLUMNS(c, m) {
        map_widen(m, a, slope);
        MAP_STRIPS(m, rows, c, o, wide) {
            int64_t i = 0;
            for (; i + MV <= wide; i += MV) {
                const mvf g = mv_load(dy + o + i);
                mv_store(dx + o + i, mv_select(mv_load(x + o + i) > mv_set(0), g, g * mv_load(slope + i)));
            }
            if (i < wide) {
                const mvf g = mv_load_part(dy + o + i, wide - i, 0), v = mv_load_part(x + o + i, wide - i, 0);
                mv_store_part(dx + o + i, mv_select(v > mv_set(0), g, g * mv_load_part(slope + i, wide - i, 0)),
                              wide - i);
            }
        }
    }
}

/* Divisions, not products with reciprocals: the same bits as NumPy, and the loop waits for memory anyway. */
static void map_input(int64_t rows, int64_t c, int is_uint8, const void *x, const float *mean, const float *std,
                      float *y) {
    float centre[MAP_WIDE], size[MAP_WIDE];
    const uint8_t *bytes = x;
    const float *floats = x;
    MAP_COLUMNS(c, m) {
        map_widen(m, mean, centre);
        map_widen(m, std, size);
        MAP_STRIPS(m, rows, c, o, wide) {
            if (is_uint8) {
                for (int64_t i = 0; i < wide; i++)
                    y[o + i] = ((float)bytes[o + i] / 255.0f - centre[i]) / size[i];
            } else {
#pragma GCC ivdep
                for (int64_t i = 0; i < wide; i++)
                    y[o + i] = (floats[o + i] - centre[i]) / size[i];
            }
        }
    }
}

/* y = (x - centre) * scale + shift. The mean is taken off first: folded into the shift it would cancel
 * badly where |mean| is large beside the deviation. */
static inline void map_affine_columns(map_columns m, int64_t rows, int64_t c, const float *x, const float *centre,
                                      const float *scale, const float *shift, float *y) {
    MAP_STRIPS(m, rows, c, o, wide) {
#pragma GCC ivdep
        for (int64_t i = 0; i < wide; i++)
            y[o + i] = (x[o + i] - centre[i]) * scale[i] + shift[i];
    }
}

/* y = (x - mean) scale + shift */
static void map_gn_apply(int64_t rows, int64_t c, const float *x, const float *mean, const float *scale,
                         const float *shift, float *y) {
    float centre[MAP_WIDE], a[MAP_WIDE], b[MAP_WIDE];
    MAP_COLUMNS(c, m) {
        map_widen(m, mean, centre);
        map_widen(m, scale, a);
        map_widen(m, shift, b);
        map_affine_columns(m, rows, c, x, centre, a, b, y);
    }
}

/* dx = scale dy - shift - (x - mean) slope */
static void map_gn_grad(int64_t rows, int64_t c, const float *x, const float *dy, const float *mean, const float *scale,
                        const float *shift, const float *slope, float *dx) {
    float centre[MAP_WIDE], a[MAP_WIDE], b[MAP_WIDE], d[MAP_WIDE];
    MAP_COLUMNS(c, m) {
        map_widen(m, mean, centre);
        map_widen(m, scale, a);
        map_widen(m, shift, b);
        map_widen(m, slope, d);
        MAP_STRIPS(m, rows, c, o, wide) {
#pragma GCC ivdep
            for (int64_t i = 0; i < wide; i++)
                dx[o + i] = (dy[o + i] * a[i] - b[i]) - (x[o + i] - centre[i]) * d[i];
        }
    }
}

#endif
