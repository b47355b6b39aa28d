/* DropBlock of one sample, MAP_LANE channels at a time: which values are dropped, a byte each. */
#ifndef TINYCONV_MAP_DROP_H
#define TINYCONV_MAP_DROP_H

#include "map_elem.h"

/* lanes[i] = 1 where the hash at counter + i is below `least`: a block's first corner; for i < MAP_LANE */
static void map_corners(uint32_t least, uint64_t counter, uint8_t *lanes) {
    float ones[MAP_LANE], kept[MAP_LANE];
    for (int i = 0; i < MAP_LANE; i++)
        ones[i] = 1;
    map_dropout(MAP_LANE, least, 1, counter, ones, kept);
    for (int i = 0; i < MAP_LANE; i++)
        lanes[i] = kept[i] == 0;
}

/* Along an axis of n positions, `step` bytes apart, each 1 becomes k of them: a position is dropped while `left` > 0. */
static void map_spread_ones(int64_t n, int64_t step, int64_t k, uint8_t *lanes) {
    int32_t left[MAP_LANE] = {0};
    for (int64_t at = 0; at < n; at++, lanes += step)
        for (int i = 0; i < MAP_LANE; i++) {
            left[i] = lanes[i] ? (int32_t)k : left[i] - (left[i] > 0);
            lanes[i] = left[i] > 0;
        }
}

/* The sample's channels from `channel` on; `counter` is that of its first value; dropped: (d, h, w, MAP_LANE). */
static void map_block_mask(const tc_block_shape *s, uint32_t least, uint64_t counter, int64_t channel,
                           uint8_t *dropped) {
    const int64_t row = s->w * MAP_LANE, plane = s->h * row;
    memset(dropped, 0, (size_t)(s->d * plane));
    for (int64_t d = 0; d <= s->d - s->kd; d++)
        for (int64_t h = 0; h <= s->h - s->kh; h++)
            for (int64_t w = 0; w <= s->w - s->kw; w++)
                map_corners(least, counter + (uint64_t)(((d * s->h + h) * s->w + w) * s->c + channel),
                            dropped + d * plane + h * row + w * MAP_LANE);
    for (int64_t d = 0; d < s->d; d++)
        for (int64_t h = 0; h < s->h; h++)
            map_spread_ones(s->w, MAP_LANE, s->kw, dropped + d * plane + h * row);
    for (int64_t d = 0; d < s->d && s->kh > 1; d++)
        for (int64_t w = 0; w < s->w; w++)
            map_spread_ones(s->h, row, s->kh, dropped + d * plane + w * MAP_LANE);
    for (int64_t place = 0; place < plane && s->kd > 1; place += MAP_LANE)
        map_spread_ones(s->d, plane, s->kd, dropped + place);
}

static void map_dropblock(const tc_block_shape *s, uint32_t least, float scale, uint64_t counter, int64_t channel,
                          const float *x, float *y, uint8_t *dropped) {
    const int64_t positions = s->d * s->h * s->w, width = s->c - channel < MAP_LANE ? s->c - channel : MAP_LANE;
    map_block_mask(s, least, counter, channel, dropped);
    for (int64_t r = 0; r < positions; r++, dropped += MAP_LANE)
        for (int64_t i = 0; i < width; i++) {
            const int64_t at = r * s->c + channel + i;
            y[at] = dropped[i] ? 0 : x[at] * scale;
        }
}

#endif
