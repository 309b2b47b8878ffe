"""What a run's page is made from: the run, read once, and what analysis says of it, asked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...analysis.expectation import Expectation, expectations
from ...analysis.finding import Finding
from ...analysis.scores import Scorecard
from ...analysis.subject import Run
from ...analysis.summary import CaseSummary, rows_by_case
from ...analysis.table import units_of
from ...analysis.topology import Topology, topologies
from ...certificates.certificate import results_digests
from ...configs import Chip
from ...errors import HengsuanError
from ...groups import Schedule
from ...inventory import Ints
from ...records import Case, Header
from ...results import ROWS, Columns, RunReader
from ...rounds import schedule_for
from ...verdicts import Certification
from ..language import Language, speaker


class Source:
    """A run and everything that its page tells.

    Attributes:
        folder: Where the run lies.
        run: Its header, rows, summaries, rooflines and scalings.
        chips: Datasheets by name.
        verdict: What `certify` said of it; None where it has not.
        notes: What its reader must know first, in sentences.
        cards: Its scorecards, of which there is one but for runs that nothing can be scored of.
        language: Of the page's own words.
        again: Says which command looks at a finding again; empty where none does.
    """

    def __init__(
        self,
        reader: RunReader,
        chips: Mapping[str, Chip],
        *,
        verdict: Certification | None = None,
        notes: Sequence[str] = (),
        cards: list[Scorecard] | None = None,
        language: Language = "en",
    ) -> None:
        self.folder: Path = reader.path
        self.chips = dict(chips)
        self.run = Run(reader.header, reader.columns(), chips)
        self.verdict = verdict
        self.notes = list(notes)
        self.cards = cards or []
        self.language = language
        self.say = speaker(language)
        self.again: Callable[[Finding], str] = lambda _: ""
        self._schedules: dict[int, Schedule] = {}
        self._units: dict[int, tuple[Ints, Ints]] = {}
        self._pairs: dict[int, tuple[Ints, Ints]] = {}

    @property
    def header(self) -> Header:
        """What the run declares."""
        return self.run.header

    @property
    def columns(self) -> Columns:
        """Its rows."""
        return self.run.columns

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 by name of the files that hold the results; empty where one cannot be read."""
        try:
            return results_digests(self.folder)
        except HengsuanError:
            return {}

    @property
    def outdated(self) -> bool:
        """Whether the verdict is of other rows than these."""
        return self.verdict is not None and self.verdict.results != self.digests.get(ROWS, "")

    @cached_property
    def rows(self) -> list[npt.NDArray[np.intp]]:
        """By case: the indices of its rows."""
        return rows_by_case(self.columns, len(self.header.cases))

    @cached_property
    def expectations(self) -> dict[int, Expectation]:
        """What was to be expected, by case."""
        return {one.case: one for one in expectations(self.run, self.chips)}

    @cached_property
    def topologies(self) -> tuple[list[Topology], list[str]]:
        """How labels divide the nodes, the deepest first, and labels that were left out."""
        return topologies(self.run.inventory)

    def summary(self, case: int) -> CaseSummary:
        """A case in one line."""
        return self.run.summaries[case]

    def schedule(self, number: int) -> Schedule:
        """The schedule of that number, over the run's nodes."""
        if number not in self._schedules:
            spec = self.header.schedules[number]
            self._schedules[number] = schedule_for(spec, self.run.inventory)
        return self._schedules[number]

    def units(self, number: int) -> tuple[Ints, Ints]:
        """The ids of a schedule's groups, ascending, and the unit of each (`analysis.table`)."""
        if number not in self._units:
            self._units[number] = units_of(self.schedule(number), self.run.inventory)
        return self._units[number]

    def pairs(self, number: int) -> tuple[Ints, Ints]:
        """The ids of a schedule's pairs, ascending, and int64[pairs, 2], the ranks of each."""
        if number not in self._pairs:
            batches = [batch for whole in self.schedule(number).rounds() for batch in whole]
            ids = np.concatenate([np.empty(0, np.int64), *(one.ids for one in batches)])
            ends = np.empty((0, 2), np.int64)
            ranks = np.concatenate([ends, *(one.ranks[:, [0, -1]] for one in batches)])
            order = np.argsort(ids)
            self._pairs[number] = ids[order], ranks[order]
        return self._pairs[number]

    def home(self, case: Case, group: int) -> str:
        """The name of the node that a group lies in; empty where it lies in several."""
        ranks = self.schedule(case.schedule).members(group)
        nodes = np.unique(self.run.inventory.node_of(np.array(ranks))).tolist()
        return self.run.inventory.name(nodes[0]) if len(nodes) == 1 else ""

    def who(self, case: Case, group: int) -> str:
        """Which devices or nodes a group is, as reports print it."""
        ranks = self.schedule(case.schedule).members(group)
        inventory = self.run.inventory
        if len(ranks) <= 2:
            return " – ".join(inventory.rank_name(rank) for rank in ranks)
        nodes = list(dict.fromkeys(inventory.node_of(np.array(ranks)).tolist()))
        if len(nodes) == 1:
            return inventory.name(nodes[0])
        return f"{inventory.name(nodes[0])} … {inventory.name(nodes[-1])} ({len(ranks)})"
