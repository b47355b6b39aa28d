"""Memory of the process and of the machine, in bytes; None where the system does not tell."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import NetError

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# (limit, use) of a control group, versions 2 and 1
CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def resident() -> int | None:
    """What this process has in memory now."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None


def peak() -> int | None:
    """The most that this process ever had in memory."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else None


def available(root: str = "/") -> int | None:
    """What a process may still take without swapping: the system's MemAvailable and what its control group leaves."""
    rest = []
    meminfo = Path(root, "proc/meminfo")
    if meminfo.exists():
        found = re.search(r"MemAvailable:\s*(\d+) kB", meminfo.read_text())
        rest += [int(found[1]) * 1024] if found else []
    for limit, used in CGROUPS:
        limit, used = (Path(root, "sys/fs/cgroup", name) for name in (limit, used))
        if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdigit():
            rest.append(max(int(most) - int(used.read_text()), 0))
    return min(rest, default=None)


def parse(limit: int | str) -> int:
    """Bytes of "900M", "1.5G", "1500000000" or a number. Raises NetError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", str(limit).strip(), re.IGNORECASE)
    if found is None or (nbytes := int(float(found[1]) * UNITS[found[2].upper()])) < 1:
        raise NetError(f"{limit!r} is no amount of memory", help="write 900M or 1.5G, in units of 1024")
    return nbytes


def shown(nbytes: int) -> str:
    """"1.50 GB", "900 MB": units of 1024, as `parse` reads them."""
    return f"{nbytes / (1 << 30):.2f} GB" if nbytes >= 1 << 30 else f"{-(-nbytes // (1 << 20))} MB"
