"""A plan: stages of blocks, a block being jobs that share a schedule; how it is walked.

`planning` makes one. It never lists its groups: `Schedule.walk` yields them when asked, so that
planning for ten thousand nodes is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..groups import Groups, Schedule
from ..inventory import Inventory
from ..records import Case, ScheduleSpec
from ..rounds import schedule_for
from ..timing import Rule

CEILING = 10.0
"""Times its usual limit that a part of a job may take, at most, however large its case is."""


class Job(msgspec.Struct, kw_only=True, frozen=True):
    """A benchmark with fixed axes: what a group runs in one go.

    ``case`` is the id of its first case; its metrics are cases ``case``, ``case + 1``, ... Behind
    those of the group come ``each``, of which every rank has its own value. ``absent`` says of some
    why a good measurement may have no value.
    ``limit`` is the wall-clock limit in seconds after which its ranks are killed: of the whole job,
    as a suite gives it, or of ``each_part`` of it, and then one that by what the parts before have
    taken must be long may take longer (`RankProcess.answer`).
    """

    benchmark: str
    axes: dict[str, Any]
    case: int
    metrics: tuple[str, ...]
    rule: Rule
    limit: float
    each: tuple[str, ...] = ()
    absent: dict[str, str] = {}
    each_part: bool = False

    @property
    def longest(self) -> float:
        """Seconds that an exchange of its ranks may have to wait for one of them."""
        return CEILING * self.limit if self.each_part else self.limit

    def rows(self, group: int, ranks: Sequence[int]) -> Iterator[tuple[int, int]]:
        """(case, group) of every row that it gives of a group of these ranks, in their order.

        The group's own come last: behind the last of them the job is whole.
        """
        own = self.case + len(self.metrics)
        for case in range(own, own + len(self.each)):
            for rank in ranks:
                yield case, rank
        for case in range(self.case, own):
            yield case, group


class Block(msgspec.Struct, kw_only=True, frozen=True):
    """Jobs that are measured one after the other on every group of one schedule.

    ``repeats``: how often, spaced in time.
    """

    schedule: int
    jobs: list[Job]
    repeats: int = 1


class Strike(msgspec.Struct, kw_only=True, frozen=True):
    """A failure that a campaign asks for: real processes die by SIGKILL, whatever they are doing.

    ``after``: seconds from when the stage is ordered. ``rank``: of the inventory, whose process it
    is; with ``whole_node`` all of its node's die, the agent with them.
    """

    after: float
    rank: int
    whole_node: bool = False


class Stage(msgspec.Struct, kw_only=True, frozen=True):
    """A stage of the plan. ``strikes``: the failures that are asked for in it."""

    name: str
    needs: list[str]
    blocks: list[Block]
    strikes: list[Strike] = []

    @property
    def repeats(self) -> int:
        """How often its blocks are walked at most."""
        return max((block.repeats for block in self.blocks), default=0)


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What to measure where: stages, and the tables that rows refer to."""

    suite: str
    stages: list[Stage]
    cases: list[Case]
    schedules: list[ScheduleSpec]
    notes: list[str] = []
    """What the suite asks for and this inventory cannot give, in sentences."""


class Step(msgspec.Struct, frozen=True):
    """One round of one block: everything in it runs at the same time."""

    block: int
    repeat: int
    round: int
    groups: list[Groups]


def steps(stage: Stage, schedules: list[Schedule]) -> Iterator[Step]:
    """Walk a stage: repeats, then blocks, then rounds; the order in which every agent works."""
    for repeat in range(stage.repeats):
        for index, block in enumerate(stage.blocks):
            if repeat >= block.repeats:
                continue
            for number, groups in enumerate(schedules[block.schedule].walk()):
                yield Step(index, repeat, number, groups)


def schedules_of(made: Plan, inventory: Inventory) -> list[Schedule]:
    """The plan's schedules over this inventory, in the order of `Plan.schedules`."""
    return [schedule_for(spec, inventory) for spec in made.schedules]
