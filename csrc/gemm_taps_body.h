/* Included by gemm_body.h: the form that conv_weights_few.c sums weight gradients of few taps by. */
#ifndef TINYCONV_GEMM_TAPS_BODY_H
#define TINYCONV_GEMM_TAPS_BODY_H

/* ------------------------------------------------------------------ taps: A's values one by one */
/* acc += value * b, of a value that is multiplied once: where its load can be part of the instruction. */
#ifndef TC_FMA_ONE
#define TC_FMA_ONE(acc, value, b) TC_FMA(acc, tc_splat(value), b)
#endif
#ifdef TC_FMA_HALF
typedef float taps_half_vec __attribute__((vector_size(2 * TC_WIDTH), aligned(4), may_alias));
#endif

/* Sums stand in columns [from, from + V) of acc; V = 0: in the lower half of one. */
TC_INLINE void taps_step(const int R, const int V, const int from, const float *row, const int64_t *src,
                         const float *b, tc_vec acc[TC_ROWS][TC_VECTORS]) {
    tc_vec columns[TC_VECTORS];
#ifdef TC_FMA_HALF
    taps_half_vec half;
    if (!V)
        half = *(const taps_half_vec *)b;
#pragma GCC unroll 16
    for (int r = 0; r < R && !V; r++)
        TC_FMA_HALF(acc[r][from], row[src[r]], half);
#endif
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
        columns[v] = tc_load(b + v * TC_WIDTH);
#pragma GCC unroll 16
    for (int r = 0; r < R && V; r++) {
        if (V == 1) {
            TC_FMA_ONE(acc[r][from], row[src[r]], columns[0]);
            continue;
        }
        const tc_vec x = tc_splat(row[src[r]]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            TC_FMA(acc[r][from + v], x, columns[v]);
    }
    TC_STEP_END();
}

/* Of one vector every other step has sums of its own, for R alone are too few under way. */
TC_INLINE void taps_tile(const int R, const int V, int64_t count, const float *const *row, const int64_t *src,
                         const float *b, int64_t ldb, int add, float *c) {
    const int vectors = V ? V : 1, other = vectors == 1;
    tc_vec acc[TC_ROWS][TC_VECTORS];
    int64_t at[TC_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        at[r] = src[r];
#pragma GCC unroll 4
        for (int v = 0; v < vectors + other; v++)
            acc[r][v] = add && v < vectors ? tc_load(c + r * TC_PANEL + v * TC_WIDTH) : (tc_vec){0};
    }
    int64_t p = 0;
    for (; p + 4 <= count; p += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++, b += ldb)
            taps_step(R, V, i % 2 * other, row[p + i], at, b, acc);
    for (; p < count; p++, b += ldb)
        taps_step(R, V, 0, row[p], at, b, acc);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            tc_store(c + r * TC_PANEL + v * TC_WIDTH, other ? acc[r][0] + acc[r][1] : acc[r][v]);
}

/* Nine rows at most: each has the place of its values in a register. */
#if TC_ROWS < 9
#define TC_TAPS_HEIGHTS TC_HEIGHTS(TC_ROWS)
enum { TC_TAPS_ROWS = TC_ROWS };
#else
#define TC_TAPS_HEIGHTS(MACRO, V) TC_HEIGHTS_6(MACRO, V) MACRO(7, V) MACRO(8, V) MACRO(9, V)
enum { TC_TAPS_ROWS = 9 };
#endif

#define TAPS_TILE(R, V)                                                                                               \
    static __attribute__((noinline)) void taps_##R##_##V(int64_t count, const float *const *row, const int64_t *src,  \
                                                         const float *b, int64_t ldb, int add, float *c) {            \
        taps_tile(R, V, count, row, src, b, ldb, add, c);                                                             \
    }
typedef void taps_function(int64_t, const float *const *, const int64_t *, const float *, int64_t, int, float *);
#define TAPS_NAME(R, V) [R - 1] = taps_##R##_##V,
TC_TAPS_HEIGHTS(TAPS_TILE, 1)
TC_TAPS_HEIGHTS(TAPS_TILE, 2)
#if TC_VECTORS == 2
static taps_function *const taps_table[TC_VECTORS][TC_TAPS_ROWS] = {{TC_TAPS_HEIGHTS(TAPS_NAME, 1)},
                                                                    {TC_TAPS_HEIGHTS(TAPS_NAME, 2)}};
#else
TC_TAPS_HEIGHTS(TAPS_TILE, 3)
TC_TAPS_HEIGHTS(TAPS_TILE, 4)
static taps_function *const taps_table[TC_VECTORS][TC_TAPS_ROWS] = {
    {TC_TAPS_HEIGHTS(TAPS_NAME, 1)}, {TC_TAPS_HEIGHTS(TAPS_NAME, 2)},
    {TC_TAPS_HEIGHTS(TAPS_NAME, 3)}, {TC_TAPS_HEIGHTS(TAPS_NAME, 4)}};
#endif
#ifdef TC_FMA_HALF
TC_TAPS_HEIGHTS(TAPS_TILE, 0)
static taps_function *const taps_half[TC_TAPS_ROWS] = {TC_TAPS_HEIGHTS(TAPS_NAME, 0)};
#endif

static void gemm_taps(int64_t m, int64_t n, int64_t count, const float *const *row, const int64_t *src, const float *b,
                      int64_t ldb, int add, float *c) {
    const int64_t tiles = (m + TC_TAPS_ROWS - 1) / TC_TAPS_ROWS;
    taps_function *const *table = taps_table[(n - 1) / TC_WIDTH];
#ifdef TC_FMA_HALF
    table = n <= TC_WIDTH / 2 ? taps_half : table;
#endif
    for (int64_t t = 0; t < tiles; t++) { /* of about one height */
        const int64_t r = m * t / tiles, rows = m * (t + 1) / tiles - r;
        table[rows - 1](count, row, src + r, b, ldb, add, c + r * TC_PANEL);
    }
}

#endif
