/* DropBlock: which values are dropped, a byte each (0 or 255), by MAP_LANE channels of a sample at a time. */
#ifndef TINYCONV_MAP_DROP_H
#define TINYCONV_MAP_DROP_H

#include "map_elem.h"

typedef uint8_t map_bytes __attribute__((vector_size(MAP_LANE), aligned(1), may_alias));
typedef int8_t map_signs __attribute__((vector_size(MV)));
typedef int8_t map_signs_mem __attribute__((vector_size(MV), aligned(1), may_alias));

/* What each of MAP_LANE neighbours adds to the counter. */
typedef struct { mvu low[MAP_LANE / MV], high[MAP_LANE / MV]; } map_steps;

static map_steps map_count(void) {
    map_steps s;
    for (int v = 0; v < MAP_LANE / MV; v++)
        for (int j = 0; j < MV / 2; j++) {
            s.low[v][j] = (uint64_t)(v * MV + j);
            s.high[v][j] = (uint64_t)(v * MV + MV / 2 + j);
        }
    return s;
}

/* 255 where the hash at counter + i is below `least`: there a block begins */
static inline void map_corners(const map_steps *s, uint32_t least, uint64_t counter, uint8_t *dropped) {
    const mvi sign = mv_seti(INT32_MIN), from = mv_seti((int32_t)least) ^ sign;     /* compared as unsigned */
    for (int v = 0; v < MAP_LANE / MV; v++) {
        const mvi low = (mvi)map_mix(s->low[v] + counter), high = (mvi)map_mix(s->high[v] + counter);
        const mvi hash = __builtin_shuffle(low, high, MV_LANES * 2 + 1);
        *(map_signs_mem *)(dropped + v * MV) = __builtin_convertvector((hash ^ sign) < from, map_signs);
    }
}

/* bytes[i] |= bytes[i - by], `by` a multiple of MAP_LANE: from the end on, so that what is read is as it was */
static inline void map_or_shifted(int64_t n, int64_t by, uint8_t *bytes) {
    for (int64_t i = n - MAP_LANE; i >= by; i -= MAP_LANE)
        *(map_bytes *)(bytes + i) |= *(const map_bytes *)(bytes + i - by);
}

/* Along an axis whose positions are `step` bytes apart each mark becomes k, by doubling. */
static void map_lengthen(int64_t n, int64_t step, int64_t k, uint8_t *bytes) {
    for (int64_t have = 1, more; have < k; have += more) {
        more = have < k - have ? have : k - have;
        map_or_shifted(n, more * step, bytes);
    }
}

/* MAP_LANE channels of a sample; `counter` is that of the first value; dropped: (d, h, w, MAP_LANE) */
static void map_lane_mask(const tc_block_shape *s, const map_steps *steps, uint32_t least, uint64_t counter,
                          uint8_t *dropped) {
    const int64_t row = s->w * MAP_LANE, plane = s->h * row;
    memset(dropped, 0, (size_t)(s->d * plane));
    for (int64_t d = 0; d <= s->d - s->kd; d++) {
        for (int64_t h = 0; h <= s->h - s->kh; h++) {
            uint8_t *marks = dropped + d * plane + h * row;
            const uint64_t first = counter + (uint64_t)((d * s->h + h) * s->w * s->c);
            for (int64_t w = 0; w <= s->w - s->kw; w++)
                map_corners(steps, least, first + (uint64_t)(w * s->c), marks + w * MAP_LANE);
            map_lengthen(row, MAP_LANE, s->kw, marks);
        }
        map_lengthen(plane, row, s->kh, dropped + d * plane);
    }
    map_lengthen(s->d * plane, plane, s->kd, dropped);
}

static void map_block_mask(const tc_block_shape *s, int64_t low, int64_t high, uint32_t least, uint64_t counter,
                           uint8_t *dropped) {
    const int64_t lanes = (s->c + MAP_LANE - 1) / MAP_LANE, positions = s->d * s->h * s->w;
    const map_steps steps = map_count();
    for (int64_t u = low; u < high; u++)
        map_lane_mask(s, &steps, least, counter + (uint64_t)(u / lanes * positions * s->c + u % lanes * MAP_LANE),
                      dropped + u * positions * MAP_LANE);
}

static void map_block_apply(const tc_block_shape *s, int64_t low, int64_t high, float scale, const uint8_t *dropped,
                            const float *x, float *y) {
    const int64_t lanes = (s->c + MAP_LANE - 1) / MAP_LANE, positions = s->d * s->h * s->w;
    for (int64_t r = low; r < high; r++) {
        const uint8_t *masks = dropped + (r / positions * lanes * positions + r % positions) * MAP_LANE;
        MAP_LANES(s->c, i, n) {
            const uint8_t *mask = masks + i / MAP_LANE * positions * MAP_LANE + i % MAP_LANE;
            const mvi gone = __builtin_convertvector(*(const map_signs_mem *)mask, mvi);
            map_put(y + r * s->c + i, mv_keep(~gone, map_get(x + r * s->c + i, n, 0) * scale), n);
        }
    }
}

#endif
