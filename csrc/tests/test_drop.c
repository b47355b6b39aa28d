/* DropPath and DropBlock against ref_groups.c. */
#include "check.h"
#include "ref.h"
#include "ref_groups.h"

static void check_droppath(int64_t n, int64_t size, float p, int64_t first) {
    const uint64_t seed = 77, step = 5, layer = 3;
    float *x = check_input(n * size, -1, 1), *want = check_output(n * size);
    for (int64_t i = 0; i < n * size; i++)
        want[i] = ref_dropout_keeps(p, seed, step, layer, (uint64_t)(first + i / size)) ? x[i] * (1 / (1 - p)) : 0;
    for (int t = 1; t <= 3; t++) {
        float *y = check_output(n * size), *z = check_copy(x, n * size);
        tc_droppath(n, size, p, seed, step, layer, first, x, y, t);
        tc_droppath(n, size, p, seed, step, layer, first, z, z, t);
        check_same("droppath", (size_t)(n * size) * 4, y, want);
        check_same("droppath in place", (size_t)(n * size) * 4, z, want);
    }
    check_free_all("droppath");
}

static void check_dropblock(tc_block_shape s, float p, float rate, int64_t first) {
    const uint64_t seed = UINT64_C(1) << 60, step = 12, layer = 4;
    const int64_t n = s.n * s.d * s.h * s.w * s.c;
    float *x = check_input(n, -1, 1), *want = check_output(n);
    char *dropped = malloc((size_t)n), what[96];
    snprintf(what, sizeof what, "dropblock %lldx%lldx%lldx%lldx%lld of %lldx%lldx%lld", (long long)s.n, (long long)s.d,
             (long long)s.h, (long long)s.w, (long long)s.c, (long long)s.kd, (long long)s.kh, (long long)s.kw);
    ref_dropblock(&s, rate, seed, step, layer, first, dropped);
    for (int64_t i = 0; i < n; i++)
        want[i] = dropped[i] ? 0 : x[i] * (1 / (1 - p));
    free(dropped);
    for (int t = 1; t <= 3; t++) {
        float *y = check_output(n), *z = check_copy(x, n);
        tc_dropblock(&s, p, rate, seed, step, layer, first, x, y, check_scratch(tc_dropblock_scratch(&s)), t);
        tc_dropblock(&s, p, rate, seed, step, layer, first, z, z, check_scratch(tc_dropblock_scratch(&s)), t);
        check_same(what, (size_t)n * 4, y, want);
        check_same(what, (size_t)n * 4, z, want);
    }
    check_free_all(what);
}

int main(void) {
    check_begin("test_drop");
    check_seed(4);
    for (int64_t n = 1; n < 40; n += 6)
        for (int64_t size = 1; size < 70; size += 17)
            check_droppath(n, size, 0.05f * (float)(n % 19), size % 3 * 1000);
    static const tc_block_shape shapes[] = {
        {3, 1, 1, 1, 1, 1, 1, 1}, {4, 1, 1, 1, 40, 1, 1, 1}, {2, 1, 1, 50, 3, 1, 1, 7}, {2, 1, 1, 9, 17, 1, 1, 9},
        {1, 1, 9, 8, 16, 1, 3, 2}, {2, 1, 12, 14, 33, 1, 7, 7}, {3, 1, 7, 7, 5, 1, 7, 7}, {2, 1, 7, 9, 20, 1, 1, 4},
        {2, 1, 7, 9, 20, 1, 7, 1}, {1, 1, 600, 2, 1, 1, 300, 2}, {2, 5, 6, 7, 4, 3, 2, 4}, {1, 4, 4, 4, 31, 4, 1, 1},
        {2, 3, 5, 4, 16, 1, 2, 2}, {3, 1, 150, 149, 33, 1, 7, 7}, {17, 1, 5, 5, 2, 1, 2, 2}};
    static const float rates[] = {0, 0.002f, 0.05f, 0.3f, 0.9f};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t r = 0; r < sizeof rates / sizeof *rates; r++)
            check_dropblock(shapes[i], 0.2f, rates[r], r % 2 ? 0 : INT64_C(5000000000));
    return check_end();
}
