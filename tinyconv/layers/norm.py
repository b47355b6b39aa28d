"""Normalisations: batch (Ioffe & Szegedy 2015), layer (Ba et al. 2016), group (Wu & He 2018), local response
(Krizhevsky et al. 2012); and a learned factor per channel."""

from __future__ import annotations

from math import inf, prod

from .base import Layer, LayerError, Param, PerChannel, Signature, Weight, checked_groups


def checked_eps(name: str, args: dict) -> None:
    if not 0 < args["eps"] < inf:
        raise LayerError(f"`eps` of `{name}` must be above 0", help=f"write `{name} eps=1e-5`, or leave it out")


def affine(channels: int) -> tuple[Weight, Weight]:
    """The learned factor and shift per channel that a normalisation ends with."""
    return Weight("weight", (channels,), ("constant", 1.0)), Weight("bias", (channels,), ("constant", 0.0))


def gradient_of_affine(tape, params, dx, dgamma, dbeta):
    """Notes the gradients of `affine`'s weights; returns dx."""
    tape.gradient(params["weight"], dgamma)
    tape.gradient(params["bias"], dbeta)
    return dx


class Scale(PerChannel):
    """y = w x with a learned w per channel that starts at v (as in Touvron et al. 2021)."""

    signature = Signature("scale", (Param("v", "number", 1, positional=True),))

    def start(self, args):
        return float(args["v"])


class BatchNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta; batch statistics in training, running ones otherwise, and where
    gamma and beta are frozen: then the running ones stay as they are."""

    signature = Signature("bn", (Param("eps", "number", 1e-5), Param("momentum", "number", 0.1)))

    def resolve(self, args, inputs):
        checked_eps("bn", args)
        if not 0 <= args["momentum"] <= 1:
            raise LayerError("`momentum` of `bn` is the share of the new batch, between 0 and 1")
        return dict(args)

    def weights(self, args, inputs):
        shape = (inputs[0].channels,)
        return (
            *affine(*shape),
            Weight("running_mean", shape, ("constant", 0.0), trainable=False),
            Weight("running_var", shape, ("constant", 1.0), trainable=False),
        )

    def forward(self, tape, args, x, params):
        gamma, beta = params["weight"], params["bias"]
        running = params["running_mean"], params["running_var"]
        if not (tape.training and (tape.needs_grad(gamma) or tape.needs_grad(beta))):
            return tape.op("bn_apply", x, *running, gamma, beta, eps=args["eps"]), None
        mean, var = tape.op("bn_stats", x)
        rows = prod(x.shape[:-1])
        if tape.synced:
            tape.op("bn_merge", mean, var, share=tape.share)
            rows = rows // x.shape[0] * tape.synced
        tape.later("bn_running", mean, var, *running, momentum=args["momentum"], rows=rows)
        y = tape.op("bn_apply", x, mean, var, gamma, beta, eps=args["eps"])
        return y, (x, mean, var)

    def backward(self, tape, args, dy, saved, params):
        if saved is None:  # frozen: dx = gamma dy / sqrt(var + eps)
            zero = tape.constant((0.0,) * dy.shape[-1])
            return tape.op("bn_apply", dy, zero, params["running_var"], params["weight"], zero, eps=args["eps"])
        x, mean, var = saved
        gamma, eps = params["weight"], args["eps"]
        dx, dgamma, dbeta = tape.op("bn_grad", x, dy, mean, var, gamma, eps=eps)
        if tape.synced:
            rows = prod(x.shape[:-1])
            change = tape.op("bn_merge_grad", dgamma, dbeta, var, gamma, eps=eps, rows=rows, share=tape.share)
            dx = tape.op("add", dx, tape.op("bn_apply", x, mean, var, *change, eps=eps))
        return gradient_of_affine(tape, params, dx, dgamma, dbeta)


class LayerNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta; mean and biased variance are taken over the channels, at each
    position for itself, in training and in inference (Ba et al. 2016)."""

    signature = Signature("ln", (Param("eps", "number", 1e-5),))

    def resolve(self, args, inputs):
        checked_eps("ln", args)
        return dict(args)

    def weights(self, args, inputs):
        return affine(inputs[0].channels)

    def forward(self, tape, args, x, params):
        return tape.op("ln", x, params["weight"], params["bias"], eps=args["eps"]), x

    def backward(self, tape, args, dy, saved, params):
        # Each row's moments are computed again: that costs less than a place in memory for them.
        return gradient_of_affine(tape, params, *tape.op("ln_grad", saved, dy, params["weight"], eps=args["eps"]))


class GroupNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta; mean and biased variance are taken over all positions and the c/g
    channels of a group, for each sample by itself, in training and in inference (Wu & He 2018). gamma and beta are
    per channel. `gn 1` takes all channels together, g = c each for itself (instance normalisation)."""

    signature = Signature("gn", (Param("g", "whole", positional=True), Param("eps", "number", 1e-5)))

    def resolve(self, args, inputs):
        checked_groups("gn", args["g"], inputs[0].channels)
        checked_eps("gn", args)
        return dict(args)

    def weights(self, args, inputs):
        return affine(inputs[0].channels)

    def forward(self, tape, args, x, params):
        y, mean, var = tape.op("gn", x, params["weight"], params["bias"], groups=args["g"], eps=args["eps"])
        return y, (x, mean, var)

    def backward(self, tape, args, dy, saved, params):
        x, mean, var = saved
        grads = tape.op("gn_grad", x, dy, mean, var, params["weight"], groups=args["g"], eps=args["eps"])
        return gradient_of_affine(tape, params, *grads)


class LocalResponseNorm(Layer):
    """y = x / (k + alpha/n * sum of x^2 over n neighbouring channels)^beta."""

    signature = Signature("lrn", (
        Param("n", "whole", positional=True),
        Param("alpha", "number", 5e-4),
        Param("beta", "number", 0.75),
        Param("k", "number", 2),
    ))

    def resolve(self, args, inputs):
        if args["n"] < 1:
            raise LayerError("`lrn` needs at least 1 channel")
        if args["k"] <= 0 or args["alpha"] < 0 or args["beta"] < 0:
            raise LayerError("`lrn` needs k above 0, alpha and beta of at least 0")
        return dict(args)

    @staticmethod
    def _attrs(args):
        return dict(size=args["n"], alpha=args["alpha"], beta=args["beta"], k=args["k"])

    def forward(self, tape, args, x, params):
        return tape.op("lrn", x, **self._attrs(args)), x

    def backward(self, tape, args, dy, saved, params):
        return tape.op("lrn_grad", saved, dy, **self._attrs(args))


FAMILY = (Scale(), BatchNorm(), LayerNorm(), GroupNorm(), LocalResponseNorm())
