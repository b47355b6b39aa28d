/* Included by gemm_body.h: products of few rows, where reading B is all the work. */
#ifndef TINYCONV_GEMM_FEW_BODY_H
#define TINYCONV_GEMM_FEW_BODY_H

/* ------------------------------------------------------------------ one row, several panels side by side */
enum { TC_ROW_VECTORS = 8 }; /* sums of a single panel would wait for each other */

TC_INLINE void one_row_panels(const int P, int64_t n, int64_t len, const float *a, const float *b, int64_t step,
                              const float *first, float *out) {
    const int V = TC_VECTORS;
    float part[TC_ROW_VECTORS * TC_WIDTH] = {0}, *const to = n < P * TC_PANEL ? part : out;
    if (first && to == part)
        first = memcpy(part, first, (size_t)n * sizeof(float));
    tc_vec acc[TC_ROW_VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < P * V; v++)
        acc[v] = first ? tc_load(first + v * TC_WIDTH) : (tc_vec){0};
    for (int64_t i = 0; i < len; i++, b += TC_PANEL) {
        const tc_vec x = tc_splat(a[i]);
#pragma GCC unroll 4
        for (int q = 0; q < P; q++)
#pragma GCC unroll 2
            for (int line = 0; line < TC_PANEL; line += 16)
                __builtin_prefetch(b + q * step + TC_AHEAD * TC_PANEL + line);
#pragma GCC unroll 8
        for (int v = 0; v < P * V; v++) {
            const tc_vec columns = tc_load(b + v / V * step + v % V * TC_WIDTH);
            TC_FMA(acc[v], x, columns);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < P * V; v++)
        tc_store(to + v * TC_WIDTH, acc[v]);
    if (to == part)
        memcpy(out, part, (size_t)n * sizeof(float));
}

static void gemm_one_row(int64_t n, int64_t len, const float *a, const float *b, int64_t step, const float *first,
                         float *out) {
    enum { P = TC_ROW_VECTORS / TC_VECTORS };
    for (int64_t panels = (n + TC_PANEL - 1) / TC_PANEL, now; panels; panels -= now) {
        now = panels >= P ? P : panels >= 2 ? 2 : 1;
        const int64_t columns = n < now * TC_PANEL ? n : now * TC_PANEL;
        if (now == P)
            one_row_panels(P, columns, len, a, b, step, first, out);
        else if (now == 2)
            one_row_panels(2, columns, len, a, b, step, first, out);
        else
            one_row_panels(1, columns, len, a, b, step, first, out);
        b += now * step;
        first = first ? first + columns : NULL;
        out += columns;
        n -= columns;
    }
}

/* ------------------------------------------------------------------ wide: few rows, B as it stands */
/* K rows of B added to m rows of C: K times a panel's vectors of B in registers serve all of them. */
TC_INLINE void wide_rows(const int K, int64_t m, int64_t n, const float *a, int64_t lda, const float *b, int64_t ldb,
                         int add, float *c, int64_t ldc) {
    int64_t j = 0;
    for (; j + TC_PANEL <= n; j += TC_PANEL) {
        tc_vec columns[4][TC_VECTORS];
#pragma GCC unroll 4
        for (int i = 0; i < K; i++)
#pragma GCC unroll 4
            for (int v = 0; v < TC_VECTORS; v++)
                columns[i][v] = tc_load(b + i * ldb + j + v * TC_WIDTH);
        for (int64_t r = 0; r < m; r++) {
            float *to = c + r * ldc + j;
            tc_vec sum[TC_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < TC_VECTORS; v++)
                sum[v] = add ? tc_load(to + v * TC_WIDTH) : (tc_vec){0};
#pragma GCC unroll 4
            for (int i = 0; i < K; i++) {
                const tc_vec x = tc_splat(a[r * lda + i]);
#pragma GCC unroll 4
                for (int v = 0; v < TC_VECTORS; v++)
                    sum[v] += x * columns[i][v];
            }
#pragma GCC unroll 4
            for (int v = 0; v < TC_VECTORS; v++)
                tc_store(to + v * TC_WIDTH, sum[v]);
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

#endif
