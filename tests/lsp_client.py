"""A minimal client of the Language Server Protocol: a server process, messages with their headers, nothing more."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from queue import Empty, Queue


class Client:
    """Starts `python -m tinyconv lsp`. `request` waits for the answer; notifications are kept in `notifications`.
    pause: the server's, in seconds, other than it has."""

    def __init__(self, pause: float | None = None):
        command = ["-m", "tinyconv", "lsp"]
        if pause is not None:
            command = ["-c", f"import tinyconv.cli, tinyconv.lsp.server as s; s.PAUSE = {pause}; "
                       "tinyconv.cli.main(['lsp'])"]
        self.process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.messages: Queue = Queue()
        self.notifications: list[dict] = []
        self.number = 0
        self.errors = b""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._drain, daemon=True).start()

    def _read(self) -> None:
        stream = self.process.stdout
        while True:
            size = None
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            if size is None:
                return
            self.messages.put(json.loads(stream.read(size)))

    def _drain(self) -> None:
        self.errors = self.process.stderr.read()

    # Sending

    def send(self, message: dict) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def raw(self, body: bytes) -> None:
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method: str, params: dict | None = None) -> None:
        self.send({"method": method, "params": params or {}})

    def request(self, method: str, params: dict | None = None, timeout: float = 120) -> dict:
        """The whole answer, with `result` or `error`."""
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params or {}})
        while True:
            message = self.messages.get(timeout=timeout)
            if message.get("id") == self.number and "method" not in message:
                return message
            self.notifications.append(message)

    def result(self, method: str, params: dict | None = None):
        answer = self.request(method, params)
        assert "error" not in answer, answer
        return answer["result"]

    # Diagnostics

    def diagnostics(self, uri: str, timeout: float = 120) -> list[dict]:
        """The next diagnostics that are published for a document."""
        while True:
            for message in self.notifications:
                if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                    self.notifications.remove(message)
                    return message["params"]["diagnostics"]
            self.notifications.append(self.messages.get(timeout=timeout))

    def silence(self, seconds: float) -> bool:
        """Whether nothing comes for a while."""
        try:
            self.notifications.append(self.messages.get(timeout=seconds))
        except Empty:
            return True
        return False

    # Documents

    def open(self, uri: str, text: str) -> list[dict]:
        self.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "tinyconv-net", "version": 1,
                                                              "text": text}})
        return self.diagnostics(uri)

    def change(self, uri: str, text: str, version: int = 2) -> None:
        self.notify("textDocument/didChange", {"textDocument": {"uri": uri, "version": version},
                                               "contentChanges": [{"text": text}]})

    def at(self, method: str, uri: str, line: int, character: int):
        return self.result(f"textDocument/{method}", {"textDocument": {"uri": uri},
                                                      "position": {"line": line, "character": character}})

    def start(self, encodings: list[str] | None = None) -> dict:
        general = {"positionEncodings": encodings} if encodings else {}
        result = self.result("initialize", {"processId": None, "rootUri": None, "capabilities": {"general": general}})
        self.notify("initialized")
        return result

    def stop(self) -> int:
        self.result("shutdown")
        self.notify("exit")
        return self.process.wait(timeout=120)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=120)
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
