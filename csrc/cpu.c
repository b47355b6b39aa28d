/* The machine: which kernels it runs, how many processors we may use, what it reaches. */
#define _GNU_SOURCE
#include "isa.h"
#include "tinyconv.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#endif

extern const struct tc_isa tc_isa_generic;
#if defined(__x86_64__)
extern const struct tc_isa tc_isa_avx2 __attribute__((weak));
extern const struct tc_isa tc_isa_avx512 __attribute__((weak));
extern const struct tc_isa tc_isa_wide __attribute__((weak)); /* of the C tests */
#elif defined(__aarch64__)
extern const struct tc_isa tc_isa_neon __attribute__((weak));
#endif

enum { MAX_ISAS = 5 };
static const struct tc_isa *isas[MAX_ISAS];
static int isa_count;
static const struct tc_isa *isa_chosen;
static int forked_child; /* libgomp's threads do not survive fork: a child that asks for them hangs */
static int omp_threads;  /* of a team by OpenMP's own choice, when the library started */

static void after_fork(void) { forked_child = 1; }

#if defined(__x86_64__)
/* AMD's family 19h (of it Zen 4 has AVX-512) does 512-bit operations in two halves. Measured there, AVX2 wins or is
 * level, but for weight gradients, most of which AVX-512 does 1.02 to 1.15 times as fast, and depthwise convolutions,
 * whose tiles keep twice as many sums under way in wider registers: 3x3 reaches 55 to 60 % of the peak instead of 42 to
 * 52 (32 to 256 channels, one thread), 7x7 74 to 92 instead of 55 to 63. Intel's servers and AMD's family 1Ah do them
 * all whole, at twice AVX2's peak; neither was measured. */
static struct tc_isa zen4;

static int halves_avx512(void) {
    unsigned most, model, ebx, ecx, edx;
    if (!__get_cpuid(0, &most, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx ||
        !__get_cpuid(1, &model, &ebx, &ecx, &edx))
        return 0;
    return (model >> 8 & 15) + (model >> 20 & 255) == 0x19; /* base and extended family */
}
#endif

__attribute__((constructor)) static void start(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    /* these look at whether the system keeps the registers, too */
    const int avx2 = &tc_isa_avx2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int avx512 = &tc_isa_avx512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    if (avx512 && avx2 && halves_avx512()) {
        zen4 = tc_isa_avx512;
        zen4.name = "zen4";
        zen4.sums_only = 1;
        zen4.map = tc_isa_avx2.map;
        isas[isa_count++] = &zen4;
    }
    if (avx512)
        isas[isa_count++] = &tc_isa_avx512;
    if (avx2)
        isas[isa_count++] = &tc_isa_avx2;
#elif defined(__aarch64__)
    if (&tc_isa_neon)
        isas[isa_count++] = &tc_isa_neon;
#endif
    isas[isa_count++] = &tc_isa_generic;
#if defined(__x86_64__)
    if (&tc_isa_wide && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        isas[isa_count++] = &tc_isa_wide;
#endif
    isa_chosen = isas[0];
    const char *name = getenv("TINYCONV_ISA");
    if (name && *name && !tc_isa_force(name))
        fprintf(stderr, "tinyconv: TINYCONV_ISA=%s is not available here; using %s\n", name, isa_chosen->name);
    pthread_atfork(NULL, NULL, after_fork);
#ifdef _OPENMP
    omp_threads = omp_get_max_threads();
#endif
}

const struct tc_isa *tc_isa_now(void) { return isa_chosen; }

/* A last panel that stays half empty matters where there are few; with few steps a product is as fast as its results
 * are written, and memory takes them worse from many rows at once. */
const struct tc_isa *tc_isa_for(int pass, int64_t columns, int64_t steps) {
    enum { FEW_STEPS = 64 };
    const struct tc_isa *narrow = isa_chosen->narrow;
    if (!narrow)
        return isa_chosen;
    const int64_t panel = isa_chosen->gemm.panel, rest = (columns - 1) % panel + 1;
    const int few = steps <= FEW_STEPS || (columns < 2 * panel && rest <= narrow->gemm.panel);
    return few || (isa_chosen->sums_only && pass != TC_WEIGHT_GRAD) ? narrow : isa_chosen;
}

const char *tc_isa_name(void) { return isa_chosen->name; }
int tc_isa_count(void) { return isa_count; }
const char *tc_isa_list(int i) { return i >= 0 && i < isa_count ? isas[i]->name : NULL; }

int tc_isa_force(const char *name) {
    for (int i = 0; i < isa_count; i++)
        if (!strcmp(isas[i]->name, name)) {
            isa_chosen = isas[i];
            return 1;
        }
    return 0;
}

int tc_has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

/* ------------------------------------------------------------------ processors */
static int read_line(const char *path, char *line, int size) {
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    int ok = fgets(line, size, f) != NULL;
    fclose(f);
    return ok;
}

/* quota / period rounded up, or 0 where the group has no limit. `group` is "" or starts with "/". */
static int quota_v2(const char *group) {
    char path[4400], line[128];
    long long quota, period;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld %lld", &quota, &period) != 2 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

static int quota_v1(const char *group) {
    char path[4400], line[128];
    long long quota = 0, period = 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", group);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &quota) != 1 || quota <= 0)
        return 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", group);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &period) != 1 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

/* The smallest quota of the group and of those above it: each limits. */
static int least_quota(char *group, int (*quota)(const char *)) {
    int least = 0;
    for (;;) {
        int q = quota(group);
        if (q > 0 && (!least || q < least))
            least = q;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

static int cgroup_quota(void) {
    char line[4200];
    int least = 0;
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) { /* "id:controllers:/group"; v2 has no controllers */
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = 0;
        controllers++;
        group[strcspn(group, "\n")] = 0;
        if (!strcmp(group, "/"))
            *group = 0;
        int q = 0;
        if (!*controllers)
            q = least_quota(group, quota_v2);
        else if (!strcmp(controllers, "cpu") || !strncmp(controllers, "cpu,", 4) || strstr(controllers, ",cpu,") ||
                 (strlen(controllers) > 4 && !strcmp(controllers + strlen(controllers) - 4, ",cpu")))
            q = least_quota(group, quota_v1);
        if (q > 0 && (!least || q < least))
            least = q;
    }
    fclose(f);
    return least;
}

int tc_cpu_count(void) {
    int count = 0;
#if defined(__linux__)
    for (int size = 1024; size <= 1 << 18 && !count; size *= 4) { /* the call fails while the set is too small */
        cpu_set_t *set = CPU_ALLOC(size);
        if (set && !sched_getaffinity(0, CPU_ALLOC_SIZE(size), set))
            count = CPU_COUNT_S(CPU_ALLOC_SIZE(size), set);
        CPU_FREE(set);
    }
#endif
    if (!count)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int quota = cgroup_quota();
    if (quota > 0 && quota < count)
        count = quota;
    return count > 0 ? count : 1;
}

static double least_work = 1 << 19; /* for one thread: about what waking another costs */

double tc_least_work(double work) {
    double before = least_work;
    least_work = work;
    return before;
}

int tc_threads_for(int threads, double work) {
    if (forked_child || !tc_has_openmp() || threads < 1)
        return 1;
#ifdef _OPENMP
    const int most = omp_get_max_threads(); /* threadpoolctl and the like lower it for a while */
    if (most < omp_threads && most < threads)
        threads = most;
#endif
    /* All or one: libgomp ends its workers when a team shrinks and starts new ones when it grows. */
    return work < 2 * least_work ? 1 : threads;
}

unsigned tc_ftz_set(void) {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (UINT64_C(1) << 24)));
    return (unsigned)before;
#else
    return 0;
#endif
}

void tc_ftz_restore(unsigned state) {
#if defined(__x86_64__)
    _mm_setcsr((_mm_getcsr() & ~0x8040u) | (state & 0x8040u));
#elif defined(__aarch64__)
    uint64_t now;
    __asm__ volatile("mrs %0, fpcr" : "=r"(now));
    now = (now & ~(UINT64_C(1) << 24)) | (state & (UINT64_C(1) << 24));
    __asm__ volatile("msr fpcr, %0" ::"r"(now));
#else
    (void)state;
#endif
}

/* ------------------------------------------------------------------ what it reaches */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double tc_measure_fma(int threads, double seconds) {
    const struct tc_isa *isa = tc_isa_now();
    double best = 0, end = now() + seconds;
    threads = tc_threads_for(threads, 1e18);
    do { /* short bursts, the best of them: other work on the machine only ever slows one down */
        double work = 0, begin = now();
#pragma omp parallel num_threads(threads) reduction(+ : work)
        {
            float sink[64];
            work += isa->gemm.peak(100000, sink);
        }
        double rate = work / (now() - begin) * 1e-9;
        best = rate > best ? rate : best;
    } while (now() < end);
    return best;
}

double tc_measure_read(int threads, double seconds) {
    const int64_t count = INT64_C(1) << 24; /* 128 MB: beyond the caches */
    int64_t *data = malloc((size_t)count * sizeof *data);
    if (!data)
        return 0;
    double best = 0, end = now() + seconds;
    int64_t total = 0;
    threads = tc_threads_for(threads, 1e18);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        data[i] = i;
    do {
        double begin = now();
#pragma omp parallel for num_threads(threads) reduction(+ : total)
        for (int64_t i = 0; i < count; i++)
            total += data[i];
        double rate = (double)count * sizeof *data / (now() - begin) * 1e-9;
        best = rate > best ? rate : best;
    } while (now() < end);
    free(data);
    return total ? best : 0;
}
