"""Whether a metric's baselines and candidate can be compared at all, and in which direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...configs import GateLine
from ...gates import Judged, State
from ...records import Better
from .series import Series


def is_exact(line: GateLine, sides: Sequence[Series]) -> bool:
    """Whether a metric is a count: the gate file says so, or all sides that have it do."""
    return line.exact or all(one.exact for one in sides)


class Comparison:
    """A gating metric of one or more baselines and a candidate, and whether they compare at all.

    Attributes:
        before: Baselines that do: the same code, unit and direction, with a value.
        margin: The relative change towards worse that is accepted.
        exact: It is a count.
        sign: 1 where lower is better, else -1.
        problem: The state, where there is nothing to compare; None: there is.
    """

    def __init__(
        self, name: str, line: GateLine, baselines: Sequence[Series], after: Series | None
    ) -> None:
        self._name, self.margin = name, line.margin
        one = after or baselines[0]
        self._unit = one.unit
        self.exact = is_exact(line, [*baselines, *([after] if after is not None else [])])
        self._better: Better = one.better if line.better == "declared" else line.better
        self.sign = 1.0 if self._better == "lower" else -1.0
        self.before = [
            old for old in baselines if after and old.source and _defined(old) == _defined(after)
        ]
        self.problem = self._problem(baselines, after)

    def _problem(self, baselines: Sequence[Series], after: Series | None) -> Judged | None:
        if not baselines:
            return self.stated("NO_BASELINE", "the baseline does not measure it")
        if after is None:
            return self.stated("MISSING", "the candidate does not measure it")
        if not self.before:
            return self.stated(
                "CHANGED", "the code that defines the measurement differs between the sides"
            )
        sides: tuple[tuple[str, Sequence[Series], State], ...] = (
            ("candidate", [after], "MISSING"),
            ("baseline", self.before, "NO_BASELINE"),
        )
        for side, own, state in sides:
            if all(each.value() is None for each in own):
                why = own[0].why
                lost = why.partition(":")[0] not in ("", "skipped", "missing")
                text = f"the {side} has no value of it: {why or 'no rows'}"
                return self.stated("INVALID" if lost else state, text)
        return self._partly(after)

    def _partly(self, after: Series) -> Judged | None:
        """What both sides have values of, but not all that they should."""
        self.before = [old for old in self.before if old.value() is not None]
        if after.wrong:  # good values beside a wrong one make nothing good
            return self.stated("INVALID", f"of the candidate one was {after.wrong}")
        if not any(old.width == after.width for old in self.before):
            widths = sorted({old.width for old in self.before})
            said = " and ".join(map(str, widths))
            return self.stated(
                "NO_BASELINE",
                f"the baseline measured it over {said} devices, the candidate over {after.width}",
            )
        self.before = [old for old in self.before if old.width == after.width]
        # Of counts it is asked device by device.
        if not self.exact and after.share() < min(old.share() for old in self.before):
            return self.stated(
                "MISSING",
                f"the candidate has values of {len(after.answered)} of {after.asked} groups only: "
                f"{after.why or 'no rows of the others'}",
            )
        return None

    def stated(self, state: State, reason: str = "", **found: Any) -> Judged:
        """The metric in a state; ``found`` are fields of `Judged`."""
        return Judged(
            name=self._name,
            state=state,
            unit=self._unit,
            better=self._better,
            margin=self.margin,
            exact=self.exact,
            reason=reason,
            **found,
        )


def _defined(one: Series) -> tuple[str, str, Better]:
    return one.source, one.unit, one.better


def log_ratio(before: float, after: float, sign: float) -> float:
    """s · ln(after / before): of two zeros nothing, of one zero infinite."""
    if before == after:
        return 0.0
    if before <= 0 or after <= 0:
        return math.inf
    return sign * math.log(after / before)
