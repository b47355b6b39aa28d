"""Plans of a net, made once for each request, and sessions (memory for a plan) lent to one caller at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from ..errors import NetError
from ..graph import Graph
from . import budget, threads
from .plan import Plan, Request, make_plan
from .store import Store, aligned

PLANS = 16  # kept a net, the longest unused dropped first
IDLE = 4  # sessions kept for a plan, and blocks of memory


class Sessions:
    """Safe from several threads: each call runs in a session of its own. The memory they run in is lent, too: plans of
    other sizes and modes take the same block one after another."""

    def __init__(self, graph: Graph, store: Store, backend):
        self.graph, self.store, self.backend = graph, store, backend
        self._lock = threading.Lock()
        self._plans: OrderedDict[Request, tuple[Plan, list]] = OrderedDict()
        self._latest: tuple[Request | None, tuple[Plan, list] | None] = None, None  # most calls ask for it again
        self._blocks: list[np.ndarray] = []  # idle memory

    def plan(self, request: Request) -> Plan:
        return self._entry(request)[0]

    def _entry(self, request: Request) -> tuple[Plan, list]:
        latest, entry = self._latest
        if latest is request:
            return entry
        with self._lock:
            entry = self._plans.get(request)
            if entry is None:
                entry = make_plan(self.graph, request, self.backend.lower), []
                self._plans[request] = entry
                if len(self._plans) > PLANS:
                    self._plans.popitem(last=False)
            else:
                self._plans.move_to_end(request)
            self._latest = request, entry
            return entry

    def take(self, request: Request):
        """A session, until it is given back. NetError where the machine has not the memory."""
        plan, idle = self._entry(request)
        try:
            session = idle.pop()
        except IndexError:
            session = self.backend.prepare(plan, self.store)
        count = threads.get()
        session.use(self._block(session.bytes(count), request), count)
        return session

    def give_back(self, session) -> None:
        if session.block is not None and len(self._blocks) < IDLE:
            self._blocks.append(session.block)
        latest, entry = self._latest
        if latest is not session.plan.request:
            entry = self._plans.get(session.plan.request)
        if entry is not None and entry[0] is session.plan and len(entry[1]) < IDLE:
            entry[1].append(session)

    @contextmanager
    def session(self, request: Request):
        """A session for the duration of the block; one whose block fails is dropped."""
        session = self.take(request)
        yield session
        self.give_back(session)

    # -- memory

    def _block(self, nbytes: int, request: Request) -> np.ndarray:
        """Idle memory that is large enough, else new in the place of what is too small."""
        try:
            block = self._blocks.pop()
        except IndexError:
            block = None
        if block is not None and block.nbytes >= nbytes:
            return block
        have = budget.available()
        freed = 0 if block is None else block.nbytes
        del block
        if have is not None and nbytes > have + freed:
            raise NetError(f"a batch of {request.batch} needs {budget.shown(nbytes)} of memory, and the machine has "
                           f"{budget.shown(have + freed)} left", help=self._advice(request, have + freed))
        return aligned(nbytes)

    def release(self) -> None:
        """Gives idle memory back to the system; the next call takes new."""
        with self._lock:
            for _, idle in self._plans.values():
                for session in list(idle):
                    session.use(None, 0)
            self._blocks.clear()

    def needs(self, request: Request) -> int:
        """Bytes that the first run of this request will take beside what the process has."""
        idle = max((block.nbytes for block in list(self._blocks)), default=0)
        block, other = self._wanted(request)
        return other + (0 if idle >= block else block - idle)

    def _wanted(self, request: Request) -> tuple[int, int]:
        """Bytes of the block for a request, and of what a session takes besides."""
        plan = self.plan(request)
        session = self.backend.prepare(plan, self.store)
        summed = sum(b.bytes for s in plan.steps if s.op == "allreduce" for b in s.inputs)
        return session.bytes(threads.get()), session.other_bytes() + summed

    def within(self, request: Request, limit: int) -> Request:
        """The request of a plan with which the process stays below `limit` bytes; values are computed again in the
        backward pass where that must be. NetError that says which batch would fit."""
        spare = limit - (budget.resident() or 0)
        over = self.needs(request) - spare
        arena = self.plan(request).arena_bytes
        for _ in range(3):  # how much scratch memory stands beside the arena is known of a plan only
            if over <= 0:
                return request
            arena -= over
            request = replace(request, arena=max(arena, 1))
            over = self.needs(request) - spare
        if over <= 0:
            return request
        raise NetError(f"training at batch {request.batch} needs at least {budget.shown(limit + over)}, more than the "
                       f"limit of {budget.shown(limit)}", help=self._advice(request, sum(self._wanted(request)) - over))

    def _advice(self, request: Request, nbytes: int) -> str:
        """Which batch would need no more than so much."""
        low, high = 0, request.batch - 1
        while low < high:
            middle = (low + high + 1) // 2
            fits = sum(self._wanted(replace(request, batch=middle))) <= nbytes
            low, high = (middle, high) if fits else (low, middle - 1)
        return f"a batch of {low} would fit" if low else "not even a batch of 1 would fit"
