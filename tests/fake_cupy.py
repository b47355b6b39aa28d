"""A stand-in for CuPy without a GPU: NumPy inside, CuPy's rules outside.

Its arrays are refused by NumPy and refuse NumPy's; what goes over to the host or comes from it is counted; copies on
another stream than the current one happen only when they are waited for; elementwise kernels are the same text,
compiled as C++ and run over all elements. Only names of `FUNCTIONS` and `METHODS` exist, all of which CuPy has.

    module, extras = fake_cupy.install(monkeypatch)        # `import cupy` and `import cupyx` then give these
    module.transfers                                       # Counter: "to device", "to host", "pageable"
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

# what the array backend may call, with CuPy's rules for NumPy's functions
FUNCTIONS = frozenset("""
    abs arange argmax ascontiguousarray clip concatenate empty exp expand_dims expm1 floor log log1p
    matmul maximum minimum moveaxis ones ones_like pad sqrt square swapaxes take take_along_axis tanh tensordot where
    zeros zeros_like""".split())
METHODS = frozenset("""argmax astype copy max mean reshape squeeze sum swapaxes transpose view""".split())
ATTRIBUTES = ("dtype", "shape", "ndim", "size", "nbytes", "strides", "itemsize")
C_TYPES = {"float32": "float", "float64": "double", "uint8": "unsigned char", "int32": "int", "int64": "long long",
           "uint32": "unsigned int", "uint64": "unsigned long long", "bool": "bool"}

STANDS_FOR = {name: C_TYPES[name] for name in ("float32", "float64", "uint8", "int32")}  # of the letter T


class Array:
    """cupy.ndarray, as far as the array backend needs it."""

    __array_ufunc__ = None  # NumPy's scalars leave operators to this class, NumPy's functions refuse it

    def __init__(self, values: np.ndarray, device: "Cupy"):
        assert isinstance(values, np.ndarray)
        self._values, self._cupy = values, device

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")  # CuPy's words

    def _number(self):
        """int(), float(), bool(), item(): the host waits."""
        self._cupy.transfers["to host"] += 1
        return self._values.item()

    __bool__ = lambda self: bool(self._number())  # noqa: E731
    __float__ = lambda self: float(self._number())  # noqa: E731
    __int__ = lambda self: int(self._number())  # noqa: E731
    __index__ = __int__
    item = _number

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, at):
        return self._cupy.wrapped(self._values[self._cupy.bare(at)])

    def __setitem__(self, at, values):
        values = self._cupy.bare(values)
        if np.ndim(values) and np.asarray(values).dtype.kind == "f" and self._values.dtype.kind in "iub":
            raise TypeError("no float goes into integers")
        self._values[self._cupy.bare(at)] = values

    def set(self, values, stream=None):
        if type(values) is not np.ndarray and not isinstance(values, Pinned):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (values.dtype, values.shape) != (self.dtype, self.shape) or not values.flags.c_contiguous:
            raise TypeError("only an array of the same type and shape can be set")
        self._cupy.transfers["to device" if isinstance(values, Pinned) else "pageable"] += 1

        def copy():
            self._values[...] = np.asarray(values)

        copy() if stream is None else stream.do(copy)

    def get(self):
        self._cupy.transfers["to host"] += 1
        return self._values.copy()

    def __getattr__(self, name):
        if name in ATTRIBUTES:
            return getattr(self._values, name)
        if name == "T":
            return self._cupy.wrapped(self._values.T)
        if name in METHODS:
            return self._cupy.wrapper(getattr(self._values, name))
        raise AttributeError(f"the array backend's list of CuPy's methods has no {name!r}: tests/fake_cupy.py")


def _operator(name):
    def operate(self, *others):
        if any(isinstance(other, np.ndarray) for other in others):
            raise TypeError(f"Unsupported type {np.ndarray}")  # CuPy mixes with no array of the host
        values = getattr(self._values, name)(*(self._cupy.bare(other) for other in others))
        if values is NotImplemented:
            return values
        if name.startswith("__i") and name not in ("__invert__",):
            assert values is self._values
            return self
        return self._cupy.wrapped(values)
    return operate


for _name in """add sub mul truediv floordiv mod pow rshift lshift and or xor""".split():
    for _kind in ("", "r", "i"):
        setattr(Array, f"__{_kind}{_name}__", _operator(f"__{_kind}{_name}__"))
for _name in "lt le gt ge eq ne neg invert abs".split():
    setattr(Array, f"__{_name}__", _operator(f"__{_name}__"))


class Pinned(np.ndarray):
    """Page-locked memory of the host."""


class Stream:
    """What is queued on another stream than the current one happens when somebody waits for it, and no sooner."""

    def __init__(self, null=False, non_blocking=False):
        self.non_blocking, self.queue = non_blocking, []

    def do(self, action):
        self.queue.append(action)

    def wait_event(self, event):
        event.happen()

    def synchronize(self):
        while self.queue:
            self.queue.pop(0)()


class Event:
    def __init__(self, block=False, disable_timing=False):
        self.stream, self.done = None, 0

    def record(self, stream=None):
        self.stream, self.count = stream, len(stream.queue)

    def happen(self):
        if self.stream is not None:
            for _ in range(min(self.count, len(self.stream.queue))):
                self.stream.queue.pop(0)()
            self.count = 0

    synchronize = happen


class Cupy(ModuleType):
    """The module `cupy`."""

    __version__ = "stand-in"

    def __init__(self, count=1):
        super().__init__("cupy")
        self.transfers, self.launches = Counter(), Counter()
        self.ndarray = Array
        self._current, self._kernels = Stream(null=True), []
        self.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=self._as_strided))
        runtime = SimpleNamespace(
            getDeviceCount=lambda: count, getDevice=lambda: 0, runtimeGetVersion=lambda: 13020,
            getDeviceProperties=lambda device: {"name": b"stand-in", "totalGlobalMem": 8_000_000_000})
        self.cuda = SimpleNamespace(Stream=Stream, Event=Event, runtime=runtime,
                                    get_current_stream=lambda: self._current)

    def __getattr__(self, name):
        if name not in FUNCTIONS:
            raise AttributeError(f"the array backend's list of CuPy's functions has no {name!r}: tests/fake_cupy.py")
        return self.wrapper(getattr(np, name))

    # -- to NumPy and back

    def bare(self, value):
        """The NumPy array of one of ours, also inside of tuples; an array of the host is an error."""
        if isinstance(value, Array):
            return value._values
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {np.ndarray}")
        if isinstance(value, (tuple, list)):
            return type(value)(map(self.bare, value))
        return value

    def wrapped(self, values):
        """Also of a single number: CuPy's reductions give arrays without axes."""
        return Array(values if isinstance(values, np.ndarray) else np.asarray(values), self)

    def wrapper(self, function):
        def call(*args, **named):
            self.launches[function.__name__] += 1
            return self.wrapped(function(*map(self.bare, args), **{k: self.bare(v) for k, v in named.items()}))
        return call

    def asarray(self, values, dtype=None):
        if isinstance(values, Array):
            return self.wrapped(np.asarray(values._values, dtype))
        self.transfers["pageable"] += 1
        return self.wrapped(np.array(values, dtype))

    def asnumpy(self, array):
        return array.get()

    def _as_strided(self, x, shape=None, strides=None):
        return self.wrapped(np.lib.stride_tricks.as_strided(x._values, shape, strides))

    # -- kernels

    def ElementwiseKernel(self, in_params, out_params, operation, name="kernel"):
        kernel = Kernel(self, in_params, out_params, operation, name)
        self._kernels.append(kernel)
        return kernel

    def library(self):
        """All kernels, compiled as C++."""
        return compiled("".join(kernel.cpp() for kernel in self._kernels))


@functools.cache
def compiled(source: str) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        text, target = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        text.write_text("#include <algorithm>\n#include <cmath>\n#include <stddef.h>\n"
                        "using std::max;\nusing std::min;\n" + source)
        subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", target, text], check=True)
        return ctypes.CDLL(str(target))


class Kernel:
    """cupy.ElementwiseKernel: what CuPy checks is checked, and the body runs, compiled as C++."""

    def __init__(self, cupy, in_params, out_params, operation, name):
        self.cupy, self.operation, self.name = cupy, operation, name
        self.params = [tuple(text.split()) for text in (in_params + ", " + out_params).split(",")]
        self.nout = len(out_params.split(","))
        self.nin = len(self.params) - self.nout
        assert not {"n", "i"} & {p[-1] for p in self.params}, "CuPy keeps these names for itself"

    def cpp(self) -> str:
        """Once for each type that T may stand for. Every operand is a pointer, with a step of 0 for a number."""
        kinds = STANDS_FOR.items() if any(p[-2] == "T" for p in self.params) else [("float32", "float")]
        return "".join(self._cpp(dtype, t) for dtype, t in kinds)

    def _cpp(self, dtype, t) -> str:
        takes, values = [], []
        for k, (*raw, kind, name) in enumerate(self.params):
            kind = C_TYPES.get(kind, t)
            const = "const " if k < self.nin else ""
            if raw:
                takes.append(f"{const}{kind} *{name}")
            else:
                takes.append(f"{const}{kind} *_raw_{name}, ptrdiff_t _step_{name}")
                values.append(f"{const}{kind} &{name} = _raw_{name}[i * _step_{name}]; (void){name};")
        return (f'extern "C" void {self.name}_{dtype}(ptrdiff_t _size, {", ".join(takes)}) {{\n'
                f"for (ptrdiff_t i = 0; i < _size; ++i) {{ {' '.join(values)}\n{self.operation}; }} }}\n")

    def __call__(self, *args):
        assert len(args) in (self.nin, len(self.params)), f"{self.name} takes {len(self.params)} operands"
        self.cupy.launches[self.name] += 1
        t, looped = "float32", []
        for (*raw, kind, name), arg in zip(self.params, args):
            if isinstance(arg, np.ndarray):
                raise TypeError(f"Unsupported type {np.ndarray}")
            if isinstance(arg, Array):
                if kind != "T" and arg.dtype != kind:
                    raise TypeError(f"Type is mismatched. {name} {arg.dtype} {kind}")
                if kind == "T":
                    t = arg.dtype.name
                if raw:
                    assert arg._values.flags.c_contiguous, "raw operands are read by their number"
                else:
                    looped.append(arg.shape)
            else:
                assert not raw
        shape = np.broadcast_shapes(*looped)
        outputs = list(args[self.nin:]) or [self.cupy.empty(shape, p[-2]) for p in self.params[self.nin:]]
        call, kept = [], []
        for k, ((*raw, kind, _), arg) in enumerate(zip(self.params, [*args[:self.nin], *outputs])):
            if k >= self.nin:
                assert arg.shape == shape, "Out shape is mismatched"
                values = arg._values if arg._values.flags.c_contiguous else np.ascontiguousarray(arg._values)
            elif isinstance(arg, Array):
                values = arg._values if raw else np.ascontiguousarray(np.broadcast_to(arg._values, shape))
            else:
                values = np.asarray(arg, kind)
            kept.append(values)
            call.append(ctypes.c_void_p(values.ctypes.data))
            if not raw:
                call.append(ctypes.c_ssize_t(int(values.ndim > 0 and isinstance(arg, Array))))
        getattr(self.cupy.library(), f"{self.name}_{t}")(ctypes.c_ssize_t(int(np.prod(shape))), *call)
        for output, values in zip(outputs, kept[self.nin:]):
            if values is not output._values:
                output._values[...] = values
        return outputs[0] if self.nout == 1 else tuple(outputs)


def install(monkeypatch, count=1):
    """Makes `import cupy` and `import cupyx` give the stand-ins; returns both."""
    cupy, cupyx = Cupy(count), ModuleType("cupyx")
    cupyx.empty_pinned = lambda shape, dtype=float: np.empty(shape, dtype).view(Pinned)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    return cupy, cupyx
