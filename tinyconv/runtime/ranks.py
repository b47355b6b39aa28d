"""Data parallel training over MPI: `mpiexec -n 4 tinyconv train …` starts four processes, ranks, of one training.

Each takes a contiguous part of every batch. Its loss is weighted by its share of the samples, so that the sum of the
ranks' gradients is the gradient of the whole batch; all ranks then make the same update. Gradients are summed in
buckets, without waiting, while the backward pass goes on (Li et al. 2020, PyTorch Distributed). With synchronised batch
norm the statistics are those of the whole batch (Peng et al. 2018), and n ranks compute what one process would, but for
the order of sums.

Steps of a plan that ranks take together are those of `TOGETHER`: between two ranges of other steps, in Python.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from math import prod

import numpy as np

from ..errors import NetError
from ..ops import TOGETHER
from .tape import Buffer, Step, Tape

BUCKET = 4 << 20  # bytes of gradients after which a sum begins
# what the process managers of MPICH, Open MPI and PMIx tell the processes they start
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE")


def record_sums(tape: Tape) -> None:
    """Records the sums of all gradients over the ranks: each bucket's behind the step that completes it, and where they
    are waited for."""
    summed = {b.id for s in tape.steps if s.op == "bn_merge_grad" for b in s.inputs[:2]}
    wanted = {b.id: b for b in tape.gradients.values() if b.id not in summed}
    after: dict[int, list[Buffer]] = {}
    bucket: list[Buffer] = []
    written = {b.id: t for t, s in enumerate(tape.steps) for b in s.outputs}
    order = sorted(wanted.values(), key=lambda b: written[b.id])
    for b in order:
        bucket.append(b)
        if sum(x.bytes for x in bucket) >= BUCKET or b is order[-1]:
            after[written[b.id]] = bucket
            bucket = []
    steps = []
    for t, step in enumerate(tape.steps):
        steps.append(step)
        if t in after:
            steps.append(Step("allreduce", tuple(after[t]), (), {}, step.node, "backward"))
    tape.steps[:] = [*steps, Step("allreduce_wait", tuple(order), (), {}, "", "backward")] if order else steps


def part_of(n: int, rank: int, size: int) -> slice:
    """What rank `rank` of `size` takes of n samples: contiguous, as even as can be. Where there are fewer samples than
    ranks each takes all of them, and counts for less."""
    return slice(0, n) if n < size else slice(n * rank // size, n * (rank + 1) // size)


class Ranks:
    """The processes of one training. comm: an mpi4py communicator, in which this one is `rank` of `size`."""

    def __init__(self, comm):
        from mpi4py import MPI

        self._mpi, self.comm = MPI, comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._waiting: list[tuple] = []  # (request, sums, buffers)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes, logs and speaks."""
        return self.rank == 0

    # -- words between ranks

    def sum(self, *values: float) -> list[float]:
        """The sums over all ranks, in double, the same on each."""
        return self.sums(np.array(values, np.float64)).tolist()

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of the ranks' arrays, element by element."""
        total = np.empty_like(values)
        self.comm.Allreduce(values, total)
        return total

    def any(self, mine: bool) -> bool:
        return self.sum(mine) != [0.0]

    def tell(self, value):
        """Rank 0's value, plain JSON data, on every rank."""
        size = np.zeros(1, np.int64)
        text = json.dumps(value).encode() if self.leads else b""
        size[0] = len(text)
        self.comm.Bcast(size)
        room = bytearray(text) if self.leads else bytearray(int(size[0]))
        self.comm.Bcast([room, self._mpi.BYTE])
        return json.loads(room.decode())

    def copy(self, memory: np.ndarray) -> None:
        """Rank 0's bytes in the place of each rank's own."""
        for at in range(0, memory.nbytes, 1 << 30):  # counts in MPI are of 32 bits
            self.comm.Bcast(memory[at:at + (1 << 30)])

    def wait(self) -> None:
        """Until all ranks are here."""
        self.comm.Barrier()

    def check_same(self, memory: np.ndarray) -> None:
        """NetError unless all ranks hold the same bytes."""
        sums = np.zeros(self.size, np.int64)
        sums[self.rank] = zlib.crc32(memory)
        if len(set(self.sums(sums).tolist())) > 1:
            raise NetError("the weights of the ranks differ, though all made the same updates",
                           help="start all of them with the same version, instruction set (TINYCONV_ISA) and data")

    def threads(self, available: int) -> int:
        """How many threads this rank should use: its share of the processors it may run on with other ranks."""
        near = self.comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        masks = np.zeros((near.Get_size(), 128), np.uint8)
        masks[near.Get_rank(), sorted(cpu % 1024 // 8 for cpu in mine)] = 1
        total = np.empty_like(masks)
        near.Allreduce(masks, total)
        sharing = int((total & masks[near.Get_rank()]).any(1).sum())
        return max(1, available // sharing)

    # -- steps of a plan

    def run(self, step: Step, session) -> None:
        """One of the steps of `TOGETHER`."""
        getattr(self, f"_{step.op}")(step, session)

    def _allreduce(self, step: Step, session) -> None:
        for request, _, _ in self._waiting:
            request.Test()  # MPI goes on with earlier sums only while it is called
        sums = np.concatenate([session.read(b).ravel() for b in step.inputs])
        self._waiting.append((self.comm.Iallreduce(self._mpi.IN_PLACE, sums), sums, step.inputs))

    def _allreduce_wait(self, step: Step, session) -> None:
        for request, sums, buffers in self._waiting:
            request.Wait()
            at = 0
            for b in buffers:
                session.write(b, sums[at:at + prod(b.shape)].reshape(b.shape))
                at += prod(b.shape)
        self._waiting.clear()

    def _bn_merge(self, step: Step, session) -> None:
        """Of means and biased variances over parts, those over all: the parallel variance of Chan et al. 1979."""
        mean, var = (session.read(b).astype(np.float64) for b in step.inputs)
        share = step.attrs["share"]
        whole = self.sums(share * mean)
        spread = self.sums(share * (var + (mean - whole) ** 2))
        for b, value in zip(step.inputs, (whole, spread)):
            session.write(b, value.astype(np.float32))

    def _bn_merge_grad(self, step: Step, session) -> None:
        """dgamma and dbeta summed over the ranks, and what they change in dx = gamma/sigma (dy - dbeta/rows - xhat
        dgamma/rows), which was computed with this rank's own sums and rows: factors of xhat and of 1."""
        dgamma, dbeta, var = (session.read(b).astype(np.float64) for b in step.inputs[:3])
        gamma = session.store.view(step.inputs[3].name).astype(np.float64)
        rows, share = step.attrs["rows"], step.attrs["share"]
        whole = self.sums(np.stack([dgamma, dbeta]))
        scale = gamma / np.sqrt(var + step.attrs["eps"]) / rows
        change = scale * (np.stack([dgamma, dbeta]) - share * whole)  # whole / (rows / share) on all of them
        for b, value in zip((*step.inputs[:2], *step.outputs), (*whole, *change)):
            session.write(b, value.astype(np.float32))


class Apart:
    """In the place of Ranks where steps are run again by one rank alone: nothing is exchanged."""

    def run(self, step: Step, session) -> None:
        if step.op == "bn_merge_grad":
            for b in step.outputs:
                session.write(b, np.zeros(b.shape, np.float32))


def run_range(session, first: int, last: int, run: Callable[[int, int], None], ranks) -> None:
    """Steps first to last of the session's plan by `run(first, last)`, those taken together by the ranks."""
    steps = session.plan.steps
    for t in range(first, last) if ranks is not None else ():
        if steps[t].op in TOGETHER:
            run(first, t)
            ranks.run(steps[t], session)
            first = t + 1
    run(first, last)


_world: Ranks | None = None


def world() -> Ranks | None:
    """The ranks that mpiexec started together with this process; None where it is alone. The first call starts MPI."""
    global _world
    told = max((int(os.environ.get(name) or 1) for name in SIZES), default=1)
    if _world is None and told > 1:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise NetError(f"mpiexec started {told} processes, but they have no mpi4py to talk by ({error})",
                           help="pip install 'tinyconv[mpi]'") from error
        if MPI.COMM_WORLD.Get_size() != told:
            raise NetError(f"mpiexec started {told} processes, of which MPI sees {MPI.COMM_WORLD.Get_size()}",
                           help="use the mpiexec of the MPI library that mpi4py loads")
        _world = Ranks(MPI.COMM_WORLD)
        hook = sys.excepthook

        def end_all(kind, error, trace) -> None:
            hook(kind, error, trace)
            end(1)

        sys.excepthook = end_all
    return _world


def end(code: int) -> None:
    """Ends all ranks, where there are several, for this one fails: the others would wait for it forever."""
    if _world is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(1)  # at an abort MPICH's process manager drops what it hasn't read by then, a message too
        _world.comm.Abort(code)
