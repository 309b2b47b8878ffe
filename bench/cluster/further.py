"""Stages that nobody planned beforehand: what a campaign asks for, given what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ..configs import Chip, StageConfig, Suite
from ..inventory import Inventory
from .plan import Plan, Strike
from .planning import Part, extended


class Further(msgspec.Struct, kw_only=True, frozen=True):
    """A stage that a campaign wants: its name and repeats, and what is measured on which nodes.

    ``strikes``: failures that it wants in that stage.
    """

    stage: StageConfig
    parts: list[Part]
    strikes: list[Strike] = []


class Campaign(Protocol):
    """Decides what to measure next, from the first stage on, given what was found."""

    def following(self, folder: Path, stages: Sequence[str]) -> Further | None:
        """The next stage of the run in ``folder``; None: the run is complete.

        Args:
            folder: The run, with all rows so far.
            stages: Names of the stages that have ended. A resumed run walks its stages anew, so
                the folder may hold rows of later ones already: they must not count.
        """
        ...


class Following:
    """What a campaign asks for, as stages of the plan."""

    def __init__(self, campaign: Campaign, suite: Suite, chips: Mapping[str, Chip]) -> None:
        self._campaign, self._suite, self._chips = campaign, suite, chips

    def grown(self, made: Plan, inventory: Inventory, folder: Path) -> Plan | None:
        """The plan with one more stage; None: there is none."""
        asked = self._campaign.following(folder, [stage.name for stage in made.stages])
        if asked is None:
            return None
        grown = extended(made, asked.stage, asked.parts, self._suite.rule, inventory, self._chips)
        if asked.strikes:
            last = msgspec.structs.replace(grown.stages[-1], strikes=asked.strikes)
            grown = msgspec.structs.replace(grown, stages=[*made.stages, last])
        return grown
