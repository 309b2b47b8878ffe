"""What belongs together though it was measured at several times: stages and their re-tests.

A re-test measures again what a stage has measured, on some of its nodes. Its stage is called
``stage+k``; its cases differ from the stage's by the choice of groups alone.
"""

from __future__ import annotations

import msgspec

from ..declared import AGAIN as AGAIN
from ..records import ScheduleSpec

_CHOICE = ("nodes", "ranks", "groups", "schedule", "matchings", "seed")
"""Arguments that say which groups are measured, and not what a group is."""


def base(stage: str) -> str:
    """The stage that a re-test is of: ``device`` of ``device+2``."""
    return stage.partition(AGAIN)[0]


def retest(stage: str, number: int) -> str:
    """The name of a stage's ``number``-th re-test, counted from 1."""
    return f"{stage}{AGAIN}{number}"


def number_of(stage: str) -> int:
    """Which re-test a stage is: 2 of ``device+2``; 0 for one that is none."""
    return int(stage.partition(AGAIN)[2] or 0)


def what(spec: ScheduleSpec) -> ScheduleSpec:
    """A schedule without the choice of its groups: what a group of it is."""
    kept = {key: value for key, value in spec.arguments.items() if key not in _CHOICE}
    return msgspec.structs.replace(spec, arguments=kept, groups=None)
