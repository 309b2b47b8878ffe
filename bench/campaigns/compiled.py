"""Which candidates the compiler takes, asked before any device time is used.

Compilers run in processes of their own: one that crashes costs one candidate.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import msgspec

from ..kernels import codegen, ops, space, tuning
from .entries import Tuned

OWN = "arch_variant"
"""The constant that chooses a kernel written for the architecture."""


class Compiled(msgspec.Struct, frozen=True):
    """What a candidate's kernels take together: the most of each. ``error``: why there are none."""

    shared: int = 0
    spills: int = 0
    error: str = ""


def compilable(arch: str) -> bool:
    """Whether the installed Triton compiles for the architecture without a device."""
    return arch in tuning.targets() and not os.environ.get("TRITON_INTERPRET")


def rejected(one: Tuned, seconds: float) -> dict[str, str]:
    """Candidates that need not be measured, with the reason: they do not compile or fit, or spill.

    The present entry is never among them, and candidates may spill as much as it does; kernels of
    the architecture's own may anyway: they are tested to spill outside their loops, where it costs
    nothing. What has not been compiled after ``seconds`` is left to the device.
    """
    built = _build(one, seconds)
    present = built.get(one.candidates[0], Compiled())
    limit = tuning.targets()[one.arch].shared
    found = {}
    for name, made in built.items():
        if made.error:
            found[name] = f"the compiler refused it: {made.error}"
        elif made.shared > limit:
            found[name] = f"takes {made.shared} bytes of shared memory, there are {limit}"
        elif made.spills > present.spills and not space.parse(name, [one.key])[1].get(OWN):
            found[name] = f"spills {made.spills}, the present entry {present.spills}"
    found.pop(one.candidates[0], None)
    return found


def kernels_of(one: Tuned, name: str) -> list[codegen.Kernel]:
    """What a candidate launches for the first of the entry's cases."""
    axes = one.uses[0].axes
    shape = tuple(int(extent) for extent in axes["shape"].split("x"))
    case = ops.Case(axes["op"], shape, axes["dtype"], axes["variant"], one.arch)
    with tuning.forcing(*space.parse(name, [one.key])):
        return codegen.kernels_of(ops.get(case.op), case)


def _build(one: Tuned, seconds: float) -> dict[str, Compiled]:
    deadline = time.monotonic() + seconds
    workers = max(1, min(8, len(os.sched_getaffinity(0)) - 1))
    found: dict[str, Compiled] = {}
    with _compilers(workers) as idle, ThreadPoolExecutor(workers) as pool:
        late = threading.Timer(seconds, idle.stop)
        late.start()
        try:

            def build(name: str, kernels: Sequence[codegen.Kernel]) -> None:
                if time.monotonic() < deadline:
                    made = idle.build(kernels, one.arch)
                    if made is not None:
                        found[name] = made

            jobs = []
            for name in one.candidates:
                if time.monotonic() > deadline:
                    break
                try:
                    kernels = kernels_of(one, name)
                except ValueError as error:
                    found[name] = Compiled(error=str(error))
                    continue
                jobs.append(pool.submit(build, name, kernels))
            for job in jobs:
                job.result()
        finally:
            late.cancel()
            idle.stop()
    return found


class _Compilers:
    """Processes of `bench.kernels.codegen`, each of which serves one thread at a time."""

    def __init__(self, count: int) -> None:
        self._idle: queue.SimpleQueue[subprocess.Popen[str] | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)
        self._running: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()
        self._stopped = False

    def build(self, kernels: Sequence[codegen.Kernel], arch: str) -> Compiled | None:
        """The most that any of the kernels takes; None if time was up."""
        process = self._idle.get()
        try:
            worst = Compiled()
            for kernel in kernels:
                if process is None or process.poll() is not None:
                    process = self._start()
                if process is None:
                    return None
                made = _asked(process, kernel, arch)
                if self._stopped:
                    return None
                if made.error:
                    return made
                worst = Compiled(max(worst.shared, made.shared), max(worst.spills, made.spills))
            return worst
        finally:
            self._idle.put(process)

    def stop(self) -> None:
        """End all processes; who waits for one gets None."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()

    def close(self) -> None:
        """`stop`, and wait for them."""
        self.stop()
        for process in self._running:
            process.communicate()

    def _start(self) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.kernels.codegen"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
            )
            self._running.append(process)
            return process


@contextlib.contextmanager
def _compilers(count: int) -> Iterator[_Compilers]:
    made = _Compilers(count)
    try:
        yield made
    finally:
        made.close()


def _asked(process: subprocess.Popen[str], kernel: codegen.Kernel, arch: str) -> Compiled:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode([arch, asdict(kernel)]).decode() + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    if not line:
        process.kill()
        return Compiled(error="the compiler crashed")
    said: dict[str, Any] = msgspec.json.decode(line)
    if "error" in said:
        return Compiled(error=said["error"])
    return Compiled(shared=said["shared"], spills=said["spills"] or 0)
