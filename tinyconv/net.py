"""A net as Python sees it: call it on arrays, train it, read and write its weights, save it."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np

from . import lang, weights as files, zoo
from .errors import NetError
from .graph import Graph, build
from .runtime.backend import backend
from .runtime.losses import as_losses, label_help, measuring
from .runtime.plan import Request, prediction
from .runtime.session import Sessions
from .runtime.store import Store
from .runtime.trainer import Trainer, mean_loss
from .sections import SECTIONS, checked_seed


def load(source, *, seed: int = 0, device: str | None = None, input: str | None = None, set: dict | None = None,
         **lets) -> "Net":
    """A net from a `.net` file, a name of the zoo, or a `.safetensors` file written by `save` (then with its weights).

    seed: of the initial weights. device: "cpu", "numpy" or "gpu" (None: cpu, or numpy where it is not built). input:
    "32x32 x3", for a file without one or in place of its own. set: settings of its sections, {"train.batch": 32}.
    Keywords replace `let`s: load("resnet50", classes=10). Raises NetError.
    """
    path = os.fspath(source)
    if path.endswith(".safetensors"):
        return _load_weights(path, device, input, set, lets)
    return Net(lang.load(zoo.find(path)), lets, input, seed, device, set)


def compile(text: str, *, input: str | None = None, seed: int = 0, device: str | None = None, set: dict | None = None,
            **lets) -> "Net":
    """A net from text; the arguments are those of `load`."""
    return Net(lang.parse(text), lets, input, seed, device, set)


def _load_weights(path: str, device, input, set, lets) -> "Net":
    tensors, metadata = files.read(path)
    net = Net(lang.parse(files.net_text(metadata, path), path), lets, input, 0, device, set)
    net.load_weights(tensors, path)
    net.class_names = files.class_names(metadata, path)
    return net


class Weights(MutableMapping):
    """{name: float32 array}. Reads give a copy; writes check the shape."""

    def __init__(self, store: Store, on_write):
        self._store, self._on_write = store, on_write

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._store.specs or self._store.specs[name].fixed:
            raise KeyError(f"there is no weight {name!r}: see net.weights.keys()")
        return self._store.read(name)

    def __setitem__(self, name: str, value) -> None:
        self._store.write(name, value)
        self._on_write(name)

    def __delitem__(self, name: str) -> None:
        raise TypeError("weights of a net cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.names())

    def __len__(self) -> int:
        return len(self._store.names())

    def __repr__(self) -> str:
        rows = (f"  {n}: {'x'.join(map(str, self._store.specs[n].shape))}" for n in self)
        return "\n".join(("Weights(", *rows, ")"))


class Net:
    """Made by `load` or `compile`. Calls are safe from several threads at once; training is not."""

    def __init__(self, program, lets=None, input=None, seed=0, device=None, settings=None):
        self.graph: Graph = build(program, lets, input)
        self.graph.require_layers()
        self.class_names: list[str] | None = None
        self._program, self._lets, self._input, self._set = program, dict(lets or {}), input, dict(settings or {})
        self._start(seed, device)

    def _start(self, seed, device) -> None:
        self.seed, self.backend = checked_seed(seed), backend(device)
        self.store = Store(self.graph, self.seed, self.backend.device)
        self.sessions = Sessions(self.graph, self.store, self.backend)
        self._unmeasured = {n for n, w in self.store.specs.items()
                            if n.startswith("input") and n.endswith((".mean", ".std")) and not w.fixed}
        self.weights = Weights(self.store, self._unmeasured.discard)

    # -- what it is

    @property
    def device(self) -> str:
        """The name of the backend: "cpu", "numpy" or "gpu"."""
        return self.backend.name

    @cached_property
    def input_shape(self) -> tuple[int | None, ...]:
        """(*spatial, channels) of one sample; None for an axis of free size."""
        return (*self.graph.input.spatial, self.graph.input.channels)

    @property
    def classes(self) -> int:
        """Channels of the output."""
        return self.graph.output.channels

    @cached_property
    def sections(self) -> dict:
        """The `data` and `train` sections, checked: see lang.sections."""
        return lang.sections(self._program, SECTIONS, self._set, overrides=self._lets)

    @cached_property
    def text(self) -> str:
        """The net in one self-contained text: includes in it, lets and settings as they were replaced."""
        return lang.inline(self._program, self._lets, self._set, SECTIONS, self._input)

    def summary(self, *, batch: int = 1, depth: int | None = None):
        """Layers with shapes, parameters, multiply-adds, receptive fields, memory; see tinyconv.graph.summary.Summary.

        str() is the table, for memory at this batch, with blocks opened to this depth (None: as many levels as make a
        short table); .params .macs .layers are data.
        """
        from .graph.summary import Summary

        return Summary(self.graph, batch=batch, depth=depth)

    def __repr__(self) -> str:
        return f"<tinyconv.Net {self.graph.input} -> {self.graph.output}, {self.graph.params:,} params, {self.device}>"

    # -- running

    def __call__(self, x, layout: str = "NHWC") -> np.ndarray:
        """The graph as written, in inference mode: probabilities where it ends in softmax.

        x: uint8 (divided by 255) or float32 (N, *spatial, C); layout="NCHW" for (N, C, *spatial).
        Returns float32 (N, n) or (N, *spatial, C).
        """
        x = self.batch(x, layout)
        if not len(x):
            shape = self.graph.output
            return np.empty((0, *(n or 0 for n in shape.spatial), shape.channels), np.float32)
        session = self.sessions.take(self.request("predict", x))
        session.run(0, len(session.plan.steps), x)
        y = session.read(session.plan.output)
        self.sessions.give_back(session)
        return y

    def evaluate(self, x, labels, layout: str = "NHWC") -> tuple[float, np.ndarray]:
        """(mean loss in nats, output) in inference mode."""
        x, labels = self.batch(x, layout), np.asarray(labels)
        with self.sessions.session(self.request("evaluate", x, labels)) as session:
            plan = session.plan
            session.run(0, len(plan.steps), x, self.labels(labels, plan.labels, layout))
            return mean_loss(session, plan), session.read(plan.output)

    def gradients(self, x, labels, layout: str = "NHWC", seed: int = 0) -> tuple[float, dict[str, np.ndarray]]:
        """(mean loss, {weight name: its gradient}) in training mode: batch statistics, dropout drawn by `seed`, heads.

        The running statistics of normalisation are left as they are.
        """
        x, labels = self.batch(x, layout), np.asarray(labels)
        with self.sessions.session(self.request("gradients", x, labels)) as session:
            plan = session.plan
            session.run(0, len(plan.steps), x, self.labels(labels, plan.labels, layout), seed=seed)
            return mean_loss(session, plan), {n: session.read(plan.gradients[n])
                                              for n in self.store.names() if n in plan.gradients}

    def trainer(self, optimizer: str = "sgd", *, seed: int = 0, memory: int | str | None = None,
                **options) -> Trainer:
        """A trainer of this net: `trainer.step(x, labels)`.

        optimizer: "sgd", "adam", "adamw" or "rmsprop". options: those of the `optimizer` setting (lr, momentum, decay,
        clip, …), with its defaults. seed: of dropout. memory: "1.5G", the most that the process should take.
        """
        return Trainer(self, self.sessions, optimizer=optimizer, seed=seed, memory=memory, **options)

    def fit(self, x, labels=None, *, epochs: int | None = None, batch: int | None = None, validation=None,
            seed: int | None = None, layout: str = "NHWC", memory: int | str | None = None,
            **optimizer) -> list[dict]:
        """Trains on arrays, or without `labels` on what gives pairs (x, label) when iterated or indexed; validation is
        (x, labels), or such pairs. memory: "1.5G", the most that the process should take, at the cost of time. Returns
        the epoch events, as dicts. Absent settings come from the net's `train` section."""
        from .data import pairs
        from .train import fit

        def arrays(x, labels):
            if labels is None:
                return pairs(x, layout == "NCHW"), None
            return self.batch(x, layout), np.asarray(labels)

        if isinstance(validation, tuple):
            if len(validation) != 2:
                raise TypeError(f"validation is (x, labels), or an iterable of pairs; this tuple has {len(validation)}")
            validation = arrays(*validation)
        elif validation is not None:
            validation = arrays(validation, None)
        return fit(self, *arrays(x, labels), epochs=epochs, batch=batch, validation=validation, seed=seed,
                   memory=memory, **optimizer)

    # -- checking what comes in

    def batch(self, x, layout: str = "NHWC") -> np.ndarray:
        """x as a C-contiguous channels-last batch, or an error that says what to do."""
        x = np.asarray(x)
        if layout == "NHWC" and x.shape[1:] == self.input_shape and x.dtype == np.float32 and x.flags.c_contiguous:
            return x
        if layout not in ("NHWC", "NCHW"):
            raise ValueError(f"layout is NHWC or NCHW, not {layout!r}")
        if x.dtype not in (np.uint8, np.float32):
            raise TypeError(f"x holds {x.dtype}: use float32 (x.astype('float32')), or uint8 for images of 0 to 255")
        wanted = self.input_shape
        shown = ", ".join(["N", *("any" if n is None else str(n) for n in wanted)])
        if x.ndim == len(wanted):
            grey = wanted[-1] == 1 and all(w in (None, n) for n, w in zip(x.shape[1:], wanted))
            raise NetError(f"x has shape {x.shape}; the net takes ({shown})",
                           help="grey images have an axis of one channel: x[..., None]" if grey else
                                "without a batch axis: for one sample write x[None]")
        if x.ndim != len(wanted) + 1:
            raise NetError(f"x has shape {x.shape}; the net takes ({shown})")
        if layout == "NCHW":
            x = np.moveaxis(x, 1, -1)
        if any(w not in (None, n) for n, w in zip(x.shape[1:], wanted)):
            turned = len(wanted) > 1 and x.shape[1] == wanted[-1] and layout == "NHWC"
            raise NetError(f"x has shape {x.shape}; the net takes ({shown})",
                           help="for channels first give layout=\"NCHW\"" if turned else "")
        return np.ascontiguousarray(x)

    @cached_property
    def losses(self) -> tuple:
        """The `loss` lines of the `train` section, as runtime/losses.py takes them; empty where there are none."""
        return as_losses(self.sections.get("train", {}).get("loss", ()))

    @cached_property
    def frozen(self) -> frozenset[str]:
        """The weights that `freeze` in the `train` section names: training leaves them as they are. A `bn` whose factor
        and shift are both frozen keeps its running statistics, too, and normalises by them."""
        given = self.sections.get("train", {}).get("freeze")
        return frozen_weights(given[1], self.store.specs) if given else frozenset()

    def set_class_weights(self, weights) -> None:
        """The numbers that `loss ce weights=data` stands for, one a class, measured on the training data."""
        lines = [(name, dict(options)) for name, options in self.losses]
        self.losses = as_losses((name, {**options, "weights": tuple(map(float, weights))}
                                 if options.get("weights") == "data" else options) for name, options in lines)

    def request(self, mode: str, x: np.ndarray, labels: np.ndarray | None = None, optimizer: tuple = ()) -> Request:
        """The plan that a batch needs."""
        if labels is None:
            return prediction(len(x), x.shape[1:-1], "uint8" if x.dtype == np.uint8 else "float32")
        if not len(x):
            raise NetError("an empty batch has no loss")
        numbers = labels.dtype.kind in "iub" and not self._ends_in_sigmoid
        losses, frozen = self.losses, self.frozen
        if mode == "evaluate":
            losses, frozen = measuring(losses), frozenset()
        return Request(mode, len(x), x.shape[1:-1], x.dtype.name, numbers, optimizer, losses, frozen=frozen)

    @property
    def _ends_in_sigmoid(self) -> bool:
        return self.graph.nodes[self.graph.output_index].op == "sigmoid"

    def labels(self, labels: np.ndarray, buffer, layout: str = "NHWC") -> np.ndarray:
        """Labels as the plan wants them: class numbers int32 (N, *spatial), or float32 of the output's shape."""
        classes = self.classes
        if buffer.dtype == "int32":
            if labels.dtype.kind not in "iub":
                raise NetError(f"labels hold {labels.dtype}; this net is trained on class numbers",
                               help="give integers from 0: labels.argmax(-1) of one-hot rows")
            if labels.size and not (0 <= labels.min() and labels.max() < classes):
                bad = labels.max() if labels.max() >= classes else labels.min()
                raise NetError(f"label {bad} is out of range: labels of this net go from 0 to {classes - 1}")
        elif layout == "NCHW" and labels.ndim == len(buffer.shape) > 2:
            labels = np.moveaxis(labels, 1, -1)
        if buffer.dtype != "int32" and self._ends_in_sigmoid and labels.size:
            if not (0 <= labels.min() and labels.max() <= 1):
                raise NetError(f"targets of a sigmoid lie in 0..1; these go from {labels.min()} to {labels.max()}",
                               help="divide a mask of 0 and 255 by 255")
        if labels.shape != buffer.shape:
            flat = buffer.shape[:1] + tuple(n for n in buffer.shape[1:] if n != 1)
            if labels.shape != flat:
                raise NetError(f"labels have shape {labels.shape}; with this x the net takes {flat}",
                               help=label_help(labels.shape[len(flat):], classes))
        return np.ascontiguousarray(labels, buffer.dtype).reshape(buffer.shape)

    # -- statistics of the input

    @property
    def needs_measuring(self) -> bool:
        """Whether `input … mean=data` or `std=data` still waits for `set_input_statistics`."""
        return bool(self._unmeasured)

    def set_input_statistics(self, mean, std) -> None:
        """Per channel, of the training data in the 0..1 scale; written where the net says `data`."""
        for name, value in (("mean", mean), ("std", std)):
            for weight in [n for n in self._unmeasured if n.endswith("." + name)]:
                value = np.broadcast_to(np.asarray(value, np.float32), self.store.specs[weight].shape)
                if name == "std":
                    value = np.where(value > 0, value, 1)  # a channel that never changes is only shifted
                self.weights[weight] = value

    # -- keeping

    def fresh(self, seed: int) -> "Net":
        """The same net with other initial weights."""
        return Net(self._program, self._lets, self._input, seed, self.device, self._set)

    def load_weights(self, tensors, source: str = "the weights") -> None:
        """Writes all weights, or none with a NetError that lists what does not fit."""
        shapes = {n: self.store.specs[n].shape for n in self.store.names()}
        for name, value in files.fit(shapes, tensors, source).items():
            self.weights[name] = value

    def take_weights(self, path) -> dict[str, np.ndarray]:
        """Takes the weights of a file for fine-tuning, and returns those taken. The layer that gives the output, and
        that of each head, start anew where the file has another number of classes; anything else that does not fit is a
        NetError that lists it."""
        tensors, _ = files.read(path)
        shapes = {n: self.store.specs[n].shape for n in self.store.names()}
        taken = files.fit(shapes, tensors, os.fspath(path), last_layers(self.graph))
        for name, value in taken.items():
            self.weights[name] = value
        return taken

    def save(self, path) -> None:
        """Writes weights, text and class names to a `.safetensors` file, whole or not at all."""
        if not os.fspath(path).endswith(".safetensors"):
            raise NetError(f"cannot save into {os.fspath(path)}: `load` knows weights files by their ending",
                           help="let the name end in .safetensors")
        test = self.sections.get("data", {}).get("test", ())
        files.write(path, dict(self.weights), files.describe(self.text, self.class_names, test))

    def __getstate__(self) -> dict:
        return {"text": self.text, "device": self.device, "weights": dict(self.weights), "names": self.class_names,
                "unmeasured": sorted(self._unmeasured)}

    def __setstate__(self, state: dict) -> None:
        self.__init__(lang.parse(state["text"]), device=state["device"])
        for name, value in state["weights"].items():
            self.weights[name] = value
        self.class_names = state["names"]
        self._unmeasured.update(state["unmeasured"])


def frozen_weights(patterns: str, specs) -> frozenset[str]:
    """Names of the trainable weights that one of the patterns fits, by their own name or their layer's: `conv*`,
    `fc1.bias`. NetError for a pattern that fits none, and where all weights are frozen."""
    trainable = [name for name, weight in specs.items() if weight.trainable]
    found: set[str] = set()
    for pattern in patterns.split():
        fitting = [n for n in trainable if fnmatchcase(n, pattern) or fnmatchcase(n.rpartition(".")[0], pattern)]
        if not fitting:
            layers = list(dict.fromkeys(name.rpartition(".")[0] for name in trainable))
            shown = ", ".join(layers[:12]) + (", …" if len(layers) > 12 else "")
            raise NetError(f"`freeze` fits no weight: `{pattern}`", help=f"the layers with weights are {shown}")
        found.update(fitting)
    if len(found) == len(trainable):
        raise NetError(f"`freeze` leaves nothing to train: `{patterns}`", help="leave the last layer out")
    return frozenset(found)


def last_layers(graph: Graph) -> set[str]:
    """Names of the weights whose layers give the output or a head's, with nothing but layers without weights after."""
    found: set[str] = set()
    todo = [graph.output_index, *(head.output for head in graph.heads)]
    while todo:
        node = graph.nodes[todo.pop()]
        found.update(f"{node.owner}.{weight.name}" for weight in node.params)
        if not node.params:
            todo.extend(node.inputs)
    return found
