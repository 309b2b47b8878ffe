"""From a run to the fabric behind it: its pairs by node and device, and who is slow, by name.

Pairs inside a node and pairs between nodes use different links, and are fitted apart. Between
nodes an item is a device with its way out (its *rail*): a node all of whose measured rails are slow
is a slow node, one rail alone a slow device. Pairs of equal and of different label (rack, site),
and of equal and different place in the node, each have a usual value of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ..inventory import Inventory
from ..records import Case, Header, ScheduleSpec
from ..results import Columns
from ..rounds import schedule_for
from .fabric import MATERIAL, Culprit, Fabric, fit
from .graph import Bools, Floats, Ints
from .joining import base, what
from .summary import CaseSummary, group_medians, members, rows_by_case

Rows: TypeAlias = npt.NDArray[np.intp]
Kind: TypeAlias = Literal["slow-node", "slow-device", "slow-link", "slow-pair"]


class Suspect(msgspec.Struct, kw_only=True, frozen=True):
    """Who is slow, by name.

    ``slow-node``: all of its measured devices are. ``slow-pair``: a device that met one other
    only, so that it, its partner or the link between them may be it. ``names`` are one node, one
    ``node/device``, or two; ``ranks`` are those of the devices that they speak of (of pairs of
    nodes, the first device of each). The rest as in `fabric.Culprit`; ``pairs`` of a node are
    those of its devices that are named each alone.
    """

    kind: Kind
    names: tuple[str, ...]
    effect: float
    low: float
    high: float
    chance: float
    pairs: int
    ranks: tuple[int, ...] = ()

    def text(self, metric: str) -> str:
        """``bandwidth -10.1% against the usual pair (95 %: -11.2% to -9.0%), from 3 pairs``."""
        pairs = "1 pair" if self.pairs == 1 else f"{self.pairs} pairs"
        return (
            f"{metric} {self.effect:+.1%} against the usual pair ({self.interval()}), from {pairs}"
        )

    def interval(self) -> str:
        """``95 %: -11.2% to -9.0%``."""
        return f"95 %: {self.low:+.1%} to {self.high:+.1%}"


class Usual(msgspec.Struct, kw_only=True, frozen=True):
    """The usual value of one class of pairs, in the case's unit; ``name`` is empty for all.

    ``same``: by label, and by ``rail``, whether both ends share it.
    """

    name: str
    value: float
    pairs: int
    same: dict[str, bool] = {}


class PairFabric(msgspec.Struct, kw_only=True):
    """What the pairs of one case say of the links inside nodes, or of those between nodes.

    ``nodes`` and ``items`` are how many took part, ``pairs`` how many have a value. ``noise`` and
    ``spread`` are relative standard deviations, of a pair around its items and of items.
    ``ranks`` are the items, ascending, of pairs of nodes the first device of each; ``effect``,
    ``low`` and ``high`` say how far off the usual pair each of them is (`fabric.Fabric`), NaN where
    fewer than two pairs speak of it.
    """

    name: str
    case: int
    metric: str
    unit: str
    provenance: str
    where: Literal["between nodes", "inside nodes"]
    nodes: int
    items: int
    pairs: int
    usual: list[Usual]
    noise: float
    spread: float
    suspects: list[Suspect]
    limits: list[str]
    ranks: list[int]
    effect: list[float]
    low: list[float]
    high: list[float]

    @property
    def single(self) -> bool:
        """Whether no node takes part with two devices: then an item is a node."""
        return self.nodes == self.items


def pair_fabrics(
    header: Header, columns: Columns, summaries: list[CaseSummary], metric: str = "bandwidth"
) -> list[PairFabric]:
    """The fabric behind every case of pairs that has ``metric``; cases without a good value none.

    Args:
        header: The run's header.
        columns: Its rows.
        summaries: Its cases, of `summary.summarize`.
        metric: Which metric of the pairs.

    Raises:
        UsageError: the header has a schedule that its nodes cannot give.
    """
    wanted = [
        one
        for one in summaries
        if one.case.scope == "pair" and one.case.metric == metric and one.groups
    ]
    if not wanted:
        return []
    inventory = Inventory(header.nodes, header.fleet)
    rows = rows_by_case(columns, len(header.cases))
    pools: dict[str, list[CaseSummary]] = {}
    for one in wanted:
        pools.setdefault(_pool(header, one.case), []).append(one)
    found = []
    for pool in pools.values():
        case = pool[0].case
        parts = [_values(header, inventory, columns, rows[one.case.id], one.case) for one in pool]
        ranks = np.concatenate([one for one, _ in parts])
        value = np.concatenate([one for _, one in parts])
        repeats = 1 + max(int(columns.repeat[rows[one.case.id]].max()) for one in pool)
        nodes = inventory.node_of(ranks)
        inside = nodes[:, 0] == nodes[:, 1]
        spec = header.schedules[case.schedule]
        name = pool[0].name if len(pool) == 1 else f"{case.short()}{members(_classless(spec))}"
        provenance = ", ".join(dict.fromkeys(said for one in pool for said in one.provenances))
        for where, these in (("between nodes", ~inside), ("inside nodes", inside)):
            if np.isfinite(value[these]).any():
                made = _fabric(inventory, case, ranks[these], value[these], where == "inside nodes")
                made.name, made.provenance = name, provenance
                if repeats == 1:
                    made.limits.append(
                        "every pair was measured once: whether a link is slow for good or was for "
                        "a moment; repeat the stage"
                    )
                found.append(made)
    return found


def _pool(header: Header, case: Case) -> str:
    """Equal for cases that differ by their class of link, or by which pairs were chosen, only.

    Who is slow, all of them tell.
    """
    spec = what(_classless(header.schedules[case.schedule]))
    return f"{base(case.stage)}/{case.label()}/{spec.kind}/{sorted(spec.arguments.items())}"


def _classless(spec: ScheduleSpec) -> ScheduleSpec:
    kept = {key: value for key, value in spec.arguments.items() if key not in ("within", "across")}
    return msgspec.structs.replace(spec, arguments=kept)


def _values(
    header: Header, inventory: Inventory, columns: Columns, rows: Rows, case: Case
) -> tuple[Ints, Floats]:
    """int64[groups, 2], float64[groups]: a case's pairs and their values, NaN without one."""
    ids, ranks = _pairs(header, inventory, case)
    groups, medians = group_medians(columns, rows)
    value = np.full(ids.size, np.nan)
    # A rate of nothing has no logarithm, which the fit takes.
    value[np.searchsorted(ids, groups)] = np.where(medians > 0, medians, np.nan)
    return ranks, value


def _pairs(header: Header, inventory: Inventory, case: Case) -> tuple[Ints, Ints]:
    """int64[groups] ascending, int64[groups, 2]: the schedule's groups and their ranks."""
    schedule = schedule_for(header.schedules[case.schedule], inventory)
    batches = [batch for whole in schedule.rounds() for batch in whole]
    ids = np.concatenate([batch.ids for batch in batches])
    ranks = np.concatenate([batch.ranks for batch in batches])
    order = np.argsort(ids)
    return ids[order], ranks[order]


def _fabric(
    inventory: Inventory, case: Case, ranks: Ints, value: Floats, inside: bool
) -> PairFabric:
    there, item = np.unique(ranks, return_inverse=True)
    item = item.reshape(ranks.shape)
    codes, kinds = _classes(inventory, ranks, inside)
    result = fit(
        item[:, 0],
        item[:, 1],
        value,
        items=there.size,
        classes=codes,
        better=case.better,
    )
    node = inventory.node_of(there)
    good = np.isfinite(value) & (value > 0)
    counts = np.bincount(codes[good], minlength=len(kinds))
    usual = [
        Usual(
            name=", ".join(
                f"{'same' if shared else 'other'} {key}" for key, shared in same.items()
            ),
            value=result.usual[index],
            pairs=int(counts[index]),
            same=same,
        )
        for index, same in enumerate(kinds)
        if counts[index]
    ]
    return PairFabric(
        name="",
        case=case.id,
        metric=case.metric,
        unit=case.unit,
        provenance="",
        where="inside nodes" if inside else "between nodes",
        nodes=int(np.unique(node).size),
        items=int(there.size),
        pairs=result.pairs,
        usual=usual,
        noise=result.noise,
        spread=result.spread,
        suspects=list(_suspects(inventory, there, node, result)),
        limits=result.limits,
        ranks=there.tolist(),
        effect=result.effect.tolist(),
        low=result.low.tolist(),
        high=result.high.tolist(),
    )


def _classes(inventory: Inventory, ranks: Ints, inside: bool) -> tuple[Ints, list[dict[str, bool]]]:
    """int64[pairs], and of each class which labels both ends share: same rack, other rail."""
    if inside:
        return np.zeros(len(ranks), dtype=np.int64), [{}]
    nodes = inventory.node_of(ranks)
    kinds: dict[str, Bools] = {}
    for key in inventory.labels():
        label, _ = inventory.label(key)
        if label.min() >= 0:
            code = label[nodes]
            kinds[key] = code[:, 0] == code[:, 1]
    place = ranks - inventory.starts[nodes]
    kinds["rail"] = place[:, 0] == place[:, 1]
    # A label that all pairs share, or none, divides nothing.
    kinds = {key: same for key, same in kinds.items() if 0 < same.sum() < same.size}
    code = np.zeros(len(ranks), dtype=np.int64)
    for same in kinds.values():
        code = 2 * code + same
    used, code = np.unique(code, return_inverse=True)
    bits = range(len(kinds) - 1, -1, -1)
    found = [
        {key: bool(one >> bit & 1) for key, bit in zip(kinds, bits, strict=True)}
        for one in used.tolist()
    ]
    return code.astype(np.int64).reshape(-1), found


def _suspects(inventory: Inventory, ranks: Ints, node: Ints, result: Fabric) -> Iterator[Suspect]:
    """Culprits by name, the slowest first; a node's slow devices as one where all of them are."""
    # Where no node takes part with two devices, a pair is one of nodes.
    single = np.unique(node).size == ranks.size
    slow = {one.items[0]: one for one in result.culprits if one.kind == "item"}
    told: set[str] = set()
    for one in result.culprits:
        if one.kind != "item":
            names = tuple(
                inventory.name(int(node[end])) if single else inventory.rank_name(int(ranks[end]))
                for end in one.items
            )
            kind: Kind = "slow-link" if one.kind == "link" else "slow-pair"
            yield _suspect(kind, names, one, ranks)
            continue
        (item,) = one.items
        name = inventory.name(int(node[item]))
        whole = np.flatnonzero(node == node[item])
        # Each alone is less sure than all together: one is named, the rest are as far off.
        if (math.copysign(1.0, one.effect) * result.effect[whole] > MATERIAL).all():
            if name not in told:
                told.add(name)
                yield _suspect("slow-node", (name,), _together(result, whole, slow), ranks)
        else:
            yield _suspect("slow-device", (inventory.rank_name(int(ranks[item])),), one, ranks)


def _together(result: Fabric, items: Ints, slow: dict[int, Culprit]) -> Culprit:
    """The devices of a node as one: their mean on the log scale, the chance of the surest."""
    named = [slow[item] for item in items.tolist() if item in slow]
    middle = np.log1p(result.effect[items])
    reach = (np.log1p(result.high[items]) - np.log1p(result.low[items])) / 2
    mean, half = float(middle.mean()), math.sqrt(float((reach**2).sum())) / items.size
    return Culprit(
        kind="item",
        items=tuple(items.tolist()),
        effect=math.expm1(mean),
        low=math.expm1(mean - half),
        high=math.expm1(mean + half),
        chance=min(one.chance for one in named),
        pairs=sum(one.pairs for one in named),
    )


def _suspect(kind: Kind, names: tuple[str, ...], one: Culprit, ranks: Ints) -> Suspect:
    return Suspect(
        kind=kind,
        names=names,
        effect=one.effect,
        low=one.low,
        high=one.high,
        chance=one.chance,
        pairs=one.pairs,
        ranks=tuple(ranks[list(one.items)].tolist()),
    )
