/* Included by gemm_body.h: the form that conv_weights_few.c sums weight gradients of few taps by. */
#ifndef TINYCONV_GEMM_TAPS_BODY_H
#define TINYCONV_GEMM_TAPS_BODY_H

/* ------------------------------------------------------------------ taps: A's values one by one */
/* Sums stand in columns [from, from + V) of acc. */
TC_INLINE void taps_step(const int R, const int V, const int from, const float *row, const int64_t *src,
                         const float *b, tc_vec acc[TC_ROWS][TC_VECTORS]) {
    tc_vec columns[TC_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
        columns[v] = tc_load(b + v * TC_WIDTH);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        const tc_vec x = tc_splat(row[src[r]]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            TC_FMA(acc[r][from + v], x, columns[v]);
    }
    TC_STEP_END();
}

/* Of one vector every other step has sums of its own, for R alone are too few under way. */
TC_INLINE void taps_tile(const int R, const int V, int64_t count, const float *const *row, const int64_t *src,
                         const float *b, int add, float *c) {
    const int other = V == 1, sets = V == 1 ? 2 : V;
    tc_vec acc[TC_ROWS][TC_VECTORS];
    int64_t at[TC_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        at[r] = src[r];
#pragma GCC unroll 4
        for (int v = 0; v < sets; v++)
            acc[r][v] = add && v < V ? tc_load(c + r * TC_PANEL + v * TC_WIDTH) : (tc_vec){0};
    }
    int64_t p = 0;
    for (; p + 4 <= count; p += 4, b += 4 * TC_PANEL) {
        taps_step(R, V, 0, row[p], at, b, acc);
        taps_step(R, V, other, row[p + 1], at, b + TC_PANEL, acc);
        taps_step(R, V, 0, row[p + 2], at, b + 2 * TC_PANEL, acc);
        taps_step(R, V, other, row[p + 3], at, b + 3 * TC_PANEL, acc);
    }
    for (; p < count; p++, b += TC_PANEL)
        taps_step(R, V, 0, row[p], at, b, acc);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            tc_store(c + r * TC_PANEL + v * TC_WIDTH, other ? acc[r][0] + acc[r][1] : acc[r][v]);
}

/* Six rows at most: each has the place of its values in a register. */
#if TC_ROWS < 6
#define TC_TAPS_HEIGHTS TC_HEIGHTS_4
#else
#define TC_TAPS_HEIGHTS TC_HEIGHTS_6
#endif
enum { TC_TAPS_ROWS = TC_ROWS < 6 ? TC_ROWS : 6 };

#define TAPS_TILE(R, V)                                                                                               \
    static __attribute__((noinline)) void taps_##R##_##V(int64_t count, const float *const *row, const int64_t *src,  \
                                                         const float *b, int add, float *c) {                         \
        taps_tile(R, V, count, row, src, b, add, c);                                                                  \
    }
typedef void taps_function(int64_t, const float *const *, const int64_t *, const float *, int, float *);
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

static void gemm_taps(int64_t m, int64_t n, int64_t count, const float *const *row, const int64_t *src, const float *b,
                      int add, float *c) {
    const int64_t tiles = (m + TC_TAPS_ROWS - 1) / TC_TAPS_ROWS;
    for (int64_t t = 0; t < tiles; t++) { /* of about one height */
        const int64_t r = m * t / tiles, rows = m * (t + 1) / tiles - r;
        taps_table[(n - 1) / TC_WIDTH][rows - 1](count, row, src + r, b, add, c + r * TC_PANEL);
    }
}

#endif
