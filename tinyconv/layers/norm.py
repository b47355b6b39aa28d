"""Batch normalisation (Ioffe & Szegedy 2015) and local response normalisation (Krizhevsky et al. 2012)."""

from __future__ import annotations

from math import prod

from .base import Layer, LayerError, Param, Signature, Weight


class BatchNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta; batch statistics in training, running ones otherwise."""

    signature = Signature("bn", (Param("eps", "number", 1e-5), Param("momentum", "number", 0.1)))

    def resolve(self, args, inputs):
        if args["eps"] <= 0:
            raise LayerError("`eps` must be above 0")
        if not 0 <= args["momentum"] <= 1:
            raise LayerError("`momentum` of `bn` is the share of the new batch, between 0 and 1")
        return dict(args)

    def weights(self, args, inputs):
        shape = (inputs[0].channels,)
        return (
            Weight("weight", shape, ("constant", 1.0)),
            Weight("bias", shape, ("constant", 0.0)),
            Weight("running_mean", shape, ("constant", 0.0), trainable=False),
            Weight("running_var", shape, ("constant", 1.0), trainable=False),
        )

    def forward(self, tape, args, x, params):
        gamma, beta = params["weight"], params["bias"]
        running = params["running_mean"], params["running_var"]
        if not tape.training:
            return tape.op("bn_apply", x, *running, gamma, beta, eps=args["eps"]), None
        mean, var = tape.op("bn_stats", x)
        tape.op("bn_running", mean, var, *running, momentum=args["momentum"], rows=prod(x.shape[:-1]))
        y = tape.op("bn_apply", x, mean, var, gamma, beta, eps=args["eps"])
        return y, (x, mean, var)

    def backward(self, tape, args, dy, saved, params):
        x, mean, var = saved
        dx, dgamma, dbeta = tape.op("bn_grad", x, dy, mean, var, params["weight"], eps=args["eps"])
        tape.gradient(params["weight"], dgamma)
        tape.gradient(params["bias"], dbeta)
        return dx


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
        if args["k"] <= 0 or args["alpha"] < 0:
            raise LayerError("`lrn` needs k above 0 and alpha of at least 0")
        return dict(args)

    @staticmethod
    def _attrs(args):
        return dict(size=args["n"], alpha=args["alpha"], beta=args["beta"], k=args["k"])

    def forward(self, tape, args, x, params):
        return tape.op("lrn", x, **self._attrs(args)), x

    def backward(self, tape, args, dy, saved, params):
        return tape.op("lrn_grad", saved, dy, **self._attrs(args))
