"""The simulated executor: what datasheet and topology predict × noise × faults, in virtual time.

Every record is marked *simulated*. Values depend on seeds, metrics and who is measured alone: the
same cluster file gives the same run, whatever the order or the number of calls. All arithmetic is
over arrays, so that a fleet of ten thousand nodes fits into one process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...configs import KINDS, Chip, Cluster, cluster_problems
from ...configs.document import dotted
from ...errors import ConfigError, unknown
from ...groups import Groups
from ...inventory import Inventory
from ...records import PROVENANCES, STATUSES, Case, DeviceGroup, Provenance, merged
from ...results import Columns
from ...workloads.base import registry
from ..executor import Done, Executor, Page, Progress
from ..plan import Plan, Stage, schedules_of, steps
from ..wire import Clock
from .conditions import Climate
from .draws import Floats, Ints, key, of_groups
from .faults import Injected, among, in_some, inject, listed
from .noise import measuring, own, scatter
from .values import corrupted, follows_speed, healthy, is_exact

SAMPLES = 30
"""Samples that a simulated measurement stands for."""
_STATUS: dict[str, int] = {status: index for index, status in enumerate(STATUSES)}
_SIMULATED = PROVENANCES.index("simulated")
_COUNTED = (_STATUS["ok"], _STATUS["contended"])
"""Rows of which there is a value."""
_ANSWERED = (*_COUNTED, _STATUS["invalid"])
"""Rows of which there are conditions, and what is counted."""
_WORSE = ("ok", "contended", "invalid", "failed", "missing")
"""Of several faults of one row, the status of the later."""


class SimulatedExecutor(Executor):
    """A fleet that a cluster file describes.

    Args:
        cluster: Size, noise and faults.
        chips: Datasheets; the cluster's chip must be among them.

    Attributes:
        injected: What is wrong with whom. Links that faults count, and cases that they draw, are
            known when the first stage that has such has begun.

    Raises:
        ConfigError: the chip is unknown, or the cluster contradicts itself.
        UsageError: a fault names a benchmark that nobody declares.
    """

    name = "simulated"
    provenance: Provenance = "simulated"

    def __init__(self, cluster: Cluster, chips: dict[str, Chip]) -> None:
        if cluster.chip not in chips:
            raise ConfigError(
                f"cluster {cluster.name} is made of chip {cluster.chip!r}, which has no datasheet",
                hint="see `hengsuan show chips`",
            )
        for place, problem in cluster_problems(cluster):
            raise ConfigError(f"cluster {cluster.name}: {dotted(place)}: {problem}")
        known = registry()
        for fault in cluster.faults:
            for name in listed(fault.benchmark):
                if name not in known:
                    raise unknown(f"benchmark in a fault of cluster {cluster.name}:", name, known)
        # Other work does not matter to what nobody times.
        self._timed = {name for name, benchmark in known.items() if benchmark.timed}
        self._slack = {
            (name, one.name): one.slack
            for name, benchmark in known.items()
            for one in benchmark.measures
        }
        self.cluster = cluster
        self.injected = inject(cluster)
        self.clock = Clock(0.0)
        self._chip = chips[cluster.chip]
        self._climate = Climate(self._chip, cluster.seed, cluster.nodes * cluster.devices)
        self._virtual = 0.0
        self._jobs = 0
        self._begun: set[str] = set()
        self._work: Iterator[Page] = iter(())
        self._cancelled = False
        self._inventory = Inventory(
            fleet=DeviceGroup(
                count=cluster.nodes,
                devices=cluster.devices,
                chip=cluster.chip,
                labels=cluster.labels,
                facts=cluster.facts,
                exceptions=self._exceptions(),
            ),
            latency=(cluster.link_latency, cluster.network_latency),
        )

    def _exceptions(self) -> dict[int, dict[str, Any]]:
        """What nodes state that drifted."""
        found: dict[int, dict[str, Any]] = {}
        for one in self.injected:
            for node in one.nodes.tolist() if one.fault.facts else ():
                found[node] = merged(found.get(node, {}), one.fault.facts or {})
        return found

    def inventory(self) -> Inventory:
        return self._inventory

    def start(self, plan: Plan, stage: Stage, done: Done) -> None:
        self._begun.add(stage.name)
        self._specs = plan.schedules
        self._schedules = schedules_of(plan, self._inventory)
        self.injected = [self._drawn(one, plan) for one in self.injected]
        self._work = self._measure(plan, stage, done)

    def pages(self) -> Iterator[Page]:
        for page in self._work:
            if self._cancelled:
                return
            yield page

    def cancel(self) -> None:
        self._cancelled = True

    def drain(self) -> Iterator[Page]:
        return iter(())

    def close(self) -> None:
        self._work = iter(())

    def _measure(self, plan: Plan, stage: Stage, done: Done) -> Iterator[Page]:
        for step in steps(stage, self._schedules):
            for job in stage.blocks[step.block].jobs:
                finished = 0
                common = job.case + len(job.metrics)
                each = plan.cases[common : common + len(job.each)]
                for groups in step.groups:
                    for case in (*each, *plan.cases[job.case : common]):
                        page = _without(self._page(case, groups, step.repeat, each), done)
                        if len(page.columns):
                            yield page
                    finished += groups.ids.size
                self._virtual += job.rule.warmup + job.rule.budget
                self._jobs += 1
                yield Page(progress=[Progress(done=finished, current=job.benchmark)])

    def _page(self, case: Case, groups: Groups, repeat: int, each: Sequence[Case]) -> Page:
        """A case on these groups; one of the cases of ``each`` rank on their members."""
        cluster, units = self.cluster, _units(case, groups)
        count = units.ids.size
        spec = self._specs[case.schedule]
        occasion = (spec.kind, sorted(spec.arguments.items(), key=str), repeat)
        shown = list(self._faults(case, groups, occasion))
        value = self._values(case, groups, occasion, shown, each).ravel()
        status = np.where(np.isnan(value), _STATUS["skipped"], _STATUS["ok"]).astype(np.int8)
        why = "nothing predicts it"
        reasons = dict.fromkeys(np.flatnonzero(np.isnan(value)).tolist(), why)
        surroundings = self._climate.of(units.ranks[:, 0])
        for one, factor in shown:
            hit, ranks = _hit(one, factor, case, groups)
            surroundings.change(one.fault, hit)
            self._mark(one, ranks, hit, status, reasons)
        exact = is_exact(case)
        if exact:
            invalid = np.flatnonzero(status == _STATUS["invalid"])
            about = key(cluster.seed, "wrong", case.label(), case.stage, *occasion)
            corrupted(case, about, value, units, invalid)
        answered = np.isin(status, _ANSWERED)
        surroundings.unknown(np.flatnonzero(~answered))
        value[~(answered if exact else np.isin(status, _COUNTED))] = np.nan
        within = 0.0 if exact else scatter(cluster, case).within
        half = 1.96 * math.sqrt(math.pi / 2) * within / math.sqrt(SAMPLES)
        columns = Columns(
            case=np.full(count, case.id, dtype=np.int32),
            group=units.ids,
            repeat=np.full(count, repeat, dtype=np.int32),
            time=np.full(count, round(self._virtual, 3)),
            value=value,
            low=value * (1 - half),
            high=value * (1 + half),
            n=np.where(np.isnan(value), 0, SAMPLES).astype(np.int32),
            status=status,
            conditions=surroundings.index,
            provenance=np.full(count, _SIMULATED, dtype=np.int8),
            reasons=reasons,
        )
        return Page(columns=columns, conditions=surroundings.known)

    def _values(
        self,
        case: Case,
        groups: Groups,
        occasion: tuple[object, ...],
        shown: Sequence[tuple[Injected, Floats]],
        each: Sequence[Case],
    ) -> Floats:
        """A case on each group [g, 1] or each of its ranks [g, ranks], where nothing is wrong.

        NaN where nothing predicts it. Faults that are ``shown`` make it slower.
        """
        cluster, spec = self.cluster, self._specs[case.schedule]
        schedule = self._schedules[case.schedule]
        typical, moves = healthy(cluster, self._chip, self._inventory, spec, schedule, case, groups)
        by_rank = case.scope == "rank"
        shape = groups.ranks.shape if by_rank else (groups.ids.size, 1)
        value = np.repeat(typical[:, None], shape[1], axis=1)
        # Half of a fleet's rows are of what nothing predicts: no device's speed matters to them.
        if is_exact(case) or np.isnan(typical).all():
            return value
        noise, ids = scatter(cluster, case), of_groups(_units(case, groups).ranks)
        pace = measuring(cluster, case, noise, occasion, ids).reshape(shape)
        slack = self._slack.get((case.benchmark, case.metric), "")
        if moves and not slack:
            speed = own(cluster, case, noise, groups.ranks)
            for _, factor in shown:
                speed = speed * np.where(np.isnan(factor), 1.0, factor)
            # The slowest device holds up its group; a time is the longer, the slower it is.
            pace = pace * (speed if by_rank else speed.min(axis=1, keepdims=True))
        value = value * pace if case.better == "higher" else value / pace
        if slack:
            time = next(one for one in each if one.metric == slack)
            faults = list(self._faults(time, groups, occasion))
            theirs = self._values(time, groups, occasion, faults, each)
            value = value + theirs.max(axis=1, keepdims=True) - theirs
        return value

    def _faults(
        self, case: Case, groups: Groups, occasion: tuple[object, ...]
    ) -> Iterator[tuple[Injected, Floats]]:
        """Faults that these rows show, with `Injected.on`; the one whose status counts last."""
        active = [
            one
            for one in self.injected
            if one.nodes.size
            and one.shows(case)
            # What a rank does by itself needs no network.
            and not (case.scope == "rank" and KINDS[one.fault.kind].network)
            and (KINDS[one.fault.kind].status != "contended" or case.benchmark in self._timed)
            and one.fault.stage in (None, *self._begun)
            and self._jobs >= (one.fault.after or 0)
        ]
        if not active:
            return
        nodes = self._inventory.node_of(groups.ranks)
        for one in sorted(active, key=lambda one: _WORSE.index(KINDS[one.fault.kind].status)):
            factor = one.on(case, groups, nodes, self._inventory)
            met = one.happens(self.cluster.seed, (case.label(), case.stage, *occasion), groups)
            yield one, np.where(met, factor, np.nan)

    def _mark(
        self,
        one: Injected,
        ranks: Ints,
        rows: Ints,
        status: npt.NDArray[np.int8],
        reasons: dict[int, str],
    ) -> None:
        """Status and reason of the rows that a fault hits, ``ranks`` being the first it hits."""
        kind = KINDS[one.fault.kind]
        if kind.status == "ok":
            return
        if kind.status == "contended":  # and nothing is known of what nobody can measure
            known = status[rows] != _STATUS["skipped"]
            rows, ranks = rows[known], ranks[known]
        status[rows] = _STATUS[kind.status]
        whole = (one.devices < 0).all()
        nodes = self._inventory.node_of(ranks).tolist()
        for row, rank, node in zip(rows.tolist(), ranks.tolist(), nodes, strict=True):
            who = self._inventory.name(node) if whole else self._inventory.rank_name(rank)
            reasons[row] = f"{who}: {kind.reason} (injected fault)"

    def _drawn(self, one: Injected, plan: Plan) -> Injected:
        """A fault with the links and the cases that the first plan which has such draws for it."""
        seed = self.cluster.seed
        if one.fault.hits == "link" and one.fault.count is not None and not one.nodes.size:
            links = self._links(plan)
            taken = {
                node
                for other in self.injected
                if other.is_defect
                for node in (*other.nodes.tolist(), *other.peers.tolist())
            }
            return among(one, links, taken, seed) if links.size else one
        if one.fault.cases is not None and one.cases is None:
            alone = [
                case
                for case in plan.cases
                if self._specs[case.schedule].kind in ("devices", "nodes")
                and follows_speed(self.cluster, case)
            ]
            return in_some(one, alone, seed) if alone else one
        return one

    def _links(self, plan: Plan) -> Ints:
        """The pairs of nodes [n, 2] that meet in the plan's first schedule of such pairs."""
        for spec, schedule in zip(plan.schedules, self._schedules, strict=True):
            if spec.scope != "pair" or not schedule.size:
                continue
            batches = [batch.ranks for whole in schedule.rounds() for batch in whole]
            nodes = [self._inventory.node_of(ranks) for ranks in batches]
            ends = np.concatenate([np.stack([n.min(axis=1), n.max(axis=1)], axis=1) for n in nodes])
            ends = ends[ends[:, 0] != ends[:, 1]]
            if ends.size:
                return np.asarray(ends)
        return np.empty((0, 2), dtype=np.int64)


def _units(case: Case, groups: Groups) -> Groups:
    """The groups that the rows of a case are of: those measured, or each of their ranks."""
    if case.scope != "rank":
        return groups
    return Groups(groups.ranks.ravel(), groups.ranks.reshape(-1, 1))


def _hit(one: Injected, factor: Floats, case: Case, groups: Groups) -> tuple[Ints, Ints]:
    """The rows of a case that a fault hits with ``factor`` (`Injected.on`), and whom it hits there.

    What goes wrong on one rank leaves none of its group with a value; other work on its cores
    spoils its own row alone.
    """
    hits = ~np.isnan(factor)
    if case.scope == "rank" and KINDS[one.fault.kind].status in ("ok", "contended"):
        rows = np.flatnonzero(np.broadcast_to(hits, groups.ranks.shape))
        return rows, groups.ranks.ravel()[rows]
    hit = np.flatnonzero(hits.any(axis=1))
    first = groups.ranks[hit, hits[hit].argmax(axis=1)]
    if case.scope != "rank":
        return hit, first
    width = groups.ranks.shape[1]
    return (hit[:, None] * width + np.arange(width)).ravel(), np.repeat(first, width)


def _without(page: Page, done: Done) -> Page:
    """A page without rows that are there already: a kill may leave some metrics of a job."""
    if len(done):
        found = page.columns
        keys = zip(found.case.tolist(), found.group.tolist(), found.repeat.tolist(), strict=True)
        page.columns = found.only(np.array([one not in done for one in keys], dtype=bool))
    return page
