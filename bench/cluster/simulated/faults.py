"""Who a cluster's faults hit, and which rows show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from ...configs import KINDS, Cluster, Fault
from ...groups import Groups
from ...inventory import Inventory
from ...records import Case
from .draws import Floats, Ints, fewest, key, of_groups, uniform
from .noise import metric_of

_NOBODY: Ints = np.empty(0, dtype=np.int64)


class Injected(msgspec.Struct, kw_only=True, frozen=True):
    """A fault with all that it hits: arrays with an element for each node, device or link.

    ``number`` is its place in the cluster's file and ``fault`` has what its kind says.
    ``devices`` are places in the node, -1 for all of it; ``peers`` the other ends of links, else
    -1; ``factors`` what each one's rates are multiplied by. ``cases`` are the metrics
    (`metric_of`) that each one shows it in, where the fault draws some.
    """

    number: int
    fault: Fault
    nodes: Ints
    devices: Ints
    peers: Ints
    factors: Floats
    cases: tuple[tuple[str, ...], ...] | None = None

    @property
    def is_defect(self) -> bool:
        """Whether anything is wrong with those that it hits; else they were made so."""
        return not KINDS[self.fault.kind].make

    def shows(self, case: Case) -> bool:
        """Whether a case is one of those that the fault is about."""
        fault = self.fault
        if fault.kind == "drift":
            return False
        return (
            case.benchmark in (listed(fault.benchmark) or [case.benchmark])
            and case.metric in (listed(fault.metric) or [case.metric])
            and all(str(case.axes.get(k, v)) == str(v) for k, v in (fault.axes or {}).items())
        )

    def on(self, case: Case, groups: Groups, nodes: Ints, inventory: Inventory) -> Floats:
        """The factor on each rank of each group, or on each group: [g, ranks] or [g, 1].

        NaN where it is not hit. ``nodes`` [g, ranks] carry the ranks.
        """
        mine = np.arange(self.nodes.size)
        if self.cases is not None:
            about = metric_of(case)
            mine = mine[[about in cases for cases in self.cases]]
        factors = self.factors[mine]
        low, high = nodes.min(axis=1), nodes.max(axis=1)
        if self.fault.hits == "link":
            ends = np.sort(np.stack([self.nodes[mine], self.peers[mine]]), axis=0)
            size = inventory.node_count
            found = _looked_up(low * size + high, ends[0] * size + ends[1], factors)
            # Of two nodes alone: whether a larger group uses the link is its library's secret.
            only = ((nodes == low[:, None]) | (nodes == high[:, None])).all(axis=1)
            return np.where(only & (low != high), found, np.nan)[:, None]
        single = self.devices[mine] >= 0
        whole = self.nodes[mine][~single]
        ranks = inventory.starts[self.nodes[mine][single]] + self.devices[mine][single]
        found = _looked_up(nodes, whole, factors[~single])
        devices = _looked_up(groups.ranks, ranks, factors[single])
        found = np.where(np.isnan(devices), found, devices)
        if KINDS[self.fault.kind].network:
            found[low == high] = np.nan
        return found

    def happens(self, seed: int, occasion: tuple[object, ...], groups: Groups) -> Any:
        """bool[g, 1]: whether each group meets it on this occasion."""
        share = self.fault.repeats
        if share is None or share >= 1:
            return np.True_
        about = key(seed, "fault", self.number, *occasion)
        return (uniform(about, of_groups(groups.ranks)) < share)[:, None]


def inject(cluster: Cluster) -> list[Injected]:
    """The faults of a cluster on those that they name or that its seed draws.

    Defects are never drawn on a node that another fault names or has; links that are counted hit
    nobody before `among` says which there are.
    """
    faults = [fault.filled for fault in cluster.faults]
    named = [node for f in faults for node in (*f.nodes, f.peer) if node is not None]
    everybody = np.arange(cluster.nodes, dtype=np.int64)
    free = np.setdiff1d(everybody, named)
    found = []
    nodes: Ints
    for number, fault in enumerate(faults):
        question = key(cluster.seed, "who", number)
        made = KINDS[fault.kind].make
        pool = everybody if made else free
        nodes, devices = np.array(fault.nodes, dtype=np.int64), _NOBODY
        if fault.hits == "link" and fault.count is not None:
            nodes = _NOBODY
        elif fault.node is None and fault.hits == "device" and fault.device is None:
            every = (pool[:, None] * cluster.devices + np.arange(cluster.devices)).ravel()
            drawn = fewest(question, every, _count(fault, cluster.nodes * cluster.devices))
            nodes, devices = drawn // cluster.devices, drawn % cluster.devices
        elif fault.node is None:
            nodes = fewest(question, pool, _count(fault, cluster.nodes))
        if fault.node is None and not made:
            free = np.setdiff1d(free, nodes)
        if devices.size != nodes.size:
            devices = _devices(fault, cluster, question, nodes)
        peer = -1 if fault.peer is None else fault.peer
        found.append(
            Injected(
                number=number,
                fault=fault,
                nodes=nodes,
                devices=devices,
                peers=np.full(nodes.size, peer, dtype=np.int64),
                factors=_factors(fault, question, nodes * cluster.devices + devices),
            )
        )
    return found


def among(injected: Injected, links: Ints, taken: Iterable[int], seed: int) -> Injected:
    """A fault that counts links, on some of the pairs of nodes [n, 2] that are measured.

    Not on nodes that are ``taken`` by other faults.
    """
    free = links[~np.isin(links, list(taken)).any(axis=1)]
    size = int(links.max(initial=0)) + 1
    question = key(seed, "who", injected.number)
    count = injected.fault.count or 0
    codes = fewest(question, np.unique(free[:, 0] * size + free[:, 1]), count)
    return msgspec.structs.replace(
        injected,
        nodes=codes // size,
        peers=codes % size,
        devices=np.full(codes.size, -1, dtype=np.int64),
        factors=_factors(injected.fault, question, codes),
    )


def in_some(injected: Injected, cases: Sequence[Case], seed: int) -> Injected:
    """A fault that draws cases, with those of each that it hits, among all that there are."""
    metrics = sorted({metric_of(case) for case in cases if injected.shows(case)})
    places = np.arange(len(metrics), dtype=np.int64)
    chosen = []
    units = zip(injected.nodes.tolist(), injected.devices.tolist(), strict=True)
    for unit in units:
        drawn = fewest(key(seed, "cases", injected.number, unit), places, injected.fault.cases or 0)
        chosen.append(tuple(metrics[place] for place in drawn.tolist()))
    return msgspec.structs.replace(injected, cases=tuple(chosen))


def _count(fault: Fault, units: int) -> int:
    return fault.count if fault.count is not None else round((fault.share or 0.0) * units)


def _devices(fault: Fault, cluster: Cluster, question: int, nodes: Ints) -> Ints:
    if fault.device is not None:
        return np.full(nodes.size, fault.device, dtype=np.int64)
    if fault.hits != "device":
        return np.full(nodes.size, -1, dtype=np.int64)
    return (uniform(question, nodes) * cluster.devices).astype(np.int64)


def _factors(fault: Fault, question: int, units: Ints) -> Floats:
    if not isinstance(fault.factor, list):
        return np.full(units.size, 1.0 if fault.factor is None else fault.factor)
    low, high = fault.factor
    found: Floats = low + (high - low) * uniform(question ^ 1, units)
    return found


def _looked_up(wanted: Ints, ids: Ints, values: Floats) -> Floats:
    """The value of each that is wanted; NaN where no id is it."""
    if not ids.size:
        return np.full(wanted.shape, np.nan)
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], wanted), ids.size - 1)
    return np.where(ids[order][place] == wanted, values[order][place], np.nan)


def listed(value: str | list[str] | None) -> list[str]:
    """What a fault names, one or several."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
