"""The closed vocabulary of operations: what layers record, fusions rewrite and backends run.

This floor is contract only. An operation names its operands and outputs, tells the outputs' shapes and says which
output may take over an input's memory. Shapes are tuples `(n, *spatial, c)`; weights are laid out as the user sees
them: `(out, *kernel, in/groups)`. No code here computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

Shape = tuple[int, ...]
Rule = Callable[[tuple, Mapping], tuple]


@dataclass(frozen=True)
class Op:
    """One operation.

    `inputs`: operand names; `name?` may be missing (None), `name*` stands for one or more.
    `outputs`: names; `dtypes` their element types.
    `shapes(input shapes, attributes) -> output shapes`.
    `attrs`: names of the attributes, all of them required.
    `alias`: output index -> inputs it may overwrite, where they are not needed afterwards.
    `updates`: inputs that are written in place (running statistics, weights).
    `optional`: outputs a backend need not write where nobody reads them.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Rule
    attrs: tuple[str, ...] = ()
    alias: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    updates: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ()
    optional: tuple[int, ...] = ()

    def dtype(self, output: int) -> str:
        return self.dtypes[output] if self.dtypes else "float32"


def conv_size(n: int, k: int, s: int, p: int, d: int) -> int:
    """Output size of a convolution along one axis: floor((n + 2p - d(k-1) - 1) / s) + 1."""
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def _same(ins, attrs):
    return (ins[0],)


def _conv(ins, attrs):
    x, w = ins[0], ins[1]
    sizes = zip(x[1:-1], w[1:-1], attrs["stride"], attrs["padding"], attrs["dilation"])
    return ((x[0], *(conv_size(*axis) for axis in sizes), w[0]),)


def _pooled(ins, attrs):
    return ((ins[0][0], *attrs["size"], ins[0][-1]),)


def _channels(ins, attrs):
    return ((ins[0][-1],),)


def _concat(ins, attrs):
    return ((*ins[0][:-1], sum(x[-1] for x in ins)),)


def _group_norm(ins, attrs):
    moments = (ins[0][0], attrs["groups"])
    return ins[0], moments, moments


def _given(ins, attrs):
    return (attrs["shape"],)


def _loss(ins, attrs):
    return (1,), ins[0]


def _none(ins, attrs):
    return ()


_CONV = ("stride", "padding", "dilation", "groups")
_POOL = ("kernel", "stride", "padding", "size", "adaptive")
_LOSS = ("scale",)
_DRAW = ("layer", "first")
_STEP = ("decay", "clip")


def index_dtype(kernel: tuple[int, ...]) -> str:
    """Element type of max pooling's indices: a byte where the window has at most 256 positions."""
    return "uint8" if prod(kernel) <= 256 else "int32"


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        # input: (x - mean) / std per channel; x is uint8 (divided by 255 first) or float32
        Op("input", ("x", "mean", "std"), ("y",), _same),
        # convolution; fully connected is a 1x1 convolution without spatial axes
        Op("conv", ("x", "w", "bias?"), ("y",), _conv, _CONV),
        # fused, so never recorded: act(bn_apply(conv(x, w, bias), mean, var, gamma, beta) + add); kind None: no
        # activation
        Op("conv_post", ("x", "w", "bias?", "add?", "mean?", "var?", "gamma?", "beta?"), ("y",), _conv,
           (*_CONV, "eps", "kind", "a")),
        # conv(x, folded, shift) = bn_apply(conv(x, w, bias), mean, var, gamma, beta); inserted by a backend
        Op("bn_fold", ("w", "bias?", "mean", "var", "gamma", "beta"), ("folded", "shift"),
           lambda i, a: (i[0], i[-1]), ("eps",)),
        Op("conv_dx", ("dy", "w"), ("dx",), _given, (*_CONV, "shape")),
        Op("conv_dw", ("x", "dy"), ("dw",), _given, (*_CONV, "shape")),
        Op("bias_add", ("x", "bias"), ("y",), _same, alias={0: (0,)}),
        Op("bias_grad", ("dy",), ("db",), _channels),
        # weights rearranged for one convolution pass ("conv" or "conv_dx"); inserted by the backend that wants it
        Op("pack", ("w",), ("packed",), _given, (*_CONV, "shape", "pass_", "x", "y")),
        # pooling; `index` remembers where each maximum stood
        Op("maxpool", ("x",), ("y", "index"), lambda i, a: _pooled(i, a) * 2, (*_POOL, "index_dtype"),
           optional=(1,)),
        Op("maxpool_grad", ("dy", "index"), ("dx",), _given, (*_POOL, "shape")),
        Op("avgpool", ("x",), ("y",), _pooled, _POOL),
        Op("avgpool_grad", ("dy",), ("dx",), _given, (*_POOL, "shape")),
        # resizing to `size` positions; mode "nearest" or "linear" (half-pixel, edges clamped)
        Op("resize", ("x",), ("y",), _pooled, ("mode", "size")),
        Op("resize_grad", ("dy",), ("dx",), _given, ("mode", "shape")),
        # batch normalisation over all axes but the last
        Op("bn_stats", ("x",), ("mean", "var"), lambda i, a: _channels(i, a) * 2),
        Op("bn_running", ("mean", "var", "running_mean", "running_var"), (), _none, ("momentum", "rows"),
           updates=(2, 3)),
        Op("bn_apply", ("x", "mean", "var", "gamma", "beta"), ("y",), _same, ("eps",), alias={0: (0,)}),
        Op("bn_grad", ("x", "dy", "mean", "var", "gamma"), ("dx", "dgamma", "dbeta"),
           lambda i, a: (i[0], *_channels(i, a), *_channels(i, a)), ("eps",), alias={0: (1,)}),
        # layer normalisation over the last axis; group normalisation of each sample over positions and a group's
        # channels
        Op("ln", ("x", "gamma", "beta"), ("y",), _same, ("eps",), alias={0: (0,)}),
        Op("ln_grad", ("x", "dy", "gamma"), ("dx", "dgamma", "dbeta"), lambda i, a: (i[0], i[2], i[2]), ("eps",),
           alias={0: (1,)}),
        Op("gn", ("x", "gamma", "beta"), ("y", "mean", "var"), _group_norm, ("groups", "eps"), alias={0: (0,)}),
        Op("gn_grad", ("x", "dy", "mean", "var", "gamma"), ("dx", "dgamma", "dbeta"), lambda i, a: (i[0], i[4], i[4]),
           ("groups", "eps"), alias={0: (1,)}),
        # a learned factor per channel
        Op("scale", ("x", "w"), ("y",), _same, alias={0: (0,)}),
        Op("scale_grad", ("x", "w", "dy"), ("dx", "dw"), lambda i, a: (i[0], i[1]), alias={0: (2,)}),
        Op("lrn", ("x",), ("y",), _same, ("size", "alpha", "beta", "k")),
        Op("lrn_grad", ("x", "dy"), ("dx",), _same, ("size", "alpha", "beta", "k")),
        # activations; the gradient takes the output for those in SAVES_OUTPUT, else the input
        Op("act", ("x",), ("y",), _same, ("kind", "a"), alias={0: (0,)}),
        Op("act_grad", ("saved", "dy"), ("dx",), _same, ("kind", "a"), alias={0: (1,)}),
        # fused: parts of a plan only, never recorded. kind None: no activation
        # act(bn_apply(x) + residual)
        Op("bn_act", ("x", "mean", "var", "gamma", "beta", "residual?"), ("y",), _same, ("eps", "kind", "a"),
           alias={0: (5, 0)}),
        # bn_grad of g = act_grad(saved, dy + more); without `saved`, it is computed once more, by beta
        Op("bn_act_grad", ("x", "dy", "mean", "var", "gamma", "beta?", "saved?", "more?"),
           ("dx", "dgamma", "dbeta", "g"), lambda i, a: (i[0], *_channels(i, a), *_channels(i, a), i[0]),
           ("eps", "kind", "a"), alias={0: (1, 7, 6, 0), 3: (1, 7)}, optional=(3,)),
        # act(bn_apply(x)) max-pooled by windows that fill it
        Op("bn_act_pool", ("x", "mean", "var", "gamma", "beta"), ("y", "index"), lambda i, a: _pooled(i, a) * 2,
           ("eps", "kind", "a", *_POOL, "index_dtype"), optional=(1,)),
        # act_grad(saved, dy + more) and its sum over positions
        Op("act_bias_grad", ("saved", "dy", "more?"), ("dx", "db"), lambda i, a: (i[0], *_channels(i, a)),
           ("kind", "a"), alias={0: (1, 2)}),
        Op("add_act_grad", ("saved", "dy", "more"), ("dx",), _same, ("kind", "a"), alias={0: (1, 2)}),
        Op("add_act", ("a", "b"), ("y",), _same, ("kind", "a"), alias={0: (0, 1)}),
        Op("prelu", ("x", "a"), ("y",), _same),
        Op("prelu_grad", ("x", "a", "dy"), ("dx", "da"), lambda i, a: (i[0], i[1])),
        Op("softmax", ("x",), ("y",), _same),
        Op("softmax_grad", ("y", "dy"), ("dx",), _same),
        # merges
        Op("add", ("a", "b"), ("y",), _same, alias={0: (0, 1)}),
        Op("mul", ("a", "b"), ("y",), _same),
        Op("mul_reduce", ("dy", "a"), ("db",), _given, ("shape",)),
        Op("concat", ("x*",), ("y",), _concat),
        # y[o] = x[o - before] where inside, else 0; `before` and `shape` without and with the batch axis
        Op("window", ("x",), ("y",), _given, ("before", "shape")),
        Op("reshape", ("x",), ("y",), _given, ("shape",), alias={0: (0,)}),
        # y[.., j g + i] = x[.., i c/g + j]; its inverse is that of c/g groups
        Op("shuffle", ("x",), ("y",), _same, ("groups",)),
        # the gradient of each is itself, of the gradient, with the same `layer`; `rate` is that of dropblock's corners,
        # `first` the number of x's first sample in the batch of which x may be a part
        Op("dropout", ("x",), ("y",), _same, ("p", *_DRAW), alias={0: (0,)}),
        Op("droppath", ("x",), ("y",), _same, ("p", *_DRAW), alias={0: (0,)}),
        Op("dropblock", ("x",), ("y",), _same, ("p", "size", "rate", *_DRAW), alias={0: (0,)}),
        # losses: the mean over positions, and the gradient of scale * mean
        # a row's cross-entropy l, times the weight of its label; focal where gamma is not 0: times (1 - exp(-l))^gamma
        Op("xent", ("x", "labels", "weights?"), ("loss", "dx"), _loss, ("smoothing", "gamma", *_LOSS), optional=(1,)),
        Op("bce", ("x", "target"), ("loss", "dx"), _loss, _LOSS, optional=(1,)),
        Op("focal", ("x", "target"), ("loss", "dx"), _loss, ("gamma", "alpha", *_LOSS), optional=(1,)),
        # of probabilities: the target has their shape, or is labels
        Op("dice", ("p", "target"), ("loss", "dp"), _loss, ("smooth", *_LOSS), optional=(1,)),
        Op("mse", ("x", "target"), ("loss", "dx"), _loss, _LOSS, optional=(1,)),
        # sum + sum of g^2, in double: over all gradients the square of their norm
        Op("square_sum", ("sum?", "g"), ("sum",), lambda i, a: ((1,),), dtypes=("float64",)),
        # optimisers; learning rate and step number t, from 1, come with each run. Where `squares` is there, g is
        # multiplied by clip / max(sqrt(squares), clip) first; then decay w is added to it, unless `decoupled`.
        # v = momentum v + g; w -= lr v, with nesterov w -= lr (g + momentum v)
        Op("sgd", ("w", "g", "v", "squares?"), (), _none, ("momentum", "nesterov", *_STEP), updates=(0, 2)),
        # m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
        # w -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps), decoupled and lr decay w
        Op("adam", ("w", "g", "m", "v", "squares?"), (), _none, ("beta1", "beta2", "eps", "decoupled", *_STEP),
           updates=(0, 2, 3)),
        # s = rho s + (1 - rho) g^2; v = momentum v + lr g / sqrt(s + eps); w -= v
        Op("rmsprop", ("w", "g", "s", "v", "squares?"), (), _none, ("rho", "momentum", "eps", *_STEP),
           updates=(0, 2, 3)),
        # e += (1 - d) (w - e) with d = min(ema, (1 + t) / (10 + t))
        Op("ema", ("w", "e"), (), _none, ("ema",), updates=(1,)),
        # between the ranks of a data parallel training (runtime/ranks.py): begins to sum gradients, all of which
        # `allreduce_wait` then writes; statistics and sums of batch norm over all ranks, `share` of whose rows are here
        Op("allreduce", ("x*",), (), _none),
        Op("allreduce_wait", ("x*",), (), _none),
        Op("bn_merge", ("mean", "var"), (), _none, ("share",), updates=(0, 1)),
        Op("bn_merge_grad", ("dgamma", "dbeta", "var", "gamma"), ("slope", "shift"), lambda i, a: (i[0], i[0]),
           ("eps", "rows", "share"), updates=(0, 1)),
    )
}

TOGETHER = frozenset({"allreduce", "allreduce_wait", "bn_merge", "bn_merge_grad"})

ACTIVATIONS = ("relu", "relu6", "leaky", "elu", "gelu", "silu", "hswish", "sigmoid", "hsigmoid", "tanh")
SAVES_OUTPUT = frozenset({"relu", "relu6", "leaky", "elu", "sigmoid", "hsigmoid", "tanh"})
