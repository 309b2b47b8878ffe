"""What a program says of its training: lines of JSON, or lines that a pattern reads.

The protocol has three lines, each an object whose key ``hengsuan`` says which it is::

    {"hengsuan": "hello", "framework": "torch", "version": "2.13.0", "rank": 0, "ranks": 2}
    {"hengsuan": "step", "step": 1, "rank": 0, "loss": 6.24, "tokens": 512, "seconds": 0.013}
    {"hengsuan": "done", "steps": 100, "rank": 0}

``loss``, ``tokens`` and ``seconds`` may be left out, as may ``parameters`` of a hello. ``tokens``
are those of the whole job in one step, ``seconds`` what the program thinks that a step takes, which
is compared with when its lines come. A line that is none of these is output, and is not read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Annotated, Union

import msgspec

from ..errors import UsageError

MOST = 200_000
"""Steps that one program may report; a step that takes microseconds is no training."""
SEEN = 4096
"""Bytes of a line that a pattern is tried on."""
LARGEST = 1 << 53
"""Of the numbers that count: all whole numbers below it are different as floats."""
COUNTED = ("step", "rank", "ranks")
GROUPS = ("step", "loss", "tokens", "seconds", "milliseconds", "rank", "ranks")
"""Names that the groups of a pattern may have."""
KEY = b'"hengsuan"'
"""What a line of the protocol contains."""


class Hello(msgspec.Struct, tag_field="hengsuan", tag="hello"):
    """What runs, of every rank once before its first step. ``parameters``: the model's weights."""

    framework: str
    version: str
    rank: int
    ranks: int
    parameters: int | None = None


class Step(msgspec.Struct, tag_field="hengsuan", tag="step"):
    """A step has ended, and with it those since the last line."""

    step: Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    rank: int = 0
    loss: float | None = None
    tokens: float | None = None
    seconds: float | None = None


class Done(msgspec.Struct, tag_field="hengsuan", tag="done"):
    """The last line of a rank that ends by itself: how many steps it has reported."""

    steps: int
    rank: int = 0


Line = Union[Hello, Step, Done]


class Come(msgspec.Struct, array_like=True, frozen=True):
    """A step line and when it came, in seconds of `time.monotonic`."""

    time: float
    step: int
    loss: float | None
    tokens: float | None
    seconds: float | None


class Reports:
    """What one program has reported so far; `take` is called by the thread that reads.

    Args:
        expected: The ranks that report through this program.
        ranks: How many the whole job has.
        counted: The rank whose steps are measured; its lines are kept, others only checked.
        pattern: Reads lines instead of the protocol; see `compiled`.
    """

    def __init__(
        self, expected: Sequence[int], ranks: int, counted: int, pattern: re.Pattern[bytes] | None
    ) -> None:
        self.expected = set(expected)
        self.ranks = ranks
        self.counted = counted
        self.hellos: dict[int, Hello] = {}
        self.steps: list[Come] = []
        self.problem = ""
        """What is wrong with what was reported, the first of it; empty where nothing is."""
        self._pattern = pattern
        self._last: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._done: set[int] = set()

    @property
    def count(self) -> int:
        """How many steps the rank that is measured has reported."""
        return self._told.get(self.counted, 0)

    @property
    def spoken(self) -> bool:
        """Whether all ranks that report through this program have said hello."""
        return self._pattern is not None or self.expected <= self.hellos.keys()

    def silent(self) -> str:
        """Who has not said hello, or not said that it is done; empty where nobody."""
        if self._pattern is not None:
            return ""
        if absent := sorted(self.expected - self.hellos.keys()):
            return f"{_ranks(absent)} never said hello"
        if unfinished := sorted(self.expected - self._done):
            return f"{_ranks(unfinished)} ended without saying done"
        return ""

    def take(self, lines: list[bytes], now: float) -> None:
        """Read whole lines that came in one piece at ``now``."""
        if self.problem:
            return
        try:
            if self._pattern is not None:
                for line in lines:
                    if found := self._pattern.search(line, 0, SEEN):
                        self._matched(found, now)
                return
            for line in lines:
                if is_report(line):
                    self._note(_decoded(line), now)
        except ValueError as error:
            self.problem = str(error)

    def _matched(self, found: re.Match[bytes], now: float) -> None:
        said = {key: _number(key, text) for key, text in found.groupdict().items() if text}
        if "rank" not in said and self.counted not in self.expected:
            return  # it does not say who speaks, and the one who counts is elsewhere
        rank, ranks = int(said.pop("rank", self.counted)), said.pop("ranks", None)
        self._known(rank)
        if ranks is not None:
            self._sized(rank, int(ranks))
        if "milliseconds" in said:
            said["seconds"] = said.pop("milliseconds") * 1e-3
        if "step" in said:
            self._note(Step(step=int(said.pop("step")), rank=rank, **said), now)

    def _note(self, line: Line, now: float) -> None:
        """Raises ValueError with what is wrong with it."""
        rank = line.rank
        self._known(rank)
        if isinstance(line, Hello):
            self._sized(rank, line.ranks)
            if rank in self.hellos:
                raise ValueError(f"rank {rank} said hello twice: two processes think they are it")
            self.hellos[rank] = line
            return
        if self._pattern is None and rank not in self.hellos:
            raise ValueError(f"rank {rank} reported before it said hello")
        if rank in self._done:
            raise ValueError(f"rank {rank} reported after it had said done")
        if isinstance(line, Done):
            if line.steps != self._told.get(rank, 0):
                seen = self._told.get(rank, 0)
                raise ValueError(
                    f"rank {rank} says that it reported {line.steps} steps, not {seen}"
                )
            self._done.add(rank)
            return
        before = self._last.get(rank)
        if before is not None and line.step <= before:
            raise ValueError(f"rank {rank} reported step {line.step} after step {before}")
        self._last[rank] = line.step
        self._told[rank] = self._told.get(rank, 0) + 1
        if self._told[rank] > MOST:
            raise ValueError(f"rank {rank} reported more than {MOST} steps")
        for name in ("loss", "tokens", "seconds"):
            value = getattr(line, name)
            if value is not None and not (math.isfinite(value) and (name == "loss" or value > 0)):
                raise ValueError(f"rank {rank} reported {name} {value} in step {line.step}")
        if rank == self.counted:
            come = Come(now, line.step, line.loss, line.tokens, line.seconds)
            # Of steps that came in one piece nobody knows when each ended, but for the last.
            if self.steps and self.steps[-1].time == now:
                self.steps[-1] = come
            else:
                self.steps.append(come)

    def _known(self, rank: int) -> None:
        if rank not in self.expected:
            raise ValueError(
                f"a program says that it is rank {rank}, and was launched as "
                f"{_ranks(sorted(self.expected))} of {self.ranks}"
            )

    def _sized(self, rank: int, ranks: int) -> None:
        if ranks != self.ranks:
            raise ValueError(f"rank {rank} says that it is one of {ranks}, and is of {self.ranks}")


def is_report(line: bytes) -> bool:
    """Whether a line is one of the protocol, be it right or wrong."""
    return KEY in line and line.lstrip().startswith(b"{")


def compiled(pattern: str) -> re.Pattern[bytes] | None:
    """A pattern as `Reports` takes it; None where it is empty.

    It is searched for in every line, and its named groups (`GROUPS`) say what was found. Raises
    `UsageError` for what is no regular expression, an unknown group, or none called ``step``.
    """
    if not pattern:
        return None
    try:
        made = re.compile(pattern.encode())
    except re.error as error:
        raise UsageError(f"command: pattern is no regular expression: {error}") from None
    wrong = sorted(set(made.groupindex) - set(GROUPS))
    if wrong or "step" not in made.groupindex:
        what = f"has an unknown group {wrong[0]!r}" if wrong else "has no group 'step'"
        raise UsageError(
            f"command: pattern {what}",
            hint=f"groups are {', '.join(GROUPS)}; write for example 'step (?P<step>\\d+)'",
        )
    return made


def _decoded(line: bytes) -> Line:
    try:
        # The standard library's reader, for it knows the NaN that Python's writer writes.
        found: Line = msgspec.convert(json.loads(line), Line)
        return found
    except (ValueError, RecursionError) as error:
        shown = line[:200].decode(errors="replace").strip()
        raise ValueError(f"printed a report that cannot be read ({error}): {shown}") from None


def _number(name: str, text: bytes) -> float:
    try:
        found = float(text)
        if name not in COUNTED or abs(found) <= LARGEST:
            return found
        raise ValueError
    except ValueError:
        shown = text[:60].decode(errors="replace")
        raise ValueError(f"the pattern's group {name} found {shown!r}, no number") from None


def _ranks(ranks: Sequence[int]) -> str:
    """``rank 3``, ``ranks 0, 1`` or, of many, their ends."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) <= 8:
        return f"ranks {', '.join(map(str, ranks))}"
    return f"ranks {ranks[0]} to {ranks[-1]}"
