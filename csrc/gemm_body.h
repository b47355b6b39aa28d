/* Included once by each isa_*.c, compiled with that ISA's flags: the functions of tc_gemm_isa.
 * TC_WIDTH floats make a vector, a panel is two vectors, TC_ROWS rows a full tile: 6 x 2 accumulators, two vectors of B
 * and one broadcast fit the 16 registers of AVX2 and need 8 loads under 12 FMAs. */
#ifndef TINYCONV_GEMM_BODY_H
#define TINYCONV_GEMM_BODY_H

#include "finish_body.h"
#include "gemm_isa.h"

#include <string.h>

#define TC_PANEL (2 * TC_WIDTH)
#define TC_INLINE static inline __attribute__((always_inline))

typedef float tc_vec __attribute__((vector_size(4 * TC_WIDTH)));
typedef float tc_vec_any __attribute__((vector_size(4 * TC_WIDTH), aligned(4), may_alias));

TC_INLINE tc_vec tc_load(const float *p) { return *(const tc_vec_any *)p; }
TC_INLINE void tc_store(float *p, tc_vec v) { *(tc_vec_any *)p = v; }
TC_INLINE tc_vec tc_splat(float x) { return x - (tc_vec){0}; }

/* n < TC_PANEL floats, by the bits of n: stores in a loop would cost more than a short tile. */
TC_INLINE void tc_copy_part(float *to, const float *from, int64_t n) {
    for (int64_t part = TC_PANEL / 2; part; part >>= 1) {
        if (!(n & part))
            continue;
        switch (part) {
        case 16: memcpy(to, from, 64); break;
        case 8: memcpy(to, from, 32); break;
        case 4: memcpy(to, from, 16); break;
        case 2: memcpy(to, from, 8); break;
        default: *to = *from;
        }
        to += part;
        from += part;
    }
}

/* ------------------------------------------------------------------ rows: A through row pointers */
#ifndef TC_FMA
#define TC_FMA(acc, a, b) ((acc) += (a) * (b))
#endif

/* Keeps the compiler from mixing steps, for which it has no registers. */
#define TC_STEP_END() __asm__ volatile("" ::: "memory")

/* Four steps a turn below: 12 FMAs, 8 loads and a loop's own instructions would be more than half of what the core
 * takes in, and half is all it gets while its other thread is busy. */
TC_INLINE void rows_step(const int R, const int V, const float *const *a, int64_t i, const float *p,
                         tc_vec acc[TC_ROWS][2]) {
    const tc_vec b0 = tc_load(p), b1 = V > 1 ? tc_load(p + TC_WIDTH) : b0;
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        const tc_vec x = tc_splat(a[r][i]);
        TC_FMA(acc[r][0], x, b0);
        if (V > 1)
            TC_FMA(acc[r][1], x, b1);
    }
    TC_STEP_END();
}

/* V vectors of a panel (1 where n <= TC_WIDTH), R rows. */
TC_INLINE void rows_tile(const int R, const int V, int64_t n, const float *const *row, int64_t runs, const tc_run *run,
                         const float *b, const float *init, int add, float *const *out, int64_t column) {
    tc_vec acc[TC_ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            acc[r][v] = init ? tc_load(init + v * TC_WIDTH) : (tc_vec){0};
    if (add)
        for (int r = 0; r < R; r++)
            __builtin_prefetch(out[r] + column, 1);
    for (int64_t t = 0; t < runs; t++) {
        const float *a[TC_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
            a[r] = row[r] + run[t].a;
        const float *p = b + run[t].b * TC_PANEL;
        const int64_t len = run[t].len;
        int64_t i = 0;
        for (; i + 4 <= len; i += 4, p += 4 * TC_PANEL) {
            rows_step(R, V, a, i, p, acc);
            rows_step(R, V, a, i + 1, p + TC_PANEL, acc);
            rows_step(R, V, a, i + 2, p + 2 * TC_PANEL, acc);
            rows_step(R, V, a, i + 3, p + 3 * TC_PANEL, acc);
        }
        for (; i < len; i++, p += TC_PANEL)
            rows_step(R, V, a, i, p, acc);
    }
    if (n == V * TC_WIDTH) {
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) {
                float *c = out[r] + column + v * TC_WIDTH;
                tc_store(c, add ? acc[r][v] + tc_load(c) : acc[r][v]);
            }
        return;
    }
    float part[TC_PANEL] __attribute__((aligned(64)));
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        if (add) {
            memset(part, 0, sizeof part);
            tc_copy_part(part, out[r] + column, n);
#pragma GCC unroll 2
            for (int v = 0; v < V; v++)
                acc[r][v] += tc_load(part + v * TC_WIDTH);
        }
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            tc_store(part + v * TC_WIDTH, acc[r][v]);
        tc_copy_part(out[r] + column, part, n);
    }
}

#define ROWS_TILE(R, V)                                                                                               \
    static __attribute__((noinline)) void rows_##R##_##V(int64_t n, const float *const *row, int64_t runs,            \
                                                         const tc_run *run, const float *b, const float *init,        \
                                                         int add, float *const *out, int64_t column) {                \
        rows_tile(R, V, n, row, runs, run, b, init, add, out, column);                                                \
    }
ROWS_TILE(1, 1) ROWS_TILE(2, 1) ROWS_TILE(3, 1) ROWS_TILE(4, 1)
ROWS_TILE(1, 2) ROWS_TILE(2, 2) ROWS_TILE(3, 2) ROWS_TILE(4, 2)
#if TC_ROWS > 4
ROWS_TILE(5, 1) ROWS_TILE(6, 1) ROWS_TILE(5, 2) ROWS_TILE(6, 2)
#endif

typedef void rows_function(int64_t, const float *const *, int64_t, const tc_run *, const float *, const float *, int,
                           float *const *, int64_t);
static rows_function *const rows_table[2][TC_ROWS] = {
#if TC_ROWS > 4
    {rows_1_1, rows_2_1, rows_3_1, rows_4_1, rows_5_1, rows_6_1},
    {rows_1_2, rows_2_2, rows_3_2, rows_4_2, rows_5_2, rows_6_2},
#else
    {rows_1_1, rows_2_1, rows_3_1, rows_4_1},
    {rows_1_2, rows_2_2, rows_3_2, rows_4_2},
#endif
};

static void gemm_rows(int64_t m, int64_t n, const float *const *row, int64_t runs, const tc_run *run, const float *b,
                      const float *init, int add, float *const *out, int64_t column, const float *next,
                      const tc_finish *finish) {
    float first[TC_PANEL];
    if (init && n < TC_PANEL) {
        memset(first, 0, sizeof first);
        tc_copy_part(first, init, n);
        init = first;
    }
    rows_function *const *table = rows_table[n > TC_WIDTH];
    /* As long a part of a panel as this one, from afar: a share with every tile, if there are enough of them. */
    const int64_t lines = runs ? (run[runs - 1].b + run[runs - 1].len - run[0].b) * TC_PANEL / 16 : 0;
    const int64_t share = next && m >= 4 * TC_ROWS ? lines / (m / TC_ROWS) + 1 : 0;
    for (; m >= TC_ROWS; m -= TC_ROWS, row += TC_ROWS, out += TC_ROWS) {
        for (int64_t i = 0; i < share; i++, next += 16)
            __builtin_prefetch(next, 0, 2);
        table[TC_ROWS - 1](n, row, runs, run, b, init, add, out, column);
        if (finish)
            tc_finish_rows(finish, TC_ROWS, n, out, column);
    }
    if (m) {
        table[m - 1](n, row, runs, run, b, init, add, out, column);
        if (finish)
            tc_finish_rows(finish, m, n, out, column);
    }
}

/* ------------------------------------------------------------------ cols: A contiguous per step of the reduction */
TC_INLINE void cols_step(const int R, const int V, const float *a, const float *b, tc_vec acc[TC_ROWS][2]) {
    const tc_vec b0 = tc_load(b), b1 = V > 1 ? tc_load(b + TC_WIDTH) : b0;
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        const tc_vec x = tc_splat(a[r]);
        TC_FMA(acc[r][0], x, b0);
        if (V > 1)
            TC_FMA(acc[r][1], x, b1);
    }
    TC_STEP_END();
}

TC_INLINE void cols_tile(const int R, const int V, const int pointers, int64_t n, int64_t count, const float *a,
                         int64_t lda, const float *b, const float *const *brow, int64_t boff, int add, float *c,
                         int64_t ldc) {
    tc_vec acc[TC_ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            acc[r][v] = (tc_vec){0};
    if (add)
        for (int r = 0; r < R; r++)
            __builtin_prefetch(c + r * ldc, 1);
    int64_t p = 0;
    for (; p + 4 <= count; p += 4, a += 4 * lda, b += 4 * TC_PANEL) {
        cols_step(R, V, a, pointers ? brow[p] + boff : b, acc);
        cols_step(R, V, a + lda, pointers ? brow[p + 1] + boff : b + TC_PANEL, acc);
        cols_step(R, V, a + 2 * lda, pointers ? brow[p + 2] + boff : b + 2 * TC_PANEL, acc);
        cols_step(R, V, a + 3 * lda, pointers ? brow[p + 3] + boff : b + 3 * TC_PANEL, acc);
    }
    for (; p < count; p++, a += lda, b += TC_PANEL)
        cols_step(R, V, a, pointers ? brow[p] + boff : b, acc);
    float part[TC_PANEL] __attribute__((aligned(64)));
#pragma GCC unroll 16
    for (int r = 0; r < R; r++, c += ldc) {
        if (n == V * TC_WIDTH) {
#pragma GCC unroll 2
            for (int v = 0; v < V; v++)
                tc_store(c + v * TC_WIDTH, add ? acc[r][v] + tc_load(c + v * TC_WIDTH) : acc[r][v]);
            continue;
        }
        if (add) {
            memset(part, 0, sizeof part);
            tc_copy_part(part, c, n);
#pragma GCC unroll 2
            for (int v = 0; v < V; v++)
                acc[r][v] += tc_load(part + v * TC_WIDTH);
        }
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            tc_store(part + v * TC_WIDTH, acc[r][v]);
        tc_copy_part(c, part, n);
    }
}

#define COLS_TILE(R, V)                                                                                               \
    static __attribute__((noinline)) void cols_##R##_##V(int64_t n, int64_t count, const float *a, int64_t lda,       \
                                                         const float *b, const float *const *brow, int64_t boff,      \
                                                         int add, float *c, int64_t ldc) {                            \
        if (brow)                                                                                                     \
            cols_tile(R, V, 1, n, count, a, lda, b, brow, boff, add, c, ldc);                                         \
        else if (lda == R) /* a packed tile: known distances */                                                       \
            cols_tile(R, V, 0, n, count, a, R, b, brow, boff, add, c, ldc);                                           \
        else                                                                                                          \
            cols_tile(R, V, 0, n, count, a, lda, b, brow, boff, add, c, ldc);                                         \
    }
COLS_TILE(1, 1) COLS_TILE(2, 1) COLS_TILE(3, 1) COLS_TILE(4, 1)
COLS_TILE(1, 2) COLS_TILE(2, 2) COLS_TILE(3, 2) COLS_TILE(4, 2)
#if TC_ROWS > 4
COLS_TILE(5, 1) COLS_TILE(6, 1) COLS_TILE(5, 2) COLS_TILE(6, 2)
#endif

typedef void cols_function(int64_t, int64_t, const float *, int64_t, const float *, const float *const *, int64_t, int,
                           float *, int64_t);
static cols_function *const cols_table[2][TC_ROWS] = {
#if TC_ROWS > 4
    {cols_1_1, cols_2_1, cols_3_1, cols_4_1, cols_5_1, cols_6_1},
    {cols_1_2, cols_2_2, cols_3_2, cols_4_2, cols_5_2, cols_6_2},
#else
    {cols_1_1, cols_2_1, cols_3_1, cols_4_1},
    {cols_1_2, cols_2_2, cols_3_2, cols_4_2},
#endif
};

static void gemm_cols(int64_t m, int64_t n, int64_t count, const float *a, int64_t lda, const float *b,
                      const float *const *brow, int64_t boff, int add, float *c, int64_t ldc) {
    cols_table[n > TC_WIDTH][m - 1](n, count, a, lda, b, brow, boff, add, c, ldc);
}

/* ------------------------------------------------------------------ wide: few rows, B as it stands */
/* K rows of B added to m rows of C: K times two vectors of B in registers serve all of them. */
TC_INLINE void wide_rows(const int K, int64_t m, int64_t n, const float *a, int64_t lda, const float *b, int64_t ldb,
                         int add, float *c, int64_t ldc) {
    int64_t j = 0;
    for (; j + TC_PANEL <= n; j += TC_PANEL) {
        tc_vec b0[4], b1[4];
#pragma GCC unroll 4
        for (int i = 0; i < K; i++) {
            b0[i] = tc_load(b + i * ldb + j);
            b1[i] = tc_load(b + i * ldb + j + TC_WIDTH);
        }
        for (int64_t r = 0; r < m; r++) {
            float *to = c + r * ldc + j;
            tc_vec c0 = add ? tc_load(to) : (tc_vec){0}, c1 = add ? tc_load(to + TC_WIDTH) : (tc_vec){0};
#pragma GCC unroll 4
            for (int i = 0; i < K; i++) {
                const tc_vec x = tc_splat(a[r * lda + i]);
                c0 += x * b0[i];
                c1 += x * b1[i];
            }
            tc_store(to, c0);
            tc_store(to + TC_WIDTH, c1);
        }
    }
    for (; j < n; j++)
        for (int64_t r = 0; r < m; r++) {
            float sum = add ? c[r * ldc + j] : 0;
            for (int i = 0; i < K; i++)
                sum += a[r * lda + i] * b[i * ldb + j];
            c[r * ldc + j] = sum;
        }
}

static void gemm_wide(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                      float *c, int64_t ldc) {
    int64_t i = 0;
    for (; i + 4 <= k; i += 4)
        wide_rows(4, m, n, a + i, lda, b + i * ldb, ldb, i > 0, c, ldc);
    for (; i < k; i++)
        wide_rows(1, m, n, a + i, lda, b + i * ldb, ldb, i > 0, c, ldc);
}

static void gemm_gather(int64_t count, const float *const *row, int64_t pieces, const tc_piece *piece, float *packed) {
    if (pieces == 1) {
        const int64_t src = piece->src;
        for (int64_t p = 0; p < count; p++, packed += TC_PANEL) {
            tc_vec x = tc_load(row[p] + src), y = tc_load(row[p] + src + TC_WIDTH);
            tc_store(packed, x);
            tc_store(packed + TC_WIDTH, y);
        }
        return;
    }
    for (int64_t p = 0; p < count; p++, packed += TC_PANEL)
        for (int64_t q = 0; q < pieces; q++) {
            const float *from = row[p] + piece[q].src;
            tc_vec x = tc_load(from), y = tc_load(from + TC_WIDTH);
            tc_store(packed + piece[q].dst, x);
            tc_store(packed + piece[q].dst + TC_WIDTH, y);
        }
}

/* ------------------------------------------------------------------ the peak: FMAs that touch no memory */
static double gemm_peak(int64_t loops, float *sink) {
    tc_vec acc[12], x = tc_splat(0.5f), y = tc_splat(0.25f); /* no acc starts at the fixed point: it would fold */
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        acc[i] = tc_splat((float)(i + 1));
    for (int64_t n = 0; n < loops; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) {
            acc[i] = acc[i] * x + y;
            __asm__ volatile("" : "+m"(*sink)); /* keeps the loop from being summed up */
        }
    }
#pragma GCC unroll 12
    for (int i = 1; i < 12; i++)
        acc[0] += acc[i];
    tc_store(sink, acc[0]);
    return 2.0 * 12 * TC_WIDTH * (double)loops;
}

#define TC_GEMM_TABLE                                                                                                 \
    {.rows = TC_ROWS, .panel = TC_PANEL, .rows_form = gemm_rows, .cols_form = gemm_cols, .wide = gemm_wide,           \
     .finish = tc_finish_rows, .gather = gemm_gather, .peak = gemm_peak}

#endif
