/* Which algorithm a convolution takes: by its shape and the instruction set alone, never by threads or clocks. */
#include "conv_winograd.h"
#include "isa.h"

#include <string.h>

/* Costs in cycles of a core that does two multiply-adds of vectors in each, as measured for AVX2. */
static const struct {
    double direct;          /* a step of a row and a panel in a direct convolution; without overheads 1 */
    double product;         /* the same in Winograd's products */
    double row;             /* writing a row of a panel of the products, in steps */
    double transform[2][2]; /* a vector of channels of a tile, there and back, of F(2, 3) and F(4, 3) */
    double byte;            /* of transformed weights, read once from memory by cores that share it */
    double gain;            /* Winograd is chosen where it costs less than this share of direct: errors are its price */
} COST = {1.1, 1.05, 3, {{60, 35}, {125, 110}}, 0.25, 0.85};

int tc_is_gemm(const tc_conv_shape *s, int pass) {
    tc_igemm g;
    if (s->groups != 1 || s->sd * s->sh * s->sw != 1 || s->kd * s->kh * s->kw != 1)
        return 0;
    tc_igemm_get(s, pass, 0, &g);
    return !g.padded && !g.p[0] && !g.p[1] && !g.p[2] && !memcmp(g.in, g.out, sizeof g.in);
}

static double direct_cost(const tc_igemm *g) {
    const int64_t panels = tc_ceil_div(g->kg, tc_isa_now()->gemm.panel);
    const double positions = (double)(g->n * g->in[0] * g->out[1] * g->out[2]);
    return COST.direct * positions * tc_valid_share(g) * (double)(g->reduction * panels * g->groups);
}

static double winograd_grad_cost(const tc_igemm *g, int64_t m) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const double *transform = COST.transform[m == 4], width = isa->panel / 2.0;
    tc_tiling t;
    tc_tiling_get(g, m, &t);
    const double rows = (double)(g->groups * tc_round_up(g->kg, isa->rows)), panels = (double)tc_ceil_div(g->cg, isa->panel);
    const double products = COST.product * rows * panels * (double)t.points * ((double)t.tiles * 1.1 + 10);
    const double transforms = (double)t.tiles * ((double)g->c * transform[0] + (double)g->k * transform[1]) / width;
    return products + transforms + (double)(g->k * g->cg) / width * transform[1];
}

static double winograd_cost(const tc_igemm *g, int64_t m) {
    const tc_gemm_isa *isa = &tc_isa_now()->gemm;
    const double *transform = COST.transform[m == 4], width = isa->panel / 2.0;
    tc_tiling t;
    tc_tiling_get(g, m, &t);
    const double panels = (double)(g->groups * tc_ceil_div(g->kg, isa->panel));
    const double rows = (double)(tc_round_up(t.tiles, isa->rows) * t.points);
    const double products = COST.product * rows * panels * ((double)g->cg + COST.row);
    const double transforms = (double)t.tiles * ((double)g->c * transform[0] + (double)g->k * transform[1]) / width;
    const double bytes = 4.0 * (double)(t.points * g->c * g->kg);
    return transforms + (products > COST.byte * bytes ? products : COST.byte * bytes);
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
    double (*cost)(const tc_igemm *, int64_t) = pass == TC_WEIGHT_GRAD ? winograd_grad_cost : winograd_cost;
    const double direct = COST.gain * direct_cost(&g), small = cost(&g, 2), large = cost(&g, 4);
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
