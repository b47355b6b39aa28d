/* Convolutions as implicit GEMMs: the phases of a data gradient, blocks of positions, their padded input. */
#include "conv.h"
#include "isa.h"

#include <string.h>

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* ------------------------------------------------------------------ blocks of neighbours */
/* Time of a step of a tile of n columns: vectors of fewer than eight lanes are no faster, and each step loads, too. */
static double step_cost(const tc_conv_shape *s, int64_t n) {
    return 3 + (double)(n <= 8 ? 8 : tc_round_up(n, tc_isa_for(TC_DATA_GRAD, n, s->k)->gemm.width));
}

/* Positions b*u + f, f < b, of dx along w take w[t] * dy[o], o = (b*u + f + p - t) / s. With b a multiple of s that is
 * o = u * b/s + j for all taps t = f + p - j*s that there are; these are the first and the last j. */
static int64_t first_offset(const tc_conv_shape *s) {
    const int64_t least = s->pw - s->kw + 1;
    return least < 0 ? -(-least / s->sw) : tc_ceil_div(least, s->sw);
}
static int64_t last_offset(const tc_conv_shape *s, int64_t b) { return (b - 1 + s->pw) / s->sw; }

/* A data gradient of few channels fills a small part of a panel's columns: with blocks of neighbours along w a larger
 * one, though some of a block's weights are zeros. The block that takes least, or 1. */
static int64_t block_of(const tc_conv_shape *s, int pass) {
    int64_t best = 1;
    if (pass != TC_DATA_GRAD || s->groups > 1 || s->dw > 1)
        return best;
    double least = 0.9 * (double)s->kw / (double)s->sw * step_cost(s, s->c); /* a position's */
    for (int64_t b = s->sw; b * s->c <= tc_isa_for(TC_DATA_GRAD, 1, s->k)->gemm.panel && b <= s->iw; b += s->sw) {
        const int64_t taps = last_offset(s, b) - first_offset(s) + 1;
        const double cost = (double)taps * step_cost(s, b * s->c) / (double)b;
        if (s->iw % b == 0 && b > 1 && cost < least) {
            least = cost;
            best = b;
        }
    }
    return best;
}

static void block(tc_igemm *g, const tc_conv_shape *s, int64_t b) {
    g->block = b;
    g->k = g->kg = s->c * b;
    g->full[2] = g->out[2] = s->iw / b;
    g->first[2] = 0;
    g->step[2] = g->d[2] = 1;
    g->s[2] = b / s->sw;
    g->p[2] = -first_offset(s);
    g->taps[2] = last_offset(s, b) - first_offset(s) + 1;
    g->tap_first[2] = s->pw - first_offset(s) * s->sw;
    g->tap_step[2] = -s->sw;
}

/* ------------------------------------------------------------------ phases */
int64_t tc_igemm_count(const tc_conv_shape *s, int pass) {
    return pass == TC_DATA_GRAD ? s->sd * s->sh * (block_of(s, pass) > 1 ? 1 : s->sw) : 1;
}

/* Along one axis of the data gradient, positions i = f + s*u of dx. dx[i] takes w[t] * dy[o] where i = o*s - p + t*d,
 * that is o = (i + p - t*d) / s where it divides: for every step-th t only, and o falls by step * d / s from one to the
 * next. From the last such t down this is a convolution of stride 1 over dy. */
static void phase(tc_igemm *g, int a, int64_t f, int64_t s, int64_t p, int64_t d, int64_t taps, int64_t size) {
    const int64_t step = s / gcd(s, d);
    g->full[a] = size;
    g->step[a] = s;
    g->first[a] = f;
    g->out[a] = f < size ? tc_ceil_div(size - f, s) : 0;
    g->s[a] = 1;
    g->d[a] = step * d / s;
    g->taps[a] = g->p[a] = g->tap_first[a] = 0;
    g->tap_step[a] = -step;
    for (int64_t t = 0; t < tc_min(taps, step); t++)
        if ((f + p - t * d) % s == 0) {
            g->taps[a] = (taps - 1 - t) / step + 1;
            g->tap_first[a] = t + (g->taps[a] - 1) * step;
            g->p[a] = -(f + p - g->tap_first[a] * d) / s;
        }
}

static void get(const tc_conv_shape *s, int pass, int64_t index, int64_t b, tc_igemm *g) {
    const int64_t in[3] = {s->id, s->ih, s->iw}, out[3] = {s->od, s->oh, s->ow}, taps[3] = {s->kd, s->kh, s->kw};
    const int64_t st[3] = {s->sd, s->sh, s->sw}, p[3] = {s->pd, s->ph, s->pw}, d[3] = {s->dd, s->dh, s->dw};
    const int back = pass == TC_DATA_GRAD;
    g->n = s->n;
    g->groups = s->groups;
    g->c = back ? s->k : s->c;
    g->k = back ? s->c : s->k;
    g->cg = g->c / g->groups;
    g->kg = g->k / g->groups;
    const int64_t columns = b > 1 ? 1 : st[2];
    const int64_t f[3] = {index / (st[1] * columns), index / columns % st[1], index % columns};
    g->block = 1;
    g->reduction = g->cg;
    g->padded = 0;
    for (int a = 0; a < 3; a++) {
        if (back) {
            g->in[a] = out[a];
            if (a == 2 && b > 1)
                block(g, s, b);
            else
                phase(g, a, f[a], st[a], p[a], d[a], taps[a], in[a]);
        } else {
            g->in[a] = in[a];
            g->out[a] = g->full[a] = out[a];
            g->taps[a] = taps[a];
            g->s[a] = st[a];
            g->p[a] = p[a];
            g->d[a] = d[a];
            g->first[a] = g->tap_first[a] = 0;
            g->step[a] = g->tap_step[a] = 1;
        }
        g->reduction *= g->taps[a];
        g->padded |= g->p[a] > 0 || (g->out[a] - 1) * g->s[a] - g->p[a] + (g->taps[a] - 1) * g->d[a] >= g->in[a];
    }
    if (!g->reduction)
        g->padded = 0;
    if (pass == TC_WEIGHT_GRAD) /* its panels are best of one tap */
        g->isa = tc_isa_for(pass, g->cg % 16 ? g->reduction : g->cg, g->n * g->out[0] * g->out[1] * g->out[2]);
    else
        g->isa = tc_isa_for(pass, g->kg, g->reduction);
}

void tc_igemm_get(const tc_conv_shape *s, int pass, int64_t index, tc_igemm *g) {
    get(s, pass, index, block_of(s, pass), g);
}

void tc_igemm_plain(const tc_conv_shape *s, int pass, int64_t index, tc_igemm *g) { get(s, pass, index, 1, g); }

int64_t tc_igemm_packed(const tc_igemm *g) {
    const int64_t nr = g->isa->gemm.panel;
    return g->groups * tc_round_up(g->kg, nr) * g->reduction;
}

int64_t tc_run_length(const tc_igemm *g) {
    return g->groups == 1 && (g->d[2] == 1 || g->taps[2] == 1) ? g->taps[2] * g->c : g->cg;
}

/* ------------------------------------------------------------------ boxes */
/* Input positions along axis a that `size` outputs read. */
static int64_t extent(const tc_igemm *g, int a, int64_t size) {
    return (size - 1) * g->s[a] + (g->taps[a] - 1) * g->d[a] + 1;
}

static int64_t band_floats(const tc_igemm *g, const int64_t *size) {
    return size[0] * extent(g, 0, size[1]) * extent(g, 1, size[2]) * extent(g, 2, size[3]) * g->c;
}

void tc_boxes_fit(const tc_igemm *g, int always_banded, tc_boxes *b) {
    const int64_t most[4] = {g->n, g->out[0], g->out[1], g->out[2]};
    b->boxes = 1;
    for (int a = 0; a < 4; a++) {
        b->count[a] = b->size[a] ? tc_ceil_div(most[a], b->size[a]) : 0;
        b->boxes *= b->count[a];
    }
    b->pixels = b->size[0] * b->size[1] * b->size[2] * b->size[3];
    b->banded = g->padded || always_banded;
    b->band = b->banded && b->boxes ? band_floats(g, b->size) + TC_SLACK : 0;
}

/* Whole rows, whole planes, whole images, as many as `pixels` positions and `band` floats allow, cut evenly. */
void tc_boxes_choose(const tc_igemm *g, int64_t pixels, int64_t band, int always_banded, tc_boxes *b) {
    const int64_t most[4] = {g->n, g->out[0], g->out[1], g->out[2]};
    int64_t count = 1;
    for (int a = 0; a < 4; a++) {
        b->size[a] = tc_min(most[a], 1);
        count *= most[a];
    }
    for (int a = 3; a >= 0 && count; a--) {
        int64_t low = 1, high = most[a], so_far = b->size[0] * b->size[1] * b->size[2] * b->size[3];
        while (low < high) { /* the largest that fits */
            const int64_t middle = (low + high + 1) / 2;
            b->size[a] = middle;
            if (so_far * middle <= pixels && band_floats(g, b->size) <= band)
                low = middle;
            else
                high = middle - 1;
        }
        b->size[a] = tc_ceil_div(most[a], tc_ceil_div(most[a], low));
        if (low < most[a])
            break;
    }
    tc_boxes_fit(g, always_banded, b);
}

void tc_box_get(const tc_igemm *g, const tc_boxes *b, const int64_t *count, int64_t index, tc_box *box) {
    const int64_t most[4] = {g->n, g->out[0], g->out[1], g->out[2]};
    box->pixels = 1;
    for (int a = 3; a >= 0; a--) {
        box->first[a] = index % count[a] * b->size[a];
        index /= count[a];
        box->size[a] = tc_max(tc_min(b->size[a], most[a] - box->first[a]), 0);
        box->pixels *= box->size[a];
    }
}

/* Floats of `c` channels by `count` positions of one input row from position `at`, zero outside 0..size. */
static void copy_row(const float *x, int64_t size, int64_t c, int64_t at, int64_t count, float *to) {
    const int64_t before = tc_min(tc_max(-at, 0), count), end = tc_max(tc_min(size - at, count), before);
    memset(to, 0, (size_t)(before * c) * sizeof(float));
    if (end > before)
        memcpy(to + before * c, x + (at + before) * c, (size_t)((end - before) * c) * sizeof(float));
    memset(to + end * c, 0, (size_t)((count - end) * c) * sizeof(float));
}

/* The region of the input that the box reads; without a band, all of it. */
static void region(const tc_igemm *g, const tc_boxes *b, const tc_box *box, int64_t *at, int64_t *size) {
    for (int a = 0; a < 3; a++) {
        size[a] = b->banded ? extent(g, a, box->size[a + 1]) : g->in[a];
        at[a] = b->banded ? box->first[a + 1] * g->s[a] - g->p[a] : 0;
    }
}

void tc_box_band(const tc_igemm *g, const tc_boxes *b, const tc_box *box, const float *x, float *band) {
    int64_t e[3], at[3];
    region(g, b, box, at, e);
    const int64_t image = g->in[0] * g->in[1] * g->in[2] * g->c;
    for (int64_t n = 0; n < box->size[0]; n++)
        for (int64_t z = at[0]; z < at[0] + e[0]; z++)
            for (int64_t y = at[1]; y < at[1] + e[1]; y++, band += e[2] * g->c) {
                if (z < 0 || z >= g->in[0] || y < 0 || y >= g->in[1])
                    memset(band, 0, (size_t)(e[2] * g->c) * sizeof(float));
                else
                    copy_row(x + (box->first[0] + n) * image + (z * g->in[1] + y) * g->in[2] * g->c, g->in[2], g->c,
                             at[2], e[2], band);
            }
}

void tc_box_rows(const tc_igemm *g, const tc_boxes *b, const tc_box *box, const float *x, float *band,
                 const float **row) {
    int64_t e[3], at[3];
    region(g, b, box, at, e);
    if (b->banded)
        tc_box_band(g, b, box, x, band);
    const float *base = b->banded ? band : x;
    for (int64_t n = 0; n < box->size[0]; n++)
        for (int64_t z = 0; z < box->size[1]; z++)
            for (int64_t y = 0; y < box->size[2]; y++) {
                const int64_t in_n = b->banded ? n : box->first[0] + n;
                const int64_t in_z = (box->first[1] + z) * g->s[0] - g->p[0] - at[0];
                const int64_t in_y = (box->first[2] + y) * g->s[1] - g->p[1] - at[1];
                const int64_t in_x = box->first[3] * g->s[2] - g->p[2] - at[2];
                const float *from = base + (((in_n * e[0] + in_z) * e[1] + in_y) * e[2] + in_x) * g->c;
                for (int64_t i = 0; i < box->size[3]; i++)
                    *row++ = from + i * g->s[2] * g->c;
            }
}

enum {
    AHEAD_FLOATS = 72 * 1024, /* of x and dy, of a box that is to stay in L2 beside the next */
    AHEAD_LEAST = 96          /* positions, or sums would be stored too often */
};

static int one_tap(const tc_igemm *g) { return g->reduction == g->cg; }

int64_t tc_ahead_pixels(const tc_igemm *g, int64_t most) {
    const int64_t pixels = AHEAD_FLOATS / tc_max(g->c + g->k, 1);
    return one_tap(g) && pixels >= AHEAD_LEAST ? tc_min(pixels, most) : most;
}

void tc_ahead_begin(const tc_igemm *g, const tc_boxes *b, int64_t index, int64_t end, const float *x, const float *dy,
                    int64_t turns, const float **row, tc_ahead *a) {
    const int in_place = one_tap(g) && !b->banded && !g->padded;
    tc_box box;
    *a = (tc_ahead){.dy = dy, .x = row, .x_lines = tc_ceil_div(g->c, 16)};
    if (index >= end)
        return;
    tc_box_get(g, b, b->count, index, &box);
    if (box.pixels * (g->k + (in_place ? g->c : 0)) > 2 * AHEAD_FLOATS)
        return; /* it would not stay there */
    a->dy_lines = tc_ceil_div(box.pixels * g->k, 16);
    if (in_place) {
        tc_box_rows(g, b, &box, x, NULL, row);
        a->x_left = box.pixels;
    }
    a->share = tc_ceil_div(a->dy_lines + a->x_left * a->x_lines, tc_max(turns, 1));
}

void tc_ahead_turn(tc_ahead *a) {
    int64_t lines = a->share;
    for (; lines && a->dy_lines; lines--, a->dy_lines--, a->dy += 16)
        __builtin_prefetch(a->dy, 0, 2);
    for (; lines && a->x_left; lines--) {
        __builtin_prefetch(*a->x + a->line * 16, 0, 2);
        if (++a->line == a->x_lines) {
            a->line = 0;
            a->x++;
            a->x_left--;
        }
    }
    __asm__ volatile("" ::: "memory"); /* or it has no effect, and is left out */
}

int64_t tc_tap_offset(const tc_igemm *g, const tc_boxes *b, const tc_box *box, int64_t jd, int64_t jh, int64_t jw) {
    const int64_t rows = b->banded ? extent(g, 1, box->size[2]) : g->in[1];
    const int64_t columns = b->banded ? extent(g, 2, box->size[3]) : g->in[2];
    return ((jd * g->d[0] * rows + jh * g->d[1]) * columns + jw * g->d[2]) * g->c;
}

void tc_valid_taps(const tc_igemm *g, int a, int64_t o, int64_t *first, int64_t *end) {
    const int64_t at = o * g->s[a] - g->p[a]; /* of tap 0 */
    *first = at < 0 ? tc_min(tc_ceil_div(-at, g->d[a]), g->taps[a]) : 0;
    *end = at >= g->in[a] ? 0 : tc_min(g->taps[a], (g->in[a] - 1 - at) / g->d[a] + 1);
    *end = tc_max(*end, *first);
}

double tc_valid_share(const tc_igemm *g) {
    double share = 1;
    for (int a = 0; a < 3 && g->reduction; a++) {
        int64_t sum = 0, first, end;
        for (int64_t o = 0; o < g->out[a]; o++) {
            tc_valid_taps(g, a, o, &first, &end);
            sum += end - first;
        }
        share *= (double)sum / (double)tc_max(g->out[a] * g->taps[a], 1);
    }
    return share;
}
