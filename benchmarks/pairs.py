"""Two programs measured in turns, so that a noisy machine is noisy for both.

Every side is a process of its own, started once and driven over a pipe; those that wait are stopped (SIGSTOP), for
thread pools spin for milliseconds after a call and the next one would pay. In each round every side has one turn, in
shuffled order, a call that is not counted first; what is reported are medians of the ratios within a round, never of
times from different minutes.

A script using this is both: `main` is the driver, and started with `--worker SIDE` it serves as that side.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TURN = 0.05  # seconds a turn lasts at least
# what holds tinyconv, PyTorch with the oneDNN and MKL inside, and OpenBLAS to that instruction set
AVX2 = {"TINYCONV_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
WARMUP = 2  # calls before the first turn
TUNING = ("OPENBLAS_", "NVPL_", "MKL_", "OMP_", "GOMP_")  # variables that would tie a peer's hands
PEAK_SECONDS = 0.02


# -- the side

def serve(setup: Callable[[dict], Callable[[], object]], peak: Callable[[], float] | None = None) -> None:
    """Answers the driver on stdin and stdout. setup(case) returns what a call is; peak() is measured around a turn."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not disturb the pipe
    call = None
    for line in sys.stdin:
        message = json.loads(line)
        if "case" in message:
            call = None  # frees the case before
            try:
                call, reply = _begin(setup, message["case"])
            except Exception as error:  # a mode that a library refuses for this case: the driver goes on without it
                reply = {"error": f"{type(error).__name__}: {error}"}
        else:
            reply = _turn(call, message["calls"], peak)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _begin(setup, case: dict) -> tuple[Callable[[], object], dict]:
    """The call, warmed up; what its first calls gave goes to case["results"], where that is asked for."""
    call = setup(case)
    results = [call() for _ in range(WARMUP)]
    if "results" in case:
        import numpy as np

        np.save(case["results"], np.asarray(results))
    return call, {"calls": _calls(call)}


def _calls(call: Callable[[], object]) -> int:
    begin = time.perf_counter()
    call()
    return max(1, int(TURN / max(time.perf_counter() - begin, 1e-6)))


def _turn(call, calls: int, peak) -> dict:
    call()  # its memory is in no cache, its threads are asleep: what the other sides left behind is not its own
    before = peak() if peak else 0
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    seconds = (time.perf_counter() - begin) / calls
    return {"seconds": seconds, "peak": max(before, peak()) if peak else None, "memory": peak_memory()}


def peak_memory() -> int:
    """Bytes: the most that was resident in this process's life; getrusage would count what its parent had, too."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def tinyconv_peak() -> float:
    """GFLOP/s of fused multiply-adds on the threads in use."""
    from tinyconv.runtime import _cpu, threads

    return _cpu.measure_fma(threads.get(), PEAK_SECONDS)


# -- the driver

class Side:
    """A worker process, stopped whenever it is not asked. `settings`: variables of its environment."""

    def __init__(self, name: str, python: str, arguments: list[str], threads: int,
                 settings: Mapping[str, str] | None = None):
        self.name = name
        environment = {name: value for name, value in os.environ.items() if not name.startswith(TUNING)}
        environment |= {"OMP_NUM_THREADS": str(threads)} | dict(settings or {})
        command = [python, os.path.abspath(sys.argv[0]), "--worker", name, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, message: dict) -> dict:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the side {self.name} ended with code {self.process.wait()}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Result:
    """One case. ms: {side: median}. ratios: {peer: median over rounds of its time over ours} (above 1 we are faster);
    `ratio` is the fastest peer's, `fastest` names it. memory: {side: peak resident bytes}. peak_fraction: median of our
    rate over the peak measured in the same turn."""

    case: str
    ms: dict[str, float]
    ratios: dict[str, float]
    ratio: float
    fastest: str
    memory: dict[str, int]
    gflops: float | None = None
    peak_fraction: float | None = None


def compare(sides: list[Side], cases: Iterable[tuple[str, dict, float | None]], rounds: int) -> list[Result]:
    """The first side is ours, the others its peers. A case is (name, what setup gets, floating-point operations).
    Peers that fail on a case are left out of it, and said."""
    shuffle = random.Random(0).sample
    ours = sides[0]
    results = []
    for name, case, work in cases:
        calls = started(sides, name, case)
        if ours.name not in calls or len(calls) < 2:
            continue
        running = [side for side in sides if side.name in calls]
        turns: dict[str, list[dict]] = {side.name: [] for side in running}
        for _ in range(rounds):
            for side in shuffle(running, len(running)):
                turns[side.name].append(side.ask({"calls": calls[side.name]}))
        seconds = {side: [turn["seconds"] for turn in taken] for side, taken in turns.items()}
        ratios = {peer.name: median(p / o for p, o in zip(seconds[peer.name], seconds[ours.name]))
                  for peer in running if peer is not ours}
        fastest = min(ratios, key=ratios.get)
        result = Result(name, {side: 1000 * median(taken) for side, taken in seconds.items()}, ratios, ratios[fastest],
                        fastest, {side: max(turn["memory"] for turn in taken) for side, taken in turns.items()})
        if work:
            result.gflops = median(work / t["seconds"] / 1e9 for t in turns[ours.name])
            result.peak_fraction = median(work / t["seconds"] / 1e9 / t["peak"] for t in turns[ours.name])
        results.append(result)
        print(f"{name}: {result.ratio:.2f}x", file=sys.stderr)
    return results


def started(sides: list[Side], name: str, case: dict) -> dict[str, int]:
    """{side: calls a turn} of those that can run the case. case["results"], where given, is a folder: each side writes
    what its first calls gave into a file of its name."""
    calls = {}
    for side in sides:
        own = {**case, "results": os.path.join(case["results"], f"{side.name}.npy")} if "results" in case else case
        reply = side.ask({"case": own})
        if "error" in reply:
            print(f"{name}: without {side.name}: {reply['error'].splitlines()[0]}", file=sys.stderr)
        else:
            calls[side.name] = reply["calls"]
    return calls


def table(results: list[Result], sides: list[str]) -> str:
    """ms of every side that ran the case, the ratio to the fastest peer; where known GFLOP/s and the peak's share."""
    lines = [["", *(f"{side} ms" for side in sides), "ratio", "GFLOP/s", "of peak"]]
    for r in results:
        lines.append([r.case, *(f"{r.ms[side]:.3f}" if side in r.ms else "" for side in sides), f"{r.ratio:.2f}",
                      "" if r.gflops is None else f"{r.gflops:.1f}",
                      "" if r.peak_fraction is None else f"{100 * r.peak_fraction:.0f} %"])
    widths = [max(map(len, column)) for column in zip(*lines)]
    aligned = [[line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in aligned)
