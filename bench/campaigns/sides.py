"""Sides of a gate: what measures when it is told to, and gives what it has measured.

A `RunSide` is a warm process, in the side's own environment, whose stages begin when it is told so.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ..analysis.gate.series import Series, series
from ..errors import Exit, HengsuanError, InfraError, UsageError
from ..headers import RUN, UNDECODABLE, read_header
from ..host import ended_by, fixed_places
from ..inventory import Inventory
from ..records import Provenance
from ..results import RunReader
from .gate_side import PROTOCOL, Told

START = 300.0
"""Seconds until a side is ready: it imports its stack and looks for devices."""
END = 30.0
"""Seconds that a side has to finish its run when nothing more is asked of it."""
LAST = 600
"""Characters of what a side that was lost said last."""
LINE = 1 << 16
"""Bytes of a line: what is longer is none of ours, and is not gathered."""
RUBBISH = 10_000
"""Lines that are none of ours, between two that are, from which on a side speaks no sense."""


class Started(msgspec.Struct, frozen=True):
    """How a side is started: ``words`` before the verb (an interpreter and module, a container),
    variables that it has besides ours, and options behind the verb (a suite's axes)."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str] = {}
    options: Sequence[str] = ()
    directory: str | None = None


class Side(Protocol):
    """Baseline or candidate."""

    name: str

    def ready(self) -> None:
        """Wait until it can measure."""

    def measure(self, stage: str, limit: float) -> None:
        """Measure once, as a stage of this name; ``limit`` in seconds."""

    def series(self) -> dict[str, Series]:
        """All that it has measured so far."""
        ...

    def devices(self) -> list[str]:
        """What it measures on: node, device and serial of each."""
        ...

    def kinds(self) -> list[str]:
        """The kinds of chip of these."""
        ...

    def provenance(self) -> Provenance | None:
        """What its values are; None where nobody can tell."""
        ...

    def close(self) -> None:
        """End it."""


class RunSide:
    """A side that runs a suite.

    Raises `InfraError` with what it said last, where it does not start, ends, hangs or speaks
    another protocol, and `UsageError` where it refuses what it is asked.
    """

    def __init__(self, started: Started, arguments: Sequence[str]) -> None:
        self.name, self.folder = started.name, Path()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        # Bounded: one that never stops talking waits until it is heard.
        self._lines: queue.Queue[bytes] = queue.Queue(maxsize=100)
        words = [*started.words, "gate", "side", *arguments, *started.options]
        try:
            with fixed_places():
                self._process = subprocess.Popen(
                    words,
                    env={**os.environ, **started.environment},
                    cwd=started.directory,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._log,
                    start_new_session=True,
                )
        except OSError as error:
            self._log.close()
            raise InfraError(
                f"the {self.name} does not start: {error.strerror}", where=words[0]
            ) from None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(LINE):
            self._lines.put(line)
        self._lines.put(b"")

    def ready(self) -> None:
        """Wait until it can measure."""
        self._told("", START)

    def measure(self, stage: str, limit: float) -> None:
        """Have it measure its suite once, as a stage of this name; its rows are written then."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone: its last words say why
            self._process.stdin.write(stage.encode() + b"\n")
            self._process.stdin.flush()
        self._told(stage, limit)

    def _told(self, stage: str, limit: float) -> None:
        """The next line of the protocol; what others print between is no matter."""
        until = time.monotonic() + limit
        rubbish = 0
        while True:
            left = until - time.monotonic()
            try:
                line = self._lines.get(timeout=max(0.0, left))
            except queue.Empty:
                raise self._lost(f"has not answered for {limit:.0f} s", 0) from None
            if not line:
                raise self._ended()
            try:
                told = msgspec.json.decode(line, type=Told)
            except UNDECODABLE:
                rubbish += 1
                if rubbish > RUBBISH or left <= 0:
                    raise self._lost(
                        f"says nothing that is understood, but {_quoted(line)}", 0
                    ) from None
                continue
            if told.gate_side != PROTOCOL:
                raise self._lost(f"speaks protocol {told.gate_side} and not {PROTOCOL}")
            if told.stage == stage:
                self.folder = Path(told.folder)
                self._see()
                return

    def _ended(self) -> HengsuanError:
        """How it ended, where it says no more; one that goes on without a word is as lost.

        One that refuses what it was asked (2) was asked by whoever started the gate.
        """
        try:
            code = self._process.wait(timeout=END)
            lost = self._lost(ended_by(code))
            refused = code == Exit.USAGE
            return UsageError(lost.message, hint=lost.hint) if refused else lost
        except subprocess.TimeoutExpired:
            return self._lost("has closed its output and goes on", 0)

    def _see(self) -> None:
        if not (self.folder / RUN).is_file():
            self.close(0)
            raise InfraError(
                f"the {self.name} measures into {self.folder}, which is not seen here",
                hint="a container must have the folder of --out under the same path",
            )

    def _lost(self, why: str, patience: float = END) -> InfraError:
        self.close(patience)
        return InfraError(f"the {self.name} {why}", hint=self.last_words)

    def series(self) -> dict[str, Series]:
        """All that it has measured so far.

        Other work on the cores meets both sides in turn, and the limits know what noise it makes:
        what was measured beside it counts.
        """
        reader = RunReader(self.folder)
        return series(reader.header, reader.columns(), contended=True)

    def devices(self) -> list[str]:
        """Node, device and serial of each; of a fleet that is no nodes, what it is."""
        header = read_header(self.folder)
        found = [
            f"{device.name} {device.serial} on {node.name}".replace("  ", " ")
            for node in header.nodes
            for device in node.devices
        ]
        return found if header.fleet is None else [repr(header.fleet)]

    def kinds(self) -> list[str]:
        """The kinds of chip of these."""
        header = read_header(self.folder)
        return sorted(Inventory(header.nodes, header.fleet).kinds()[1])

    def provenance(self) -> Provenance | None:
        """As its run declares."""
        return read_header(self.folder).provenance

    def close(self, patience: float = END) -> None:
        """End it: at the end of what it reads it finishes its run; after a while it is killed."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            try:
                self._process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if not self._log.closed:
            self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LAST))
            self.last_words = self._log.read().decode(errors="replace").strip()
            self._log.close()

    last_words: str = ""
    """The end of what it wrote to standard error, once it is closed."""


def _quoted(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
