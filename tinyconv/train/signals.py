"""The first SIGINT or SIGTERM asks training to stop after the batch; the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 0.3  # seconds: `timeout` and process managers send the same signal to a process and to its group


class Interruption:
    """A context in which `requested` turns True at the first signal. Outside the main thread, where Python allows no
    handlers, it stays False and signals do what they did before. The former handlers come back at the end."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Interruption:
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            # A Python handler runs only once a kernel has returned, which for a large batch takes seconds. The number
            # of the signal is written to the pipe at once, so a thread can end the process meanwhile.
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
            self._former_pipe = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, name="tinyconv-signals", daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handlers:
            signal.set_wakeup_fd(self._former_pipe)
            for number, handler in self._handlers.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            os.write(self._write, b"\0")
            self._watcher.join()
            os.close(self._read)
            os.close(self._write)

    def _handle(self, *_: object) -> None:
        self.requested = True

    def _watch(self) -> None:
        first = None
        while (number := os.read(self._read, 1)[0]) != 0:
            if number not in SIGNALS:
                continue
            if first is None:
                first = time.monotonic()
            elif time.monotonic() - first > TOGETHER:
                os._exit(130)
