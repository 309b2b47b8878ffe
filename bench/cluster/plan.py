"""Suite × inventory → plan: stages of blocks, a block being jobs that share a schedule.

A pure function. A plan never lists its groups: `Schedule.walk` yields them when asked, so that
planning for ten thousand nodes is arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..configs import Chip, Entry, Suite
from ..errors import ConfigError, HengsuanError, UsageError, unknown
from ..inventory import Inventory
from ..records import Case, ScheduleSpec, Scope
from ..rounds import Groups, Schedule, schedule_for
from ..timing import OVERTIME, Rule
from ..units import parse_sweep
from ..workloads.base import (
    Benchmark,
    Bytes,
    Facts,
    axes_of,
    axis_fields,
    make,
    registry,
    source_hash,
)

PLACEMENT: Mapping[Scope, dict[str, Any]] = {
    "device": {},
    "node": {},
    "pair": {"of": "device", "schedule": "full", "matchings": 3, "seed": 0, "together": None},
    "group": {"over": "all", "schedule": "full", "matchings": 3, "seed": 0, "together": None},
}
"""Placement keys of each scope with their defaults.

Groups are over all devices, each ``node``, each ``rail`` (devices of equal place in all nodes),
each ``pair`` of nodes, or the nodes of equal value of a label; ``schedule``, ``matchings`` and
``seed`` say which pairs. Disjoint groups are measured as their nodes come to it, mostly at the
same time. ``together: true`` starts all groups of a round at one time, so that they contend for
what they share; ``together: false`` measures one group while all others rest. The difference is
contention.
"""

OVER = {"node": "nodes", "all": "all", "rail": "rails", "pair": "node_pairs"}
"""Kinds of schedule by what groups are over; everything else is the name of a label."""

SETUP_LIMIT = 240.0
"""Seconds that set-up and checks may take where the suite gives no ``limit`` of its own."""


class Job(msgspec.Struct, kw_only=True, frozen=True):
    """A benchmark with fixed axes: what a group runs in one go.

    ``case`` is the id of its first case; its metrics are cases ``case``, ``case + 1``, ...
    ``limit`` is the wall-clock limit in seconds after which its ranks are killed.
    """

    benchmark: str
    axes: dict[str, Any]
    case: int
    metrics: tuple[str, ...]
    rule: Rule
    limit: float


class Block(msgspec.Struct, kw_only=True, frozen=True):
    """Jobs that are measured one after the other on every group of one schedule."""

    schedule: int
    jobs: list[Job]


class Stage(msgspec.Struct, kw_only=True, frozen=True):
    """A stage of the plan. Every block is walked ``repeats`` times, spaced in time."""

    name: str
    needs: list[str]
    repeats: int
    blocks: list[Block]


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


def plan(suite: Suite, inventory: Inventory, chips: Mapping[str, Chip] | None = None) -> Plan:
    """Plan a suite for an inventory.

    Raises:
        UsageError: an unknown benchmark, axis, placement key or label, or an axis value that the
            benchmark does not take; ``where`` is the suite's file and line.
    """
    builder = _Builder(inventory, chips or {})
    stages = []
    for stage in suite.stages:
        blocks: dict[int, list[Job]] = {}
        for entry in stage.entries:
            try:
                index, jobs = builder.entry(entry, stage.name, suite.rule)
            except HengsuanError as error:
                if error.where or not entry.where:
                    raise
                raise ConfigError(error.message, where=entry.where, hint=error.hint) from None
            blocks.setdefault(index, []).extend(jobs)
        stages.append(
            Stage(
                name=stage.name,
                needs=stage.needs,
                repeats=stage.repeats,
                blocks=[Block(schedule=index, jobs=jobs) for index, jobs in blocks.items()],
            )
        )
    return Plan(
        suite=suite.name,
        stages=stages,
        cases=builder.cases,
        schedules=builder.specs,
        notes=[
            *(f"node {n.name} is not measured: {n.problem}" for n in inventory.nodes if n.problem),
            *builder.notes,
        ],
    )


def steps(stage: Stage, schedules: list[Schedule]) -> Iterator[Step]:
    """Walk a stage: repeats, then blocks, then rounds; the order in which every agent works."""
    for repeat in range(stage.repeats):
        for index, block in enumerate(stage.blocks):
            for number, groups in enumerate(schedules[block.schedule].walk()):
                yield Step(index, repeat, number, groups)


def schedules_of(made: Plan, inventory: Inventory) -> list[Schedule]:
    """The plan's schedules over this inventory, in the order of `Plan.schedules`."""
    return [schedule_for(spec, inventory) for spec in made.schedules]


class _Builder:
    def __init__(self, inventory: Inventory, chips: Mapping[str, Chip]) -> None:
        self.inventory = inventory
        self.known = registry()
        self.cases: list[Case] = []
        self.specs: list[ScheduleSpec] = []
        self.notes = list(inventory.notes)
        self._asked: list[ScheduleSpec] = []
        self._schedules: list[Schedule] = []
        kinds = inventory.chips()
        # With several chip kinds in one fleet there is no single expectation for a case.
        self.chip = chips.get(kinds[0]) if len(kinds) == 1 and kinds[0] else None
        self._sources: dict[str, str] = {}

    def entry(
        self, entry: Entry, stage: str, suite_rule: dict[str, float]
    ) -> tuple[int, list[Job]]:
        if entry.benchmark not in self.known:
            raise unknown("benchmark", entry.benchmark, self.known)
        cls = self.known[entry.benchmark]
        index = self._schedule(self._spec(cls, entry.place))
        schedule = self._schedules[index]
        if why := self._left_out(cls, self._asked[index], schedule):
            self.notes.append(f"{entry.where or stage}: {entry.benchmark} {why}")
        # YAML suites give the keys of Rule and, beside them, the wall-clock limit of a job.
        merged = {**suite_rule, **entry.rule}
        limit = float(merged.pop("limit", 0.0))
        try:
            rule = msgspec.convert(merged, Rule)
        except msgspec.ValidationError as error:
            raise UsageError(f"rule of {entry.benchmark}: {error}") from None
        if unknown_keys := set(merged) - set(Rule.__struct_fields__):
            raise unknown("rule key", min(unknown_keys), (*Rule.__struct_fields__, "limit"))
        jobs = []
        for axes in expand(
            cls, entry.axes, stand_in=self.inventory.stand_in(), numa=self.inventory.numa()
        ):
            bench = make(entry.benchmark, axes)
            own = bench.rule(rule)
            wall = limit or SETUP_LIMIT + OVERTIME * (own.warmup + max(own.budget, own.sustained))
            jobs.append(self._job(bench, stage, index, schedule, rule, wall))
        return index, jobs

    def _job(
        self,
        bench: Benchmark,
        stage: str,
        index: int,
        schedule: Schedule,
        rule: Rule,
        limit: float,
    ) -> Job:
        axes = axes_of(bench)
        facts = self._facts(schedule)
        expected = bench.expected(facts) if facts is not None else {}
        first = len(self.cases)
        source = self._sources.setdefault(bench.name, source_hash(type(bench)))
        for offset, measure in enumerate(bench.reported()):
            self.cases.append(
                Case(
                    id=first + offset,
                    stage=stage,
                    benchmark=bench.name,
                    axes=axes,
                    scope=bench.scope,
                    metric=measure.name,
                    unit=measure.unit,
                    better=measure.better,
                    source=source,
                    schedule=index,
                    expected=expected.get(measure.name),
                )
            )
        metrics = tuple(measure.name for measure in bench.reported())
        return Job(
            benchmark=bench.name, axes=axes, case=first, metrics=metrics, rule=rule, limit=limit
        )

    def _left_out(self, cls: type[Benchmark], spec: ScheduleSpec, schedule: Schedule) -> str:
        """What the entry asks for and this inventory lacks; empty where nothing is."""
        nodes = self.inventory.node_count
        if schedule.size == 0:
            return f"has no group here: {nodes} node(s), {self.inventory.size} device(s)"
        if cls.scope == "group" and schedule.width < 2:
            return "has groups of one device only, which have nothing to exchange"
        key = spec.arguments.get("key")
        if key is not None:
            carried = sum(map(len, self.inventory.by_label(key).values()))
            if carried < nodes:
                return f"leaves out {nodes - carried} node(s) without the label {key!r}"
        return ""

    def _facts(self, schedule: Schedule) -> Facts | None:
        """Facts that hold for every group of the schedule; None where groups differ.

        Pairs of devices are in one node or in two: no single figure is expected of them.
        """
        several = self.inventory.node_count > 1
        spec = self._asked[self._schedules.index(schedule)]
        by_device = spec.kind == "pairs" and spec.arguments["of"] == "device"
        if not schedule.size or (
            by_device and several and self.inventory.size > self.inventory.node_count
        ):
            return None
        group = schedule.members(0)
        nodes = len(set(self.inventory.node_of(group).tolist()))
        chip = self.chip
        # Rails that are measured at the same time share the network of their nodes.
        shares = schedule.size if spec.kind == "rails" and not schedule.alone else 1
        link = chip.link.value if chip and chip.link else None
        network = chip.network.value if chip and chip.network else None
        return Facts(
            chip=chip,
            ranks=len(group),
            nodes=nodes,
            per_node=max(1, len(group) // max(1, nodes)),
            link=link,
            network=network / shares if network else None,
            link_latency=self.inventory.latency[0] if self.inventory.latency else None,
            network_latency=self.inventory.latency[1] if self.inventory.latency else None,
        )

    def _spec(self, cls: type[Benchmark], place: dict[str, Any]) -> ScheduleSpec:
        defaults = PLACEMENT[cls.scope]
        for key in place:
            if key not in defaults:
                raise unknown(f"placement of {cls.name} (scope {cls.scope})", key, defaults)
        arguments = {**defaults, **place}
        together = arguments.pop("together", None)
        if not isinstance(together, bool | None):
            raise UsageError(f"together must be true or false, not {together!r}")
        over = str(arguments.pop("over", ""))
        kind = {"device": "devices", "node": "nodes", "pair": "pairs"}.get(cls.scope)
        if kind is None:
            kind = OVER.get(over, "label")
        if kind in ("pairs", "node_pairs"):
            _one_of("of", arguments.get("of", "node"), ("device", "node"))
            _one_of("schedule", arguments["schedule"], ("full", "sample", "topology"))
            for key in ("matchings", "seed"):
                if not isinstance(arguments[key], int) or arguments[key] < (key == "matchings"):
                    raise UsageError(f"{key} must be a positive integer, not {arguments[key]!r}")
        elif useless := [key for key in ("schedule", "matchings", "seed") if key in place]:
            raise UsageError(
                f"{useless[0]} says which pairs are measured, and over: {over} has no pairs",
                hint="leave it out, or write over: pair",
            )
        else:
            arguments = {"key": over} if kind == "label" else {}
        if together is not None:
            arguments["together"] = together
        return ScheduleSpec(kind=kind, scope=cls.scope, arguments=arguments)

    def _schedule(self, spec: ScheduleSpec) -> int:
        if spec in self._asked:
            return self._asked.index(spec)
        schedule = schedule_for(spec, self.inventory)
        self._asked.append(spec)
        self._schedules.append(schedule)
        self.specs.append(msgspec.structs.replace(spec, groups=schedule.size))
        return len(self.specs) - 1


def expand(
    cls: type[Benchmark],
    axes: Mapping[str, Any],
    *,
    stand_in: bool = False,
    numa: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """The Cartesian product of axes as a suite writes them: lists, sweeps of sizes, named sets.

    ``stand_in``: the plan is for devices that stand in for accelerators. ``numa``: NUMA nodes
    that any host has.
    """
    fields = axis_fields(cls)
    choices = []
    for key, value in axes.items():
        if key not in fields:
            raise unknown(f"axis of {cls.name}", key, fields)
        options: list[Any] = []
        for item in value if isinstance(value, list) else [value]:
            try:
                sweep = parse_sweep(item) if isinstance(item, str) and ".." in item else None
            except ValueError as error:
                raise UsageError(f"{cls.name}.{key}: {error}") from None
            sized = fields[key].type is Bytes and sweep is not None
            options.extend((Bytes(size) for size in sweep or ()) if sized else [item])
        if not options:
            raise UsageError(f"{cls.name}.{key}: an empty list measures nothing")
        choices.append(options)
    for chosen in itertools.product(*choices):
        made = dict(zip(axes, chosen, strict=True))
        yield from cls.spread(made, stand_in=stand_in, numa=numa)


def _one_of(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unknown(key, str(value), choices)
