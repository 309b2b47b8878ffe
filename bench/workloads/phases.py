"""Where the time of a step goes: marks on one line, each the begin of a phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from ..timing import Timing
from .marks import span

PASSES = ("forward", "backward")
"""Phases that waits for other ranks interrupt."""


class Phases:
    """Steps in phases: what lies between a mark and the next is the phase that begins there.

    So the phases of a step add up to the time from its first mark to its last; a phase that comes
    several times is summed. Called with a phase's name where that begins, by whoever begins it.

    Args:
        mark: Sets a mark and returns it (`bench.workloads.marks.mark`); None: nothing is marked.
    """

    def __init__(self, mark: Callable[[], Any] | None) -> None:
        self._mark = mark
        self._steps: list[list[tuple[str, Any]]] = []

    def __bool__(self) -> bool:
        """Whether anything is marked."""
        return self._mark is not None

    def step(self) -> None:
        """A step begins: what follows is its."""
        self._steps.append([])

    def __call__(self, phase: str) -> None:
        """``phase`` begins, and the one before it ends; empty: the step ends."""
        if self._mark is not None:
            self._steps[-1].append((phase, self._mark()))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What happens inside is ``wait`` and no part of the pass that it interrupts.

        A stage of a pipeline that waits for another does so already.
        """
        interrupted = self._steps[-1][-1][0] if self._steps and self._steps[-1] else ""
        if interrupted not in PASSES:
            yield
            return
        self("wait")
        try:
            yield
        finally:
            self(interrupted)

    @contextmanager
    def prolonged(self, phase: str) -> Iterator[None]:
        """What happens inside, and since the last step ended, is ``phase`` of that step."""
        if self._mark is None:
            yield
            return
        _, end = self._steps[-1].pop()
        self._steps[-1].append((phase, end))
        try:
            yield
        finally:
            self("")

    def seconds(self, timing: Timing, names: Sequence[str]) -> dict[str, Any]:
        """Each phase's seconds in the steps that count: float64[steps] by name.

        The device must have passed all marks.
        """
        steps = timing.kept(self._steps)
        found = {name: np.zeros(len(steps)) for name in names}
        for number, marks in enumerate(steps):
            for (name, begin), (_, end) in pairwise(marks):
                found[name][number] += span(begin, end)
        return found


def nothing(phase: str) -> None:
    """For who marks no phases."""
