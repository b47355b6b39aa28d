/* Helpers of the C tests: guarded buffers, a seeded generator, comparisons that count.
 *
 * Buffers end exactly at a page that may not be touched, begin after another one, and the
 * slack before the first byte holds a pattern that check_free() looks at: a kernel that reads
 * past its input crashes, one that writes outside its output is reported.
 *
 * Environment: TINYCONV_ISA (which ISA to test), CHECK_SAMPLE (share of the cases of a sweep
 * to run, 0..1, default 1), CHECK_SEED (another draw). */
#ifndef TINYCONV_CHECK_H
#define TINYCONV_CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../tinyconv.h"

#if defined(__GNUC__)
#define CHECK_UNUSED __attribute__((unused))
#else
#define CHECK_UNUSED
#endif

static long check_passed, check_failed;
static uint64_t check_state = 1, check_sample_state = 1;
static double check_share = 1;

/* ------------------------------------------------------------------ random numbers */
static uint64_t check_splitmix(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Seeds the values of what follows, so that a case is the same whichever others ran. */
CHECK_UNUSED static void check_seed(uint64_t seed) { check_state = seed * 0xD1342543DE82EF95u + 1; }
CHECK_UNUSED static double check_uniform(double low, double high) {
    return low + (high - low) * (double)(check_splitmix(&check_state) >> 11) * 0x1p-53;
}
CHECK_UNUSED static int64_t check_integer(int64_t low, int64_t high) {     /* both included */
    return low + (int64_t)(check_splitmix(&check_state) % (uint64_t)(high - low + 1));
}

/* ------------------------------------------------------------------ guarded buffers */
typedef struct { char *map; size_t mapped, slack, bytes; } check_block;
enum { CHECK_BLOCKS = 64 };
static check_block check_blocks[CHECK_BLOCKS];

/* `bytes` (0 allowed) filled with `fill`, aligned to whatever the end at a page leaves. */
static void *check_alloc(size_t bytes, int fill) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    for (int i = 0; i < CHECK_BLOCKS; i++) {
        check_block *b = &check_blocks[i];
        if (b->map)
            continue;
        b->mapped = body + 2 * page;
        b->map = mmap(NULL, b->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b->map == MAP_FAILED || (body && mprotect(b->map + page, body, PROT_READ | PROT_WRITE))) {
            perror("check_alloc");
            exit(2);
        }
        b->slack = body - bytes;
        b->bytes = bytes;
        memset(b->map + page, 0xCD, b->slack);
        memset(b->map + page + b->slack, fill, bytes);
        return b->map + page + b->slack;
    }
    fprintf(stderr, "check_alloc: more than %d buffers alive; is a check_free_all() missing?\n", CHECK_BLOCKS);
    exit(2);
}

CHECK_UNUSED static void *check_scratch(int64_t bytes) { return check_alloc((size_t)(bytes + 63) / 64 * 64, 0xA5); }
CHECK_UNUSED static float *check_output(int64_t n) { return check_alloc((size_t)n * sizeof(float), 0xFF); }  /* NaN */
CHECK_UNUSED static float *check_input(int64_t n, double low, double high) {
    float *x = check_alloc((size_t)n * sizeof(float), 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)check_uniform(low, high);
    return x;
}
CHECK_UNUSED static float *check_copy(const float *from, int64_t n) {
    float *x = check_alloc((size_t)n * sizeof(float), 0);
    memcpy(x, from, (size_t)n * sizeof(float));
    return x;
}
CHECK_UNUSED static double *check_doubles(int64_t n) { return check_alloc((size_t)n * sizeof(double), 0xFF); }

CHECK_UNUSED static double *check_widen(const float *from, int64_t n) {
    double *x = check_doubles(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = from[i];
    return x;
}
/* Small integers: sums of them are exact, and equal values are many. */
CHECK_UNUSED static float *check_integers(int64_t n, int low, int high) {
    float *x = check_alloc((size_t)n * sizeof(float), 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)check_integer(low, high);
    return x;
}

/* ------------------------------------------------------------------ verdicts */
__attribute__((format(printf, 2, 3))) static int check_true(int ok, const char *format, ...) {
    if (ok) {
        check_passed++;
        return 1;
    }
    if (++check_failed <= 30) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "FAIL ");
        vfprintf(stderr, format, args);
        fprintf(stderr, "\n");
        va_end(args);
    }
    return 0;
}

/* Frees every buffer; one failure for each whose slack was written to. */
CHECK_UNUSED static void check_free_all(const char *what) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < CHECK_BLOCKS; i++) {
        check_block *b = &check_blocks[i];
        if (!b->map)
            continue;
        for (size_t j = 0; j < b->slack; j++)
            if ((unsigned char)b->map[page + j] != 0xCD) {
                check_true(0, "%s: wrote %zu bytes before a buffer of %zu", what, b->slack - j, b->bytes);
                break;
            }
        munmap(b->map, b->mapped);
        b->map = NULL;
    }
}

/* |got - want| <= bound[i] (bound NULL: `tol` everywhere). NaN must meet NaN, infinity itself. */
CHECK_UNUSED static int check_close(const char *what, int64_t n, const float *got, const double *want,
                                    const double *bound, double tol) {
    for (int64_t i = 0; i < n; i++) {
        double g = got[i], w = want[i], b = bound ? bound[i] : tol;
        int same = isnan(w) ? isnan(g) : isinf(w) ? g == w : fabs(g - w) <= b;
        if (!same)
            return check_true(0, "%s: element %lld of %lld is %.9g, not %.9g (off by %.3g, allowed %.3g)", what,
                              (long long)i, (long long)n, g, w, fabs(g - w), b);
    }
    return check_true(1, "%s", what);
}

CHECK_UNUSED static int check_same(const char *what, size_t bytes, const void *got, const void *want) {
    const unsigned char *a = got, *b = want;
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            return check_true(0, "%s: byte %zu of %zu differs", what, i, bytes);
    return check_true(1, "%s", what);
}

/* ------------------------------------------------------------------ the frame of a test program */
/* Whether this case of a sweep runs, by CHECK_SAMPLE and CHECK_SEED. */
CHECK_UNUSED static int check_pick(void) {
    return check_share >= 1 || (double)(check_splitmix(&check_sample_state) >> 11) * 0x1p-53 < check_share;
}

CHECK_UNUSED static void check_begin(const char *program) {
    const char *isa = getenv("TINYCONV_ISA"), *share = getenv("CHECK_SAMPLE"), *seed = getenv("CHECK_SEED");
    if (isa && *isa && strcmp(isa, tc_isa_name())) {
        printf("%s: skipped, this machine or build has no %s\n", program, isa);
        exit(0);
    }
    tc_least_work(0); /* small cases are to run on all threads too */
    check_share = share && *share ? atof(share) : 1;
    check_sample_state = seed && *seed ? strtoull(seed, NULL, 10) : 1;
    printf("%s: isa %s, openmp %s\n", program, tc_isa_name(), tc_has_openmp() ? "yes" : "no");
    fflush(stdout);
}

/* return check_end(); from main */
CHECK_UNUSED static int check_end(void) {
    printf("%ld checks passed, %ld failed\n", check_passed, check_failed);
    return check_failed != 0 || check_passed == 0;
}

#endif
