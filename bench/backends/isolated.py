"""Asks a backend in a process of its own, with a deadline.

A vendor's stack may crash, hang or print rubbish while it is imported; so may the mere import of
the class that declares it. The harness must then say so in a sentence, and go on.
"""

from __future__ import annotations

import os
import signal
import sys

import msgspec

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
    """What a backend's class says: why it cannot be used, or why this node has no such devices."""

    problem: str = ""
    absent: str = ""
    priority: int = 0
    tested: str = ""


def examine(name: str) -> Examined:
    """Import the backend's class elsewhere. Never raises for what it does."""
    answer, problem = ask(name, "examine", limit=limit())
    if problem:
        return Examined(problem=f"its import {problem}")
    return msgspec.json.decode(answer, type=Examined)


def ask(name: str, *words: str, limit: float) -> tuple[str, str]:
    """What the process answers (JSON), or in words why it did not."""
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    ended = tools.run([sys.executable, "-m", __name__, name, *words], limit, environment)
    if ended.code is None:
        return "", f"did not answer within {limit:g} s"
    said = [line for line in ended.err.strip().splitlines() if line.strip()]
    last = f": {said[-1][:300]}" if said else ""
    if ended.code < 0:
        return "", f"crashed with {signal.Signals(-ended.code).name}{last}"
    if ended.code:
        return "", f"failed{last}"
    for line in ended.out.splitlines():
        if line.startswith(_MARK):
            return line[len(_MARK) :], ""
    return "", f"ended without an answer{last}"


def _answer(name: str, words: list[str]) -> object:
    from .registry import get, here

    if words == ["examine"]:
        found = here(name)
        if isinstance(found, str):
            return Examined(problem=found)
        return Examined(absent=found.present(), priority=found.priority, tested=found.tested)
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
    except Exception as error:
        from ..errors import HengsuanError

        # Without the place that it names: whoever asked knows it.
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, HengsuanError):
            text = "; ".join(filter(None, (error.message, error.hint)))
        sys.stderr.write(f"\n{' '.join(text.split())}\n")
        sys.exit(1)
    sys.stdout.write(f"\n{_MARK}{msgspec.json.encode(answer).decode()}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a driver that cannot shut down has answered all the same


if __name__ == "__main__":
    main()
