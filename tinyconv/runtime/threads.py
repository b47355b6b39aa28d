"""How many threads a call uses: `with threads(n)` in this thread, else set_default (--threads), else OMP_NUM_THREADS,
else the processors that cpuset and cgroup quota leave."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import cache
from numbers import Integral

MOST = 1024             # a number that no process can start would end it


class _Local(threading.local):
    count: int | None = None  # found on the class, where a thread has none: looking for it in vain takes a while


_local = _Local()
_default: int | None = None


def _checked(n) -> int:
    if isinstance(n, bool) or not isinstance(n, Integral) or not 1 <= n <= MOST:
        raise ValueError(f"a number of threads is a whole number of 1 to {MOST}, not {n!r}")
    return int(n)


@contextmanager
def threads(n: int):
    """Calls of this thread inside the block use n threads; more than there are processors is allowed."""
    before = _local.count
    _local.count = _checked(n)
    try:
        yield
    finally:
        _local.count = before


def set_default(n: int | None) -> None:
    """For the whole process; None: back to the environment."""
    global _default
    _default = None if n is None else _checked(n)


def chosen() -> bool:
    """Whether somebody has said how many."""
    return _default is not None or _told() is not None


def get() -> int:
    """The number for a call made now in this thread."""
    return _local.count or _default or _told() or _available()


@cache
def _told() -> int | None:
    """By the environment, as the first call found it: libgomp looks at it once, too."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST) if first.isdigit() and int(first) > 0 else None


@cache
def _available() -> int:
    try:
        from . import _cpu

        return _cpu.cpu_count()
    except ImportError:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
