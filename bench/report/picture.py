"""What a live display shows of a run: small, whatever the size of the fleet."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping

from ..records import Status
from ..units import format_duration
from .terminal import WORST

_KNOWN = 0.05
"""Share of a stage from which on its own pace says how long it takes."""
_WINDOW = 10.0
"""Seconds over which the present rate of rows is taken."""


class Picture:
    """The state of a run: stages, work done, what came in, who is worst.

    Attributes:
        usual: Seconds that stages take, by name, as far as that is known.
        basis: Where ``usual`` comes from, as it is said behind a time: ``, as in 3 earlier runs``.
        bound: ``usual`` is what stages take at most.
        unit: What ``done`` and ``total`` count.
        rates: What is being measured now and what it gives, in lines.
        slow: Who is slower than others, the slowest first, in lines.
    """

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.name = ""
        self.done = 0
        self.total = 0
        self.share = 0.0
        self.current = ""
        self.unit = "jobs"
        self.lost: list[str] = []
        self.worst: dict[str, int] = {}
        self.rates: list[str] = []
        self.slow: list[str] = []
        self.usual: Mapping[str, float] = {}
        self.basis = ""
        self.bound = False
        self._bad: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.began = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque()

    def begin(self, name: str, total: int) -> None:
        """A new stage of ``total`` jobs; one that nobody planned follows the present one."""
        if name not in self.stages:
            known = self.name in self.stages
            place = self.stages.index(self.name) + 1 if known else len(self.stages)
            self.stages.insert(place, name)
        self.name, self.total, self.done, self.share, self.current = name, total, 0, 0.0, ""
        self.began = time.monotonic()

    def count(self, status: Status, number: int = 1) -> None:
        """Rows of a status have come in."""
        if number:
            self.counts[status] += number

    def blame(self, node: str, number: int = 1) -> None:
        """Values of a node are missing or wrong; `worst` keeps the nodes with most of them."""
        self._bad[node] += number
        self.worst[node] = self._bad[node]
        if len(self.worst) > WORST:
            del self.worst[min(self.worst, key=self.worst.__getitem__)]

    def rate(self) -> float | None:
        """Rows a second, of the last seconds; None before there are some."""
        now, rows = time.monotonic(), sum(dict(self.counts).values())
        self._seen.append((now, rows))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        began, before = self._seen[0]
        return (rows - before) / (now - began) if now - began > 1 and rows > before else None

    @property
    def left(self) -> float | None:
        """Estimated seconds until the stage ends: by its pace, before there is one by `usual`.

        What ranks need to start makes the first jobs look slow. Where earlier runs say how long all
        of it took, the pace is believed by and by, and alone from half of the stage on.
        """
        spent = time.monotonic() - self.began
        usual = self.usual.get(self.name)
        if self.share >= 1:
            return None
        learnt = max(usual - spent, 0.0) if usual is not None and not self.bound else None
        if self.share > _KNOWN:
            paced = spent / self.share * (1 - self.share)
            believed = min(2 * self.share, 1.0) if learnt is not None else 1.0
            return believed * paced + (1 - believed) * (learnt or 0.0)
        # A plan bounds the timing, of which nothing is over before the first job.
        return usual if self.bound else learnt

    def said_left(self) -> str:
        """``about 3m left, as in 4 earlier runs``: of all stages, where theirs are known."""
        now = self.left
        place = self.stages.index(self.name) if self.name in self.stages else len(self.stages)
        later = [self.usual.get(name) for name in self.stages[place + 1 :]]
        known = [one for one in later if one is not None]
        if now is None and not known:
            return ""
        if len(known) < len(later):
            return (
                f"about {format_duration(max(now, 1.0))} left of this stage"
                if now is not None
                else ""
            )
        much = "at most" if self.bound else "about"
        paced = not later and self.share > _KNOWN  # then it rests on nothing else
        total = format_duration(max((now or 0.0) + sum(known), 1.0))
        of = " of timing" if self.bound else ""
        return f"about {total} left" if paced else f"{much} {total}{of} left{self.basis}"
