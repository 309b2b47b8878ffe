"""Who watches a run, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..inventory import Inventory
from ..records import Header, Status
from .executor import Page
from .plan import Plan, Stage


class Observer(Protocol):
    """Who watches a run: the terminal, or nobody."""

    def begin(self, header: Header, made: Plan, inventory: Inventory, folder: Path) -> None:
        """The run folder exists and measuring begins."""
        ...

    def stage(self, stage: Stage, jobs: int) -> None:
        """A stage of so many jobs (a job on one group) begins."""
        ...

    def page(self, page: Page) -> None:
        """A page came in and is safe in the journal (or an empty one, as a heartbeat)."""
        ...

    def end(self, state: str, counts: Mapping[Status, int]) -> None:
        """The run has ended."""
        ...


class Several:
    """An observer that tells others, in their order; without any, nobody watches."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = observers

    def begin(self, header: Header, made: Plan, inventory: Inventory, folder: Path) -> None:
        """Tell them."""
        for one in self._observers:
            one.begin(header, made, inventory, folder)

    def stage(self, stage: Stage, jobs: int) -> None:
        """Tell them."""
        for one in self._observers:
            one.stage(stage, jobs)

    def page(self, page: Page) -> None:
        """Tell them."""
        for one in self._observers:
            one.page(page)

    def end(self, state: str, counts: Mapping[Status, int]) -> None:
        """Tell them."""
        for one in self._observers:
            one.end(state, counts)
