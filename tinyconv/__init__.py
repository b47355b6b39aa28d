"""tinyconv: convolutional networks from a few lines of text, fast on a CPU.

    import tinyconv
    net = tinyconv.compile("conv 3x3 x64 -> relu -> pool 2 -> fc 10 -> softmax", input="32x32 x3")
    y = net(x)          # x: (N, 32, 32, 3) uint8 or float32; y: (N, 10)
"""

from __future__ import annotations

from importlib import import_module

from ._version import __version__

# name -> where it lives; imported on first use, so that `import tinyconv` costs next to nothing
_HOME = {
    "load": "net", "compile": "net", "Net": "net", "Ensemble": "ensemble",
    "NetError": "errors", "NonFiniteError": "errors", "Diagnostic": "errors",
    "threads": "runtime.threads",
    "register": "layers",
}

__all__ = ["__version__", "kernels", *_HOME]


def __getattr__(name: str):
    if name == "kernels":
        return import_module(".kernels", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
