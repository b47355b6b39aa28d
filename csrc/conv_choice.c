/* Which algorithm a convolution takes: by its shape and the instruction set alone, never by threads or clocks. */
#include "conv_winograd.h"
#include "isa.h"

#include <string.h>

/* In cycles of a core that does two multiply-adds of vectors in each, as fitted to AVX2 over eighty shapes. [2]: the
 * forward pass and data gradient, the weight gradient. */
static const struct {
    double direct[2];          /* a row's step along a panel, in a direct convolution; without overheads 1 */
    double small;              /* the share of steps on padding that weight gradients leave out costs so much else */
    double product;            /* the same step in Winograd's products */
    double look[2];            /* reading and writing a row of their sums, in steps */
    double transform[2][2][2]; /* a vector of channels of a tile: [2] as above; F(2, 3), F(4, 3); inputs, outputs */
    double weights[2];         /* a vector of weights, packing F(2, 3) and F(4, 3) */
    double cache, memory;      /* a byte of weights, and a byte of those beyond `cached` bytes */
    double cached;
    double gain;               /* Winograd is to cost less than this share of direct: errors are its price */
} COST = {{1.1, 1.27}, 1.15, 1.0, {8, 14}, {{{90, 45}, {190, 130}}, {{120, 120}, {220, 220}}}, {70, 150},
          0.05, 0.2, 4e6, 0.9};

int tc_is_gemm(const tc_conv_shape *s, int pass) {
    tc_igemm g;
    if (s->groups != 1 || s->sd * s->sh * s->sw != 1 || s->kd * s->kh * s->kw != 1)
        return 0;
    tc_igemm_get(s, pass, 0, &g);
    return !g.padded && !g.p[0] && !g.p[1] && !g.p[2] && !memcmp(g.in, g.out, sizeof g.in);
}

static double weights_cost(double floats) {
    return COST.cache * 4 * floats + (4 * floats > COST.cached ? COST.memory * (4 * floats - COST.cached) : 0);
}

static double larger(double a, double b) { return a > b ? a : b; }

static double direct_cost(const tc_igemm *g, int pass) {
    const int64_t nr = tc_isa_now()->gemm.panel, positions = g->n * g->out[0] * g->out[1] * g->out[2];
    const double share = tc_valid_share(g), weights = weights_cost((double)(g->reduction * g->k));
    if (pass == TC_WEIGHT_GRAD) {
        const double steps = (double)(g->k * tc_ceil_div(g->reduction, nr) * positions);
        return COST.direct[1] * steps * (share * COST.small < 1 ? share * COST.small : 1);
    }
    const double steps = (double)(g->groups * tc_ceil_div(g->kg, nr) * g->reduction * positions);
    return larger(weights, COST.direct[0] * steps * (tc_small_chosen(g) ? share : 1));
}

static double winograd_cost(const tc_igemm *g, int pass, int64_t m) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const int64_t nr = isa->panel, width = nr / 2;
    const double *transform = COST.transform[pass == TC_WEIGHT_GRAD][m == 4];
    tc_tiling t;
    tc_tiling_get(g, m, &t);
    const double inputs = (double)(t.tiles * t.depths * g->groups * tc_ceil_div(g->cg, width)) * transform[0];
    const double outputs = (double)(t.tiles * g->groups * tc_ceil_div(g->kg, width)) * transform[1];
    if (pass == TC_WEIGHT_GRAD) {
        const int64_t panels = t.depths * tc_ceil_div(g->cg, nr);
        const double rows = (double)(t.points * g->groups * tc_round_up(g->kg, isa->rows) * panels);
        return inputs + outputs + COST.product * rows * ((double)t.tiles + COST.look[1]);
    }
    const double rows = (double)(t.points * g->groups * tc_round_up(t.tiles, isa->rows) * tc_ceil_div(g->kg, nr));
    const int64_t reduction = t.depths * g->cg;
    const double weights = weights_cost((double)(t.points * reduction * g->k));
    const double vectors = (double)(reduction * g->k / width);
    const double packing = pass == TC_DATA_GRAD ? 2 * weights + vectors * COST.weights[m == 4] : 0;
    return inputs + outputs + packing + larger(weights, COST.product * rows * ((double)reduction + COST.look[0]));
}

int64_t tc_winograd_chosen(const tc_conv_shape *s, int pass) {
    if (s->algorithm == TC_DIRECT || !tc_winograd_fits(s) || (s->groups > 1 && s->groups == s->c && s->groups == s->k))
        return 0;
    if (s->algorithm)
        return s->algorithm == TC_WINOGRAD_4X4 ? 4 : 2;
    if (tc_is_depthwise(s))
        return 0;
    tc_igemm g;
    tc_igemm_get(s, pass, 0, &g);
    const double direct = COST.gain * direct_cost(&g, pass);
    const double small = winograd_cost(&g, pass, 2), large = winograd_cost(&g, pass, 4);
    return large < direct && large <= small ? 4 : small < direct ? 2 : 0;
}

const char *tc_conv_algorithm(const tc_conv_shape *s, int pass) {
    switch (tc_winograd_chosen(s, pass)) {
    case 2: return "winograd2x2";
    case 4: return "winograd4x4";
    default: break;
    }
    if (tc_is_depthwise(s))
        return s->c == s->groups && s->k == s->groups ? "dwconv" : "groupconv";
    return tc_is_gemm(s, pass) ? "gemm" : "igemm";
}
