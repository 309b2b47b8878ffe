"""Chips and the networks between them, and what a collective takes there.

Networks are levels, nearest first: a node's links, then switches of racks, sites and so on. Every
chip has a share of each level's bandwidth; a collective over several levels goes as fast as the
tightest of them lets it, for libraries fill all links of a level at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ...configs import Chip, Cluster, Figure
from ...errors import ConfigError

Operation: TypeAlias = Literal[
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"
]


@dataclass(frozen=True)
class Level:
    """``size`` chips that a network connects; ``bandwidth`` of each of them in B/s and one
    direction, after oversubscription and as far as collectives reach it; ``latency`` in s;
    ``reconfiguration``: seconds in which its optical circuits take another pattern."""

    name: str
    size: int
    bandwidth: float
    latency: float
    reconfiguration: float = 0.0


@dataclass(frozen=True)
class Machine:
    """One kind of chip on levels of networks, nearest first; the last has all chips.

    ``flops`` by dtype, FLOP/s; ``memory`` B, ``bandwidth`` B/s; ``units``: parts of the chip among
    which a kernel's tiles are shared out, 0 where it is not known. ``watts`` of a chip with its
    part of the node at full load. ``attention``: peak of 16 bits where ``flops`` is of fewer.
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    levels: tuple[Level, ...]
    units: int = 0
    watts: float | None = None
    attention: float = 0.0

    @property
    def scoring(self) -> float:
        """FLOP/s of attention, which computes in 16 bits where products have fewer."""
        return self.attention or self.flops

    @property
    def chips(self) -> int:
        """All of them."""
        return self.levels[-1].size

    def crossed(self, ranks: int, stride: int) -> int:
        """How many levels a group reaches beyond the nearest."""
        reach = ranks * stride if ranks > 1 else 1
        return sum(reach > level.size for level in self.levels[:-1])

    def seconds(self, operation: Operation, size: float, ranks: int, stride: int = 1) -> float:
        """Of a collective over ``ranks`` chips that are ``stride`` apart.

        α·steps + volume/β (Hockney, 1994). Volumes are those of rings (Thakur, Rabenseifner and
        Gropp, 2005); the nearest level is one step, and beyond it steps are those of a tree. The
        chips that a unit of the level below has in the group carry its traffic together, up to
        the speed of their own links; of all_to_all each carries its own.

        Args:
            operation: Which one.
            size: Bytes of the whole array; of all_to_all and send_recv, what a rank sends.
            ranks, stride: Who takes part.
        """
        if ranks < 2 or size <= 0:
            return 0.0
        if operation == "send_recv":
            level = self._level(stride + 1)
            return level.latency + size / level.bandwidth
        share = (ranks - 1) / ranks * (2 if operation == "all_reduce" else 1)
        return self._latency(operation, ranks, stride) + (
            self._exchanged(size, ranks, stride)
            if operation == "all_to_all"
            else share * size / self._rate(ranks, stride)
        )

    def _level(self, reach: int) -> Level:
        return next((level for level in self.levels if level.size >= reach), self.levels[-1])

    def _rate(self, ranks: int, stride: int) -> float:
        """B/s of each member's own share: that of the tightest level."""
        rate, inside = math.inf, 1
        for level in self.levels:
            members = min(ranks, max(1, level.size // stride))
            if members > inside:
                rate = min(rate, level.bandwidth * inside)
            inside = members
        return rate if rate < math.inf else self.levels[-1].bandwidth

    def _exchanged(self, size: float, ranks: int, stride: int) -> float:
        """Of all_to_all: what goes beyond each level goes over that level's share of every chip."""
        slowest, inside = 0.0, 1
        for level in self.levels:
            members = min(ranks, max(1, level.size // stride))
            if members > inside:
                slowest = max(slowest, size * (ranks - inside) / ranks / level.bandwidth)
            inside = members
        return slowest

    def _latency(self, operation: Operation, ranks: int, stride: int) -> float:
        passes = 2 if operation == "all_reduce" else 1
        near = self.levels[0]
        inside = min(ranks, max(1, near.size // stride))
        far = self._level(ranks * stride).latency if inside < ranks else 0.0
        return passes * ((inside > 1) * near.latency + far * math.log2(max(2, ranks / inside)))


LATENCY = (8e-6, 12e-6)
"""Seconds of a collective's step inside a node and beyond where nobody says: typical of libraries
(Hu et al., Demystifying NCCL, 2025)."""


def machine_of(
    chip: Chip,
    cluster: Cluster,
    dtype: str,
    *,
    link: float,
    network: float,
    where: str = "",
    nodes: int | None = None,
) -> Machine:
    """The machine that a cluster's file and its chip's datasheet describe.

    Args:
        chip, cluster: What is declared.
        dtype: Of matrix products.
        link, network: Shares of a declared bandwidth that collectives reach, in a node and beyond.
        where: ``file`` that errors name.
        nodes: Of them only so many.

    Raises:
        ConfigError: a figure that a projection needs and nobody knows: peak, memory, links.
    """
    peak = chip.peak(dtype)
    if peak is None:
        disputed = dtype in chip.flops
        raise ConfigError(
            f"the datasheet of {chip.name} has {'a disputed' if disputed else 'no'} peak in "
            f"{dtype}: without one there is nothing to project from",
            where=where,
            hint="known: " + (", ".join(d for d in chip.flops if chip.peak(d)) or "none"),
        )
    count = cluster.nodes if nodes is None else nodes
    shares = (link, network)
    levels = tuple(
        replace(one, bandwidth=one.bandwidth * shares[one.name != "node"])
        for one in _levels(chip, cluster, count, where)
    )
    memory, bandwidth = _each(chip.memory), _each(chip.memory_bandwidth)
    if memory is None or bandwidth is None:
        what = "memory" if memory is None else "memory bandwidth"
        raise ConfigError(f"the {what} of {chip.name} is unknown or disputed", where=where)
    watts = None
    drawn = _each(chip.tdp)
    if drawn is not None:
        watts = drawn + (cluster.operation.node_power or 0.0) / cluster.devices
    return Machine(
        name=chip.name,
        flops=peak,
        memory=memory,
        bandwidth=bandwidth,
        levels=levels,
        units=round(chip.units.value) if chip.units is not None else 0,
        watts=watts,
        attention=(chip.peak("bf16") or chip.peak("fp16") or 0.0) if dtype == "fp8" else 0.0,
    )


def _levels(chip: Chip, cluster: Cluster, nodes: int, where: str) -> list[Level]:
    """The levels of network as declared, the innermost first; see `machine_of`.

    A level that does not say its bandwidth has that of the network inside it.
    """
    sizes = {"node": cluster.devices}
    for label, alike in sorted(cluster.labels.items(), key=lambda item: item[1]):
        sizes[label] = cluster.devices * min(alike, nodes)
    sizes["cluster"] = cluster.devices * nodes
    levels: list[Level] = []
    carried = _each(chip.network, cluster.devices)
    for name, size in sizes.items():
        near = name == "node"
        given = cluster.network.get(name)
        bandwidth = given.bandwidth if given is not None else None
        if bandwidth is None:
            bandwidth = _each(chip.link) if near else carried
        if bandwidth is None and size > (1 if near else levels[-1].size):
            what = "links inside a node" if near else f"the network of level {name!r}"
            raise ConfigError(
                f"the bandwidth of {what} is unknown: neither the cluster nor the datasheet of "
                f"{chip.name} says it",
                where=where,
                hint=f"write network: {{{name}: {{bandwidth: 5.0e+10}}}}, in B/s of one device",
            )
        if bandwidth is None:
            # Nobody is reached through it who is not reached inside: it says nothing of levels
            # beyond, which may not take a node's links for a network.
            bandwidth = levels[-1].bandwidth if levels else 1.0
        else:
            bandwidth /= given.oversubscription if given is not None else 1.0
            carried = carried if near else bandwidth
        latency = given.latency if given is not None and given.latency else LATENCY[not near]
        reconfiguration = given.reconfiguration if given is not None else 0.0
        levels.append(Level(name, size, bandwidth, latency, reconfiguration))
    return levels


def _each(figure: Figure | None, parts: int = 1) -> float | None:
    """A figure over so many parts; None where it is unknown or disputed."""
    return None if figure is None or figure.status == "disputed" else figure.value / parts
