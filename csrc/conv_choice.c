/* Which algorithm a convolution takes: by its shape and the instruction set alone, never by threads or clocks. */
#include "conv_winograd.h"
#include "isa.h"

#include <string.h>

/* In steps: what a row takes for a step along a panel at the core's peak, a cycle with AVX2. Fitted to AVX2 on Zen 4
 * by `tinyconv bench --calibrate`, but for those from `small` on. [2]: the forward pass and data gradient, the weight
 * gradient; [2]: F(2, 3), F(4, 3). */
static const struct {
    double direct[2];          /* a step of a direct convolution */
    double product;            /* the same in Winograd's products */
    double transform[2][2][2]; /* half a panel of channels of a square tile: [2] as above, twice; inputs, outputs */
    double weights[2][2];      /* half a panel of weights, packing; their gradient, transformed back */
    double small;              /* the share of steps on padding that weight gradients leave out costs so much else */
    double cache, memory;      /* a byte of weights, and a byte of those beyond `cached` bytes */
    double cached;
    double gain;               /* Winograd is to cost less than this share of direct: errors are its price */
} COST = {{1.1, 1.14}, 1.06, {{{75, 80}, {175, 207}}, {{126, 64}, {241, 182}}}, {{188, 222}, {84, 186}},
          1.15, 0.05, 0.2, 4e6, 0.9};

int tc_is_gemm(const tc_conv_shape *s, int pass) {
    tc_igemm g;
    if (s->groups != 1 || s->sd * s->sh * s->sw != 1 || s->kd * s->kh * s->kw != 1)
        return 0;
    tc_igemm_get(s, pass, 0, &g);
    return !g.padded && !g.p[0] && !g.p[1] && !g.p[2] && !memcmp(g.in, g.out, sizeof g.in);
}

int64_t tc_product_depth(const tc_conv_shape *s, int pass) {
    tc_igemm g;
    tc_igemm_get(s, pass, 0, &g);
    int whole = pass == TC_FORWARD && g.groups == 1 && !g.padded;
    for (int a = 0; a < 3; a++)
        whole = whole && g.out[a] == 1 && g.taps[a] == g.in[a];
    return whole ? g.reduction : tc_is_gemm(s, pass) ? g.c : 0;
}

static double weights_cost(double floats) {
    return COST.cache * 4 * floats + (4 * floats > COST.cached ? COST.memory * (4 * floats - COST.cached) : 0);
}

/* Costs are those of a panel of 16 columns. */
static double unit(const tc_igemm *g) { return (double)g->isa->gemm.panel / 16; }

static double larger(double a, double b) { return a > b ? a : b; }

static void direct_terms(const tc_igemm *g, int pass, double *terms) {
    const int64_t nr = g->isa->gemm.panel, positions = g->n * g->out[0] * g->out[1] * g->out[2];
    const double share = tc_valid_share(g);
    if (pass == TC_WEIGHT_GRAD) {
        const double left = share * COST.small < 1 ? share * COST.small : 1;
        terms[TC_STEPS] = left * (double)(g->k * tc_ceil_div(g->reduction, nr) * positions);
    } else
        terms[TC_STEPS] = (tc_small_chosen(g) ? share : 1) *
                          (double)(g->groups * tc_ceil_div(g->kg, nr) * g->reduction * positions);
}

static double direct_cost(const tc_igemm *g, int pass) {
    double terms[TC_TERMS];
    direct_terms(g, pass, terms);
    if (pass == TC_WEIGHT_GRAD)
        return unit(g) * COST.direct[1] * terms[TC_STEPS];
    return larger(weights_cost((double)(g->reduction * g->k)), unit(g) * COST.direct[0] * terms[TC_STEPS]);
}

static void winograd_terms(const tc_igemm *g, int pass, int64_t m, double *terms) {
    const tc_gemm_isa *isa = &g->isa->gemm;
    const int64_t nr = isa->panel, half = nr / 2, height = tc_row_step(isa);
    tc_tiling t;
    tc_tiling_get(g, m, &t);
    const int64_t reduction = t.depths * g->cg;
    terms[TC_INPUTS] = (double)(t.tiles * t.depths * g->groups * tc_ceil_div(g->cg, half));
    terms[TC_OUTPUTS] = (double)(t.tiles * g->groups * tc_ceil_div(g->kg, half));
    terms[TC_WEIGHTS] = (double)(reduction * g->k / half);
    if (pass == TC_WEIGHT_GRAD) {
        const int64_t panels = t.depths * tc_ceil_div(g->cg, nr);
        terms[TC_STEPS] = (double)(t.points * g->groups * tc_round_up(g->kg, height) * panels * t.tiles);
    } else {
        const int64_t rows = tc_round_up(t.tiles, height) * g->groups * tc_ceil_div(g->kg, nr);
        terms[TC_STEPS] = (double)(t.points * rows * reduction);
    }
}

static double winograd_cost(const tc_igemm *g, int pass, int64_t m) {
    const int grad = pass == TC_WEIGHT_GRAD;
    const double *transform = COST.transform[grad][m == 4];
    const double square = g->taps[2] == 3 ? 1 : 1.0 / (double)(m + 2); /* of a square tile's columns, those there are */
    double terms[TC_TERMS];
    winograd_terms(g, pass, m, terms);
    for (int i = 0; i < TC_TERMS; i++)
        terms[i] *= unit(g);
    const double transforms = square * (terms[TC_INPUTS] * transform[0] + terms[TC_OUTPUTS] * transform[1]);
    const double products = COST.product * terms[TC_STEPS];
    const double transformed = square * terms[TC_WEIGHTS] * COST.weights[grad][m == 4];
    if (grad)
        return transforms + products + transformed;
    const double weights = weights_cost((double)(m + 2) * (double)(m + 2) * square *
                                        (double)(g->taps[0] * g->cg * g->k));
    const double packing = pass == TC_DATA_GRAD ? 2 * weights + transformed : 0;
    return transforms + packing + larger(weights, products);
}

double tc_conv_terms(const tc_conv_shape *s, int pass, double *terms) {
    const int64_t m = tc_winograd_chosen(s, pass);
    tc_igemm g;
    memset(terms, 0, TC_TERMS * sizeof *terms);
    if (m) {
        tc_winograd_igemm(s, pass, &g);
        winograd_terms(&g, pass, m, terms);
    } else {
        tc_igemm_get(s, pass, 0, &g);
        direct_terms(&g, pass, terms);
    }
    return 2.0 * g.isa->gemm.panel;
}

int64_t tc_winograd_chosen(const tc_conv_shape *s, int pass) {
    const int depthwise = s->groups > 1 && s->groups == s->c && s->groups == s->k;
    if (s->algorithm == TC_DIRECT || depthwise || !tc_winograd_fits(s, NULL))
        return 0;
    if (s->algorithm == TC_WINOGRAD_2X2 || s->algorithm == TC_WINOGRAD_4X4)
        return s->algorithm == TC_WINOGRAD_4X4 ? 4 : 2;
    if (tc_is_depthwise(s))
        return 0;
    tc_igemm g;
    tc_igemm_get(s, pass, 0, &g);
    const double direct = COST.gain * direct_cost(&g, pass);
    tc_winograd_igemm(s, pass, &g);
    const double small = winograd_cost(&g, pass, 2), large = winograd_cost(&g, pass, 4);
    return large < direct && large <= small ? 4 : small < direct ? 2 : 0;
}

int tc_unpacked_fits(const tc_conv_shape *s, int pass) {
    return pass == TC_DATA_GRAD ? !tc_is_depthwise(s) : pass == TC_FORWARD && tc_is_gemm(s, pass);
}

int tc_is_unpacked(const tc_conv_shape *s, int pass) {
    return s->algorithm == TC_UNPACKED && tc_unpacked_fits(s, pass);
}

const char *tc_conv_algorithm(const tc_conv_shape *s, int pass) {
    if (tc_is_unpacked(s, pass))
        return "unpacked";
    const int64_t m = tc_winograd_chosen(s, pass);
    if (m) {
        tc_igemm g;
        tc_winograd_igemm(s, pass, &g);
        return g.taps[2] == 3 ? m == 4 ? "winograd4x4" : "winograd2x2" : m == 4 ? "winograd4x1" : "winograd2x1";
    }
    if (tc_is_depthwise(s))
        return s->c == s->groups && s->k == s->groups ? "dwconv" : "groupconv";
    return tc_product_depth(s, pass) ? "gemm" : "igemm";
}
