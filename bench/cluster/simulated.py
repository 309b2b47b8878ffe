"""The simulated executor: what datasheet and topology predict × noise × faults, in virtual time.

Every record is marked *simulated*. Values are drawn from seeds alone: the same cluster file
gives the same run, whatever the order or the number of calls. All arithmetic is over arrays, so
that a fleet of ten thousand nodes fits into one process.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..configs import Chip, Cluster, Fault
from ..errors import ConfigError
from ..groups import Groups
from ..inventory import Inventory
from ..records import PROVENANCES, STATUSES, Case, DeviceGroup, Provenance
from ..results import Columns
from ..workloads.base import make
from .executor import Done, Executor, Page, Progress
from .expectation import alike, facts_of
from .plan import Job, Plan, Stage, Step, schedules_of, steps
from .wire import Clock

SAMPLES = 30
"""Samples that a simulated measurement stands for."""
_STATUS: dict[str, int] = {status: index for index, status in enumerate(STATUSES)}
_NODES, _LINKS = 1, 2
"""What a fault that counts draws: numbers that keep their draws apart."""
_SIMULATED = PROVENANCES.index("simulated")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_NOTHING: Ints = np.empty(0, dtype=np.int64)


class SimulatedExecutor(Executor):
    """A fleet that a cluster file describes.

    Args:
        cluster: Size, noise and faults.
        chips: Datasheets; the cluster's chip must be among them.

    Raises:
        ConfigError: the chip is unknown, or a fault names a node or device that is not there.
    """

    name = "simulated"
    provenance: Provenance = "simulated"

    def __init__(self, cluster: Cluster, chips: dict[str, Chip]) -> None:
        if cluster.chip not in chips:
            raise ConfigError(
                f"cluster {cluster.name} is made of chip {cluster.chip!r}, which has no datasheet",
                hint="see `hengsuan show chips`",
            )
        for fault in cluster.faults:
            _exists(fault, cluster)
        self.cluster = cluster
        self._chip = chips[cluster.chip]
        self._faults = _drawn(cluster)
        self._links: dict[tuple[int, int], Ints] = {}
        self.clock = Clock(0.0)
        self._virtual = 0.0
        self._dead: set[int] = set()
        self._work: Iterator[Page] = iter(())
        self._cancelled = False
        self._inventory = Inventory(
            fleet=DeviceGroup(
                count=cluster.nodes,
                devices=cluster.devices,
                chip=cluster.chip,
                labels=cluster.labels,
            ),
            latency=(cluster.link_latency, cluster.network_latency),
        )

    def inventory(self) -> Inventory:
        return self._inventory

    def start(self, plan: Plan, stage: Stage, done: Done) -> None:
        self._dead.update(
            fault.node
            for fault in self._faults
            if fault.node is not None and fault.kind == "dead" and fault.stage in (None, stage.name)
        )
        self._schedules = schedules_of(plan, self._inventory)
        self._specs = plan.schedules
        self._draw_links(plan)
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
        for step in steps(stage, schedules_of(plan, self._inventory)):
            for job in stage.blocks[step.block].jobs:
                finished = 0
                for groups in step.groups:
                    left = _without(groups, job, step, done)
                    if left.ids.size:
                        for case in plan.cases[job.case : job.case + len(job.metrics)]:
                            yield Page(columns=self._columns(case, left, step.repeat))
                    finished += groups.ids.size
                self._virtual += job.rule.warmup + job.rule.budget
                yield Page(progress=[Progress(done=finished, current=job.benchmark)])

    def _columns(self, case: Case, groups: Groups, repeat: int) -> Columns:
        count = groups.ids.size
        status = np.full(count, _STATUS["ok"], dtype=np.int8)
        expected = self._expected(case, groups)
        unknown = np.isnan(expected)
        status[unknown] = _STATUS["skipped"]
        reasons = dict.fromkeys(np.flatnonzero(unknown).tolist(), "nothing predicts it")
        value = expected
        if not unknown.all():
            speed = self._speed(case, groups, repeat)
            # Efficiency and speed act on rates; a time is the longer, the slower the device.
            value = expected * speed if case.better == "higher" else expected / speed
        self._break(case, groups, status, reasons)
        value = np.where(status == _STATUS["ok"], value, np.nan)
        half = 1.96 * math.sqrt(math.pi / 2) * self.cluster.within / math.sqrt(SAMPLES)
        return Columns(
            case=np.full(count, case.id, dtype=np.int32),
            group=groups.ids,
            repeat=np.full(count, repeat, dtype=np.int32),
            time=np.full(count, round(self._virtual, 3)),
            value=value,
            low=value * (1 - half),
            high=value * (1 + half),
            n=np.where(np.isnan(value), 0, SAMPLES).astype(np.int32),
            status=status,
            conditions=np.full(count, -1, dtype=np.int32),
            provenance=np.full(count, _SIMULATED, dtype=np.int8),
            reasons=reasons,
        )

    def _expected(self, case: Case, groups: Groups) -> Floats:
        """What is predicted of each group, in the case's unit; NaN where nothing is.

        The plan predicts a case whose groups are alike. Where they differ each kind has its own.
        """
        spec, schedule = self._specs[case.schedule], self._schedules[case.schedule]
        if case.expected is not None or alike(spec, self._inventory):
            return np.full(groups.ids.size, np.nan if case.expected is None else case.expected)
        nodes = np.sort(self._inventory.node_of(groups.ranks), axis=1)
        spans = 1 + (np.diff(nodes, axis=1) != 0).sum(axis=1)
        bench = make(case.benchmark, case.axes)
        found = np.full(groups.ids.size, np.nan)
        for span in np.unique(spans).tolist():
            facts = facts_of(
                spec,
                schedule,
                self._inventory,
                self._chip,
                ranks=groups.ranks.shape[1],
                nodes=span,
            )
            found[spans == span] = bench.expected(facts).get(case.metric, np.nan)
        return found

    def _speed(self, case: Case, groups: Groups, repeat: int) -> Floats:
        """Speed of each group relative to prediction: its slowest device's, times noise."""
        cluster = self.cluster
        label = zlib.crc32(f"{case.label()}/{case.metric}".encode())
        own = np.random.default_rng([cluster.seed, label])
        devices = own.lognormal(0.0, cluster.between, self._inventory.size)
        for fault in self._faults:
            if fault.kind == "slow" and fault.benchmark in (None, case.benchmark):
                devices[self._ranks(fault)] *= fault.factor
        drawn = np.random.default_rng([cluster.seed, label, repeat + 1, int(groups.ids[0])])
        noise = drawn.lognormal(0.0, cluster.within, groups.ids.size)
        speed = cluster.efficiency * devices[groups.ranks].min(axis=1) * noise
        for index, fault in enumerate(self._faults):
            if fault.kind == "link" and fault.benchmark in (None, case.benchmark):
                if fault.count is None:
                    slow = self._between(groups, fault)
                else:
                    slow = np.isin(groups.ids, self._links.get((case.schedule, index), _NOTHING))
                speed[slow] *= fault.factor
        return np.asarray(speed)

    def _break(
        self, case: Case, groups: Groups, status: npt.NDArray[np.int8], reasons: dict[int, str]
    ) -> None:
        for fault in self._faults:
            if fault.kind in ("wrong", "crash") and fault.benchmark in (None, case.benchmark):
                hit = np.isin(groups.ranks, self._ranks(fault)).any(axis=1)
                kind = "invalid" if fault.kind == "wrong" else "failed"
                why = "sanity check failed" if fault.kind == "wrong" else "crashed"
                self._mark(hit, status, reasons, kind, f"{why} (injected fault)")
        for node in sorted(self._dead):
            ranks = self._inventory.ranks_of(node)
            hit = ((groups.ranks >= ranks.start) & (groups.ranks < ranks.stop)).any(axis=1)
            why = f"node {self._inventory.name(node)} is dead (injected fault)"
            self._mark(hit, status, reasons, "missing", why)

    def _mark(self, hit: Any, status: Any, reasons: dict[int, str], kind: str, why: str) -> None:
        for index in np.flatnonzero(hit).tolist():
            status[index] = _STATUS[kind]
            reasons[index] = why

    def _draw_links(self, plan: Plan) -> None:
        """Which groups of every schedule of pairs the faults that count links mean."""
        counted = [
            (index, fault.count)
            for index, fault in enumerate(self._faults)
            if fault.kind == "link" and fault.count is not None
        ]
        if not counted or self._links:
            return
        for number, schedule in enumerate(schedules_of(plan, self._inventory)):
            if plan.schedules[number].scope != "pair" or not schedule.size:
                continue
            batches = [batch for whole in schedule.rounds() for batch in whole]
            nodes = self._inventory.node_of(np.concatenate([batch.ranks for batch in batches]))
            ids = np.concatenate([batch.ids for batch in batches])
            between = ids[nodes[:, 0] != nodes[:, 1]]
            for index, count in counted:
                drawn = np.random.default_rng([self.cluster.seed, index, number, _LINKS])
                some = min(count, between.size)
                self._links[number, index] = drawn.choice(between, some, replace=False)

    def _ranks(self, fault: Fault) -> list[int]:
        assert fault.node is not None
        ranks = self._inventory.ranks_of(fault.node)
        return list(ranks) if fault.device is None else [ranks[fault.device]]

    def _between(self, groups: Groups, fault: Fault) -> Bools:
        """Which groups are made of exactly the two nodes of a link."""
        nodes = self._inventory.node_of(groups.ranks)
        both = ((nodes == fault.node) | (nodes == fault.peer)).all(axis=1)
        return np.asarray(both & (nodes.min(axis=1) != nodes.max(axis=1)))


def _without(groups: Groups, job: Job, step: Step, done: Done) -> Groups:
    """The groups whose rows of this job are not there yet."""
    if not len(done):
        return groups
    keep = np.array(
        [(job.case, group, step.repeat) not in done for group in groups.ids.tolist()], dtype=bool
    )
    return Groups(groups.ids[keep], groups.ranks[keep])


def _drawn(cluster: Cluster) -> list[Fault]:
    """The faults, those that count nodes as one for each node, never of one named elsewhere."""
    taken = {fault.node for fault in cluster.faults} | {fault.peer for fault in cluster.faults}
    found: list[Fault] = []
    for index, fault in enumerate(cluster.faults):
        if fault.kind != "slow" or fault.count is None:
            found.append(fault)
            continue
        left = [node for node in range(cluster.nodes) if node not in taken]
        drawn = np.random.default_rng([cluster.seed, index, _NODES])
        for node in sorted(drawn.choice(left, min(fault.count, len(left)), replace=False).tolist()):
            taken.add(node)
            found.append(msgspec.structs.replace(fault, node=node, count=None))
    return found


def _exists(fault: Fault, cluster: Cluster) -> None:
    for node in (fault.node, fault.peer):
        if node is not None and not 0 <= node < cluster.nodes:
            raise ConfigError(
                f"cluster {cluster.name}: a fault names node {node}; nodes are 0 to "
                f"{cluster.nodes - 1}"
            )
    if fault.device is not None and not 0 <= fault.device < cluster.devices:
        raise ConfigError(
            f"cluster {cluster.name}: a fault names device {fault.device}; devices are 0 to "
            f"{cluster.devices - 1}"
        )
