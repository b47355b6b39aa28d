"""Which backend runs a net: the C kernels ("cpu"), NumPy ("numpy") where they are not built or when asked for, or a GPU
through CuPy ("gpu"), only when asked for."""

from __future__ import annotations

import warnings
from functools import cache

from ..errors import NetError

DEVICES = ("cpu", "numpy", "gpu")
MEND = "sudo apt-get install python3-dev build-essential && pip install --force-reinstall --no-cache-dir tinyconv"


@cache
def compiled() -> bool:
    """Whether the C kernels can be loaded."""
    try:
        from . import _cpu  # noqa: F401
    except ImportError:
        return False
    return True


def backend(device: str | None = None):
    """The backend of that name; None: the fastest there is, with a warning where that is NumPy."""
    if device not in (None, *DEVICES):
        raise NetError(f"there is no device {device!r}", help=f"use one of {', '.join(DEVICES)}")
    if device == "gpu":
        from . import cupy_device
        from .array import ArrayBackend

        return ArrayBackend(cupy_device.device())
    if device != "numpy" and compiled():
        from .cpu import CpuBackend

        return CpuBackend()
    if device == "cpu":
        raise NetError("the compiled backend is not built", help=f"use `numpy`, or {MEND}")
    if device is None:
        warnings.warn(f"the compiled backend is not built: running on NumPy, many times slower. To build it: {MEND}",
                      RuntimeWarning, stacklevel=3)
    from .array import ArrayBackend

    return ArrayBackend()
