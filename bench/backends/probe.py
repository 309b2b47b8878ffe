"""Asks a backend for its devices in a process of its own.

A vendor's stack may crash, hang or print rubbish while it is imported. The harness must then
say so in a sentence, and go on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec

from ..errors import BackendError
from ..records import Device
from .registry import get, listing

LIMIT = 60.0
"""Seconds that a stack may take to load and count its devices."""
_MARK = "hengsuan-devices:"


class Probe(msgspec.Struct, frozen=True):
    """What a backend found on this node: devices, or why there are none."""

    name: str
    devices: list[Device] = []
    problem: str = ""


def discover(wanted: str | None = None) -> list[Probe]:
    """Probe this node's backends in order of priority.

    Without ``wanted`` the search ends at the first that has devices. With it, only that backend
    is asked; raises `UsageError` if nothing answers to the name.
    """
    if wanted is not None:
        get(wanted)
        return [probe(wanted)]
    found = []
    for listed in listing():
        if listed.problem:
            found.append(Probe(listed.name, problem=listed.problem))
            continue
        found.append(probe(listed.name))
        if found[-1].devices:
            break
    return found


def probe(name: str, limit: float = LIMIT) -> Probe:
    """Devices of one backend on this node. Never raises for what the backend does."""
    backend = get(name)
    try:
        absent = backend.present()
    except Exception as error:  # a plugin may raise anything
        return Probe(name, problem=f"present() raised {type(error).__name__}: {error}")
    if absent:
        return Probe(name, problem=absent)
    if backend.device_type == "cpu" and backend.stand_in and backend.module is None:
        # Nothing is imported to count cores, so nothing can crash: no process is needed.
        return Probe(name, devices=backend.devices())
    return _ask(name, limit)


def architecture(name: str, limit: float = LIMIT) -> str | None:
    """Triton's architecture of a backend's first device; None where it has no Triton target.

    Raises `BackendError` if it cannot be asked.
    """
    answer, problem = _answer([name, "arch"], limit)
    try:
        if not problem:
            return msgspec.json.decode(answer, type=str | None)
    except msgspec.DecodeError as error:
        problem = f"arch() gave what is no name: {error}"
    raise BackendError(f"its architecture cannot be asked: it {problem}", where=f"backend {name}")


def _ask(name: str, limit: float) -> Probe:
    answer, problem = _answer([name], limit)
    if problem:
        return Probe(name, problem=problem)
    try:
        devices = msgspec.json.decode(answer, type=list[Device])
    except msgspec.DecodeError as error:
        return Probe(name, problem=f"gave devices that cannot be read: {error}")
    return Probe(name, devices=devices, problem="" if devices else "has no device")


def _answer(words: list[str], limit: float) -> tuple[str, str]:
    """What the probe process answers, or in words why it did not."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, *words],
            env={**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return "", f"did not answer within {limit:g} s"
    said = [line for line in (done.stderr or "").strip().splitlines() if line.strip()]
    last = f": {said[-1][:300]}" if said else ""
    if done.returncode < 0:
        return "", f"crashed with {signal.Signals(-done.returncode).name}{last}"
    if done.returncode:
        return "", f"failed{last}"
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return line[len(_MARK) :], ""
    return "", f"answered without a list of devices{last}"


def main() -> None:
    """In the probe process: print a backend's devices, or its architecture, as one marked line."""
    backend = get(sys.argv[1])
    answer: object
    try:
        if sys.argv[2:] == ["arch"]:
            backend.load()
            answer = backend.arch(backend.open(0))
        else:
            answer = backend.devices()
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.stdout.write(_MARK + msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()
    # A stack whose threads crash a process at its end has answered all the same; as a rank it is
    # never taken apart, but killed.
    os._exit(0)


if __name__ == "__main__":
    main()
