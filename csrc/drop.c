/* DropPath and DropBlock; dropout itself is elementwise.c's. */
#include <string.h>

#include "hash.h"
#include "ranges.h"
#include "tinyconv.h"

static void path_samples(const struct tc_isa *isa, int64_t low, int64_t high, int64_t size, float p, uint64_t stream,
                         const float *x, float *y) {
    for (int64_t sample = low; sample < high; sample++) {
        if (tc_hash(stream + (uint64_t)sample) < tc_least_kept(p))
            memset(y + sample * size, 0, (size_t)size * sizeof *y);
        else
            isa->map.scale(size, 1.0f / (1.0f - p), x + sample * size, y + sample * size);
    }
}

void tc_droppath(int64_t n, int64_t size, float p, uint64_t seed, uint64_t step, uint64_t layer, int64_t first,
                 const float *x, float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const uint64_t stream = tc_stream(seed, step, layer) + (uint64_t)first;
    threads = tc_threads_for(threads, 8.0 * (double)(n * size));
    TC_RANGES(threads, n, 1, low, high, path_samples(isa, low, high, size, p, stream, x, y));
}

/* Masks are made for a few samples together, as many as have MOST_BYTES of them. */
enum { MOST_BYTES = 1 << 20 };

static int64_t lanes_of(const tc_block_shape *s) { return (s->c + MAP_LANE - 1) / MAP_LANE; }
static int64_t mask_bytes(const tc_block_shape *s) { return s->d * s->h * s->w * lanes_of(s) * MAP_LANE; }
static int64_t samples_together(const tc_block_shape *s) {
    const int64_t fit = MOST_BYTES / mask_bytes(s);
    return fit < 1 ? 1 : fit < s->n ? fit : s->n;
}

int64_t tc_dropblock_scratch(const tc_block_shape *s) { return samples_together(s) * mask_bytes(s); }

void tc_dropblock(const tc_block_shape *s, float p, float rate, uint64_t seed, uint64_t step, uint64_t layer,
                  int64_t first, const float *x, float *y, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const uint64_t stream = tc_stream(seed, step, layer) + (uint64_t)first;
    const int64_t positions = s->d * s->h * s->w, size = positions * s->c, together = samples_together(s);
    threads = tc_threads_for(threads, 32.0 * (double)(together * size));
    for (int64_t sample = 0; sample < s->n; sample += together) {
        const int64_t n = s->n - sample < together ? s->n - sample : together, at = sample * size;
        TC_RANGES(threads, n * lanes_of(s), 1, low, high,
                  isa->map.block_mask(s, low, high, tc_least_kept(rate), stream + (uint64_t)at, scratch));
        TC_RANGES(threads, n * positions, 1, low, high,
                  isa->map.block_apply(s, low, high, 1.0f / (1.0f - p), scratch, x + at, y + at));
    }
}
