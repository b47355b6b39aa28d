/* Included once by each isa_*.c and compiled with that ISA's flags: the functions of tc_map_isa and their table. */
#ifndef TINYCONV_MAP_BODY_H
#define TINYCONV_MAP_BODY_H

#include "map_isa.h"

#include "map_bn.h"
#include "map_drop.h"
#include "map_elem.h"
#include "map_ln.h"
#include "map_loss.h"
#include "map_lrn.h"
#include "map_optim.h"
#include "map_pool.h"
#include "map_resize.h"
#include "map_rows.h"
#include "map_shuffle.h"

#define TC_MAP_TABLE \
    { \
        .act = map_act, .act_grad = map_act_grad, .add = map_add, .mul = map_mul, .scale = map_scale, \
        .dropout = map_dropout, .sgd = map_sgd, .adam = map_adam, .rmsprop = map_rmsprop, .follow = map_follow, \
        .mul_channels = map_mul_channels, .mul_rows = map_mul_rows, \
        .resize = map_resize, .resize_grad = map_resize_grad, .add_channels = map_add_channels, \
        .prelu = map_prelu, .prelu_grad = map_prelu_grad, .input = map_input, .bn_act = map_bn_act, \
        .bn_grad = map_bn_grad, .act_grad_of = map_act_grad_of, .act_sums = map_act_sums, \
        .lrn = map_lrn, .lrn_grad = map_lrn_grad, .sum_rows = map_sum_rows, \
        .bn_stats = map_bn_stats, .bn_sums = map_bn_sums, .prelu_sums = map_prelu_sums, .mul_sums = map_mul_sums, \
        .gn_apply = map_gn_apply, .gn_grad = map_gn_grad, .ln = map_ln, .ln_grad = map_ln_grad, \
        .product_sums = map_product_sums, \
        .block_mask = map_block_mask, .block_apply = map_block_apply, .shuffle = map_shuffle, \
        .dot = map_dot, .maxpool = map_maxpool, .maxpool_grad = map_maxpool_grad, .avgpool = map_avgpool, \
        .avgpool_grad = map_avgpool_grad, .softmax = map_softmax, .softmax_grad = map_softmax_grad, \
        .xent = map_xent, .bce = map_bce, .mse = map_mse, \
        .focal = map_focal, .dice_grad = map_dice_grad \
    }

#endif
