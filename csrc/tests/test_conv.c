/* The products and convolutions against double-precision references, over a seeded sweep of shapes. */
#include "check_shapes.h"

static void sweep(int axes, int cases, uint64_t seed, int grouping) {
    for (int i = 0; i < cases;) {
        tc_conv_shape s = {.n = 1, .id = 1, .ih = 1, .od = 1, .oh = 1, .kd = 1, .kh = 1, .sd = 1, .sh = 1, .dd = 1,
                           .dh = 1, .groups = 1, .algorithm = TC_DIRECT};
        check_seed(seed++);
        s.n = check_integer(1, 4);
        s.c = PICK(CHANNELS);
        s.k = PICK(CHANNELS);
        if (grouping == 1) {
            s.groups = check_integer(2, 4);
            s.c *= s.groups;
            s.k *= s.groups;
        }
        if (!axis(&s.iw, &s.ow, &s.kw, &s.sw, &s.pw, &s.dw, 28) ||
            (axes > 1 && !axis(&s.ih, &s.oh, &s.kh, &s.sh, &s.ph, &s.dh, 28)) ||
            (axes > 2 && !axis(&s.id, &s.od, &s.kd, &s.sd, &s.pd, &s.dd, 7)) || work(&s) > 3000000)
            continue;
        i++;
        if (check_pick())
            test_shape(&s, check_integer(0, 1) == 0, 0);
    }
}

/* Shapes past the blocks' sizes: several boxes, parts of the reduction, groups of panels, copied rows. */
static void test_large(void) {
#define SQUARE(N, H, C, O, K, F, S, P)                                                                                 \
    {.n = N, .id = 1, .ih = H, .iw = H, .c = C, .od = 1, .oh = O, .ow = O, .k = K, .kd = 1, .kh = F, .kw = F, .sd = 1, \
     .sh = S, .sw = S, .ph = P, .pw = P, .dd = 1, .dh = 1, .dw = 1, .groups = 1, .algorithm = TC_DIRECT}
    static const tc_conv_shape shapes[] = {
        SQUARE(2, 28, 16, 28, 16, 3, 1, 1), SQUARE(2, 40, 3, 20, 24, 7, 2, 3), SQUARE(3, 14, 72, 14, 70, 3, 1, 1),
        SQUARE(40, 2, 64, 2, 96, 3, 1, 1), SQUARE(3, 14, 40, 7, 48, 1, 2, 0), SQUARE(3, 12, 80, 12, 100, 1, 1, 0),
        SQUARE(7, 1, 1024, 1, 90, 1, 1, 0), SQUARE(200, 1, 512, 1, 80, 1, 1, 0), SQUARE(2, 7, 130, 4, 300, 3, 2, 1),
        SQUARE(30, 1, 700, 1, 600, 1, 1, 0), SQUARE(2, 5, 48, 5, 600, 1, 1, 0), SQUARE(80, 1, 1024, 1, 96, 1, 1, 0),
        SQUARE(8, 1, 1500, 1, 300, 1, 1, 0), SQUARE(3, 20, 3, 20, 150, 3, 1, 1), SQUARE(2, 17, 3, 9, 32, 5, 2, 2),
        {.n = 3, .id = 1, .ih = 9, .iw = 9, .c = 32, .od = 1, .oh = 9, .ow = 9, .k = 32, .kd = 1, .kh = 3, .kw = 3,
         .sd = 1, .sh = 1, .sw = 1, .ph = 1, .pw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 2, .algorithm = TC_DIRECT},
        {.n = 3, .id = 1, .ih = 9, .iw = 9, .c = 16, .od = 1, .oh = 9, .ow = 9, .k = 16, .kd = 1, .kh = 3, .kw = 3,
         .sd = 1, .sh = 1, .sw = 1, .ph = 1, .pw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 2, .algorithm = TC_DIRECT},
        {.n = 1, .id = 1, .ih = 1, .iw = 3000, .c = 20, .od = 1, .oh = 1, .ow = 1500, .k = 18, .kd = 1, .kh = 1,
         .kw = 9, .sd = 1, .sh = 1, .sw = 2, .pw = 4, .dd = 1, .dh = 1, .dw = 1, .groups = 1, .algorithm = TC_DIRECT}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_seed(1000 + i);
        if (check_pick())
            test_shape(&shapes[i], 0, 0);
    }
}

/* Weights as they stand, and when they are chosen. */
static void test_unpacked(void) {
    static const int64_t ROWS[] = {1, 2, 7, 8, 16, 17, 33, 70}, SIDES[] = {1, 3, 16, 65, 130, 321, 700};
    for (int i = 0; i < 40; i++) {
        check_seed(60000 + (uint64_t)i);
        tc_conv_shape s = SQUARE(PICK(ROWS), 1, PICK(SIDES), 1, PICK(SIDES), 1, 1, 0);
        s.ow = s.iw = check_integer(1, 2);
        s.algorithm = TC_UNPACKED;
        check_true(!strcmp(tc_conv_algorithm(&s, TC_FORWARD), "unpacked"), "not taken");
        if (check_pick())
            test_shape(&s, check_integer(0, 1) == 0, 0);
    }
    const tc_conv_shape wide = SQUARE(8, 1, 4096, 1, 4096, 1, 1, 0), many = SQUARE(2048, 1, 64, 1, 64, 1, 1, 0);
    const tc_conv_shape kernel = SQUARE(1, 8, 64, 8, 4096, 3, 1, 1);
    for (int pass = 0; pass < 3; pass++)
        check_true(tc_conv_unpacked(&wide, pass) == (pass != TC_WEIGHT_GRAD) && !tc_conv_unpacked(&many, pass) &&
                       !tc_conv_unpacked(&kernel, pass), "chosen in pass %d", pass);
}

/* Data gradients of few channels, where neighbours along w go together. */
static void test_blocks(int cases, uint64_t seed) {
    static const int64_t WIDTHS[] = {4, 6, 12, 16, 24, 28};
    const tc_conv_shape blocks = SQUARE(1, 16, 1, 8, 8, 4, 2, 1), plain = SQUARE(1, 17, 1, 8, 8, 4, 2, 1); /* odd */
    check_true(tc_conv_packed(&blocks, TC_DATA_GRAD) != tc_conv_packed(&plain, TC_DATA_GRAD), "blocks are taken");
    for (int i = 0; i < cases;) {
        check_seed(seed++);
        tc_conv_shape s = SQUARE(check_integer(1, 2), check_integer(3, 9), check_integer(1, 6), 0,
                                 check_integer(1, 40), 3, check_integer(1, 2), 1);
        s.algorithm = check_integer(0, 3) ? TC_DIRECT : TC_UNPACKED;
        s.iw = PICK(WIDTHS);
        s.kw = PICK(KERNELS);
        s.sw = check_integer(1, 4);
        s.pw = check_integer(0, s.kw + 1);
        s.oh = outputs(s.ih, s.kh, s.sh, s.ph, s.ph, 1);
        s.ow = outputs(s.iw, s.kw, s.sw, s.pw, check_integer(0, s.kw), 1);
        if (s.oh < 1 || s.ow < 1)
            continue;
        i++;
        if (check_pick())
            test_shape(&s, 0, 0);
    }
}

static void test_gemm(int64_t m, int64_t n, int64_t k, int64_t more) {
    char name[120];
    const int64_t lda = k + more, ldb = n + 2 * more, ldc = n + more;
    float *a = check_input((m - 1) * lda + k, -1, 1), *b = check_input((k - 1) * ldb + n, -1, 1), *first = NULL;
    double *want = check_doubles(m * n), *size = check_doubles(m * n);
    ref_gemm(m, n, k, a, lda, b, ldb, want, size);
    bounds(size, m * n, (double)k, 0);
    for (int threads = 1; threads <= 3; threads++) {
        float *c = check_output((m - 1) * ldc + n), *tight = check_output(m * n);
        tc_gemm(m, n, k, a, lda, b, ldb, c, ldc, check_scratch(tc_gemm_scratch(m, n, k, threads)), threads);
        snprintf(name, sizeof name, "gemm %lldx%lldx%lld +%lld threads %d", (long long)m, (long long)n, (long long)k,
                 (long long)more, threads);
        for (int64_t i = 0; i < m; i++) {
            memcpy(tight + i * n, c + i * ldc, (size_t)n * sizeof(float));
            for (int64_t j = n; j < ldc && i < m - 1; j++)
                check_true(isnan(c[i * ldc + j]), "%s: wrote between the rows", name);
        }
        if (threads == 1)
            check_close(name, m * n, first = tight, want, size, 0);
        else
            check_same(name, (size_t)(m * n) * sizeof(float), tight, first);
    }
    check_free_all(name);
}

int main(void) {
    static const int64_t M[] = {1, 2, 3, 5, 6, 7, 8, 13, 24, 25, 48, 100, 200};
    static const int64_t N[] = {1, 2, 7, 8, 9, 15, 16, 17, 33, 130, 200};
    static const int64_t K[] = {1, 2, 3, 16, 31, 100, 256, 320, 321, 700, 1024};
    check_begin("test_conv");
    for (int i = 0; i < 120; i++) {
        check_seed(500 + (uint64_t)i);
        const int64_t m = PICK(M), n = PICK(N), k = PICK(K), more = check_integer(0, 1) * check_integer(1, 9);
        if (check_pick())
            test_gemm(m, n, k, more);
    }
    check_seed(700);
    test_gemm(80, 700, 1024, 0); /* rows copied, for they share cache sets; many, of a block shared by all threads */
    test_gemm(610, 70, 40, 3);
    test_gemm(610, 70, 200, 3); /* rows fetched ahead */
    sweep(1, 60, 10000, 0);
    sweep(2, 220, 20000, 0);
    sweep(3, 60, 30000, 0);
    sweep(2, 40, 40000, 1);
    test_large();
    test_unpacked();
    test_blocks(80, 50000);
    return check_end();
}
