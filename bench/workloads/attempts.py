"""What became of every second of a training that was interrupted: from logs of its attempts.

The first rank of an attempt writes a line when something ends (`Log`); whatever lies between two
lines belongs to the second of them, so that the parts of `Account` add up to the whole. An attempt
that failed before the benchmark began has no line: of it is known when it failed and when that was
noticed (`Failure`), as of all others. Times are seconds since the run began, on which all of its
hosts agree: after a node's failure another host may keep the log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import InfraError
from ..headers import UNDECODABLE

What = Literal["begun", "ready", "step", "saved", "landed", "done"]


class Line(msgspec.Struct, omit_defaults=True):
    """One line: ``what`` ended ``at`` a time, at which ``step``, with which ``loss``.

    ``begun``: the benchmark has; ``ready``: restored, all ranks are there, and ``step`` steps are
    behind them; ``saved``: training goes on behind a checkpoint of ``step`` steps, which is whole,
    or copied and written beside it; that one is whole when it has ``landed``.
    """

    what: What
    at: float
    step: int = 0
    loss: float | None = None


class Failure(msgspec.Struct, frozen=True):
    """When an attempt failed (None: nobody knows, it was not asked for), and was known to have.

    ``trained``: it is known to have been past its set-up by then, so that it has left a log.
    """

    struck: float | None
    noticed: float
    trained: bool = False


def failures_text(failures: Iterable[Failure]) -> str:
    """``12.3-13.02+,-20.5``: the milliseconds of failures, an unknown one left out, and of which
    it is known that they had trained."""

    def struck(one: Failure) -> str:
        return "" if one.struck is None else f"{one.struck:.3f}"

    return ",".join(
        f"{struck(one)}-{one.noticed:.3f}{'+' if one.trained else ''}" for one in failures
    )


def read_failures(text: str) -> list[Failure]:
    """What `failures_text` wrote. Raises ValueError for anything else."""
    found = []
    for part in filter(None, text.split(",")):
        struck, dash, noticed = part.partition("-")
        if not dash:
            raise ValueError(part)
        at = float(noticed.removesuffix("+"))
        found.append(Failure(float(struck) if struck else None, at, noticed.endswith("+")))
    return found


class Log:
    """The log of one attempt; every line is with the kernel when `write` returns.

    Args:
        path: Of its file.
        zero: When the run began, by ``time.monotonic``.

    Raises `InfraError` for a file that cannot be written.
    """

    def __init__(self, path: str, zero: float) -> None:
        self._path, self._zero = path, zero
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None

    def write(self, what: What, **more: Any) -> None:
        """Append a line of now. Raises `InfraError` where it cannot be written whole."""
        left = msgspec.json.encode(Line(what, time.monotonic() - self._zero, **more)) + b"\n"
        try:
            while left:  # of a full disk a part is taken first
                left = left[os.write(self._file, left) :]
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> InfraError:
        said = f"the attempt's log cannot be written: {error.strerror}"
        return InfraError(said, where=self._path)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_log(path: Path) -> list[Line]:
    """The lines of one attempt; one that its writer could not end is left out.

    Without a file there are none: the attempt failed before. Raises `InfraError` for a file that
    cannot be read, or has a damaged line.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InfraError(f"cannot be read: {error.strerror}", where=str(path)) from None
    found = []
    for number, one in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            found.append(msgspec.json.decode(one, type=Line))
        except UNDECODABLE as error:
            raise InfraError(
                f"the attempt's log is damaged: {error}", where=f"{path}:{number}"
            ) from None
    return found


class Account(msgspec.Struct, kw_only=True):
    """Seconds by what they were spent on, from the first step's beginning to the last one's end.

    ``productive``: steps that count; ``saving``: that training stood still for checkpoints which
    count; ``lost``: steps, or parts of them and of checkpoints, that a failure undid;
    ``detection``: from a failure until it was known; ``relaunch``: from there to the benchmark
    (agents, processes, imports, the group); ``restoring``: building the model, reading the
    checkpoint. Of ``failures`` as many as ``interrupted`` struck before the training went on.
    ``steps``, ``saves``, ``landings`` (from there until an asynchronous checkpoint is whole) and
    ``recoveries`` (relaunch and restoring that no other failure interrupted) are the durations of
    single ones. ``differs`` is the largest relative difference of losses between two passes of the
    same step, of which there were ``again``.
    """

    total: float = 0.0
    productive: float = 0.0
    saving: float = 0.0
    lost: float = 0.0
    detection: float = 0.0
    relaunch: float = 0.0
    restoring: float = 0.0
    failures: int = 0
    interrupted: int = 0
    again: int = 0
    differs: float = 0.0
    steps: list[float] = []
    saves: list[float] = []
    landings: list[float] = []
    recoveries: list[float] = []

    @property
    def rest(self) -> float:
        """What is in no part: nothing, or the account is wrong."""
        parts = self.productive + self.saving + self.lost
        return self.total - parts - self.detection - self.relaunch - self.restoring


def account(attempts: Sequence[Sequence[Line]], failures: Sequence[Failure]) -> Account:
    """Add up the attempts of one training; all but the last have failed.

    What failed before the training had begun for the first time is no part of it.

    Args:
        attempts: The lines of each; none where its log was not begun.
        failures: Of all but the last.

    Raises ValueError for logs that do not fit together, with the number of the attempt.
    """
    made = Account(steps=[], saves=[], landings=[], recoveries=[])
    last = len(attempts) - 1
    if len(failures) != last:
        raise ValueError(f"{last + 1} attempts cannot have {len(failures)} failures")
    losses: dict[int, float] = {}
    began: float | None = None
    noticed = 0.0
    for number, lines in enumerate(attempts):
        ready = _at(lines, "ready")
        if began is None and ready is None and number < last:
            continue
        if ready is None and number == last:
            raise ValueError(f"attempt {number} has no line 'ready' in its log")
        failure = failures[number] if number < last else None
        end = _end(lines, failure, noticed)
        if began is None:
            began = ready
        else:
            _recovered(made, lines, noticed, end)
        if ready is not None:
            restored = _restored(attempts[number + 1 :])
            _worked(made, lines, end if failure else None, restored, losses)
        if failure is not None:
            noticed = max(failure.noticed, end)
            made.failures += 1
            made.detection += noticed - end
    done = _at(attempts[-1], "done")
    if done is None or began is None:
        raise ValueError(f"attempt {last} has no line 'done' in its log")
    made.total = done - began
    return made


def _end(lines: Sequence[Line], failure: Failure | None, since: float) -> float:
    """When an attempt ended: what was logged has happened, so that it was not before."""
    logged = max((line.at for line in lines), default=since)
    struck = failure.struck if failure is not None else None
    return max(since, logged, struck if struck is not None else 0.0)


def _restored(following: Sequence[Sequence[Line]]) -> int:
    """How many steps the next attempt that was ready went on from."""
    lines = (line for one in following for line in one)
    return next((line.step for line in lines if line.what == "ready"), 0)


def _recovered(made: Account, lines: Sequence[Line], since: float, end: float) -> None:
    """What lies between the notice of a failure and the next step, or the next failure."""
    ready = _at(lines, "ready")
    until = end if ready is None else ready
    begun = _at(lines, "begun")
    begun = until if begun is None else max(since, begun)
    made.relaunch += begun - since
    made.restoring += until - begun
    if ready is None:
        made.interrupted += 1
    else:
        made.recoveries.append(ready - since)


def _worked(
    made: Account,
    lines: Sequence[Line],
    end: float | None,
    restored: int,
    losses: dict[int, float],
) -> None:
    """Steps and checkpoints of an attempt up to its ``end``, of which ``restored`` steps count.

    None: it came to its end, and all of them do.
    """
    before = next(line.at for line in lines if line.what == "ready")
    copied: dict[int, float] = {}
    spans: list[tuple[What, int, float]] = []
    for line in lines:
        if line.what == "landed":
            made.landings.append(line.at - copied[line.step])
        if line.what == "done" and spans:
            # The wait for the last rank is part of the last step, as of all others.
            what, step, span = spans[-1]
            spans[-1] = what, step, span + line.at - before
        elif line.what in ("step", "saved"):
            spans.append((line.what, line.step, line.at - before))
        else:
            continue
        before = line.at
        if line.what == "step":
            _compare(made, losses, line)
        elif line.what == "saved":
            copied[line.step] = line.at
    for what, step, span in spans:
        if end is not None and step > restored:
            made.lost += span
        elif what == "step":
            made.steps.append(span)
            made.productive += span
        else:
            made.saves.append(span)
            made.saving += span
    if end is not None:
        made.lost += end - before


def _compare(made: Account, losses: dict[int, float], line: Line) -> None:
    if line.loss is None:
        return
    if line.step in losses:
        before = losses[line.step]
        made.again += 1
        made.differs = max(made.differs, abs(line.loss - before) / max(abs(before), 1e-12))
    losses[line.step] = line.loss


def _at(lines: Sequence[Line], what: What) -> float | None:
    return next((line.at for line in lines if line.what == what), None)
