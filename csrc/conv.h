/* What the convolution files share: a convolution as an implicit GEMM over output positions. */
#ifndef TINYCONV_CONV_H
#define TINYCONV_CONV_H

#include "gemm.h"
#include "isa.h"
#include "tinyconv.h"

enum {
    TC_BAND_FLOATS = 64 * 1024, /* of padded input a block may hold: 256 KB of L2 */
    TC_CACHED = 4 << 20,        /* floats that a layer reads and writes, up to which they may be in L3 */
    TC_GRAD_PARTS = 8           /* a small dw is summed in so many parts, in order: threads then share the positions */
};

/* out[o][k] = bias[k] + sum over taps j, channels c of in[o*s - p + j*d][c] * weight[j][c][k], zero outside `in`.
 * Axes are d, h, w. The forward pass is one of these; the data gradient one for each phase of the stride. */
typedef struct {
    int64_t n, c, k, groups, cg, kg;
    int64_t in[3], out[3], taps[3], s[3], p[3], d[3];
    int64_t full[3], step[3], first[3];   /* output o stands at first + o*step of `full` positions */
    int64_t tap_first[3], tap_step[3];    /* tap j is the weight's tap_first + j*tap_step */
    int64_t block;                        /* neighbours along w that are one output of so many times the channels: */
                                          /* f's tap j along w is f behind that, if there is one */
    int64_t reduction;                    /* taps times cg */
    int padded;                           /* some position reads outside `in` */
    const struct tc_isa *isa;             /* of its products */
} tc_igemm;

/* A block of output positions, contiguous in order, and the part of `in` it reads. */
typedef struct {
    int64_t first[4], size[4];            /* n, d, h, w */
    int64_t pixels;
} tc_box;

typedef struct {
    int64_t size[4], count[4], boxes;     /* full-sized boxes; the last along an axis may be smaller */
    int64_t pixels, band;                 /* the most of a box: positions, floats of its padded input */
    int banded;                           /* the padded input is copied; else read in place */
} tc_boxes;

enum { TC_SLACK = 32 };                   /* floats behind a band that whole vectors may read */

int64_t tc_igemm_count(const tc_conv_shape *s, int pass);
void tc_igemm_get(const tc_conv_shape *s, int pass, int64_t index, tc_igemm *g);
void tc_igemm_plain(const tc_conv_shape *s, int pass, int64_t index, tc_igemm *g); /* of stride 1, block 1 */
int64_t tc_igemm_packed(const tc_igemm *g);                        /* floats */

void tc_boxes_choose(const tc_igemm *g, int64_t pixels, int64_t band, int always_banded, tc_boxes *b);
void tc_boxes_fit(const tc_igemm *g, int always_banded, tc_boxes *b); /* the rest, for boxes of b->size */
/* Of count[4] boxes; a box is empty where these are those of another phase, and more. */
void tc_box_get(const tc_igemm *g, const tc_boxes *b, const int64_t *count, int64_t index, tc_box *box);
/* Fills `row` with a pointer to the first tap's channels for every position of the box, and the band with its input. */
void tc_box_rows(const tc_igemm *g, const tc_boxes *b, const tc_box *box, const float *x, float *band,
                 const float **row);
/* The band alone, where the last box was as large: its rows' pointers are this one's, too. */
void tc_box_band(const tc_igemm *g, const tc_boxes *b, const tc_box *box, const float *x, float *band);
/* Floats from a position's first tap to tap (jd, jh, jw), in the band of the box or in `in`. */
int64_t tc_tap_offset(const tc_igemm *g, const tc_boxes *b, const tc_box *box, int64_t jd, int64_t jh, int64_t jw);
/* Taps [*first, *end) of axis a that output o reads inside `in`. */
void tc_valid_taps(const tc_igemm *g, int a, int64_t o, int64_t *first, int64_t *end);
double tc_valid_share(const tc_igemm *g); /* of the products of positions and taps, those that are not with padding */
int64_t tc_run_length(const tc_igemm *g); /* floats that are contiguous in the input and in a weight's row */

/* What a weight gradient's next box reads, on its way into L2 while this one is summed, some in every turn: dy, and x
 * position by position where the kernel is one tap and its inputs lie in place. */
typedef struct {
    const float *dy, *const *x;
    int64_t dy_lines, x_left, x_lines, line; /* cache lines; positions, lines of each, the next of the first one */
    int64_t share;                           /* lines of a turn */
} tc_ahead;

/* Begins with box `index`, whose first output's gradients stand at dy; unless it is below `end`, there is none.
 * `row`: room for its positions. Within `turns` turns all is asked for. */
void tc_ahead_begin(const tc_igemm *g, const tc_boxes *b, int64_t index, int64_t end, const float *x, const float *dy,
                    int64_t turns, const float **row, tc_ahead *a);
void tc_ahead_turn(tc_ahead *a);
/* Positions of boxes, at most `most`: so many of one tap's that two boxes stay in L2, if they are not too few. */
int64_t tc_ahead_pixels(const tc_igemm *g, int64_t most);

/* Where the panels of weights come from that an implicit GEMM reads. */
typedef struct {
    const tc_conv_shape *s;
    int pass;
    const float *w;
    int packed;        /* w holds them, phase by phase; else the weights as they stand: packed when they are used */
} tc_panels;

/* A thread's panels [first, end), made from weights as they stand. */
typedef struct {
    float *room; /* of tc_panels_floats */
    int64_t first, end;
} tc_made;

/* conv.c: panel q, the next of those before `end`, of the phase whose panels begin at `packed`. */
const float *tc_panel(const tc_panels *p, const tc_igemm *g, const float *packed, int64_t q, int64_t end,
                      tc_made *made);
int64_t tc_panels_floats(const tc_igemm *g); /* of those made at once */

/* conv.c: one tap's weights for a panel, to[ci][column] from w (k, taps, c/groups), zeros in columns without one.
 * `back`: for the data gradient; `j`: the panel's first column. */
void tc_pack_tap(const tc_igemm *g, int back, int64_t group, int64_t j, int64_t tap, int64_t taps,
                 const float *w, float *to);

/* conv_choice.c */
int tc_is_gemm(const tc_conv_shape *s, int pass); /* one tap of stride 1, nothing outside: a product of rows */
/* The length of x's rows where a pass is a plain product of them: with 1x1 kernels, and with those that are as large as
 * the map. Else 0. */
int64_t tc_product_depth(const tc_conv_shape *s, int pass);
int64_t tc_winograd_chosen(const tc_conv_shape *s, int pass); /* 2 or 4, the tiles' side; 0: direct */
int tc_is_unpacked(const tc_conv_shape *s, int pass); /* its algorithm is TC_UNPACKED, and fits */
int tc_unpacked_fits(const tc_conv_shape *s, int pass);

/* conv_small.c: small maps; positions that read the same taps are rows of one product, so that no tap is on padding */
int tc_small_chosen(const tc_igemm *g);
int64_t tc_small_scratch(const tc_igemm *g, int unpacked); /* bytes a thread */
void tc_small_run(const tc_igemm *g, const tc_panels *panels, const float *x, const float *packed,
                  const tc_finish *finish, float *y, char *scratch, int threads);

/* conv_depthwise.c: a channel a group, and groups of a few */
int tc_is_depthwise(const tc_conv_shape *s);
int64_t tc_depthwise_packed(const tc_conv_shape *s, int pass);                /* floats */
int64_t tc_depthwise_scratch(const tc_conv_shape *s, int pass, int threads);  /* bytes */
void tc_depthwise_pack(const tc_conv_shape *s, int pass, const float *w, float *packed, int threads);
void tc_depthwise_run(const tc_conv_shape *s, int pass, const float *x, const float *packed, const tc_finish *finish,
                      float *y, char *scratch, int threads);
void tc_depthwise_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, char *scratch, int threads);

/* conv_weights_few.c: a small dw, of few input channels above all */
int64_t tc_few_scratch(const tc_conv_shape *s, int threads); /* bytes */
void tc_few_grad(const tc_conv_shape *s, const float *x, const float *dy, float *dw, char *scratch, int threads);

/* conv_unpacked.c: weights read as they stand */
int64_t tc_unpacked_scratch(const tc_conv_shape *s, int pass, int threads); /* bytes */
void tc_unpacked_run(const tc_conv_shape *s, int pass, const float *x, const float *w, const tc_finish *finish,
                     float *y, char *scratch, int threads);

/* conv_weights.c */
int64_t tc_weight_grad_scratch(const tc_conv_shape *s, int threads);

#endif
