"""`tinyconv info`: what the machine has and what this build makes of it."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from .._version import __version__
from ..errors import NetError
from .common import json_option, options, print_json, threads, warn_slow

SECONDS = 0.5  # of each measurement


@click.command()
@options(threads)
@click.option("--measure", is_flag=True, help="Measure the peak of multiply-adds and of reading memory.")
@json_option
def info(measure, as_json):
    """Print version, processor, instruction set, threads and GPU."""
    facts = machine()
    if measure:
        facts |= measured()
    if as_json:
        print_json(facts)
        return
    if facts["isa"] == "numpy":
        warn_slow()
    facts["gpu"] = gpu_words(facts["gpu"])
    words = {"openmp": "OpenMP", "cpu": "CPU", "isa": "instruction set", "isas": "available",
             "fma_gflops": "multiply-adds", "read_gbs": "memory reading",
             "gpu": "GPU"}
    for key, value in facts.items():
        if isinstance(value, dict):
            unit = "GFLOP/s" if key == "fma_gflops" else "GB/s"
            value = ", ".join(f"{number} {unit} with {n} thread{'s' * (n != '1')}" for n, number in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, list):
            value = " ".join(value)
        click.echo(f"{words.get(key, key):16} {value}")


def machine() -> dict:
    """version, cpu, isa (in use; "numpy" without the compiled kernels), isas (that build and machine have), threads,
    openmp, gpu (see cupy_device.facts)."""
    from ..runtime import cupy_device, threads
    from ..runtime.backend import compiled

    facts = {"version": __version__, "cpu": cpu_name(), "isa": "numpy", "isas": [], "threads": threads.get(),
             "openmp": False}
    if compiled():
        from ..runtime import _cpu

        facts |= {"isa": _cpu.isa(), "isas": _cpu.isas(), "openmp": _cpu.has_openmp()}
    return facts | {"gpu": cupy_device.facts()}


def gpu_words(facts: dict) -> str:
    if "error" in facts:
        return f"none: {facts['error']}; {facts['help']}"
    tf32 = ", products in TF32" if facts["tf32"] else ""
    return f"{facts['device']}, {facts['memory_gb']} GB, CuPy {facts['cupy']}, CUDA {facts['cuda']}{tf32}"


def measured() -> dict:
    """fma_gflops and read_gbs, by number of threads."""
    from ..runtime.backend import compiled

    if not compiled():
        raise NetError("--measure needs the compiled kernels, and they are not built",
                       help="sudo apt-get install python3-dev build-essential, then install tinyconv again")
    from ..runtime import _cpu

    return {name: {str(n): round(function(n, SECONDS), 1) for n in (1, 2)}
            for name, function in (("fma_gflops", _cpu.measure_fma), ("read_gbs", _cpu.measure_read))}


def cpu_name() -> str:
    """The processor as the system names it."""
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text(errors="replace").splitlines() if listing.is_file() else []:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
