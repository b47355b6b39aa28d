/* Bodies that reduce over the rows of x (rows, c), a double a channel.
 *
 * Blocks of a few thousand floats are summed in float, four strips (map_rows.h) at a time, and the blocks in double:
 * fast, and with an error that does not grow with the number of rows. */
#ifndef TINYCONV_MAP_SUMS_H
#define TINYCONV_MAP_SUMS_H

#include "map_rows.h"

enum { MAP_BLOCK = 4096 };      /* floats */

static int64_t map_block_rows(map_columns m) {
    int64_t strips = MAP_BLOCK / (m.width * m.repeat);
    return (strips < 16 ? 16 : strips) * m.repeat;
}

static void map_clear(int64_t n, float *a) { memset(a, 0, (size_t)n * sizeof *a); }

/* sum[channel] += the lanes of a strip that belong to it */
static void map_fold(map_columns m, const float *lanes, double *sum) {
    for (int64_t r = 0; r < m.repeat; r++)
        for (int64_t i = 0; i < m.width; i++)
            sum[i] += lanes[r * m.width + i];
}

/* For the strips of rows [low, high): four whole ones, `step` floats apart from o on, or one of `wide` floats. */
#define MAP_FOUR_STRIPS(m, c, low, high, o, step, wide) \
    for (int64_t r_ = (low), four_, o, step = (m).repeat * (c), wide; \
         r_ < (high) && \
         (four_ = r_ + 4 * (m).repeat <= (high), o = r_ * (c) + (m).at, wide = map_strip(m, high, r_), 1); \
         r_ += four_ ? 4 * (m).repeat : (m).repeat) \
        if (four_)

/* s += x */
static void map_block_sum(map_columns m, int64_t c, int64_t low, int64_t high, const float *x, float *restrict s) {
    MAP_FOUR_STRIPS(m, c, low, high, o, step, wide) {
        const float *p = x + o, *q = p + 2 * step;
        for (int64_t i = 0; i < wide; i++)
            s[i] += (p[i] + p[i + step]) + (q[i] + q[i + step]);
    } else {
        for (int64_t i = 0; i < wide; i++)
            s[i] += x[o + i];
    }
}

/* s += a, s2 += a^2 for a = x - centre */
static void map_block_squares(map_columns m, int64_t c, int64_t low, int64_t high, const float *x,
                              const float *restrict centre, float *restrict s, float *restrict s2) {
    MAP_FOUR_STRIPS(m, c, low, high, o, step, wide) {
        const float *p = x + o, *q = p + 2 * step;
        for (int64_t i = 0; i < wide; i++) {
            const float a0 = p[i] - centre[i], a1 = p[i + step] - centre[i];
            const float a2 = q[i] - centre[i], a3 = q[i + step] - centre[i];
            s[i] += (a0 + a1) + (a2 + a3);
            s2[i] += (a0 * a0 + a1 * a1) + (a2 * a2 + a3 * a3);
        }
    } else {
        for (int64_t i = 0; i < wide; i++) {
            const float a = x[o + i] - centre[i];
            s[i] += a;
            s2[i] += a * a;
        }
    }
}

/* s += a b */
static void map_block_product(map_columns m, int64_t c, int64_t low, int64_t high, const float *a, const float *b,
                              float *restrict s) {
    MAP_FOUR_STRIPS(m, c, low, high, o, step, wide) {
        const float *p = a + o, *q = p + 2 * step, *g = b + o, *h = g + 2 * step;
        for (int64_t i = 0; i < wide; i++)
            s[i] += (p[i] * g[i] + p[i + step] * g[i + step]) + (q[i] * h[i] + q[i + step] * h[i + step]);
    } else {
        for (int64_t i = 0; i < wide; i++)
            s[i] += a[o + i] * b[o + i];
    }
}

/* s += x dy where x <= 0 (or NaN) */
static void map_block_prelu(map_columns m, int64_t c, int64_t low, int64_t high, const float *x, const float *dy,
                            float *restrict s) {
    for (int64_t r = low; r < high; r += m.repeat) {
        const int64_t o = r * c + m.at, wide = map_strip(m, high, r);
        int64_t i = 0;
        for (; i + MV <= wide; i += MV) {
            const mvf v = mv_load(x + o + i), product = v * mv_load(dy + o + i);
            mv_store(s + i, mv_load(s + i) + mv_keep(~(v > mv_set(0)), product));
        }
        for (; i < wide; i++)
            if (!(x[o + i] > 0))
                s[i] += x[o + i] * dy[o + i];
    }
}

#define MAP_BLOCKS(rows, block, low, high) \
    for (int64_t low = 0, high; low < (rows) && (high = low + (block) < (rows) ? low + (block) : (rows), 1); low = high)

static void map_sum_rows(int64_t rows, int64_t c, const float *x, double *sum) {
    float s[MAP_WIDE];
    memset(sum, 0, (size_t)c * sizeof *sum);
    MAP_COLUMNS(c, m)
        MAP_BLOCKS(rows, map_block_rows(m), low, high) {
            map_clear(m.width * m.repeat, s);
            map_block_sum(m, c, low, high, x, s);
            map_fold(m, s, sum + m.at);
        }
}

static void map_prelu_sums(int64_t rows, int64_t c, const float *x, const float *dy, double *da) {
    float s[MAP_WIDE];
    memset(da, 0, (size_t)c * sizeof *da);
    MAP_COLUMNS(c, m)
        MAP_BLOCKS(rows, map_block_rows(m), low, high) {
            map_clear(m.width * m.repeat, s);
            map_block_prelu(m, c, low, high, x, dy, s);
            map_fold(m, s, da + m.at);
        }
}

/* sum: of one set of columns */
static void map_column_products(map_columns m, int64_t rows, int64_t c, const float *a, const float *b, double *sum) {
    float s[MAP_WIDE];
    memset(sum, 0, sizeof *sum * (size_t)m.width);
    MAP_BLOCKS(rows, map_block_rows(m), low, high) {
        map_clear(m.width * m.repeat, s);
        map_block_product(m, c, low, high, a, b, s);
        map_fold(m, s, sum);
    }
}

static void map_product_sums(int64_t rows, int64_t c, const float *a, const float *b, double *sum) {
    MAP_COLUMNS(c, m)
        map_column_products(m, rows, c, a, b, sum + m.at);
}

static void map_mul_sums(int64_t rows, int64_t c, const float *a, const float *b, float *sum) {
    double total[MAP_WIDE];
    MAP_COLUMNS(c, m) {
        map_column_products(m, rows, c, a, b, total);
        for (int64_t i = 0; i < m.width; i++)
            sum[m.at + i] = (float)total[i];
    }
}

static double map_dot(int64_t n, const float *a, const float *b) {
    double sum = 0;
    MAP_BLOCKS(n, MAP_BLOCK, low, high) {
        mvf s = mv_set(0), t = mv_set(0);
        int64_t i = low;
        for (; i + 2 * MV <= high; i += 2 * MV) {
            s += mv_load(a + i) * mv_load(b + i);
            t += mv_load(a + i + MV) * mv_load(b + i + MV);
        }
        for (; i < high; i += MV) {
            const int64_t m = high - i < MV ? high - i : MV;
            s += mv_load_part(a + i, m, 0) * mv_load_part(b + i, m, 0);
        }
        sum += mv_sum(s + t);
    }
    return sum;
}

#endif
