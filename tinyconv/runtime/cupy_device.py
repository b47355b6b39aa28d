"""A GPU through CuPy: all calls that only CuPy has, but for the kernels of cuda_ops.py. The operations themselves are
the array backend's, and their arrays stay on the device from one step to the next.

CuPy keeps freed arrays in its memory pool, so that steps allocate without asking the driver. Work is queued on the
current stream and runs in that order; only `read` and `wait` wait for it. CUPY_TF32=1 in the environment lets matrix
products round their inputs to TF32 (10 bits of fraction), which tensor cores multiply several times as fast.
"""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager

import numpy as np

from ..errors import NetError
from .cuda_ops import CudaOps

INSTALL = "pip install 'tinyconv[gpu]', or 'cupy-cuda12x[ctk]' where the driver is for CUDA 12"


class CupyDevice:
    """The methods are those of host.Host."""

    name = "gpu"

    def __init__(self, cupy, cupyx):
        self.xp, self._cupyx = cupy, cupyx
        self.ops = CudaOps(cupy).ops

    def zeros(self, nbytes: int, what: str):
        return self.xp.zeros(nbytes, np.uint8)

    def write(self, array, values) -> None:
        array.set(np.ascontiguousarray(np.broadcast_to(np.asarray(values, array.dtype), array.shape)))

    def read(self, array) -> np.ndarray:
        return self.xp.asnumpy(array)

    def feeder(self) -> "Feed":
        return Feed(self.xp, self._cupyx)

    def wait(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()


class Feed:
    """Brings batches to the device: into pinned memory, and from there on a stream of its own, while what was queued
    before (the last step's update) still runs."""

    def __init__(self, cupy, cupyx):
        self._cupy, self._cupyx = cupy, cupyx
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._copied, self._used = (cupy.cuda.Event(disable_timing=True) for _ in range(2))
        self._pinned: dict[str, np.ndarray] = {}
        self._there: dict[str, object] = {}

    @contextmanager
    def __call__(self, arrays: dict[str, np.ndarray]):
        """The arrays by name, on the device; they are overwritten by the next call."""
        if not arrays:
            yield {}
            return
        now = self._cupy.cuda.get_current_stream()
        self._copied.synchronize()  # until then the pinned memory is being read
        for name, values in arrays.items():
            if name not in self._there:
                self._pinned[name] = self._cupyx.empty_pinned(values.shape, values.dtype)
                self._there[name] = self._cupy.empty(values.shape, values.dtype)
                self._used.record(now)  # what the pool gave may still be in use by what is queued
            self._pinned[name][...] = values
        self._stream.wait_event(self._used)
        for name in arrays:
            self._there[name].set(self._pinned[name], stream=self._stream)
        self._copied.record(self._stream)
        now.wait_event(self._copied)
        try:
            yield self._there
        finally:
            self._used.record(now)


def device() -> CupyDevice:
    """The current CUDA device; NetError, with what to do, where there is none that works."""
    return _opened(*_imported())


def facts() -> dict:
    """What `tinyconv info` tells: cupy (version), device, memory_gb, cuda, tf32; or error and help."""
    try:
        cupy, _ = _imported()
        device()
    except NetError as error:
        return {"error": error.message, "help": error.help}
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    version = cupy.cuda.runtime.runtimeGetVersion()
    return {"device": properties["name"].decode(), "memory_gb": round(properties["totalGlobalMem"] / 1e9, 1),
            "cupy": cupy.__version__, "cuda": f"{version // 1000}.{version % 1000 // 10}", "tf32": tf32()}


def tf32() -> bool:
    """Whether matrix products may round to TF32: CuPy's own switch."""
    return os.environ.get("CUPY_TF32", "0") not in ("", "0")


def _imported():
    try:
        import cupy
        import cupyx
    except ImportError as error:
        if getattr(error, "name", None) == "cupy":
            raise NetError("device `gpu` needs CuPy, which is not installed", help=INSTALL) from None
        raise NetError(f"device `gpu` needs CuPy, which does not load: {error}", help=INSTALL) from error
    return cupy, cupyx


@functools.cache
def _opened(cupy, cupyx) -> CupyDevice:
    """Tries what all steps need, so that what is missing shows now: a device, a compiler for kernels, cuBLAS."""
    try:
        count, why = cupy.cuda.runtime.getDeviceCount(), "none is there"
    except RuntimeError as error:  # CuPy's errors of the driver are such
        count, why = 0, str(error)
    if count == 0:
        raise NetError(f"CuPy {cupy.__version__} finds no CUDA device: {why}",
                       help="`nvidia-smi` must list it: install its driver, look at CUDA_VISIBLE_DEVICES, or use `cpu`")
    try:
        ones = cupy.ones((2, 2), np.float32)
        product = cupy.asnumpy(cupy.matmul(ones, ones))
    except Exception as error:  # of whatever kind: CuPy's share no base
        raise NetError(f"CuPy {cupy.__version__} finds a CUDA device but cannot compute on it: {error}",
                       help=f"its CUDA libraries may be missing or not fit the driver: {INSTALL}") from error
    if not (product == 2).all():
        raise NetError("the CUDA device computes wrong products", help="update its driver, or use `cpu`")
    return CupyDevice(cupy, cupyx)
