"""Plans of a net, made once for each request, and sessions (an arena for a plan) lent to one caller at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager

from ..graph import Graph
from .plan import Plan, Request, make_plan
from .store import Store

PLANS = 16  # kept a net, the longest unused dropped first
IDLE = 4  # sessions kept for a plan


class Sessions:
    """Safe from several threads: each call runs in a session of its own."""

    def __init__(self, graph: Graph, store: Store, backend):
        self.graph, self.store, self.backend = graph, store, backend
        self._lock = threading.Lock()
        self._plans: OrderedDict[Request, tuple[Plan, list]] = OrderedDict()

    def plan(self, request: Request) -> Plan:
        return self._entry(request)[0]

    def _entry(self, request: Request) -> tuple[Plan, list]:
        with self._lock:
            entry = self._plans.get(request)
            if entry is None:
                entry = make_plan(self.graph, request, self.backend.lower), []
                self._plans[request] = entry
                if len(self._plans) > PLANS:
                    self._plans.popitem(last=False)
            else:
                self._plans.move_to_end(request)
            return entry

    def take(self, request: Request):
        """A session, until it is given back."""
        plan, idle = self._entry(request)
        try:
            return idle.pop()
        except IndexError:
            return self.backend.prepare(plan, self.store)

    def give_back(self, session) -> None:
        entry = self._plans.get(session.plan.request)
        if entry is not None and entry[0] is session.plan and len(entry[1]) < IDLE:
            entry[1].append(session)

    @contextmanager
    def session(self, request: Request):
        """A session for the duration of the block; one whose block fails is dropped."""
        session = self.take(request)
        yield session
        self.give_back(session)
