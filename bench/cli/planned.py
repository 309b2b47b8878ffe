"""A plan in plain values, for `--dry-run`."""

from __future__ import annotations

from typing import Any

from ..analysis.summary import members
from ..cluster.plan import Plan, schedules_of
from ..inventory import Inventory
from ..workloads.base import make


def longest(stages: list[dict[str, Any]]) -> float:
    """Seconds of timing at most, of what `outline` gives."""
    return float(sum(block["seconds"] for stage in stages for block in stage["blocks"]))


def outline(made: Plan, inventory: Inventory) -> list[dict[str, Any]]:
    """One entry a stage: its blocks with schedule, groups, rounds, jobs and longest duration.

    ``members`` says which devices take part, ``library`` in which collective library they meet;
    ``jobs`` are titles, as reports print them and ``--only`` takes them.

    ``seconds`` is the sum of warm-ups and budgets over rounds: measuring ends earlier where the
    median is known sooner, and set-up and sanity checks come on top.
    """
    schedules = schedules_of(made, inventory)
    stages = []
    for stage in made.stages:
        blocks = []
        for block in stage.blocks:
            schedule = schedules[block.schedule]
            rounds = sum(1 for _ in schedule.walk())
            rules = [make(job.benchmark, job.axes).rule(job.rule) for job in block.jobs]
            each = sum(rule.warmup + max(rule.budget, rule.sustained) for rule in rules)
            spec = made.schedules[block.schedule]
            blocks.append(
                {
                    "schedule": spec.kind,
                    "scope": spec.scope,
                    "members": members(spec).strip(),
                    "library": spec.library,
                    "groups": schedule.count,
                    "rounds": rounds,
                    "jobs": [made.cases[job.case].short() for job in block.jobs],
                    "seconds": round(each * rounds * block.repeats, 1),
                }
            )
        stages.append(
            {"name": stage.name, "needs": stage.needs, "repeats": stage.repeats, "blocks": blocks}
        )
    return stages
