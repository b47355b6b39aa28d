/* Bandwidth of the kernels that are not convolutions, beside the machine's read bandwidth.
 *
 *     bench_map [threads]         GB/s counts every array once: what is read and what is written */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../tinyconv.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double machine;      /* GB/s */

/* The best of several calls; `bytes` a call. */
#define BENCH(label, bytes, call) \
    do { \
        double best = 1e9, spent = 0; \
        for (int i_ = 0; i_ < 400 && (spent < 0.12 || i_ < 3); i_++) { \
            const double begin = now(); \
            call; \
            const double took = now() - begin; \
            best = took < best ? took : best; \
            spent += took; \
        } \
        printf("  %-18s %9.1f us %7.1f GB/s  %4.2f\n", label, best * 1e6, (double)(bytes) / best * 1e-9, \
               (double)(bytes) / best * 1e-9 / machine); \
    } while (0)

static float *array(int64_t n) {
    float *a = aligned_alloc(64, (size_t)(n * 4 + 63) / 64 * 64);
    if (!a) {
        perror("bench_map");
        exit(1);
    }
    for (int64_t i = 0; i < n; i++)
        a[i] = (float)((i * 2654435761u) % 2001u) * 1e-3f - 1.0f;
    return a;
}

static void bench(int64_t images, int64_t side, int64_t c, int threads) {
    const int64_t rows = images * side * side, n = rows * c, b = n * 4, half = side / 2, q = images * half * half * c;
    float *x = array(n), *y = array(n), *z = array(n), *mean = array(c), *var = array(c), *gamma = array(c);
    float *beta = array(c);
    uint8_t *index = malloc((size_t)n);
    void *scratch = aligned_alloc(64, (size_t)(tc_bn_scratch(rows, c) + 63) / 64 * 64);
    for (int64_t i = 0; i < c; i++)
        var[i] = 1;
    const tc_pool_shape two = {images, 1, side, side, c, 1, half, half, 1, 2, 2, 1, 2, 2, 0, 0, 0, 0};
    const tc_pool_shape three = {images, 1, side, side, c, 1, half, half, 1, 3, 3, 1, 2, 2, 0, 1, 1, 0};
    const tc_pool_shape global = {images, 1, side, side, c, 1, 1, 1, 1, side, side, 1, side, side, 0, 0, 0, 0};
    printf("%lld x %lldx%lld x%lld, %.1f MB a tensor\n", (long long)images, (long long)side, (long long)side,
           (long long)c, (double)b * 1e-6);
    BENCH("relu", 2 * b, tc_act(TC_RELU, n, 0, x, y, threads));
    BENCH("relu in place", 2 * b, tc_act(TC_RELU, n, 0, y, y, threads));
    BENCH("relu grad", 3 * b, tc_act_grad(TC_RELU, n, 0, x, y, z, threads));
    BENCH("relu grad in place", 3 * b, tc_act_grad(TC_RELU, n, 0, x, y, y, threads));
    BENCH("tanh", 2 * b, tc_act(TC_TANH, n, 0, x, y, threads));
    BENCH("tanh grad", 3 * b, tc_act_grad(TC_TANH, n, 0, x, y, z, threads));
    BENCH("sigmoid", 2 * b, tc_act(TC_SIGMOID, n, 0, x, y, threads));
    BENCH("gelu", 2 * b, tc_act(TC_GELU, n, 0, x, y, threads));
    BENCH("add", 3 * b, tc_add(n, x, y, z, threads));
    BENCH("add in place", 3 * b, tc_add(n, z, y, z, threads));
    BENCH("dropout", 2 * b, tc_dropout(n, 0.5f, 1, 2, 3, 0, x, y, threads));
    BENCH("bn stats", b, tc_bn_stats(rows, c, x, mean, var, scratch, threads));
    tc_bn_forward forward = {rows, c, 1e-5f, x, mean, var, gamma, beta, NULL, TC_LINEAR, 0};
    BENCH("bn apply", 2 * b, tc_bn_act(&forward, y, threads));
    forward.kind = TC_RELU;
    BENCH("bn, relu", 2 * b, tc_bn_act(&forward, y, threads));
    forward.residual = z;
    BENCH("bn, add, relu", 3 * b, tc_bn_act(&forward, y, threads));
    tc_bn_backward backward = {rows, c, 1e-5f, x, mean, var, gamma, beta, {TC_LINEAR, 0, NULL, y, NULL}, NULL};
    BENCH("bn grad", 5 * b, tc_bn_grad(&backward, z, beta, gamma, scratch, threads));
    backward.in.kind = TC_RELU;
    BENCH("relu, bn grad", 5 * b, tc_bn_grad(&backward, z, beta, gamma, scratch, threads));
    backward.in.saved = x;
    backward.in.more = z;
    backward.g = y;
    BENCH("add, relu, bn grad", 8 * b, tc_bn_grad(&backward, z, beta, gamma, scratch, threads));
    const tc_incoming incoming = {TC_RELU, 0, x, y, NULL};
    BENCH("relu, bias grad", 3 * b, tc_act_bias_grad(rows, c, &incoming, z, beta, scratch, threads));
    BENCH("sum rows", b, tc_sum_rows(rows, c, x, mean, scratch, threads));
    BENCH("prelu", 2 * b, tc_prelu(rows, c, x, gamma, y, threads));
    BENCH("prelu grad", 3 * b, tc_prelu_grad(rows, c, x, gamma, y, z, beta, scratch, threads));
    BENCH("lrn 5", 2 * b, tc_lrn(rows, c, 5, 1e-4f, 0.75f, 2, x, y, threads));
    BENCH("lrn 5 grad", 3 * b, tc_lrn_grad(rows, c, 5, 1e-4f, 0.75f, 2, x, y, z, threads));
    BENCH("max 2x2", b + q * 5, tc_maxpool(&two, x, y, index, threads));
    BENCH("max 2x2 no index", b + q * 4, tc_maxpool(&two, x, y, NULL, threads));
    tc_maxpool(&two, x, y, index, threads);
    BENCH("max 2x2 grad", b + q * 5, tc_maxpool_grad(&two, y, index, z, threads));
    BENCH("max 3x3 s2", b + q * 5, tc_maxpool(&three, x, y, index, threads));
    tc_maxpool(&three, x, y, index, threads);
    BENCH("max 3x3 s2 grad", b + q * 5, tc_maxpool_grad(&three, y, index, z, threads));
    BENCH("avg 2x2", b + q * 4, tc_avgpool(&two, x, y, threads));
    BENCH("avg 2x2 grad", b + q * 4, tc_avgpool_grad(&two, y, z, threads));
    BENCH("avg global", b, tc_avgpool(&global, x, y, threads));
    BENCH("avg global grad", b, tc_avgpool_grad(&global, y, z, threads));
    BENCH("mul by channel", 2 * b, tc_mul(images, side * side, c, 1, c, x, y, z, threads));
    BENCH("its reduction", 2 * b, tc_mul_reduce(images, side * side, c, 1, c, x, y, z, threads));
    BENCH("mul by place", 2 * b, tc_mul(images, side * side, c, side * side, 1, x, y, z, threads));
    BENCH("its reduction", 2 * b, tc_mul_reduce(images, side * side, c, side * side, 1, x, y, z, threads));
    BENCH("softmax", 2 * b, tc_softmax(rows, c, x, y, threads));
    BENCH("input uint8", n * 5, tc_input(rows, c, 1, index, mean, var, y, threads));
    BENCH("place half", 2 * b, tc_place(rows / 2, c, 2 * c, c, x, y, threads));
    BENCH("sgd", 5 * b, tc_sgd(n, 0.1f, 0.9f, 1e-4f, 0, 1, x, y, z, threads));
    void *all[] = {x, y, z, mean, var, gamma, beta, index, scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

int main(int argc, char **argv) {
    const int threads = argc > 1 ? atoi(argv[1]) : tc_cpu_count();
    machine = tc_measure_read(threads, 0.3);
    printf("isa %s, %d threads, reads %.1f GB/s\n", tc_isa_name(), threads, machine);
    if (argc > 4) {
        bench(atoll(argv[2]), atoll(argv[3]), atoll(argv[4]), threads);
        return 0;
    }
    bench(128, 32, 64, threads);
    bench(128, 8, 64, threads);
    bench(128, 28, 6, threads);
    bench(128, 10, 16, threads);
    return 0;
}
