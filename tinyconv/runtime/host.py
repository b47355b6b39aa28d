"""The machine's own memory, where NumPy and the C kernels work. A device says what differs between kinds of memory;
cupy_device.py has the same methods for a GPU."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from ..errors import NetError
from . import budget

ALIGN = 64
HUGE = 1 << 21  # bytes of a huge page: NumPy asks the system for them in arrays of 4 MB and more


def empty(nbytes: int) -> np.ndarray:
    """A uint8 array whose data begins at a multiple of 64 bytes: stores across cache lines cost twice. A large one
    begins with a huge page."""
    align = HUGE if nbytes >= 2 * HUGE else ALIGN
    raw = np.empty(nbytes + align, np.uint8)
    begin = -raw.__array_interface__["data"][0] % align
    return raw[begin:begin + nbytes]


def aligned(nbytes: int) -> np.ndarray:
    """The same, zeroed (so, touched)."""
    out = empty(nbytes)
    out.fill(0)
    return out


class Host:
    """Memory that NumPy reads and writes in place: nothing has to be brought anywhere."""

    name = "numpy"
    xp = np
    ops: dict = {}  # operations with code of their own for this device, by name

    def zeros(self, nbytes: int, what: str) -> np.ndarray:
        """A zeroed uint8 array; NetError where it cannot fit. what: it is for, in the plural."""
        have = budget.available()
        if have is not None and nbytes > have:
            raise NetError(f"{what} need {budget.shown(nbytes)} of memory, and the machine has "
                           f"{budget.shown(have)} left", help="tinyconv summary shows which layers have many weights")
        return aligned(nbytes)

    def write(self, array: np.ndarray, values) -> None:
        """Puts the host's values into an array of the device."""
        array[...] = values

    def read(self, array: np.ndarray) -> np.ndarray:
        """A copy in the host's memory."""
        return np.array(array)

    def feeder(self):
        """What brings a session's batches to the device: `with feed(arrays) as arrays_there`."""
        return nullcontext

    def wait(self) -> None:
        """Returns when all that was started is done: here it always is."""


HOST = Host()
