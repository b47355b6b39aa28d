/* Winograd's algorithms against double-precision references, and their errors against those of the direct one. */
#include "check_conv.h"

#define PICK(list) list[check_integer(0, (int64_t)(sizeof list / sizeof *list) - 1)]

static const int64_t CHANNELS[] = {1, 3, 7, 8, 15, 16, 17, 33, 64};
static const int64_t SIZES[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 28};

/* Errors of F(4x4, 3x3) for random terms, in those of direct sums, the points 0, +-1, +-2 would make it 11; of F(4, 3):
 * two axes' errors multiply. */
static const double AMPLIFIED = 5, AMPLIFIED_ALONG_ONE = 2.24;

static tc_conv_shape shape(int64_t n, int64_t h, int64_t w, int64_t c, int64_t k, int64_t ph, int64_t pw,
                           int64_t groups, int64_t algorithm) {
    return (tc_conv_shape){.n = n, .id = 1, .ih = h, .iw = w, .c = c, .od = 1, .oh = h + 2 * ph - 2,
                           .ow = w + 2 * pw - 2, .k = k, .kd = 1, .kh = 3, .kw = 3, .sd = 1, .sh = 1, .sw = 1,
                           .ph = ph, .pw = pw, .dd = 1, .dh = 1, .dw = 1, .groups = groups, .algorithm = algorithm};
}

static void test_sweep(int cases, uint64_t seed) {
    for (int i = 0; i < cases;) {
        check_seed(seed++);
        const int64_t groups = check_integer(0, 9) ? 1 : check_integer(2, 3);
        tc_conv_shape s = shape(check_integer(1, 3), PICK(SIZES), PICK(SIZES), PICK(CHANNELS) * groups,
                                PICK(CHANNELS) * groups, check_integer(0, 2), check_integer(0, 2), groups,
                                check_integer(TC_WINOGRAD_2X2, TC_WINOGRAD_4X4));
        s.oh += check_integer(0, 3) ? 0 : check_integer(-1, 2); /* padding behind need not be that before */
        s.ow += check_integer(0, 3) ? 0 : check_integer(-1, 2);
        if (!check_integer(0, 3)) { /* 3-D */
            s.kd = check_integer(1, 3);
            s.dd = check_integer(1, 2);
            s.pd = check_integer(0, 2);
            s.id = check_integer(1, 4);
            s.od = s.id + 2 * s.pd - (s.kd - 1) * s.dd;
        }
        if (s.od < 1 || s.oh < 1 || s.ow < 1 || s.n * s.od * s.oh * s.ow * s.kd * 9 * (s.c / groups) * s.k > 3000000 ||
            (groups > 1 && s.c == groups && s.k == groups))
            continue;
        i++;
        if (check_pick())
            test_shape(&s, check_integer(0, 1) == 0, AMPLIFIED);
    }
}

/* Kernels of three taps along one axis, the others' sizes at random; the axis is a multiple of the dilation. */
static tc_conv_shape along(int axis, int64_t n, int64_t size, int64_t before, int64_t behind, int64_t dilation,
                           int64_t c, int64_t k, int64_t algorithm) {
    tc_conv_shape s = shape(n, PICK(SIZES), PICK(SIZES), c, k, 0, 0, 1, algorithm);
    s.id = s.od = check_integer(1, 3);
    s.oh = s.ih;
    s.ow = s.iw;
    s.kh = s.kw = 1;
    *(int64_t *[]){&s.id, &s.ih, &s.iw}[axis] = size * dilation;
    *(int64_t *[]){&s.od, &s.oh, &s.ow}[axis] = (size + before + behind - 2) * dilation;
    *(int64_t *[]){&s.kd, &s.kh, &s.kw}[axis] = 3;
    *(int64_t *[]){&s.pd, &s.ph, &s.pw}[axis] = before * dilation;
    *(int64_t *[]){&s.dd, &s.dh, &s.dw}[axis] = dilation;
    return s;
}

static void test_along_one_axis(int cases, uint64_t seed) {
    for (int i = 0; i < cases;) {
        check_seed(seed++);
        const int64_t groups = check_integer(0, 9) ? 1 : 2, size = PICK(SIZES), dilation = check_integer(1, 3);
        tc_conv_shape s = along((int)check_integer(0, 2), check_integer(1, 3), size, check_integer(0, 2),
                                check_integer(0, 2), dilation, PICK(CHANNELS) * groups, PICK(CHANNELS) * groups,
                                check_integer(TC_WINOGRAD_2X2, TC_WINOGRAD_4X4));
        s.groups = groups;
        if (s.od < 1 || s.oh < 1 || s.ow < 1 || s.n * s.od * s.oh * s.ow * 3 * (s.c / groups) * s.k > 3000000 ||
            (groups > 1 && s.c == groups && s.k == groups))
            continue;
        i++;
        check_true(!strncmp(tc_conv_algorithm(&s, TC_FORWARD), "winograd", 8), "case %d: not taken", i);
        if (check_pick())
            test_shape(&s, check_integer(0, 1) == 0, AMPLIFIED_ALONG_ONE);
    }
}

/* Several blocks of tiles, parts of the reduction and of the tiles, groups of panels. */
static void test_large(void) {
    const tc_conv_shape shapes[] = {
        shape(2, 28, 28, 64, 64, 1, 1, 1, TC_WINOGRAD_4X4), shape(1, 57, 50, 20, 40, 1, 1, 1, TC_WINOGRAD_4X4),
        shape(1, 6, 7, 700, 50, 1, 1, 1, TC_WINOGRAD_4X4),  shape(1, 7, 5, 50, 400, 1, 1, 1, TC_WINOGRAD_2X2),
        shape(90, 4, 4, 24, 30, 1, 1, 1, TC_WINOGRAD_4X4),  shape(70, 5, 6, 24, 30, 1, 1, 1, TC_WINOGRAD_2X2),
        shape(2, 9, 9, 120, 80, 1, 1, 2, TC_WINOGRAD_4X4),  shape(50, 9, 13, 9, 7, 1, 1, 1, TC_WINOGRAD_4X4)};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_seed(1000 + i);
        if (check_pick())
            test_shape(&shapes[i], 0, AMPLIFIED);
    }
}

/* Root mean square of the difference from the reference. */
static double error(const tc_conv_shape *s, int pass, const float *a, const float *b, int64_t count,
                    const double *want) {
    float *out = check_output(count);
    double sum = 0;
    run(s, pass, a, b, NULL, out, 1);
    for (int64_t i = 0; i < count; i++)
        sum += (out[i] - want[i]) * (out[i] - want[i]);
    return sqrt(sum / (double)count);
}

static void test_accuracy(tc_conv_shape s, double amplified, uint64_t seed) {
    char name[400];
    check_seed(seed);
    const float *x = check_input(count_x(&s), -1, 1), *w = check_input(count_w(&s), -1, 1);
    const float *dy = check_input(count_y(&s), -1, 1);
    const int64_t counts[3] = {count_y(&s), count_x(&s), count_w(&s)};
    for (int pass = 0; pass < 3; pass++) {
        const float *a = pass == TC_DATA_GRAD ? dy : x, *b = pass == TC_WEIGHT_GRAD ? dy : w;
        double *want = check_doubles(counts[pass]), *size = check_doubles(counts[pass]), by[4];
        if (pass == TC_FORWARD)
            ref_conv_forward(&s, x, w, NULL, want, size);
        else if (pass == TC_DATA_GRAD)
            ref_conv_data_grad(&s, dy, w, want, size);
        else
            ref_conv_weight_grad(&s, x, dy, want, size);
        for (s.algorithm = TC_DIRECT; s.algorithm <= TC_WINOGRAD_4X4; s.algorithm++) {
            by[s.algorithm] = error(&s, pass, a, b, counts[pass], want);
            describe(&s, pass, 1, name, sizeof name);
            if (getenv("CHECK_VERBOSE"))
                printf("%s: error %.2e, %.2f of direct\n", name, by[s.algorithm], by[s.algorithm] / by[TC_DIRECT]);
        }
        check_true(by[TC_WINOGRAD_2X2] < 3 * by[TC_DIRECT], "%s: 2x2 is off by %.1f of the direct error", name,
                   by[TC_WINOGRAD_2X2] / by[TC_DIRECT]);
        check_true(by[TC_WINOGRAD_4X4] < 1.2 * amplified * by[TC_DIRECT], "%s: off by %.1f of the direct error", name,
                   by[TC_WINOGRAD_4X4] / by[TC_DIRECT]);
    }
    check_free_all(name);
}

static void test_choice(void) {
    char name[400];
    const tc_conv_shape large = shape(8, 56, 56, 64, 64, 1, 1, 1, TC_CHOOSE), tiny = shape(1, 3, 3, 4, 4, 1, 1, 1, 0);
    for (int pass = 0; pass < 3; pass++) {
        describe(&large, pass, 1, name, sizeof name);
        check_true(!strcmp(tc_conv_algorithm(&large, pass), "winograd4x4"), "%s: chosen", name);
        check_true(!strcmp(tc_conv_algorithm(&tiny, pass), "igemm"), "one tile of four channels, pass %d", pass);
        const tc_conv_shape wide = along(2, 8, 512, 1, 1, 8, 64, 64, TC_CHOOSE);
        describe(&wide, pass, 1, name, sizeof name);
        check_true(!strcmp(tc_conv_algorithm(&wide, pass), "winograd4x1"), "%s: chosen", name);
        for (int i = 0; i < 3; i++) { /* a dilation, an axis, outputs that do not divide; two axes */
            tc_conv_shape s = wide;
            s.algorithm = TC_WINOGRAD_4X4;
            *(int64_t *[]){&s.dw, &s.iw, &s.pd}[i] += 1;
            s.od += 2 * s.pd;
            describe(&s, pass, 1, name, sizeof name);
            check_true(!strcmp(tc_conv_algorithm(&s, pass), "igemm"), "%s: taken", name);
        }
        for (int i = 0; i < 4; i++) { /* what it is not for, though asked for */
            tc_conv_shape s = large;
            s.algorithm = TC_WINOGRAD_4X4;
            *(int64_t *[]){&s.sh, &s.dw, &s.kw, &s.sd}[i] = 2;
            describe(&s, pass, 1, name, sizeof name);
            check_true(!strcmp(tc_conv_algorithm(&s, pass), "igemm"), "%s: taken", name);
        }
    }
}

int main(void) {
    check_begin("test_winograd");
    test_sweep(400, 10000);
    test_along_one_axis(200, 20000);
    test_large();
    test_choice();
    test_accuracy(shape(1, 16, 16, 16, 16, 1, 1, 1, 0), AMPLIFIED, 1);
    test_accuracy(shape(1, 8, 8, 64, 64, 1, 1, 1, 0), AMPLIFIED, 2);
    test_accuracy(shape(1, 12, 12, 256, 16, 1, 1, 1, 0), AMPLIFIED, 3);
    test_accuracy(shape(4, 28, 28, 8, 8, 1, 1, 1, 0), AMPLIFIED, 4);
    test_accuracy(along(2, 4, 64, 1, 1, 1, 16, 16, 0), AMPLIFIED_ALONG_ONE, 5);
    test_accuracy(along(0, 1, 16, 1, 1, 1, 256, 16, 0), AMPLIFIED_ALONG_ONE, 6);
    return check_end();
}
