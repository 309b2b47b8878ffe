"""What certification measures next: a suite's stages, each a gate, each followed by re-tests.

Every stage runs on the nodes that nothing speaks against so far. After it the doubtful cells are
measured again, together with controls, until they are decided or the re-test's share of the sweep
is used up; then the next stage begins. Nothing is remembered: the rows say it all, so a resumed run
goes the same way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..analysis.certify.cells import Cells, Judgement, Request, Rules
from ..analysis.certify.examine import Examined, Proven, examine
from ..analysis.certify.sequential import retest
from ..analysis.certify.troubles import spoilt
from ..analysis.graph import Bools
from ..analysis.joining import base, number_of, what
from ..analysis.joining import retest as retest_name
from ..analysis.waivers import waived
from ..cluster.further import Further
from ..cluster.planning import Part
from ..configs import Entry, Profile, StageConfig, Suite
from ..configs.waivers import Waiver
from ..inventory import Inventory
from ..records import Case, Header, ScheduleSpec
from ..results import RunReader
from ..units import format_duration
from ..workloads.base import axes_of, make, registry
from ..workloads.expansion import expand
from ..workloads.placement import schedule_spec

BUSY_LOOKS = 3
"""Re-tests of a stage's contended cells at most: a host that is busy every time is not quiet."""
LINK_LOOKS = 2
"""Re-tests of a stage's pairs, and of what nodes do together, at most."""
EVERY_PAIR = 12
"""Nodes up to which a re-test of pairs meets every pair of them; more meet some."""
MATCHINGS = 5
"""Rounds of pairs in a re-test of more nodes."""
SOAK = "soak"
"""The stage that `Certify` appends where a soak is asked for."""
ROUND = 30.0
"""Seconds of back-to-back work of one benchmark in a soak."""


class Certify:
    """The campaign of one certification.

    Args:
        suite: Its stages, in order.
        profile: What is judged.
        rules: How it is decided, and how much may be measured again.
        baseline: A proven run.
        budget: Seconds after which no further stage begins (None: as long as it takes).
        soak: Seconds of sustained load at the end; 0: none.
        waivers: A node goes on in spite of what they are about: the rest is still to be measured.
        say: Told what is decided, in lines.

    Attributes:
        stopped: Why it ended before its last stage; empty if it did not.
    """

    def __init__(
        self,
        suite: Suite,
        profile: Profile,
        rules: Rules,
        *,
        baseline: Proven | None = None,
        budget: float | None = None,
        soak: float = 0.0,
        waivers: Sequence[Waiver] = (),
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._stages = list(suite.stages)
        if soak:
            self._stages.append(_soak(suite, soak))
        self._rule = suite.rule
        self._profile, self._rules, self._baseline = profile, rules, baseline
        self._began, self._budget = time.monotonic(), budget
        self._waivers, self._today = waivers, datetime.now(timezone.utc).date()
        self._tell = self._say = say
        self.stopped = ""

    @property
    def stages(self) -> list[str]:
        """Names of all stages that a complete certification has."""
        return [stage.name for stage in self._stages]

    def following(self, folder: Path, stages: Sequence[str]) -> Further | None:
        """The next stage, see `bench.cluster.further.Campaign`."""
        lines: list[str] = []
        self._say = lines.append
        further = self._following(folder, stages)
        # A budget that ends with the last stage has stopped nothing.
        if further is None or (stages and self._over()):
            return None
        for line in lines:
            self._tell(line)
        return further

    def _following(self, folder: Path, stages: Sequence[str]) -> Further | None:
        reader = RunReader(folder)
        header = reader.header
        found = examine(
            header,
            reader.columns(),
            self._profile,
            self._rules,
            baseline=self._baseline,
            stages=set(stages),
            ended=False,
        )
        swept = [base(name) for name in stages]
        left = [stage for stage in self._stages if stage.name not in swept]
        # First the stage that was measured last; in the end all others: what later ones showed may
        # have made a suspect of somebody who was rejected, and nobody measured any more.
        last = [stage for stage in self._stages if stages and stage.name == swept[-1]]
        others = [] if left else [stage for stage in self._stages if stage not in last]
        for stage in (*last, *others):
            number = 1 + max(number_of(one) for one in stages if base(one) == stage.name)
            parts = list(self._again(stage, number, found))
            if parts:
                config = StageConfig(name=retest_name(stage.name, number))
                return Further(stage=config, parts=parts)
        if not left:
            return None
        rejected = self._rejected(found)
        live = [node for node in found.inventory.occupied.tolist() if node not in rejected]
        if not live:
            self.stopped = "no node is left that nothing speaks against"
            return None
        return self._sweep(left[0], live if rejected else None)

    def _rejected(self, found: Examined) -> set[int]:
        return found.rejected(lambda node, one: waived(node, one, self._waivers, self._today))

    def _over(self) -> bool:
        if self._budget is None or time.monotonic() - self._began < self._budget:
            return False
        self.stopped = f"the budget of {format_duration(self._budget)} is over"
        return True

    def _sweep(self, stage: StageConfig, nodes: list[int] | None) -> Further:
        where = (
            "all nodes" if nodes is None else f"{len(nodes)} node(s) that nothing speaks against"
        )
        self._say(f"stage {stage.name}: {where}")
        config = msgspec.structs.replace(stage, entries=[])
        return Further(stage=config, parts=[Part(stage.entries, nodes)])

    def _again(self, stage: StageConfig, number: int, found: Examined) -> Iterator[Part]:
        """What the re-test of a stage measures; nothing: the stage is decided."""
        rejected = self._rejected(found)
        jobs = _Jobs(stage, found.header, self._rule)
        cells = _doubtful(stage.name, found, self._rules, rejected)
        busy = _contended(stage.name, found, rejected) if number <= BUSY_LOOKS else []
        wanted: dict[tuple[int, int], set[int]] = {}
        for metric, unit, repeats in (*cells, *busy):
            wanted.setdefault((jobs.of(found.table.metrics[metric].case), repeats), set()).add(unit)
        if wanted:
            units = len(set().union(*wanted.values()))
            self._say(
                f"stage {stage.name}: {len(cells)} cell(s) again, {len(busy)} were contended "
                f"({units} device(s) or node(s), controls among them)"
            )
        for (job, repeats), units_of in sorted(wanted.items()):
            yield jobs.part(job, repeats, sorted(units_of), found, rejected)
        if number <= LINK_LOOKS:
            yield from self._pairs(stage, number, found, rejected)
            yield from self._without(stage, jobs, found, rejected)

    def _without(
        self, stage: StageConfig, jobs: _Jobs, found: Examined, rejected: set[int]
    ) -> Iterator[Part]:
        """What nodes do together, once more, where a node spoilt it that is rejected by now."""
        live = [node for node in found.inventory.occupied.tolist() if node not in rejected]
        if len(live) < 2:
            return
        for case in spoilt(found.table, found.header, found.columns, stage.name, rejected):
            self._say(f"stage {stage.name}: {case.short()} without the rejected nodes")
            yield Part([jobs.entry(case)], live)

    def _pairs(
        self, stage: StageConfig, number: int, found: Examined, rejected: set[int]
    ) -> Iterator[Part]:
        """Suspects of the fabric against nodes that nothing speaks against."""
        suspects = sorted(found.links.suspects.get(stage.name, set()) - rejected)
        met = found.links.met.get(stage.name, set())
        proven = sorted(met - set(suspects) - rejected - set(found.evidence))
        if not suspects or len(suspects) + len(proven) < 2:
            return
        chance = np.random.default_rng([number, len(suspects)])
        count = min(len(proven), max(len(suspects), 4))
        controls = sorted(chance.choice(proven, count, replace=False).tolist()) if proven else []
        nodes = sorted([*suspects, *controls])
        self._say(
            f"stage {stage.name}: {len(suspects)} node(s) meet {len(controls)} proven one(s) again"
        )
        which: dict[str, Any] = {"schedule": "full"}
        if len(nodes) > EVERY_PAIR:
            which = {"schedule": "sample", "matchings": MATCHINGS, "seed": number}
        known = registry()
        for entry in stage.entries:
            if known[entry.benchmark].scope == "pair" and entry.place.get("schedule") != "values":
                again = msgspec.structs.replace(entry, place={**entry.place, **which})
                yield Part([again], nodes)


def _doubtful(
    stage: str, found: Examined, rules: Rules, rejected: set[int]
) -> list[tuple[int, int, int]]:
    """(metric, unit, repeats) of a stage's cells that are worth measuring again, and controls."""
    here = np.array([base(one.case.stage) == stage for one in found.table.metrics], dtype=bool)
    if not here.any() or not found.judged.metric.size:
        return []
    cells = _cells(found.cells, here[found.cells.metric])
    units = found.table.size + found.inventory.node_count
    judged = found.judged
    own = judged.unit < units
    node = found.table.node(np.minimum(judged.unit, units - 1))
    kept = here[judged.metric] & ~(own & np.isin(node, list(rejected)))
    # A baseline's units are not here to be measured: they are no controls.
    kept &= own
    if not kept.any():
        return []
    # The share is of the whole sweep: a short stage may use what others left.
    mine, again = here[found.table.metric], found.table.session > 0
    spent = int(again.sum()) - int(rules.retest * int((~again & ~mine).sum()))
    request: Request | None = retest(_judged(judged, kept), cells, rules, spent)
    if request is None:
        return []
    return list(
        zip(request.metric.tolist(), request.unit.tolist(), request.repeats.tolist(), strict=True)
    )


def _contended(stage: str, found: Examined, rejected: set[int]) -> list[tuple[int, int, int]]:
    """(metric, unit, 1) of the cells of a stage whose host was busy, on nodes still in it."""
    open_ = found.uncovered
    places = open_.contended()
    units = open_.unit[places]
    node = found.table.node(units)
    metrics = open_.metric[places]
    return [
        (metric, unit, 1)
        for metric, unit, where in zip(metrics.tolist(), units.tolist(), node.tolist(), strict=True)
        if where not in rejected and base(found.table.metrics[metric].case.stage) == stage
    ]


def _cells(cells: Cells, kept: Bools) -> Cells:
    return Cells(**{name: getattr(cells, name)[kept] for name in cells.__struct_fields__})


def _judged(judged: Judgement, kept: Bools) -> Judgement:
    arrays = [name for name in judged.__struct_fields__ if name != "notes"]
    return Judgement(**{name: getattr(judged, name)[kept] for name in arrays}, notes=judged.notes)


class _Jobs:
    """The entries behind the cases of a stage, one a choice of axes."""

    def __init__(self, stage: StageConfig, header: Header, rule: dict[str, float]) -> None:
        self._header = header
        self._entries: list[Entry] = []
        self._specs: list[ScheduleSpec] = []
        self._known: dict[bytes, int] = {}
        inventory = Inventory(header.nodes, header.fleet)
        known = registry()
        for entry in stage.entries:
            cls = known[entry.benchmark]
            spec = schedule_spec(cls, entry.place)
            for axes in expand(cls, entry.axes, weak=inventory.weak(), numa=inventory.numa()):
                plain = axes_of(make(entry.benchmark, axes))
                key = _key(entry.benchmark, plain, spec)
                self._known.setdefault(key, len(self._entries))
                self._entries.append(msgspec.structs.replace(entry, axes=axes))
                self._specs.append(spec)

    def of(self, case: Case) -> int:
        """The number of the entry that a case comes from."""
        return self._known[_key(case.benchmark, case.axes, self._header.schedules[case.schedule])]

    def entry(self, case: Case) -> Entry:
        """The entry that a case comes from."""
        return self._entries[self.of(case)]

    def part(
        self, job: int, repeats: int, units: list[int], found: Examined, rejected: set[int]
    ) -> Part:
        """An entry on some units: devices by rank, or nodes; of ranks the nodes that they lie in.

        What is over several nodes stays so: where one is asked for, another one takes part.
        """
        entry, spec = self._entries[job], self._specs[job]
        if spec.scope == "device":
            return Part([entry], ranks=units, repeats=repeats)
        nodes = np.unique(found.table.node(units)).tolist()
        if len(nodes) == 1 and spec.kind != "nodes":
            rest = (
                n for n in found.inventory.occupied.tolist() if n not in rejected and n not in nodes
            )
            nodes = sorted([*nodes, *islice(rest, 1)])
        return Part([entry], nodes=nodes, repeats=repeats)


def _key(benchmark: str, axes: dict[str, Any], spec: ScheduleSpec) -> bytes:
    kept = {key: value for key, value in what(spec).arguments.items() if key != "on"}
    return msgspec.json.encode((benchmark, axes, spec.kind, kept), order="deterministic")


def _soak(suite: Suite, seconds: float) -> StageConfig:
    """Everything of the first stage, sustained, again and again for so many seconds."""
    known = registry()
    entries = [
        msgspec.structs.replace(entry, rule={**entry.rule, "sustained": ROUND, "budget": ROUND})
        for entry in suite.stages[0].entries
        if known[entry.benchmark].scope == "device"
    ]
    each = sum(len(list(expand(known[entry.benchmark], entry.axes))) * ROUND for entry in entries)
    return StageConfig(
        name=SOAK, entries=entries, repeats=max(2, math.ceil(seconds / max(each, ROUND)))
    )
