/* Depthwise convolutions and narrow groups against double-precision references. */
#include "check_shapes.h"

/* Channels a group reads and writes. */
static const int64_t SMALL[] = {1, 1, 1, 2, 3, 4, 5, 7};

static void sweep(int axes, int cases, uint64_t seed, int depthwise) {
    for (int i = 0; i < cases;) {
        tc_conv_shape s = {.n = 1, .id = 1, .ih = 1, .od = 1, .oh = 1, .kd = 1, .kh = 1, .sd = 1, .sh = 1, .dd = 1,
                           .dh = 1};
        check_seed(seed++);
        s.n = check_integer(1, 3);
        s.groups = check_integer(0, 1) ? check_integer(2, 40) : PICK(CHANNELS) + 1;
        s.c = s.groups * (depthwise ? 1 : PICK(SMALL));
        s.k = s.groups * (depthwise ? 1 : PICK(SMALL));
        if (!axis(&s.iw, &s.ow, &s.kw, &s.sw, &s.pw, &s.dw, 28) ||
            (axes > 1 && !axis(&s.ih, &s.oh, &s.kh, &s.sh, &s.ph, &s.dh, 28)) ||
            (axes > 2 && !axis(&s.id, &s.od, &s.kd, &s.sd, &s.pd, &s.dd, 7)) || work(&s) > 1000000)
            continue;
        i++;
        if (check_pick())
            test_shape(&s, check_integer(0, 1) == 0, 0);
    }
}

/* The shapes of nets, and what passes the sizes of boxes, blocks and parts. */
static void test_nets(void) {
#define SQUARE(N, H, C, O, K, F, S, P, D, G)                                                                           \
    {.n = N, .id = 1, .ih = H, .iw = H, .c = C, .od = 1, .oh = O, .ow = O, .k = K, .kd = 1, .kh = F, .kw = F, .sd = 1, \
     .sh = S, .sw = S, .ph = P, .pw = P, .dd = 1, .dh = D, .dw = D, .groups = G}
#define ROW(W, C, O, F, S, P, D)                                                                                       \
    {.n = 2, .id = 1, .ih = 1, .iw = W, .c = C, .od = 1, .oh = 1, .ow = O, .k = C, .kd = 1, .kh = 1, .kw = F, .sd = 1, \
     .sh = 1, .sw = S, .pw = P, .dd = 1, .dh = 1, .dw = D, .groups = C}
    static const tc_conv_shape shapes[] = {
        SQUARE(2, 56, 32, 56, 32, 3, 1, 1, 1, 32),    SQUARE(2, 56, 40, 28, 40, 3, 2, 1, 1, 40),
        SQUARE(1, 14, 512, 14, 512, 3, 1, 1, 1, 512), SQUARE(3, 7, 1030, 7, 1030, 3, 1, 1, 1, 1030),
        SQUARE(1, 14, 96, 7, 96, 5, 2, 2, 1, 96),     SQUARE(1, 14, 72, 14, 72, 7, 1, 3, 1, 72),
        SQUARE(1, 30, 24, 30, 24, 3, 1, 4, 4, 24),    SQUARE(1, 9, 20, 9, 20, 3, 1, 1, 1, 20),
        SQUARE(1, 9, 24, 4, 24, 2, 2, 0, 1, 24),      SQUARE(1, 8, 8, 4, 8, 1, 2, 0, 1, 8),
        SQUARE(2, 28, 128, 28, 128, 3, 1, 1, 1, 32),  SQUARE(2, 28, 96, 14, 96, 3, 2, 1, 1, 48),
        SQUARE(2, 14, 56, 14, 56, 3, 1, 1, 1, 8),     SQUARE(2, 14, 24, 14, 48, 3, 1, 1, 1, 24),
        SQUARE(1, 14, 6, 14, 96, 3, 1, 1, 1, 6),      SQUARE(1, 14, 96, 14, 6, 3, 1, 1, 1, 6),
        SQUARE(1, 10, 64, 10, 64, 1, 1, 0, 1, 16),    SQUARE(40, 1, 48, 1, 48, 1, 1, 0, 1, 48),
        SQUARE(3, 107, 64, 107, 64, 3, 1, 1, 1, 64),  SQUARE(5, 107, 64, 54, 64, 3, 2, 1, 1, 64), /* past the caches */
        ROW(512, 64, 512, 9, 1, 4, 1),                ROW(700, 24, 700, 31, 1, 15, 1),
        ROW(900, 8, 411, 80, 2, 0, 1),                ROW(300, 33, 300, 3, 1, 16, 16),
        ROW(300, 3, 100, 7, 3, 3, 1),
        {.n = 1, .id = 9, .ih = 10, .iw = 11, .c = 40, .od = 5, .oh = 5, .ow = 6, .k = 40, .kd = 3, .kh = 3, .kw = 3,
         .sd = 2, .sh = 2, .sw = 2, .pd = 1, .ph = 1, .pw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 40}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_seed(2000 + i);
        if (!check_pick())
            continue;
        const char *name = tc_conv_algorithm(&shapes[i], TC_FORWARD);
        const int depthwise = shapes[i].c == shapes[i].groups && shapes[i].k == shapes[i].groups;
        check_true(!strcmp(name, depthwise ? "dwconv" : "groupconv"), "shape %zu goes by %s", i, name);
        test_shape(&shapes[i], i % 2 == 0, 0);
    }
}

int main(void) {
    check_begin("test_depthwise");
    sweep(1, 60, 110000, 1);
    sweep(2, 120, 120000, 1);
    sweep(3, 40, 130000, 1);
    sweep(1, 40, 140000, 0);
    sweep(2, 120, 150000, 0);
    sweep(3, 40, 160000, 0);
    test_nets();
    return check_end();
}
