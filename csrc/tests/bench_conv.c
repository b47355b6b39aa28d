/* Shares of the machine's FMA peak that the products and convolutions reach, peak and kernel measured in turns.
 *   bench_conv [threads [word [all]]]     only lines whose name contains `word`; all: every algorithm, not the chosen
 * Prints the median of the rounds' shares, and the best rate's share of the best peak: on a machine with other work the
 * median falls and swings, the best less. Products of few rows are bound by reading: compare them with GB/s.
 * Depthwise and narrow groups on one thread: also the share of what FMAs or memory bound, memory measured in turns too,
 * by copying as many floats as the layer reads and writes (of a weight gradient, by reading them). */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../tinyconv.h"

enum { ROUNDS = 15 };

static int threads = 2, every;

/* With one thread its processor time, which other programs' turns do not count in. */
static double now(void) {
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *values(int64_t n) {
    enum { HUGE_PAGE = 1 << 21 }; /* NumPy asks for them where arrays are large, and what it allocates is measured */
    const size_t bytes = (size_t)(n * 4 + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    float *x = aligned_alloc(HUGE_PAGE, bytes);
    if (bytes >= 2 * HUGE_PAGE)
        madvise(x, bytes, MADV_HUGEPAGE);
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    return x;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Shares of `call`, which does `work` operations, in rounds of a few milliseconds; best of a round on both sides. */
static void report(const char *name, const char *pass, const char *how, double work, void (*call)(void *),
                   void (*stream)(void *), void *context) {
    double share[ROUNDS], top = 0, rate = 0, streamed = 1e9;
    call(context);
    for (int i = 0; i < ROUNDS; i++) {
        const double peak = tc_measure_fma(threads, 0.003) * 1e9, end = now() + 0.006;
        double least = 1e9;
        do {
            const double begin = now();
            call(context);
            const double took = now() - begin;
            least = took < least ? took : least;
        } while (now() < end);
        for (int j = 0; stream && j < 5; j++) {
            const double begin = now();
            stream(context);
            const double took = now() - begin;
            streamed = took < streamed ? took : streamed;
        }
        const double after = tc_measure_fma(threads, 0.003) * 1e9;
        rate = work / least > rate ? work / least : rate;
        const double higher = peak > after ? peak : after;
        share[i] = work / least / higher;
        top = higher > top ? higher : top;
    }
    qsort(share, ROUNDS, sizeof *share, by_size);
    printf("%-28s %-8s %-11s %7.1f GFLOP/s  median %5.1f %%  best %5.1f %%", name, pass, how, rate * 1e-9,
           100 * share[ROUNDS / 2], 100 * rate / top);
    if (stream)
        printf("  of the bound %5.1f %%", 100 * rate / work * (streamed > work / top ? streamed : work / top));
    printf("\n");
    fflush(stdout);
}

/* ------------------------------------------------------------------ convolutions */
typedef struct {
    const char *name;
    tc_conv_shape s;
} layer;

typedef struct {
    const tc_conv_shape *s;
    float *x, *y, *w, *packed;
    void *scratch;
} buffers;

static void forward(void *p) {
    const buffers *b = p;
    tc_conv_forward(b->s, b->x, b->packed, NULL, b->y, b->scratch, threads);
}
static void data_grad(void *p) {
    const buffers *b = p;
    tc_conv_data_grad(b->s, b->y, b->packed, b->x, b->scratch, threads);
}
static void weight_grad(void *p) {
    const buffers *b = p;
    tc_conv_weight_grad(b->s, b->x, b->y, b->w, b->scratch, threads);
}

/* Reads `in` floats, writes `out`, on one thread. */
static void stream_floats(const float *x, int64_t in, float *y, int64_t out) {
    const int64_t both = in < out ? in : out;
    float sum[16] = {0};
    memcpy(y, x, (size_t)both * sizeof(float));
    for (int64_t i = both; i + 16 <= in; i += 16)
        for (int j = 0; j < 16; j++)
            sum[j] += x[i + j];
    if (out > both)
        memset(y + both, 0, (size_t)(out - both) * sizeof(float));
    __asm__ volatile("" : : "r"(sum) : "memory");
}
static int64_t floats_in(const tc_conv_shape *s) { return s->n * s->id * s->ih * s->iw * s->c; }
static int64_t floats_out(const tc_conv_shape *s) { return s->n * s->od * s->oh * s->ow * s->k; }
static void stream_forward(void *p) {
    const buffers *b = p;
    stream_floats(b->x, floats_in(b->s), b->y, floats_out(b->s));
}
static void stream_data_grad(void *p) {
    const buffers *b = p;
    stream_floats(b->y, floats_out(b->s), b->x, floats_in(b->s));
}
static void stream_weight_grad(void *p) {
    const buffers *b = p;
    stream_floats(b->x, floats_in(b->s), NULL, 0);
    stream_floats(b->y, floats_out(b->s), NULL, 0);
}

static void bench_layer(const layer *l) {
    static const char *const PASS[] = {"forward", "dgrad", "wgrad"};
    static void (*const CALL[])(void *) = {forward, data_grad, weight_grad};
    static void (*const STREAM[])(void *) = {stream_forward, stream_data_grad, stream_weight_grad};
    tc_conv_shape shape = l->s, *const s = &shape;
    const int64_t cg = s->c / s->groups, taps = s->kd * s->kh * s->kw, out = s->n * s->od * s->oh * s->ow;
    buffers b = {.s = s, .x = values(floats_in(s)), .y = values(out * s->k), .w = values(s->k * taps * cg)};
    for (int pass = 0; pass < 3; pass++) {
        shape.algorithm = TC_CHOOSE;
        const char *chosen = tc_conv_algorithm(s, pass), *last = "";
        for (shape.algorithm = TC_DIRECT; shape.algorithm <= TC_WINOGRAD_4X4; shape.algorithm++) {
            const char *name = tc_conv_algorithm(s, pass);
            if (!strcmp(name, last) || (!every && strcmp(name, chosen)))
                continue;
            last = name;
            b.packed = pass < 2 ? values(tc_conv_packed(s, pass)) : NULL;
            b.scratch = values(tc_conv_scratch(s, pass, threads) / 4 + 1);
            if (b.packed)
                tc_conv_pack(s, pass, b.w, b.packed, threads);
            const int bound = threads == 1 && (!strcmp(name, "dwconv") || !strcmp(name, "groupconv"));
            report(l->name, PASS[pass], name, 2.0 * (double)(out * taps * cg) * (double)s->k, CALL[pass],
                   bound ? STREAM[pass] : NULL, &b);
            free(b.packed);
            free(b.scratch);
        }
    }
    free(b.x);
    free(b.y);
    free(b.w);
}

/* ------------------------------------------------------------------ products */
typedef struct {
    int64_t m, n, k;
    float *a, *b, *c;
    void *scratch;
} product;

static void multiply(void *p) {
    const product *g = p;
    tc_gemm(g->m, g->n, g->k, g->a, g->k, g->b, g->n, g->c, g->n, g->scratch, threads);
}

static void bench_product(const char *word, int64_t m, int64_t n, int64_t k) {
    char name[64];
    snprintf(name, sizeof name, "gemm %lldx%lldx%lld", (long long)m, (long long)n, (long long)k);
    if (!strstr(name, word))
        return;
    product g = {m, n, k, values(m * k), values(k * n), values(m * n), NULL};
    g.scratch = values(tc_gemm_scratch(m, n, k, threads) / 4 + 1);
    report(name, "", "", 2.0 * (double)m * (double)n * (double)k, multiply, NULL, &g);
    free(g.a);
    free(g.b);
    free(g.c);
    free(g.scratch);
}

#define LAYER(NAME, N, H, C, O, K, F, S, P, G)                                                                         \
    {NAME, {.n = N, .id = 1, .ih = H, .iw = H, .c = C, .od = 1, .oh = O, .ow = O, .k = K, .kd = 1, .kh = F, .kw = F,   \
            .sd = 1, .sh = S, .sw = S, .ph = P, .pw = P, .dd = 1, .dh = 1, .dw = 1, .groups = G}}

#define LINE(NAME, N, W, C, O, F, P)                                                                                   \
    {NAME, {.n = N, .id = 1, .ih = 1, .iw = W, .c = C, .od = 1, .oh = 1, .ow = O, .k = C, .kd = 1, .kh = 1, .kw = F,   \
            .sd = 1, .sh = 1, .sw = 1, .pw = P, .dd = 1, .dh = 1, .dw = 1, .groups = C}}

static const layer LAYERS[] = {
    LAYER("3x3 n8 64 56x56", 8, 56, 64, 56, 64, 3, 1, 1, 1),
    LAYER("3x3 n8 128 28x28", 8, 28, 128, 28, 128, 3, 1, 1, 1),
    LAYER("3x3 n1 128 112x112", 1, 112, 128, 112, 128, 3, 1, 1, 1),
    LAYER("3x3 n4 256 28x28", 4, 28, 256, 28, 256, 3, 1, 1, 1),
    LAYER("3x3 n16 256 16x16", 16, 16, 256, 16, 256, 3, 1, 1, 1),
    LAYER("3x3 n32 512 8x8", 32, 8, 512, 8, 512, 3, 1, 1, 1),
    LAYER("3x3 n1 64 224x224", 1, 224, 64, 224, 64, 3, 1, 1, 1),
    LAYER("3x3 n128 64 32x32", 128, 32, 64, 32, 64, 3, 1, 1, 1),
    LAYER("3x3 n1 512 28x28", 1, 28, 512, 28, 512, 3, 1, 1, 1),
    LAYER("3x3 n128 32 16x16", 128, 16, 32, 16, 32, 3, 1, 1, 1),
    LAYER("3x3 n128 16 32x32", 128, 32, 16, 32, 16, 3, 1, 1, 1),
    LAYER("n8 256 14x14", 8, 14, 256, 14, 256, 3, 1, 1, 1),
    LAYER("n8 512 7x7", 8, 7, 512, 7, 512, 3, 1, 1, 1),
    LAYER("n1 512 7x7", 1, 7, 512, 7, 512, 3, 1, 1, 1),
    LAYER("lenet 1-6 5x5", 128, 32, 1, 28, 6, 5, 1, 0, 1),
    LAYER("lenet 6-16 5x5", 128, 14, 6, 10, 16, 5, 1, 0, 1),
    LAYER("lenet 16-120 5x5", 128, 5, 16, 1, 120, 5, 1, 0, 1),
    LAYER("resnet20 3-16 32x32", 128, 32, 3, 32, 16, 3, 1, 1, 1),
    LAYER("resnet20 16-32 s2", 128, 32, 16, 16, 32, 3, 2, 1, 1),
    LAYER("resnet20 32-64 s2", 128, 16, 32, 8, 64, 3, 2, 1, 1),
    LAYER("resnet20 64 8x8", 128, 8, 64, 8, 64, 3, 1, 1, 1),
    LAYER("resnet20 16-32 1x1 s2", 128, 32, 16, 16, 32, 1, 2, 0, 1),
    LAYER("vgg11 3-64 32x32", 128, 32, 3, 32, 64, 3, 1, 1, 1),
    LAYER("vgg11 64-128 16x16", 128, 16, 64, 16, 128, 3, 1, 1, 1),
    LAYER("vgg11 128-256 8x8", 128, 8, 128, 8, 256, 3, 1, 1, 1),
    LAYER("vgg11 256 8x8", 128, 8, 256, 8, 256, 3, 1, 1, 1),
    LAYER("vgg11 256-512 4x4", 128, 4, 256, 4, 512, 3, 1, 1, 1),
    LAYER("vgg11 512 4x4", 128, 4, 512, 4, 512, 3, 1, 1, 1),
    LAYER("vgg11 512 2x2", 128, 2, 512, 2, 512, 3, 1, 1, 1),
    LAYER("imagenet 3-64 7x7 s2", 8, 224, 3, 112, 64, 7, 2, 3, 1),
    LAYER("1x1 64-256 56x56", 8, 56, 64, 56, 256, 1, 1, 0, 1),
    LAYER("1x1 1024-256 14x14", 8, 14, 1024, 14, 256, 1, 1, 0, 1),
    LAYER("depthwise n1 32 112x112", 1, 112, 32, 112, 32, 3, 1, 1, 32),
    LAYER("depthwise n1 64 112x112 s2", 1, 112, 64, 56, 64, 3, 2, 1, 64),
    LAYER("depthwise n1 128 56x56", 1, 56, 128, 56, 128, 3, 1, 1, 128),
    LAYER("depthwise n1 128 56x56 s2", 1, 56, 128, 28, 128, 3, 2, 1, 128),
    LAYER("depthwise n1 256 28x28", 1, 28, 256, 28, 256, 3, 1, 1, 256),
    LAYER("depthwise n1 512 14x14", 1, 14, 512, 14, 512, 3, 1, 1, 512),
    LAYER("depthwise n1 512 14x14 s2", 1, 14, 512, 7, 512, 3, 2, 1, 512),
    LAYER("depthwise n1 1024 7x7", 1, 7, 1024, 7, 1024, 3, 1, 1, 1024),
    LAYER("depthwise n16 32 112x112", 16, 112, 32, 112, 32, 3, 1, 1, 32),
    LAYER("depthwise n16 64 112x112 s2", 16, 112, 64, 56, 64, 3, 2, 1, 64),
    LAYER("depthwise n16 128 56x56", 16, 56, 128, 56, 128, 3, 1, 1, 128),
    LAYER("depthwise n16 512 14x14", 16, 14, 512, 14, 512, 3, 1, 1, 512),
    LAYER("depthwise 5x5 240 28x28", 1, 28, 240, 28, 240, 5, 1, 2, 240),
    LAYER("depthwise 5x5 144 56x56 s2", 1, 56, 144, 28, 144, 5, 2, 2, 144),
    LAYER("depthwise 7x7 96 56x56", 1, 56, 96, 56, 96, 7, 1, 3, 96),
    LAYER("depthwise 7x7 768 7x7", 1, 7, 768, 7, 768, 7, 1, 3, 768),
    LINE("depthwise 1-D 9 256 512", 1, 512, 256, 512, 9, 4),
    LINE("depthwise 1-D 80 64 4000", 1, 4000, 64, 4000, 80, 40),
    LAYER("groups 32 of 4 56x56", 1, 56, 128, 56, 128, 3, 1, 1, 32),
    LAYER("groups 32 of 4 56x56 s2", 1, 56, 128, 28, 128, 3, 2, 1, 32),
    LAYER("groups 64 of 2 28x28", 1, 28, 128, 28, 128, 3, 1, 1, 64),
    LAYER("groups 64 of 4 28x28", 1, 28, 256, 28, 256, 3, 1, 1, 64),
    LAYER("multiplier 2 64 28x28", 1, 28, 64, 28, 128, 3, 1, 1, 64),
    LAYER("groups 32 of 8 28x28", 8, 28, 256, 28, 256, 3, 1, 1, 32),
    LAYER("fc n128 512-10", 128, 1, 512, 1, 10, 1, 1, 0, 1),
    LAYER("fc n64 9216-4096", 64, 1, 9216, 1, 4096, 1, 1, 0, 1),
    LAYER("fc n1 9216-4096", 1, 1, 9216, 1, 4096, 1, 1, 0, 1),
    LAYER("fc n2 9216-4096", 2, 1, 9216, 1, 4096, 1, 1, 0, 1),
    LAYER("fc n4 9216-4096", 4, 1, 9216, 1, 4096, 1, 1, 0, 1),
    LAYER("fc n8 9216-4096", 8, 1, 9216, 1, 4096, 1, 1, 0, 1),
    LAYER("fc n1 25088-4096", 1, 1, 25088, 1, 4096, 1, 1, 0, 1),
    LAYER("fc n8 25088-4096", 8, 1, 25088, 1, 4096, 1, 1, 0, 1),
};

int main(int argc, char **argv) {
    const char *word = argc > 2 ? argv[2] : "";
    every = argc > 3;
    threads = argc > 1 ? atoi(argv[1]) : tc_cpu_count();
    printf("isa %s, %d threads, peak %.1f GFLOP/s, read %.1f GB/s\n", tc_isa_name(), threads,
           tc_measure_fma(threads, 0.2), tc_measure_read(threads, 0.2));
    static const int64_t PRODUCTS[][3] = {{512, 3136, 576}, {64, 12544, 576}, {256, 196, 2304}, {2048, 2048, 2048},
                                          {1, 4096, 4096}, {4, 4096, 4096}, {8, 4096, 4096}};
    for (size_t i = 0; i < sizeof PRODUCTS / sizeof *PRODUCTS; i++)
        bench_product(word, PRODUCTS[i][0], PRODUCTS[i][1], PRODUCTS[i][2]);
    for (size_t i = 0; i < sizeof LAYERS / sizeof *LAYERS; i++)
        if (strstr(LAYERS[i].name, word))
            bench_layer(&LAYERS[i]);
    return 0;
}
