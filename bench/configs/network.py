"""Networks of a planned cluster, and how it is operated: what a projection needs beside chips.

Levels are a cluster's own: ``node``, its labels (``rack``, ``site``) and ``cluster``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from .document import Place


class NetworkLevel(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The network that connects the devices of a node, a label's value, or the whole cluster."""

    bandwidth: float | None = None
    """Of one device in one direction, B/s; None: of a node the datasheet's ``link``, of others what
    the level below has (at first the datasheet's ``network`` over the node's devices)."""
    latency: float | None = None
    """Seconds."""
    oversubscription: float = 1.0
    """Divides the bandwidth: 2 is 2:1."""
    reconfiguration: float = 0.0
    """Seconds in which optical circuits take another pattern; 0: switched."""


class Operation(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a planned cluster is run. What is None is unknown, and what rests on it is left out."""

    node_mtbf: float | None = None
    """Mean seconds between two failures of one node."""
    recovery: float = 600.0
    """Seconds from a failure until the training goes on."""
    checkpoint_bandwidth: float | None = None
    """B/s at which one node saves."""
    node_power: float | None = None
    """W of a node beside its devices."""
    pue: float | None = None
    """Power usage effectiveness: all energy over that of computing."""


def network_problems(
    network: Mapping[str, NetworkLevel], operation: Operation, levels: list[str]
) -> Iterator[tuple[Place, str]]:
    """What is wrong with either: the place in the cluster's file, and a sentence."""
    for name, level in network.items():
        if name not in levels:
            yield ("network", name), f"is no level of this cluster: {', '.join(levels)}"
        for key in ("bandwidth", "latency", "oversubscription"):
            value = getattr(level, key)
            if value is not None and value <= 0:
                yield ("network", name, key), "must be positive; leave out what is unknown"
        if level.reconfiguration < 0:
            yield ("network", name, "reconfiguration"), "must not be negative"
        if level.oversubscription < 1:
            yield ("network", name, "oversubscription"), "is 1 or more: 2 is 2:1"
    for key in ("node_mtbf", "recovery", "checkpoint_bandwidth", "node_power", "pue"):
        value = getattr(operation, key)
        if value is not None and value <= 0:
            yield ("operation", key), "must be positive; leave out what is unknown"
    if operation.pue is not None and operation.pue < 1:
        yield ("operation", "pue"), "is 1 or more: all power over that of computing"
