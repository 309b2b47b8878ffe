"""Where the wall time of a job goes: a *ledger* of contiguous stamps, so that its parts sum to it.

A `Book` is kept while a job runs: what lies between one stamp and the next belongs to the part
that the first began, and nothing lies outside of all parts. A rank keeps one of its job, its agent
one of what the rank says of itself, for a rank that dies tells nothing more. `Ledger` is what a
run's folder has of it: a line of ``ledger.jsonl`` for every job on a group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from .errors import InfraError
from .files import read_regular
from .headers import UNDECODABLE, unreadable

LEDGER = "ledger.jsonl"

PART_MEANING: dict[str, str] = {
    "start": "rank processes started and imported what they need; once, in their first job",
    "group": "ranks met to form the group; once, in the first job of a visit",
    "setup": "set-up: data allocated and filled",
    "check": "sanity checks, before and after",
    "warmup": "warm-up and calibration: calls that no sample holds",
    "samples": "samples: what is timed",
    "between": "between samples on purpose: caches flushed, data renewed, telemetry read, the end "
    "decided, a throttled device left to cool",
    "meeting": "ranks met between blocks of samples, to go on or to end together",
    "teardown": "figures computed, all given back",
    "again": "measured before, while other work used its cores, and thrown away",
    "rest": "what nothing accounts for: commands on their way, ranks that had ended and waited",
}
"""By part of a job what it is, in the order of a job."""

PART_NAMES: dict[str, str] = {
    "start": "start of processes",
    "group": "forming of the group",
    "setup": "set-up",
    "check": "sanity check",
    "warmup": "warm-up",
    "samples": "samples",
    "between": "time between samples",
    "meeting": "meetings of ranks",
    "teardown": "tear-down",
    "again": "measuring before",
    "rest": "rest",
}
"""By part what sentences and reports call it."""

HIDDEN = 0.1
"""Share of the samples' time that may pass between them and belong to nothing."""
LEAST_SAMPLE = 20e-6
"""Seconds of it that each sample may take: a clock, two events, a turn of the loop."""
LEAST_BLOCK = 2e-3
"""Seconds of it that each block may take: a turn of the scheduler."""
LEAST_BEHIND = 0.25
"""Seconds in which threads may still spin behind the last sample: libraries let them wait so."""

LEAST_UNSEEN = 0.5
"""Seconds of a job that its ranks need not see: commands and answers are on their way."""


class Spent(msgspec.Struct, kw_only=True, frozen=True):
    """A book that is closed. ``parts``: seconds by part; they sum to ``whole``.

    Of a usual block of samples (medians over the blocks): ``timed``, ``hidden``, ``met`` are its
    seconds in samples, in nothing, and in meetings of ranks; ``count`` its samples. ``behind``:
    seconds for which work went on behind the last sample.
    """

    whole: float
    parts: dict[str, float]
    timed: float = 0.0
    hidden: float = 0.0
    met: float = 0.0
    count: float = 0.0
    behind: float = 0.0


class Book:
    """The stamps of a job that goes on.

    Args:
        told: Called with each part that is entered and the seconds that it is likely to take at
            most, and not with those that change while samples are taken.
        clock: Seconds, never back.
    """

    def __init__(
        self,
        told: Callable[[str, float], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._told = told
        self._clock = clock
        self._began = self._last = clock()
        self._parts = dict.fromkeys(PART_MEANING, 0.0)
        self._blocks: list[tuple[float, float, float, int]] = []
        self._block: tuple[float, float] | None = None
        self.part = "rest"
        self.behind = 0.0
        self.judged = True
        """Whether the time between samples is of any matter."""

    def enter(self, part: str, likely: float = 0.0) -> None:
        """A part begins, or its seconds can be told by now: who waits for it may want to know.

        What is not known of them is what the longest part has taken so far, which tells how large
        the case is.
        """
        self.to(part)
        if self._told is not None:
            self._told(part, max(likely, *self._parts.values()))

    def to(self, part: str) -> float:
        """A part begins, and the one before it ends: its seconds."""
        now = self._clock()
        span, self._last = now - self._last, now
        self._parts[self.part] += span
        self.part = part
        return span

    @property
    def since(self) -> float:
        """Seconds since the last stamp."""
        return self._clock() - self._last

    def sampled(self, then: str, timed: float, meant: float, count: int) -> None:
        """A block of samples has ended, which was entered as ``rest``, and ``then`` begins.

        Args:
            then: The part that begins.
            timed: Seconds that are in its samples.
            meant: Seconds of it that passed between them on purpose.
            count: Its samples.
        """
        span = self.to(then)
        timed = min(timed, span)
        meant = min(meant, span - timed)
        hidden = span - timed - meant
        for part, seconds in (("samples", timed), ("between", meant)):
            self._parts[part] += seconds
            self._parts["rest"] -= seconds
        self._blocks.append((timed, hidden, 0.0, count))

    def ended_late(self, seconds: float) -> None:
        """Work went on for so long behind the last sample, in the part that goes on.

        Where that is more than looking for it takes, nobody meant it.
        """
        self.behind = seconds
        if seconds > LEAST_BEHIND:
            self.part = "rest"

    def prolonged(self, seconds: float, met: float) -> None:
        """Of the last block: seconds that belong to its last sample, and that ranks met for."""
        timed, hidden, before, count = self._blocks[-1]
        self._blocks[-1] = timed + seconds, hidden, before + met, count

    def spent(self) -> Spent:
        """What it holds up to now, which ends the part that goes on."""
        self.to(self.part)
        blocks = self._blocks if self.judged else []
        usual = [median(column) for column in zip(*blocks, strict=True)] or [0.0] * 4
        timed, hidden, met, count = map(float, usual)
        return Spent(
            whole=self._last - self._began,
            parts={part: seconds for part, seconds in self._parts.items() if seconds > 0},
            timed=timed,
            hidden=hidden,
            met=met,
            count=count,
            behind=self.behind if self.judged else 0.0,
        )


class Ledger(msgspec.Struct, array_like=True, frozen=True):
    """Where the wall time of one job on one group went (``ledger.jsonl``)."""

    case: int
    """Id of the job's first case."""
    group: int
    """As of `Row`."""
    repeat: int
    """As of `Row`."""
    rank: int
    """Of the group, whose parts these are: the one that took longest, or that failed."""
    whole: float
    """Seconds of wall time: from its turn to its rows, and what its processes took to start."""
    parts: dict[str, float]
    """Seconds by part, which sum to the whole. Parts that took none are left out."""
    least: dict[str, float] = {}
    """Of several ranks the least that one of them spent in a part, where they differ."""
    most: dict[str, float] = {}
    """And the most."""
    said: str = ""
    """What is wrong with the time between samples, as a sentence; empty where nothing is."""


def merged(
    spent: Sequence[Spent], whole: float, before: Mapping[str, float]
) -> tuple[int, dict[str, float], dict[str, float], dict[str, float]]:
    """The rank that took longest, its parts with those of its group, the least and the most.

    Args:
        spent: Of every rank, in their order.
        whole: Seconds of the job.
        before: By part what passed outside of the ranks' own books.
    """
    rank = max(range(len(spent)), key=lambda place: spent[place].whole)
    parts = dict(before)
    for part, seconds in spent[rank].parts.items():
        parts[part] = parts.get(part, 0.0) + seconds
    # What is left is the way of commands and answers.
    parts["rest"] = parts.get("rest", 0.0) + whole - sum(parts.values())
    least, most = {}, {}
    if len(spent) > 1:
        for part in {part: None for one in spent for part in one.parts}:
            every = [one.parts.get(part, 0.0) for one in spent]
            least[part], most[part] = min(every), max(every)
    return rank, rounded(parts), rounded(least), rounded(most)


def rounded(parts: Mapping[str, float]) -> dict[str, float]:
    """To the microsecond, in the order of a job, without those that took none."""
    found = {part: round(parts.get(part, 0.0), 6) for part in PART_MEANING}
    return {part: seconds for part, seconds in found.items() if seconds}


def suspicion(spent: Sequence[Spent], passed: float = 0.0) -> str:
    """What is wrong with the time between samples of a job's ranks, as a sentence; else empty.

    Four ways in which a figure leaves out what it should hold are looked for:

    - time passes between the samples of a block, and no flush, no refresh takes it;
    - one rank comes late to the meeting behind a block, for it works on behind the last exchange:
      who comes last waits for nobody, so all ranks spend at least what the meeting itself takes,
      and what others spend beyond is waiting that no sample holds;
    - threads or the device work on behind the last sample: what was timed only began the work;
    - the job takes longer than all ranks say: a library may have changed how they read their clock.

    Medians over the blocks are judged: a process that loses its core does so in some of them.

    Args:
        spent: Of every rank.
        passed: Seconds that the job took by the clock of the agent that led it; 0 if unknown.
    """
    for place, one in enumerate(spent):
        if one.behind > LEAST_BEHIND and one.behind > HIDDEN * one.parts.get("samples", 0.0):
            timed = one.parts.get("samples", 0.0)
            return (
                f"rank {place} worked on for {one.behind:.2g} s behind its last sample, beside "
                f"{timed:.2g} s of samples ({_share(one.behind, timed)}): they hold no more than "
                "its beginning"
            )
    longest = max(one.whole for one in spent)
    if passed - longest > LEAST_UNSEEN + HIDDEN * passed:
        return (
            f"the job took {passed:.3g} s by its agent's clock and {longest:.3g} s by those of its "
            "ranks: what they timed may have taken longer"
        )
    worst = max(range(len(spent)), key=lambda place: _beyond(spent[place], spent[place].hidden))
    one = spent[worst]
    if _beyond(one, one.hidden) > 0:
        return (
            f"between samples of rank {worst} passes time that nothing accounts for: "
            f"{_share(one.hidden, one.timed)} ({one.hidden * 1e3:.3g} ms beside "
            f"{one.timed * 1e3:.3g} ms of samples)"
        )
    late = min(range(len(spent)), key=lambda place: spent[place].met)
    waited = max(one.met for one in spent) - spent[late].met
    if _beyond(spent[0], waited) > 0:
        return (
            f"rank {late} comes late to meetings between samples: others wait "
            f"{waited * 1e3:.3g} ms beside {spent[0].timed * 1e3:.3g} ms of samples "
            f"({_share(waited, spent[0].timed)}), which no sample holds"
        )
    return ""


def _beyond(one: Spent, hidden: float) -> float:
    """By how much the hidden seconds of a usual block are more than may be."""
    return hidden - LEAST_BLOCK - LEAST_SAMPLE * one.count - HIDDEN * one.timed


def _share(hidden: float, timed: float) -> str:
    return f"{100 * hidden / (hidden + timed):.0f} %"


def read_ledger(folder: str | Path) -> list[Ledger]:
    """The ledgers in a run's folder, in the order of jobs; of a job measured twice the last.

    Empty where there is none, as of a run that was simulated, imported or made by an older version.

    Raises:
        InfraError: it cannot be read, or a line is damaged (``where`` is ``file:line``).
    """
    path = Path(folder) / LEDGER
    decoder = msgspec.json.Decoder(Ledger)
    found: dict[tuple[int, int, int], Ledger] = {}
    try:
        with read_regular(path) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break  # it was cut off
                try:
                    one = decoder.decode(line)
                except UNDECODABLE as error:
                    raise InfraError(
                        f"this line is no ledger: {error}",
                        where=f"{path}:{number}",
                        hint="the file was changed or its disk is failing; delete the line to "
                        "read the rest",
                    ) from None
                key = one.case, one.group, one.repeat
                found.pop(key, None)
                found[key] = one
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(path, error) from None
    return list(found.values())


def totals(ledgers: Iterable[Ledger]) -> dict[str, float]:
    """Seconds by part over several jobs, in the order of a job."""
    sums = dict.fromkeys(PART_MEANING, 0.0)
    for one in ledgers:
        for part, seconds in one.parts.items():
            sums[part] = sums.get(part, 0.0) + seconds
    return {part: seconds for part, seconds in sums.items() if seconds}
