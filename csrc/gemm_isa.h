/* The convolution and GEMM kernels of one instruction set. Implemented once, in gemm_body.h. */
#ifndef TINYCONV_GEMM_ISA_H
#define TINYCONV_GEMM_ISA_H

#include "finish_isa.h"

/* A piece of the reduction: `len` floats at row[r] + a, times rows of B at b * panel. */
typedef struct {
    int64_t a, b, len;
} tc_run;

/* 16 consecutive columns of a gathered row: floats at row + src, put at dst (0..panel). */
typedef struct {
    int64_t src, dst;
} tc_piece;

typedef struct {
    int rows;  /* MR: rows of a full tile */
    int panel; /* NR: columns of a packed panel */
    int width; /* floats of a vector: so many of a panel's columns are worked on at once */
    /* out[r][j] = (add ? out[r][j] : init ? init[j] : 0)
     *           + sum over runs, i < len of row[r][run.a + i] * b[(run.b + i) * panel + j]
     * for r < m, j < n <= panel. init holds n floats.
     * `next`, or NULL: the part of a panel that the call after this one reads, fetched meanwhile.
     * `finish`, or NULL: what is then done to `out`. */
    void (*rows_form)(int64_t m, int64_t n, const float *const *row, int64_t runs, const tc_run *run, const float *b,
                      const float *init, int add, float *const *out, int64_t column, const float *next,
                      const tc_finish *finish);
    /* out[j] = (first ? first[j] : 0) + sum over i < len of a[i] * b[j / panel * step + i * panel + j % panel], j < n:
     * panels side by side; first may be out. Panels are read whole. */
    void (*one_row)(int64_t n, int64_t len, const float *a, const float *b, int64_t step, const float *first,
                    float *out);
    /* c[r * ldc + j] = (add ? c : 0) + sum over p < count of a[p * lda + r] * B(p)[j], r < m <= rows, j < n <= panel;
     * B(p) = b + p * panel, or, where brow is given, brow[p] + boff. A panel is read whole. `next`, or NULL: what is
     * fetched meanwhile, a quarter as many floats as of b. */
    void (*cols_form)(int64_t m, int64_t n, int64_t count, const float *a, int64_t lda, const float *b,
                      const float *const *brow, int64_t boff, int add, float *c, int64_t ldc, const float *next);
    /* c[r * panel + j] = (add ? itself : 0) + sum over p < count of row[p][src[r]] * b[p * ldb + j], r < m; of
     * b's rows and c's, the whole vectors that hold n columns */
    void (*taps_form)(int64_t m, int64_t n, int64_t count, const float *const *row, const int64_t *src, const float *b,
                      int64_t ldb, int add, float *c);
    /* c[r][j] = sum over i < k of a[r * lda + i] * b[i * ldb + j], r < m, j < n: B's rows read once, as they stand */
    void (*wide)(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                 int64_t ldc);
    /* packed[p * panel + piece.dst ..] = row[p][piece.src ..]: each up to the next; vectors and reads go beyond */
    void (*gather)(int64_t count, const float *const *row, int64_t pieces, const tc_piece *piece, float *packed);
    /* out[r][column + j] = act(out[r][column + j] + add), r < m, j < n */
    void (*finish)(const tc_finish *f, int64_t m, int64_t n, float *const *out, int64_t column);
    /* FMAs on registers alone, for the measured peak: floating-point operations done */
    double (*peak)(int64_t loops, float *sink);
} tc_gemm_isa;

#endif
