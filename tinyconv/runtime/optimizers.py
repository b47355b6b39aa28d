"""The optimisers: their options, what each keeps for a weight, and the steps of an update.

  sgd      v = momentum v + g; w -= lr v; with nesterov w -= lr (g + momentum v)
  adam     bias-corrected moments of g and g^2 (Kingma and Ba 2015, algorithm 1)
  adamw    the same, with the decay apart: w -= lr decay w (Loshchilov and Hutter 2019, algorithm 2)
  rmsprop  s = rho s + (1 - rho) g^2; v = momentum v + lr g / sqrt(s + eps); w -= v: TensorFlow's, which the recipes of
           Inception and MobileNet mean, with eps inside the root and the rate inside v; s begins at 0
`decay` adds decay * w to g (adamw: apart), not for biases, norms, PReLU's slopes and `scale` unless `decay_all`. `clip`
first scales all gradients by clip / max(norm, clip), norm that of all of them together (Pascanu et al. 2013). `ema`
keeps averaged weights, running statistics with them: e += (1 - d) (w - e), d = min(ema, (1 + t) / (10 + t)) at step t,
so that short runs are averaged over as well (as TensorFlow's with `num_updates`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from ..layers import Weight
from ..ops import OPS
from ..sections import OPTIMIZERS, as_python, check_choice, check_values
from .tape import Buffer, Tape

SLOTS = {"sgd": ("velocity",), "adam": ("mean", "square"), "adamw": ("mean", "square"),
         "rmsprop": ("square", "velocity")}
AVERAGE = "ema"

Optimizer = tuple[str, tuple[tuple[str, object], ...]]  # (name, its options but lr, sorted): hashable, a key of plans


def optimizer(name: str, options: Mapping[str, object]) -> tuple[float, Optimizer]:
    """(learning rate, the optimiser) with the defaults filled in; NetError or TypeError for what there is not."""
    check_choice(OPTIMIZERS, "optimizer", name)
    known = {param.name: param.default for param in OPTIMIZERS[name].params}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"{name} takes {', '.join(known)}, not {', '.join(unknown)}")
    filled = {**known, **{key: as_python(value) for key, value in options.items()}}
    check_values(OPTIMIZERS[name], filled)
    return float(filled.pop("lr")), (name, tuple(sorted(filled.items())))


def state_specs(specs: Mapping[str, Weight], optimizer: Optimizer | tuple,
                frozen: Container[str]) -> dict[str, Weight]:
    """The arrays that an optimiser keeps, by `SLOT.WEIGHT`; the averages cover all weights that a user sees."""
    if not optimizer:
        return {}
    name, options = optimizer
    kept = {f"{slot}.{weight}": spec for slot in SLOTS[name] for weight, spec in specs.items()
            if spec.trainable and weight not in frozen}
    if dict(options)[AVERAGE]:
        kept.update({f"{AVERAGE}.{weight}": spec for weight, spec in specs.items() if not spec.fixed})
    return kept


def record_norm(tape: Tape) -> Buffer:
    """Records the sum of the squares of all gradients."""
    squares = None
    for gradient in tape.gradients.values():
        squares = tape.op("square_sum", squares, gradient)
    return squares


def record_update(tape: Tape, optimizer: Optimizer, weights: Mapping[str, Buffer], decays: set[str],
                  squares: Buffer | None) -> None:
    """Records the step of every weight that has a gradient, then the averages of all that the update has written."""
    name, options = optimizer[0], dict(optimizer[1])
    decay, average = options.pop("decay"), options.pop(AVERAGE)
    del options["decay_all"]
    if name in ("adam", "adamw"):
        options["decoupled"] = name == "adamw"

    def state(slot: str, weight: str) -> Buffer:
        return tape.buffer(weights[weight].shape, "float32", "state", f"{slot}.{weight}")

    for weight, gradient in tape.gradients.items():
        tape.node = weight.rpartition(".")[0]
        slots = [state(slot, weight) for slot in SLOTS[name]]
        tape.op("adam" if name == "adamw" else name, weights[weight], gradient, *slots, squares,
                decay=decay if weight in decays else 0.0, **options)
    if average:
        written = [step.inputs[i] for step in tape.steps if step.pass_ == "update" for i in OPS[step.op].updates]
        for buffer in [b for b in written if b.role == "weight"]:
            tape.node = buffer.name.rpartition(".")[0]
            tape.op("ema", buffer, state(AVERAGE, buffer.name), ema=average)
