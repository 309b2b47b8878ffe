"""From a run to what can be judged: metrics of units, with everything that was measured of them.

A *unit* is a device (its rank) or a node (`Table.size` + its index): where the ranks of a group lie
in one node, the group is that node. Groups over several nodes have no unit of their own; pairs are
the fabric model's (`bench.analysis.pairs`), and of larger groups it is asked only whether they
work (`troubles`), and what each rank says of itself (scope ``rank``): that is of its device.

A *metric* is what cases with equal benchmark, axes, metric, source and groups are of: a re-test
measures it again under another case. Each is a *session*: whatever drifted between sessions is
common to all that was measured in one. The sweep is session 0.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..configs import Profile, ProfileMetric
from ..groups import Schedule
from ..inventory import Inventory
from ..records import Case, Header
from ..results import Columns
from ..rounds import schedule_for
from ..verdicts import Against, Evidence, Word
from .graph import Bools, Ints
from .joining import base, number_of, what
from .selection import selected
from .summary import members, rows_by_case


class Metric(msgspec.Struct, kw_only=True, frozen=True):
    """What is judged: ``case`` is the first one of it, ``cases`` are all.

    ``key`` is equal in other runs of the same. ``line`` is the profile's line that asks for it,
    ``category`` that line's.
    """

    key: bytes
    name: str
    case: Case
    cases: tuple[int, ...]
    line: ProfileMetric
    category: str

    @property
    def label(self) -> str:
        """``gemm 8192x8192x8192 bf16 flops``."""
        return f"{self.name} {self.case.metric}"

    def evidence(
        self, device: str, verdict: Word, against: Against, text: str, **rest: Any
    ) -> Evidence:
        """What is said of it on a device (empty: on a node); ``rest`` are fields of `Evidence`."""
        return Evidence(
            verdict=verdict,
            against=against,
            text=text,
            stage=self.case.stage,
            metric=self.label,
            device=device,
            unit=self.case.unit,
            better=self.case.better,
            **rest,
        )


class Table(msgspec.Struct, kw_only=True):
    """Rows of units, as arrays of one length, in the order written.

    ``metric`` indexes ``metrics``; ``unit`` is a rank, or ``size`` + a node; ``row`` indexes the
    columns. ``planned`` is bool[metrics, units]: what the sweep was to measure.
    """

    metrics: list[Metric]
    inventory: Inventory
    metric: Ints
    unit: Ints
    session: Ints
    row: Ints
    planned: Bools

    @property
    def size(self) -> int:
        """Number of devices: units from here on are nodes."""
        return self.inventory.size

    def node(self, unit: npt.ArrayLike) -> Ints:
        """int64[units]: the nodes that units are, or lie in."""
        return nodes_of(self.inventory, unit)

    def device(self, unit: int) -> str:
        """``node/index`` of a device; empty for a node."""
        return self.inventory.rank_name(unit) if unit < self.size else ""

    def kinds(self) -> tuple[Ints, list[str]]:
        """As of `kinds_of`."""
        return kinds_of(self.inventory)


def table(
    header: Header, columns: Columns, profile: Profile, stages: Collection[str] | None = None
) -> Table:
    """The rows of a run that the profile asks for and that are of units.

    Args:
        header: The run's header.
        columns: Its rows.
        profile: Which metrics are judged.
        stages: Only rows of these stages (None: all).

    Raises:
        UsageError: the profile asks for the largest of an axis that has no order, or the header
            has a schedule that its nodes cannot give.
    """
    inventory = Inventory(header.nodes, header.fleet)
    cases = [case for case in header.cases if stages is None or case.stage in stages]
    metrics = list(_metrics(header, cases, profile))
    rows = rows_by_case(columns, len(header.cases))
    units: dict[int, tuple[Ints, Ints]] = {}
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    planned = np.zeros((len(metrics), inventory.size + inventory.node_count), dtype=bool)
    for number, metric in enumerate(metrics):
        for case in metric.cases:
            spec = header.cases[case].schedule
            if spec not in units:
                units[spec] = units_of(schedule_for(header.schedules[spec], inventory), inventory)
            groups, unit = units[spec]
            mine = rows[case]
            place = np.searchsorted(groups, columns.group[mine])
            known = place < groups.size
            mine, place = mine[known], place[known]
            again = number_of(header.cases[case].stage)
            if not again:
                planned[number, unit[unit >= 0]] = True
            parts.append(
                (
                    np.full(mine.size, number, dtype=np.int64),
                    unit[place],
                    np.full(mine.size, again, dtype=np.int64),
                    mine.astype(np.int64),
                )
            )
    nothing = np.empty(0, dtype=np.int64)
    of, unit, session, row = (
        np.concatenate([nothing, *(part[i] for part in parts)]) for i in range(4)
    )
    kept = unit >= 0
    return Table(
        metrics=metrics,
        inventory=inventory,
        metric=of[kept],
        unit=unit[kept],
        session=session[kept],
        row=row[kept],
        planned=planned,
    )


def nodes_of(inventory: Inventory, unit: npt.ArrayLike) -> Ints:
    """int64[units]: the nodes that units are, or lie in."""
    units = np.asarray(unit, dtype=np.int64)
    inside = np.minimum(units, inventory.size - 1)
    return np.where(units < inventory.size, inventory.node_of(inside), units - inventory.size)


def kinds_of(inventory: Inventory) -> tuple[Ints, list[str]]:
    """int64[devices + nodes]: equal for units that are compared with each other; their names.

    Devices of one kind of chip; nodes that carry equally many devices, the first of one kind.
    """
    code, chips = inventory.kinds()
    chips = chips or ["no device"]
    counts = np.diff(inventory.starts)
    # A node without devices is compared with nobody: it has nothing that is measured.
    of_first = np.zeros_like(counts)
    of_first[counts > 0] = code[inventory.starts[:-1][counts > 0]]
    every = np.concatenate([code, len(chips) * (1 + counts) + of_first])
    used, kinds = np.unique(every, return_inverse=True)
    names = [
        f"{one // len(chips) - 1} x {chips[one % len(chips)]}" if one >= len(chips) else chips[one]
        for one in used.tolist()
    ]
    return kinds.astype(np.int64), names


def units_of(schedule: Schedule, inventory: Inventory) -> tuple[Ints, Ints]:
    """The ids of a schedule's groups, ascending, and the unit of each; -1 over several nodes."""
    ids: list[Ints] = [np.empty(0, dtype=np.int64)]
    units: list[Ints] = [np.empty(0, dtype=np.int64)]
    if schedule.size:
        for whole in schedule.rounds():
            for batch in whole:
                nodes = inventory.node_of(batch.ranks)
                inside = (nodes == nodes[:, :1]).all(axis=1)
                of_node = np.where(inside, inventory.size + nodes[:, 0], -1)
                alone = batch.ranks.shape[1] == 1
                units.append(batch.ranks[:, 0] if alone else of_node)
                ids.append(batch.ids)
    every, unit = np.concatenate(ids), np.concatenate(units)
    order = np.argsort(every, kind="stable")
    return every[order], unit[order]


def _metrics(header: Header, cases: list[Case], profile: Profile) -> list[Metric]:
    found: dict[bytes, Metric] = {}
    for category, lines in profile.categories.items():
        for line in lines:
            for case in selected(line, cases, header):
                if case.scope == "pair":
                    continue
                key = key_of(header, case)
                if key in found:
                    if case.id in found[key].cases:
                        continue
                    both = (*found[key].cases, case.id)
                    found[key] = msgspec.structs.replace(found[key], cases=both)
                    continue
                name = f"{case.short()}{members(what(header.schedules[case.schedule]))}"
                found[key] = Metric(
                    key=key, name=name, case=case, cases=(case.id,), line=line, category=category
                )
    return list(found.values())


def key_of(header: Header, case: Case) -> bytes:
    """Equal for cases of one metric, in this run or another."""
    spec = what(header.schedules[case.schedule])
    return msgspec.json.encode(
        (
            base(case.stage),
            case.benchmark,
            case.axes,
            case.metric,
            case.source,
            spec.kind,
            spec.arguments,
        ),
        order="deterministic",
    )
