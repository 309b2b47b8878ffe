"""The wall time of one job, as the agent that leads it sees it: what its ranks cannot know."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..ledger import Ledger, Spent, merged, rounded
from .orders import Visit
from .wire import Report


class Turn:
    """A job's turn, from its beginning on: commands to ranks, each followed by their reports.

    What a process took to start counts in its first job. Most of it lies before the turn, for
    processes start ahead of need and beside each other.
    """

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._before: dict[str, float] = {}
        self._started = self._waited = self._ran = 0.0

    def formed(self, reports: Sequence[Report]) -> None:
        """The group has formed, or could not."""
        self._before["group"] = self._passed(reports)

    def ran(self, reports: Sequence[Report]) -> None:
        """The job has been measured; where it was before, that was in vain."""
        self._before["again"] = self._before.get("again", 0.0) + self._ran
        self._ran = self._passed(reports)

    @property
    def measuring(self) -> float:
        """Seconds from the last command to measure to the last report of it."""
        return self._ran

    def _passed(self, reports: Sequence[Report]) -> float:
        """Seconds since the last command ended, but for those in which processes started."""
        now = time.perf_counter()
        span, self._last = now - self._last, now
        waited = min(span, max((report.waited for report in reports), default=0.0))
        self._waited += waited
        self._started = max(self._started, *(report.started for report in reports), 0.0)
        return span - waited

    def ledger(self, case: int, visit: Visit, spent: Sequence[Spent], rank: int = 0) -> Ledger:
        """Where all of it went, up to now.

        Args:
            case: Id of the job's first case.
            visit: Whose job it is.
            spent: Of every rank; of a job that failed, of the ``rank`` that did, if it is known.
        """
        start = max(self._started, self._waited)
        whole = start - self._waited + time.perf_counter() - self._began
        before = {**self._before, "start": start}
        if spent:
            longest, parts, least, most = merged(spent, whole, before)
            rank += longest
        else:
            parts, least, most = rounded({**before, "rest": whole - sum(before.values())}), {}, {}
        return Ledger(
            case=case,
            group=visit.group,
            repeat=visit.repeat,
            rank=rank,
            whole=round(whole, 6),
            parts=parts,
            least=least,
            most=most,
        )
