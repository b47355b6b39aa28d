/* A plan as C runs it: an array of steps, and one loop over it. */
#ifndef TINYCONV_PROGRAM_H
#define TINYCONV_PROGRAM_H

#include "tinyconv.h"

enum { TC_OPERANDS = 16, TC_INTS = 24, TC_FLOATS = 8 };

/* What a run brings: where the buffers lie, and what changes from step to step of training. */
typedef struct {
    char *const *base; /* the arena, the weights, the caller's arrays, ... */
    char *scratch;     /* each step's begins so far behind it as the step says, and has the bytes its kernel asks for */
    int threads;
    float lr;
    uint64_t seed, step; /* of dropout */
} tc_context;

typedef struct tc_step tc_step;
typedef struct {
    const char *name;
    void (*run)(const tc_step *step, const tc_context *run);
    int64_t (*scratch)(const tc_step *step, int threads); /* bytes; NULL: none */
} tc_kernel;

/* Operand i is base[base[i]] + offset[i] bytes; missing where base[i] < 0. The inputs stand before the outputs. */
struct tc_step {
    const tc_kernel *kernel;
    int32_t operands, base[TC_OPERANDS];
    int64_t offset[TC_OPERANDS], scratch;
    int64_t i[TC_INTS];
    double f[TC_FLOATS];
};

const tc_kernel *tc_kernel_named(const char *name); /* NULL: no such kernel */
int64_t tc_step_scratch(const tc_step *step, int threads);          /* bytes */
/* Runs steps[first .. last). */
void tc_program_run(const tc_step *steps, int64_t first, int64_t last, const tc_context *run);

#endif
