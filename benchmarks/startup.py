"""How long short commands take, interpreter start included, in turns with `python -c pass`.

    python benchmarks/startup.py [--runs 21] [--json]

Medians of wall and processor time. The bytecode of modules is cached by a first run that does not count; run as
`PYTHONDONTWRITEBYTECODE=1 …` in a clone that has never run, every start compiles the modules again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from resource import RUSAGE_CHILDREN, getrusage

TINYCONV = [sys.executable, "-m", "tinyconv"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import tinyconv": [sys.executable, "-c", "import tinyconv"],
    "tinyconv --version": [*TINYCONV, "--version"],
    "tinyconv summary lenet5": [*TINYCONV, "summary", "lenet5"],
    "tinyconv summary resnet50": [*TINYCONV, "summary", "resnet50"],
    "tinyconv summary resnet152": [*TINYCONV, "summary", "resnet152"],
    "tinyconv summary resnet152 --json": [*TINYCONV, "summary", "resnet152", "--json"],
    "tinyconv check resnet152": [*TINYCONV, "check", "resnet152"],
}


def once(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    begun, used = time.perf_counter(), getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return (time.perf_counter() - begun,
            after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime)


def measure(runs: int) -> list[dict]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(runs + 1):
        for name, command in COMMANDS.items():
            taken = once(command)
            if turn:
                times[name].append(taken)
    return [{"command": name, "wall_ms": 1e3 * statistics.median(wall for wall, _ in taken),
             "cpu_ms": 1e3 * statistics.median(cpu for _, cpu in taken), "least_ms": 1e3 * min(taken)[0], "runs": runs}
            for name, taken in times.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21, help="runs of each command [default: 21]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = measure(options.runs)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'command':36} {'wall':>8} {'least':>8} {'cpu':>8}  ms, medians of {options.runs} runs")
    for row in found:
        print(f"{row['command']:36} {row['wall_ms']:8.0f} {row['least_ms']:8.0f} {row['cpu_ms']:8.0f}")


if __name__ == "__main__":
    main()
