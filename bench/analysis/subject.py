"""What is scored: the runs of one system, what is declared of it, and what all lines look up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec
import numpy as np

from ..configs import Chip, Facility
from ..errors import UsageError
from ..inventory import Inventory
from ..records import PROVENANCES, STATUSES, Header, Provenance, labelled
from ..results import Columns
from .datasheets import Datasheets
from .roofline import Ceiling, ChipRoofline, highest, roofline
from .scaling import Scaling, scaling
from .summary import CaseSummary, summarize

TRILLION = 1e12


class Readiness(msgspec.Struct, kw_only=True, frozen=True):
    """What a projection says of training one model, as far as a score reads it.

    ``parameters`` is the model's number, ``fits`` whether any layout holds it, ``days`` how long
    the token budget takes, ``devices`` on how many, ``mfu`` as a ratio.
    """

    model: str
    parameters: float
    fits: bool
    devices: int | None = None
    days: float | None = None
    mfu: float | None = None


class Run:
    """One run, and what is computed of it once.

    Attributes:
        header: Its header.
        columns: Its rows.
        provenance: Of the rows that count.
        label: The same, with the chip that was stood in for.
        kinds: The chips that it was measured on, by name.
    """

    def __init__(self, header: Header, columns: Columns, chips: Mapping[str, Chip]) -> None:
        self.header, self.columns, self._chips = header, columns, chips
        self.provenance = _provenance(header, columns)
        self.label = labelled(self.provenance, header.stands_for)
        self.datasheets = Datasheets(header, chips)

    @cached_property
    def summaries(self) -> list[CaseSummary]:
        """Its cases in a line each."""
        return summarize(self.header, self.columns)

    @cached_property
    def inventory(self) -> Inventory:
        """Its nodes."""
        return Inventory(self.header.nodes, self.header.fleet)

    @cached_property
    def kinds(self) -> list[str]:
        """Names of its chips, in order of appearance; of what has no datasheet, the device's."""
        if self.header.fleet is not None:
            return [self.header.fleet.chip]
        devices = (device for node in self.header.nodes for device in node.devices)
        return list(dict.fromkeys(device.judged_as or device.name for device in devices))

    @cached_property
    def rooflines(self) -> list[ChipRoofline]:
        """How near its operations come to the roofs, by kind of chip."""
        return roofline(self.header, self.columns, self._chips)

    @cached_property
    def scalings(self) -> list[Scaling]:
        """How training scales over its growing groups."""
        return scaling(self.header, self.columns)

    def of(self, benchmark: str, metric: str) -> list[CaseSummary]:
        """The cases of one metric that have a value, in the order of the header."""
        return [
            one
            for one in self.summaries
            if (one.case.benchmark, one.case.metric) == (benchmark, metric)
            and one.median is not None
        ]


class Subject:
    """The runs of one system, the latest first, with what is declared and projected of it.

    Attributes:
        runs: All of one provenance and of the same kinds of chip.
        chips: Datasheets by name.
        facility: What SYSTEM.yaml declares; None without one.
        readiness: What a projection found; None without one.

    Raises:
        UsageError: no run, or runs that do not belong together.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        chips: Mapping[str, Chip],
        facility: Facility | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        if not runs:
            raise UsageError("no run to score", hint="name one, or the beginning of its id")
        for other in runs[1:]:
            if why := apart(runs[0], other):
                raise UsageError(f"{why}: they cannot be scored together")
        self.runs = sorted(runs, key=lambda run: (run.header.started, run.header.id), reverse=True)
        self.chips, self.facility, self.readiness = chips, facility, readiness

    @cached_property
    def ceilings(self) -> dict[tuple[str, str], Ceiling]:
        """By (chip, dtype as datasheets name it): the best matrix product measured, FLOP/s."""
        found: dict[tuple[str, str], list[Ceiling]] = {}
        for run in self.runs:
            for one in run.rooflines:
                for dtype, roof in one.measured.peaks.items():
                    found.setdefault((one.chip, dtype), []).append(roof)
        return {key: highest(those) for key, those in found.items()}


def apart(one: Run, other: Run) -> str:
    """Why two runs do not belong together, in words; empty where they do."""
    first, second = one.header.id, other.header.id
    if one.label != other.label:
        return f"run {first} is {one.label} and run {second} is {other.label}"
    if set(one.kinds) != set(other.kinds):
        kinds = (", ".join(run.kinds) or "no device" for run in (one, other))
        return f"run {first} is of {next(kinds)} and run {second} of {next(kinds)}"
    return ""


def separated(runs: Sequence[Run]) -> tuple[list[list[Run]], list[str]]:
    """Runs that belong together, in the order given; and in sentences why others do not."""
    groups: list[list[Run]] = []
    notes = []
    for run in runs:
        home = next((group for group in groups if not apart(group[0], run)), None)
        if home is not None:
            home.append(run)
            continue
        if groups:
            notes.append(f"{apart(groups[0][0], run)}: they are scored apart")
        groups.append([run])
    return groups, notes


def _provenance(header: Header, columns: Columns) -> Provenance:
    used = np.unique(columns.provenance[columns.status == STATUSES.index("ok")]).tolist()
    if len(used) > 1:
        names = ", ".join(PROVENANCES[index] for index in used)
        raise UsageError(
            f"run {header.id} holds values of several provenances ({names}), "
            "which cannot be scored together",
            hint="give each its own run",
        )
    return PROVENANCES[used[0]] if used else header.provenance
