"""The parent's side of a worker: started when needed, replaced when it crashes, hangs or faults."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from cases import Task
from records import OURS, Cell, Record
from worker import Order

START = 120.0
"""Seconds that a worker may take to load its stack."""
LIMIT = 180.0
"""Seconds that a task may take: compiling it for every rival included."""


class OutOfTimeError(Exception):
    """The budget ended while a task was being done."""


class WorkerError(Exception):
    """A worker cannot be started; the text says why."""


class _LostError(Exception):
    """The worker ended or was ended in the middle of a task."""


class Worker:
    """A process that holds the device.

    Args:
        backend: Its name.
        index: The device's number on this node.
        environment: Of the process.
        seconds: Of timing a task.
        rivals: Which rivals take part (`records.takes_part`), with commas between them.
    """

    def __init__(
        self, backend: str, index: int, environment: Mapping[str, str], seconds: float, rivals: str
    ) -> None:
        script = str(Path(__file__).with_name("worker.py"))
        self._command = [sys.executable, script, backend, str(index), str(seconds), rivals]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def hello(self) -> dict[str, Any]:
        """Start, and return what the worker says of its device. Raises `WorkerError`."""
        if self._stopped:
            raise OutOfTimeError
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
            start_new_session=True,
        )
        self._said: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, self._said), daemon=True).start()
        try:
            return dict(self._next(time.monotonic() + START)["hello"])
        except (_LostError, TimeoutError, KeyError) as error:
            self.close()
            if self._stopped:
                raise OutOfTimeError from None
            raise WorkerError(f"the worker did not start: {error}") from None

    def do(
        self, task: Task, until: float, so_far: Callable[[Record], None] = lambda record: None
    ) -> Record:
        """Do a task. A rival that takes the worker down is left out, and the task done again.

        Args:
            task: What to do.
            until: When the budget ends (`time.monotonic`).
            so_far: Is given what the record says already, where more is to follow. That stays where
                time is over before it does.

        Raises:
            OutOfTimeError: the budget ended first.
            WorkerError: the worker does not start again.
        """
        excluded: dict[str, str] = {}
        while True:
            if self._process is None:
                self.hello()
            stage, limit = "start", min(time.monotonic() + LIMIT, until)
            order = Order(task=msgspec.to_builtins(task), excluded=excluded)
            known: Record | None = None
            try:
                self._send(msgspec.json.encode(order))
                while True:
                    said = self._next(limit)
                    stage = said.get("stage", stage)
                    if "so far" in said:
                        known = msgspec.convert(said["so far"], Record)
                        so_far(known)
                    if "record" in said:
                        return msgspec.convert(said["record"], Record)
                    if "fault" in said:
                        raise _LostError(said["fault"])
            except TimeoutError:
                self.close()
                if known is not None and stage != OURS:
                    return known
                if time.monotonic() >= until:
                    raise OutOfTimeError from None
                reason = f"did not end within {LIMIT:g} s"
            except _LostError as error:
                self.close()
                if self._stopped:
                    raise OutOfTimeError from None
                reason = str(error)
            # A worker that ended before it began is asked again, once: no fault of the task's.
            if stage in ("operands", "timing", OURS) or stage in excluded:
                return _failed(task, f"{stage}: {reason}")
            excluded[stage] = reason

    def stop(self) -> None:
        """End the process from another thread; whoever waits for it is told that time is over."""
        self._stopped = True
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def compile(self, task: Task, until: float) -> None:
        """Have compiled what a task takes; what crashes or hangs meanwhile shows when it is done.

        Raises as `do`.
        """
        if self._process is None:
            self.hello()
        order = Order(task=msgspec.to_builtins(task), compile=True)
        try:
            self._send(msgspec.json.encode(order))
            while "compiled" not in (said := self._next(min(time.monotonic() + LIMIT, until))):
                if "fault" in said:
                    raise _LostError(said["fault"])
        except TimeoutError:
            self.close()
            if time.monotonic() >= until:
                raise OutOfTimeError from None
        except _LostError:
            self.close()

    def close(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.close()

    def _send(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _LostError(self._how_ended()) from None

    def _next(self, limit: float) -> dict[str, Any]:
        try:
            line = self._said.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            raise TimeoutError("no answer in time") from None
        if not line:
            raise _LostError(self._how_ended())
        return dict(msgspec.json.decode(line))

    @staticmethod
    def _listen(process: subprocess.Popen[bytes], said: queue.Queue[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line)
        said.put(b"")

    def _how_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            return "the process closed its pipe"
        self._errors.seek(0)
        lines = [one for one in self._errors.read().decode(errors="replace").splitlines() if one]
        last = f": {lines[-1].strip()[:200]}" if lines and code >= 0 else ""
        if code < 0:
            return f"the process crashed with {signal.Signals(-code).name}"
        return f"the process ended with code {code}{last}"


def _failed(task: Task, reason: str) -> Record:
    record = Record(**msgspec.structs.asdict(task))
    record.status, record.reason = "failed", reason
    record.cells = {OURS: Cell(family="ours", status="failed", reason=reason)}
    return record
