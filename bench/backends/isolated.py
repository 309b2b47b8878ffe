"""Asks a backend in a process of its own, with a deadline.

A vendor's stack may crash, hang or print rubbish while it is imported; so may the mere import of
the class that declares it. The harness must then say so in a sentence, and go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

import msgspec

from ..host import ended_by
from . import tools

SECONDS = "HENGSUAN_PROBE_SECONDS"
_MARK = "hengsuan-answer:"


def limit() -> float:
    """Seconds that a stack may take to load and count its devices (``HENGSUAN_PROBE_SECONDS``)."""
    try:
        return float(os.environ.get(SECONDS, "")) or 60.0
    except ValueError:
        return 60.0


class Examined(msgspec.Struct, frozen=True):
    """What a backend's class says: why it cannot be used, or why this node has no such devices.

    ``declared``: its attributes (`contract.declared`).
    """

    problem: str = ""
    absent: str = ""
    priority: int = 0
    tested: str = ""
    declared: dict[str, Any] = {}


def examine(name: str) -> Examined:
    """Import the backend's class elsewhere. Never raises for what it does."""
    found, problem = ask(name, "examine", kind=Examined, limit=limit())
    return Examined(problem=f"its import {problem}") if problem else found


def ask(name: str, *words: str, kind: Any, limit: float) -> tuple[Any, str]:
    """What the process answers, of a ``kind``; or in words why it did not."""
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    ended = tools.run([sys.executable, "-m", __name__, name, *words], limit, environment)
    if ended.code is None:
        return None, f"did not answer within {limit:g} s"
    last = last_line(ended.err)
    if ended.code < 0:
        return None, f"{ended_by(ended.code)}{last}"
    if ended.code:
        return None, f"failed{last}"
    for line in reversed(ended.out.splitlines()):  # the stack may have said anything before
        if line.startswith(_MARK):
            try:
                return msgspec.json.decode(line[len(_MARK) :], type=kind), ""
            except msgspec.DecodeError as error:
                return None, f"gave another answer than ours: {error}"
    return None, f"ended without an answer{last}"


def last_line(said: str) -> str:
    """The last line of what a process said, to stand behind what became of it."""
    lines = [line for line in said.splitlines() if line.strip()]
    return f": {lines[-1].strip()[:300]}" if lines else ""


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group of its own, and that group."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)  # one that waits for a driver cannot even be killed


def _answer(name: str, words: list[str]) -> object:
    from .contract import declared
    from .registry import get, here

    if words == ["examine"]:
        found = here(name)
        if isinstance(found, str):
            return Examined(problem=found)
        return Examined(
            absent=found.present(),
            priority=found.priority,
            tested=found.tested,
            declared=declared(found),
        )
    backend = get(name, isolated=True)
    if words == ["devices"]:
        return backend.devices()
    backend.load()
    device = backend.open(0)
    if words == ["arch"]:
        return backend.arch(device)
    return backend.limit_memory(device, int(words[1]))


def main() -> None:
    """In the process: print the answer as one marked line."""
    name, *words = sys.argv[1:]
    try:
        answer = _answer(name, words)
    except BaseException as error:  # a vendor's stack may raise anything, SystemExit included
        from ..errors import HengsuanError

        # Without the place that it names: whoever asked knows it.
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, HengsuanError):
            text = "; ".join(filter(None, (error.message, error.hint)))
        sys.stderr.write(f"\n{' '.join(text.split())}\n")
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.write(f"\n{_MARK}{msgspec.json.encode(answer).decode()}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a driver that cannot shut down has answered all the same


if __name__ == "__main__":
    main()
