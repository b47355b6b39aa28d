/* The random numbers of dropout and its kin: a stream for each (seed, step, layer), hashed at each position. */
#ifndef TINYCONV_HASH_H
#define TINYCONV_HASH_H

#include <stdint.h>

static inline uint64_t tc_rotate(uint64_t v, int by) { return v << by | v >> (64 - by); }

/* What the positions of a mask are added to. */
static inline uint64_t tc_stream(uint64_t seed, uint64_t step, uint64_t layer) {
    return 0x9E3779B97F4A7C15u * (seed ^ tc_rotate(step, 20) ^ tc_rotate(layer, 44));
}

/* splitmix64's finaliser, its top 32 bits */
static inline uint32_t tc_hash(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

/* A share p of all hashes, 0 <= p < 1, lies below it. */
static inline uint32_t tc_least_kept(float p) { return p > 0 ? (uint32_t)((double)p * 4294967296.0) : 0; }

#endif
