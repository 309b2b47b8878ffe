"""What a stage gives so far, and who gives less than others, while it is being measured."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..records import STATUSES, Case, Row
from ..results import Columns
from ..units import format_value
from .terminal import WORST

FEWEST = 8
"""Values below which nobody is called slow."""
BELOW = 0.1
"""Relative deviation from the median, towards worse, from which on somebody is."""
_SHOWN = 2
"""Cases whose values are shown: the latest."""
_OK = STATUSES.index("ok")


class _Values:
    """Of one case: who gave what, in the order it came."""

    def __init__(self) -> None:
        self.groups = array("q")
        self.values = array("d")
        self.worst: list[tuple[float, int]] = []
        self.line = ""


class Slowest:
    """Values of the present stage by case.

    Args:
        case: The case of a number.
        name: What the group of a case is called; empty for one that has no short name.
    """

    def __init__(self, case: Callable[[int], Case], name: Callable[[int, int], str]) -> None:
        self._case, self._name = case, name
        self._values: dict[int, _Values] = {}
        self._fresh: dict[int, None] = {}
        self._before: list[tuple[float, str]] = []

    def begin(self) -> None:
        """A new stage: of the one before, only who was slowest is kept."""
        self._before = sorted([*self._before, *self._told()])[:WORST]
        self._values.clear()
        self._fresh.clear()

    def rows(self, rows: Iterable[Row]) -> None:
        """Rows have come in."""
        for row in rows:
            if row.status == "ok" and row.value is not None:
                found = self._of(row.case)
                found.groups.append(row.group)
                found.values.append(row.value)

    def columns(self, columns: Columns) -> None:
        """The same as arrays, of a simulated fleet."""
        kept = (columns.status == _OK) & ~np.isnan(columns.value)
        for case in np.unique(columns.case[kept]).tolist():
            chosen = kept & (columns.case == case)
            found = self._of(case)
            found.groups.frombytes(columns.group[chosen].astype(np.int64).tobytes())
            found.values.frombytes(columns.value[chosen].astype(np.float64).tobytes())

    def said(self) -> tuple[list[str], list[str]]:
        """Lines of what the latest cases give, and of who is slowest of all."""
        for case in self._fresh:
            self._settle(case)
        latest = [self._values[case].line for case in list(self._values)[-_SHOWN:]]
        self._fresh.clear()
        slow = sorted([*self._before, *self._told()])[:WORST]
        return [line for line in latest if line], [text for _, text in slow]

    def _of(self, case: int) -> _Values:
        if case not in self._fresh:
            self._fresh[case] = None
            # The latest stand last.
            self._values[case] = self._values.pop(case, _Values())
        return self._values[case]

    def _settle(self, number: int) -> None:
        found, case = self._values[number], self._case(number)
        # A view would forbid that more is appended.
        values: np.ndarray[Any, np.dtype[np.float64]] = np.array(found.values)
        median = float(np.median(values))
        said = format_value(median, case.unit)
        found.line = f"{case.short()} {case.metric}: {said}, median of {values.size:,}"
        if values.size < FEWEST or median <= 0 or case.unit in ("", "digest"):
            return
        towards = 1 if case.better == "higher" else -1
        effect = towards * (values / median - 1)
        few = np.argpartition(effect, min(WORST, values.size - 1))[:WORST]
        found.worst = [
            (float(effect[one]), found.groups[one]) for one in few.tolist() if effect[one] < -BELOW
        ]

    def _told(self) -> list[tuple[float, str]]:
        """(deviation, line) of the worst of each case."""
        told = []
        for number, found in self._values.items():
            for effect, group in found.worst:
                if name := self._name(number, group):
                    case = self._case(number)
                    what = f"{case.short()} {case.metric}"
                    told.append((effect, f"{name}: {what} {-effect:.0%} worse than usual"))
        return told
