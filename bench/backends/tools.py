"""Runs other programs for a backend: probes of a vendor's stack, and its command-line tool.

Every run has a deadline, after which the program and all that it started are killed. What it says
goes through files, not pipes: a daemon that a driver leaves behind would hold a pipe open.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from .base import Link, Telemetry, TorchBackend

LIMIT = 10.0
"""Seconds that a vendor's tool may take."""
AGE = 1.0
"""Seconds for which a reading is told again: a tool takes a process and up to a second each time,
and telemetry is asked between blocks of samples."""
MOST = 1 << 22
"""Bytes of what a program says last that are read."""


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: ``code`` as `subprocess` has it, None past its deadline."""

    code: int | None
    out: str
    err: str


def run(command: Sequence[str], limit: float, environment: Mapping[str, str]) -> Ended:
    """Run a program to its end or its deadline. Raises `OSError` if it cannot be started."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)  # one that waits for a driver cannot even be killed
        return Ended(code, _read(out), _read(err))


def _read(file: Any) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - MOST))
    return str(file.read().decode("utf-8", "replace"))


def output(*command: str, limit: float = LIMIT) -> str | None:
    """What a vendor's tool says, in the locale C; None if it is missing, fails or takes too long.

    None means that nothing is known: a tool's trouble is no trouble of the device.
    """
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        ended = run([path, *command[1:]], limit, {**os.environ, "LC_ALL": "C"})
    except OSError:
        return None
    return ended.out if ended.code == 0 else None


_readings: dict[tuple[str, ...], tuple[float, str | None]] = {}


def reading(*command: str) -> str | None:
    """`output`, at most `AGE` seconds old."""
    found = _readings.get(command)
    if found is None or time.monotonic() - found[0] > AGE:
        found = _readings[command] = (time.monotonic(), output(*command))
    return found[1]


def number(text: str | None) -> float | None:
    """The number that a text begins with (``36 W``); None where it begins with none."""
    found = re.match(r"\s*(-?\d+(?:\.\d+)?)", text or "")
    return float(found[1]) if found else None


def mebibytes(amount: float | None) -> int | None:
    """MiB in bytes."""
    return None if amount is None else int(amount * (1 << 20))


def blocks(text: str, head: str) -> dict[int, str]:
    """What a table says of each device, by its number.

    Args:
        text: The table.
        head: A regular expression for the first line of a device, with its number as first group. A
            device's lines end at the next one's, or at the table of processes.
    """
    found: dict[int, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        begins = re.match(head, line)
        if begins:
            lines = found.setdefault(int(begins[1]), [])
        elif "process" in line.lower():
            lines = []
        lines.append(line)
    return {index: "\n".join(mine) for index, mine in found.items()}


_CELLS = {
    "temperature": r"(?<![\w.:])(\d+(?:\.\d+)?)\s*C(?![\w:])",
    "power": r"(?<![\w.])(\d+(?:\.\d+)?)\s*W\s*/",
    "memory": r"(?<![\w.])(\d+)\s*(?:MiB)?\s*[/(]\s*\d+\s*MiB",
    "clock": r"(?<![\w.])(\d+)\s*MHz",
}
"""How the tables of most vendors write ``36C``, ``57W / 350W``, ``826/65536 MiB``, ``1500MHz``."""


def table_telemetry(block: str) -> Telemetry:
    """What a device's lines of such a table say of it; of two clocks the first, the cores'."""
    found = {name: re.search(pattern, block) for name, pattern in _CELLS.items()}
    said = {name: float(match[1]) for name, match in found.items() if match}
    return Telemetry(
        clock=said.get("clock"),
        temperature=said.get("temperature"),
        power=said.get("power"),
        memory_used=mebibytes(said.get("memory")),
    )


def matrix(text: str, prefix: str) -> list[Link]:
    """The links of a matrix as most vendors print it: a row a device, ``X`` for itself.

    Args:
        text: What the tool says, with a head of ``GPU0 GPU1 ...`` and rows that begin with them.
        prefix: What stands before a device's number (``GPU``, ``NPU``).
    """
    name = re.compile(rf"{prefix}(\d+)")
    columns: list[int] = []
    found: dict[tuple[int, int], Link] = {}
    for line in re.sub(r"\x1b\[\d*m", "", text).splitlines():
        words = line.split()
        heads = [name.fullmatch(word) for word in words]
        if len(words) > 1 and heads[0] and heads[1]:
            columns = [int(head[1]) for head in heads if head]
        elif columns and words and heads[0]:
            row = int(heads[0][1])
            for column, kind in zip(columns, words[1:], strict=False):
                if row != column and kind not in ("X", "NA", "N/A"):
                    a, b = sorted((row, column))
                    found.setdefault((a, b), Link(a=a, b=b, kind=kind))
    return [found[pair] for pair in sorted(found)]


def versions(text: str | None, **patterns: str) -> dict[str, str]:
    """Versions by name: what the first group of each regular expression finds in the text."""
    found = {name: re.search(pattern, text or "") for name, pattern in patterns.items()}
    return {name: match[1] for name, match in found.items() if match}


class ToolBackend(TorchBackend):
    """A family of chips that is known by its driver's command-line tool.

    Several answer to a device type that is another vendor's: only the tool tells them apart.
    """

    tool: ClassVar[str] = ""

    def present(self) -> str:
        if shutil.which(self.tool) is None:
            return f"the driver's tool {self.tool} is not installed on this node"
        return super().present()
