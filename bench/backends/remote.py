"""A plugin's backend as the driver and the agents see it: its code runs in a process of its own.

What a plugin does while it is asked about links or health (hang, crash, print, change the
environment) must not happen to a process that others depend on. One process is kept for all
questions, so that an import is paid for once and what the plugin remembers stays. It ends with the
one that asks. Ranks load the plugin themselves: there it may do what it likes.
"""

from __future__ import annotations

import atexit
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..errors import BackendError
from ..host import ended_by
from . import isolated
from .base import Backend
from .contract import ASKED, kind_of

CALL = 30.0
"""Seconds that one answer may take, or as long as a probe: some ask a tool, which has ten."""
_CHANNEL = "HENGSUAN_KEEPER"
_LOOK = 0.2
"""Seconds between two looks at whether the process is still there."""


class Remote(Backend):
    """A backend whose members are asked of its `Keeper`.

    Args:
        name: As users write it.
        declared: The class's attributes, as `isolated.examine` tells them.
    """

    def __init__(self, name: str, declared: Mapping[str, Any]) -> None:
        self.name = name  # type: ignore[misc]
        for member, value in declared.items():
            setattr(self, member, value)
        self._keeper = Keeper(name)
        for member in ASKED:
            setattr(self, member, self._asked(member))

    def _asked(self, member: str) -> Callable[..., Any]:
        def ask(*args: Any) -> Any:
            return msgspec.convert(self._keeper.ask(member, *args), kind_of(member))

        return ask

    def implementations(self) -> Mapping[str, Callable[..., Any]]:
        """The names; what they name is there in a rank alone."""
        names: list[str] = self._keeper.ask("implementations")
        return dict.fromkeys(names, _in_ranks)


def _in_ranks(*_: Any) -> Any:
    raise BackendError("a plugin's operations run in ranks")


class Keeper:
    """The process that holds a plugin, started when it is first asked. Threads may share it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._broken: dict[str, str] = {}

    def ask(self, member: str, *args: Any) -> Any:
        """What a member gives, in plain values.

        Raises `BackendError` with what it raised or did. A member by which the process was lost is
        not asked again: each time would take as long.
        """
        with self._lock:
            problem = self._broken.get(member, "")
            if not problem:
                try:
                    value, problem = self._answer(member, args)
                except _Lost as lost:
                    problem = self._broken[member] = f"{member}() {lost}"
            if problem:
                raise BackendError(problem, where=f"backend {self.name}")
            return value

    def _answer(self, member: str, args: tuple[Any, ...]) -> tuple[Any, str]:
        try:
            if self._process is None:
                self._start()
            self._channel.sendall(msgspec.json.encode((member, args)) + b"\n")
        except OSError:  # it is gone: why, is read there
            pass
        return self._read(min(CALL, isolated.limit()))

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(_LOOK)
        self._channel, self._said = ours, b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self.name],
                env={**environment, _CHANNEL: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.close)
        self._read(isolated.limit())

    def _read(self, limit: float) -> tuple[Any, str]:
        """The next answer: a value, or in words why there is none. Raises `_Lost`."""
        assert self._process is not None
        until = time.monotonic() + limit
        while b"\n" not in self._said:
            if time.monotonic() >= until:
                self.close()
                raise _Lost(f"did not answer within {limit:g} s")
            text: bytes | None
            try:
                text = self._channel.recv(1 << 16)
            except TimeoutError:
                # One that it started may hold the channel open when it is gone itself.
                text = b"" if self._process.poll() is not None else None
            except OSError:
                text = b""
            if text == b"":
                raise self._lost()
            self._said += text or b""
        line, _, self._said = self._said.partition(b"\n")
        found: tuple[Any, str] = msgspec.json.decode(line, type=tuple[Any, str])
        return found

    def _lost(self) -> _Lost:
        """How the process ended."""
        assert self._process is not None
        try:
            ended = ended_by(self._process.wait(5))
        except subprocess.TimeoutExpired:
            ended = "closed its channel"
        self._log.seek(0)
        said = isolated.last_line(self._log.read().decode("utf-8", "replace"))
        self.close()
        return _Lost(f"{ended}{said}")

    def close(self) -> None:
        """End the process and what it started; the next question starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        isolated.kill(process)
        self._channel.close()
        self._log.close()
        atexit.unregister(self.close)


class _Lost(Exception):
    """The process cannot be asked any more; the text says why."""


def main() -> None:
    """In the process: load the plugin, then answer calls, until the other side is gone."""
    from .registry import get

    channel = socket.socket(fileno=int(os.environ.pop(_CHANNEL)))
    channel.set_inheritable(False)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in channel.makefile("rb"):
            calls.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    backend = get(sys.argv[1], isolated=True)
    _send(channel, None, "")
    while True:
        member, args = msgspec.json.decode(calls.get())
        try:
            value = getattr(backend, member)(*args)
            value = sorted(value) if member == "implementations" else value
            _send(channel, value, "")
        except BackendError as error:
            _send(channel, None, "; ".join(filter(None, (error.message, error.hint))))
        except BaseException as error:  # a plugin may raise anything
            text = " ".join(str(error).split())
            _send(channel, None, f"{member}() raised {type(error).__name__}: {text}")


def _send(channel: socket.socket, value: Any, problem: str) -> None:
    channel.sendall(msgspec.json.encode((value, problem)) + b"\n")


if __name__ == "__main__":
    main()
