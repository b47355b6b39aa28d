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

void tc_droppath(int64_t n, int64_t size, float p, uint64_t seed, uint64_t step, uint64_t layer, const float *x,
                 float *y, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const uint64_t stream = tc_stream(seed, step, layer);
    threads = tc_threads_for(threads, 8.0 * (double)(n * size));
    TC_RANGES(threads, n, 1, low, high, path_samples(isa, low, high, size, p, stream, x, y));
}

static int64_t mask_bytes(const tc_block_shape *s) { return (s->d * s->h * s->w * MAP_LANE + 63) / 64 * 64; }

int64_t tc_dropblock_scratch(const tc_block_shape *s, int threads) { return threads * mask_bytes(s); }

/* (sample, lane of channels) pairs [low, high) */
static void block_lanes(const struct tc_isa *isa, const tc_block_shape *s, int64_t low, int64_t high, float p,
                        float rate, uint64_t stream, const float *x, float *y, uint8_t *dropped) {
    const int64_t lanes = (s->c + MAP_LANE - 1) / MAP_LANE, size = s->d * s->h * s->w * s->c;
    for (int64_t u = low; u < high; u++) {
        const int64_t at = u / lanes * size;
        isa->map.dropblock(s, tc_least_kept(rate), 1.0f / (1.0f - p), stream + (uint64_t)at, u % lanes * MAP_LANE,
                           x + at, y + at, dropped);
    }
}

void tc_dropblock(const tc_block_shape *s, float p, float rate, uint64_t seed, uint64_t step, uint64_t layer,
                  const float *x, float *y, void *scratch, int threads) {
    const struct tc_isa *isa = tc_isa_now();
    const uint64_t stream = tc_stream(seed, step, layer);
    const int64_t lanes = (s->c + MAP_LANE - 1) / MAP_LANE;
    uint8_t *dropped = scratch;
    const int parts = tc_threads_for(threads, 32.0 * (double)(s->n * s->d * s->h * s->w * s->c));
    TC_RANGES(parts, s->n * lanes, 1, low, high,
              block_lanes(isa, s, low, high, p, rate, stream, x, y, dropped + tc_thread_index() * mask_bytes(s)));
}
