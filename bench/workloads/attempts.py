"""What became of every second of a training that was interrupted: from logs of its attempts.

Rank 0 writes a line when something ends (`Log`); whatever lies between two lines belongs to the
second of them, so that the parts of `Account` add up to the whole. Times are seconds since the
host's boot, which all processes of a host share and no adjustment of clocks moves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

What = Literal["launched", "begun", "ready", "kill", "step", "saved", "done"]


class Line(msgspec.Struct, omit_defaults=True):
    """One line: ``what`` ended ``at`` a time, at which ``step``, with which ``loss``.

    ``launched``: the kernel started the process; ``begun``: the benchmark; ``ready``: restored,
    all ranks are there, and ``step`` steps are behind them; ``kill`` is written ahead: when ranks
    will be killed; ``saved``: a checkpoint of ``step`` steps is whole.
    """

    what: What
    at: float
    step: int = 0
    loss: float | None = None


class Log:
    """The log of one attempt; every line is with the kernel when `write` returns.

    Attributes:
        last: The time of the last line.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.last = 0.0

    def write(self, what: What, at: float | None = None, **more: Any) -> None:
        """Append a line, of now unless ``at`` is given."""
        line = Line(what, now() if at is None else at, **more)
        self.last = line.at
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_log(path: Path) -> list[Line]:
    """The lines of one attempt; one that its writer could not end is left out."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    return [msgspec.json.decode(one, type=Line) for one in whole.splitlines()]


def now() -> float:
    """Seconds since the host's boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def launched() -> float:
    """When this process was started, on the same clock, to the kernel's tick (10 ms)."""
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(words[19]) / os.sysconf("SC_CLK_TCK")


class Account(msgspec.Struct, kw_only=True):
    """Seconds by what they were spent on, from the first step's beginning to the last one's end.

    ``productive``: steps that count; ``saving``: checkpoints that were completed; ``lost``: steps,
    or parts of them and of checkpoints, that a failure undid; ``detection``: from the kill to the
    start of the new process of rank 0, which is when the engine has acted; ``relaunch``: from there
    to the benchmark (imports, the group); ``restoring``: building the model, reading the
    checkpoint. ``steps`` and ``saves`` are the durations of single ones that count. ``differs`` is
    the largest relative difference of losses between two passes of the same step, of which
    there were ``again``.
    """

    total: float = 0.0
    productive: float = 0.0
    saving: float = 0.0
    lost: float = 0.0
    detection: float = 0.0
    relaunch: float = 0.0
    restoring: float = 0.0
    failures: int = 0
    again: int = 0
    differs: float = 0.0
    steps: list[float] = []
    saves: list[float] = []

    @property
    def rest(self) -> float:
        """What is in no part: nothing, or the account is wrong."""
        parts = self.productive + self.saving + self.lost
        return self.total - parts - self.detection - self.relaunch - self.restoring


def account(attempts: Sequence[Sequence[Line]]) -> Account:
    """Add up the attempts of one training, all but the last of which were killed.

    Raises ValueError for logs that do not fit together, with the number of the attempt.
    """
    made = Account(steps=[], saves=[])
    losses: dict[int, float] = {}
    for number, lines in enumerate(attempts):
        following = attempts[number + 1] if number + 1 < len(attempts) else None
        _attempt(made, lines, following, losses, number)
    made.total = _at(attempts[-1], "done", len(attempts) - 1) - _at(attempts[0], "ready", 0)
    return made


def _attempt(
    made: Account,
    lines: Sequence[Line],
    following: Sequence[Line] | None,
    losses: dict[int, float],
    number: int,
) -> None:
    before = _at(lines, "ready", number)
    pending: list[tuple[int, float]] = []
    for line in lines:
        if line.what == "step":
            pending.append((line.step, line.at - before))
            _compare(made, losses, line)
        elif line.what == "saved":
            _count(made, pending)
            pending = []
            made.saves.append(line.at - before)
            made.saving += made.saves[-1]
        elif line.what == "done" and pending:
            # The wait for the last rank is part of the last step, as of all others.
            pending[-1] = (pending[-1][0], pending[-1][1] + line.at - before)
        else:
            continue
        before = line.at
    if following is None:
        _count(made, pending)
        return
    # A timer is late by a few milliseconds; what was logged has happened.
    killed = max(_at(lines, "kill", number), before)
    restored = next(line.step for line in following if line.what == "ready")
    _count(made, [one for one in pending if one[0] <= restored])
    made.lost += killed - before + sum(span for step, span in pending if step > restored)
    started = max(_at(following, "launched", number + 1), killed)
    begun, ready = (_at(following, what, number + 1) for what in ("begun", "ready"))
    made.failures += 1
    made.detection += started - killed
    made.relaunch += begun - started
    made.restoring += ready - begun


def _count(made: Account, steps: Iterable[tuple[int, float]]) -> None:
    spans = [span for _, span in steps]
    made.steps += spans
    made.productive += sum(spans)


def _compare(made: Account, losses: dict[int, float], line: Line) -> None:
    if line.loss is None:
        return
    if line.step in losses:
        before = losses[line.step]
        made.again += 1
        made.differs = max(made.differs, abs(line.loss - before) / max(abs(before), 1e-12))
    losses[line.step] = line.loss


def _at(lines: Sequence[Line], what: What, number: int) -> float:
    for line in lines:
        if line.what == what:
            return line.at
    raise ValueError(f"attempt {number} has no line {what!r} in its log")
