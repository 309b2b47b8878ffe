"""Suite × inventory → plan: a pure function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from ..configs import Chip, Entry, StageConfig, Suite, datasheet
from ..errors import ConfigError, HengsuanError, UsageError, unknown
from ..groups import Schedule
from ..inventory import Inventory
from ..records import Case, ScheduleSpec
from ..rounds import schedule_for
from ..timing import OVERTIME, Rule
from ..workloads.base import Benchmark, Facts, axes_of, make, registry, source_hash, title_of
from ..workloads.expansion import expand
from ..workloads.placement import check_keys, class_of, schedule_spec, with_arguments
from .expectation import alike, facts_of
from .plan import Block, Job, Plan, Stage

_replace = msgspec.structs.replace
SETUP_LIMIT = 240.0
"""Seconds that set-up, a check or a call of the warm-up may take at least, where the suite gives no
``limit`` of its own."""


class Part(msgspec.Struct, frozen=True):
    """Entries of a suite, where they are measured, and how often (None: as the stage says).

    ``nodes`` by index, or of benchmarks of devices ``ranks``; None: all.
    """

    entries: Sequence[Entry]
    nodes: Sequence[int] | None = None
    ranks: Sequence[int] | None = None
    repeats: int | None = None


def plan(suite: Suite, inventory: Inventory, chips: Mapping[str, Chip] | None = None) -> Plan:
    """Plan a suite for an inventory.

    Raises:
        UsageError: an unknown benchmark, axis, placement key or label, or an axis value that the
            benchmark does not take; ``where`` is the suite's file and line.
    """
    builder = _Builder(inventory, chips or {})
    stages = [builder.stage(stage, [Part(stage.entries)], suite.rule) for stage in suite.stages]
    problems = [f"node {n.name} is not measured: {n.problem}" for n in inventory.nodes if n.problem]
    return builder.plan(suite.name, stages, problems)


def extended(
    made: Plan,
    stage: StageConfig,
    parts: Sequence[Part],
    rule: dict[str, float],
    inventory: Inventory,
    chips: Mapping[str, Chip] | None = None,
) -> Plan:
    """A plan with one more stage; cases and schedules that it had keep their numbers.

    Args:
        made: The plan so far.
        stage: Name, needs and repeats of the new stage.
        parts: What is measured in it, and on which nodes.
        rule: The suite's stopping rule, which entries may override.

    Raises as `plan` does.
    """
    builder = _Builder(inventory, chips or {}, made)
    return builder.plan(made.suite, [*made.stages, builder.stage(stage, parts, rule)], made.notes)


class _Builder:
    def __init__(
        self, inventory: Inventory, chips: Mapping[str, Chip], made: Plan | None = None
    ) -> None:
        self.inventory = inventory
        self.known = registry()
        self.cases = list(made.cases) if made is not None else []
        self.specs = list(made.schedules) if made is not None else []
        self.notes = list(inventory.notes) if made is None else []
        self._asked = [_replace(spec, groups=None, library="") for spec in self.specs]
        self._known: dict[bytes, Schedule] = {}
        self._chips = chips
        self._sources: dict[str, str] = {}
        self._part = Part([])
        self._there = inventory

    def plan(self, suite: str, stages: list[Stage], notes: Sequence[str]) -> Plan:
        return Plan(
            suite=suite,
            stages=stages,
            cases=self.cases,
            schedules=self.specs,
            notes=[*notes, *self.notes],
        )

    def stage(self, stage: StageConfig, parts: Sequence[Part], rule: dict[str, float]) -> Stage:
        blocks: dict[tuple[int, int], list[Job]] = {}
        for part in parts:
            self._part, self._there = part, self.inventory
            if part.nodes is not None:
                self._there = self.inventory.on_nodes(sorted(part.nodes))
            repeats = part.repeats or stage.repeats
            for entry in part.entries:
                try:
                    for index, jobs in self.entry(entry, stage.name, rule):
                        blocks.setdefault((index, repeats), []).extend(jobs)
                except HengsuanError as error:
                    if error.where or not entry.where:
                        raise
                    raise ConfigError(error.message, where=entry.where, hint=error.hint) from None
        return Stage(
            name=stage.name,
            needs=stage.needs,
            blocks=[
                Block(schedule=index, jobs=jobs, repeats=repeats)
                for (index, repeats), jobs in blocks.items()
            ],
        )

    def entry(
        self, entry: Entry, stage: str, suite_rule: dict[str, float]
    ) -> Iterator[tuple[int, list[Job]]]:
        """The jobs of an entry, by the schedules that its placement stands for."""
        if entry.benchmark not in self.known:
            raise unknown("benchmark", entry.benchmark, self.known)
        cls = self.known[entry.benchmark]
        asked = schedule_spec(cls, entry.place)
        check_keys(cls, entry.axes, asked, self.inventory)
        if self._part.ranks is not None:
            asked = with_arguments(asked, ranks=sorted(self._part.ranks))
        if self._part.nodes is not None:
            asked = with_arguments(asked, nodes=sorted(self._part.nodes))
        specs, idle = self._parts(asked)
        for kind in idle:
            self.notes.append(f"{entry.where or stage}: {entry.benchmark} has no group of {kind}")
        # YAML suites give the keys of Rule and, beside them, the wall-clock limit of a job.
        merged = {**suite_rule, **entry.rule}
        limit = float(merged.pop("limit", 0.0))
        try:
            rule = msgspec.convert(merged, Rule)
        except msgspec.ValidationError as error:
            raise UsageError(f"rule of {entry.benchmark}: {error}") from None
        if unknown_keys := set(merged) - set(Rule.__struct_fields__):
            raise unknown("rule key", min(unknown_keys), (*Rule.__struct_fields__, "limit"))
        for spec in specs:
            index = self._schedule(spec)
            schedule = self._made(spec)
            if why := self._left_out(cls, spec, schedule):
                self.notes.append(f"{entry.where or stage}: {entry.benchmark} {why}")
            jobs = []
            for axes in expand(
                cls, entry.axes, weak=self.inventory.weak(), numa=self.inventory.numa()
            ):
                bench = make(entry.benchmark, axes)
                if spec.kind == "growing" and (why := self._unfit(bench, schedule)):
                    self.notes.append(f"{entry.where or stage}: {why}")
                    continue
                own = bench.rule(rule)
                span = own.warmup + max(own.budget, own.sustained)
                wall = limit or max(SETUP_LIMIT, bench.patience()) + OVERTIME * span
                jobs.append(self._job(bench, stage, index, schedule, rule, wall, not limit))
            yield index, jobs

    def _job(
        self,
        bench: Benchmark,
        stage: str,
        index: int,
        schedule: Schedule,
        rule: Rule,
        limit: float,
        each_part: bool,
    ) -> Job:
        axes = axes_of(bench)
        if schedule.size:
            self._check_ranks(bench, schedule.first())
        facts = self._facts(self._asked[index], schedule)
        expected = bench.expected(facts) if facts is not None else {}
        first = len(self.cases)
        source = self._sources.setdefault(bench.name, source_hash(type(bench)))
        common = [one for one in bench.reported() if not one.each]
        each = [one for one in bench.reported() if one.each]
        asked = self._asked[index]
        if asked.kind == "node_pairs":
            each = []  # a rank is in many pairs, and its row would not say in which
        by_rank = self._schedule(_replace(asked, scope="rank")) if each else index
        for offset, measure in enumerate((*common, *each)):
            self.cases.append(
                Case(
                    id=first + offset,
                    stage=stage,
                    benchmark=bench.name,
                    axes=axes,
                    scope="rank" if measure.each else bench.scope,
                    metric=measure.name,
                    unit=measure.unit,
                    better=measure.better,
                    source=source,
                    schedule=by_rank if measure.each else index,
                    expected=expected.get(measure.name),
                    title=title_of(bench),
                    exact=measure.exact,
                )
            )
        return Job(
            benchmark=bench.name,
            axes=axes,
            case=first,
            metrics=tuple(one.name for one in common),
            rule=rule,
            limit=limit,
            each=tuple(one.name for one in each),
            absent={one.name: one.absent for one in (*common, *each) if one.absent},
            each_part=each_part,
        )

    def _parts(self, asked: ScheduleSpec) -> tuple[list[ScheduleSpec], list[str]]:
        """The schedules that one placement stands for, and the kinds of chip that have no group.

        In a mixed fleet one for each kind of chip and, for what exchanges anything, one for each
        mix of kinds (`Inventory.mixes`); a topology is one for each class of link.
        """
        _, names = self._there.kinds()
        kinds = names if len(names) > 1 else []
        mixes = self._there.mixes() if asked.scope != "device" else []
        parts = {on: with_arguments(asked, on=on) for on in (*kinds, *mixes)}
        found = {on: spec for on, spec in parts.items() if self._made(spec).count}
        specs = [
            with_arguments(spec, **{way: key}) if way else spec
            for spec in found.values() or [asked]
            for way, key in self._made(spec).classes or [("", "")]
        ]
        return specs, [kind for kind in kinds if kind not in found] if found else []

    def _left_out(self, cls: type[Benchmark], spec: ScheduleSpec, schedule: Schedule) -> str:
        """What the entry asks for and this inventory lacks; empty where nothing is."""
        nodes = self._there.node_count
        way, key = class_of(spec)
        if schedule.count == 0 and way:
            what = "share a value of" if way == "within" else "differ in"
            whose = f"{spec.arguments.get('of', 'node')}s"
            return f"has no group here: no two {whose} {what} {key!r}"
        if schedule.count == 0:
            return f"has no group here: {nodes} node(s), {self._there.size} device(s)"
        alone = schedule.width < 2 and not cls.alone
        if cls.scope == "group" and alone and spec.kind != "growing":
            return "has groups of one device only, which have nothing to exchange"
        key = spec.arguments.get("key") or key
        if key not in self._there.labels():
            return ""
        codes, values = self._there.label(key)
        if bare := int((codes < 0).sum()):
            return f"leaves out {bare} node(s) without the label {key!r}"
        if way == "across" and spec.arguments["schedule"] == "sample":
            ranks = [batch.ranks[:, [0, -1]] for whole in schedule.rounds() for batch in whole]
            codes = self.inventory.label(key)[0]
            ends = np.sort(codes[self.inventory.node_of(np.concatenate(ranks))], axis=1)
            met, every = len(np.unique(ends, axis=0)), len(values) * (len(values) - 1) // 2
            if met < every:
                return f"meets {met} of {every} pairs of {key}; raise matchings to meet all"
        return ""

    def _check_ranks(self, bench: Benchmark, group: tuple[int, ...]) -> None:
        """Raise `UsageError` for a group that a benchmark does not go with."""
        if self.inventory.fleet is not None:
            chip = self._chips.get(self.inventory.fleet.chip)
            known = int(chip.memory.value) if chip is not None and chip.memory else None
        else:
            known = min(self.inventory.device(rank).memory for rank in group) or None
        bench.check_ranks(len(group), known)

    def _unfit(self, bench: Benchmark, schedule: Schedule) -> str:
        """Why a benchmark does not go with one of several sizes of a group; empty if it does."""
        group = schedule.first()
        try:
            self._check_ranks(bench, group)
        except UsageError as error:
            return f"not over {len(group)} device(s): {error.message}"
        return ""

    def _facts(self, spec: ScheduleSpec, schedule: Schedule) -> Facts | None:
        """Facts that hold for every group of the schedule; None where groups differ."""
        if not schedule.count or not alike(spec, self.inventory):
            return None
        group = schedule.first()
        nodes = len(set(self.inventory.node_of(group).tolist()))
        chip = self._chip(group, spec.arguments.get("on", ""))
        return facts_of(spec, schedule, self.inventory, chip, ranks=len(group), nodes=nodes)

    def _chip(self, group: tuple[int, ...], on: str) -> Chip | None:
        """The datasheet that a group is judged by: of a group of several kinds, none."""
        if "+" in on:
            return None
        if self.inventory.fleet is not None:
            return self._chips.get(self.inventory.fleet.chip)
        return datasheet(self.inventory.device(group[0]), self._chips)

    def _schedule(self, spec: ScheduleSpec) -> int:
        if spec in self._asked:
            return self._asked.index(spec)
        schedule = self._made(spec)
        library = ""
        if spec.scope not in ("device", "rank") and schedule.count:
            library = self.inventory.library(schedule.first())
        self._asked.append(spec)
        self.specs.append(_replace(spec, groups=schedule.count, library=library))
        return len(self.specs) - 1

    def _made(self, spec: ScheduleSpec) -> Schedule:
        key = msgspec.json.encode(spec)
        if key not in self._known:
            self._known[key] = schedule_for(spec, self.inventory)
        return self._known[key]
