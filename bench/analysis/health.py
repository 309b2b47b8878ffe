"""What nodes reported beside their measurements: errors counted, lines logged, links degraded.

A pure function of a run's header: its events around stages (`Header.events`) and the facts of its
nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..host.counters import is_error
from ..host.pcie import degraded
from ..records import Header


class Incident(msgspec.Struct, kw_only=True, frozen=True):
    """Something that happened to a node. ``stage``: during which stage, empty where in none.

    ``kind``: ``errors`` (counters of errors grew, or a device asks for repair), ``kernel-log`` (the
    kernel spoke of hardware), ``link`` (a PCI Express link is below what both its ends can do),
    ``note``.
    """

    kind: str
    node: str
    stage: str
    text: str


def incidents(header: Header) -> list[Incident]:
    """Everything that a reader of the run's figures must know about its nodes' health.

    Counters of congestion (drops, pauses, marks) are in the events and are no incident: a busy
    network has them.
    """
    return [*_links(header), *_events(header), *_unread(header)]


def _links(header: Header) -> Iterator[Incident]:
    for node in header.nodes:
        for address, link in (node.facts.get("pcie") or {}).items():
            # An accelerator's speed is judged at the end of a stage, when it has been at work.
            at_rest = link.get("kind") == "accelerator"
            why = degraded(link, ("width",) if at_rest else ("width", "generation"))
            if why:
                text = f"the link of {_card(address, link)} runs at {why}"
                yield Incident(kind="link", node=node.name, stage="", text=text)


def _events(header: Header) -> Iterator[Incident]:
    links = set()
    for event in header.events:
        kind, node, stage = event["kind"], event["node"], event.get("stage", "")
        if kind == "counters":
            grown = {name: n for name, n in event.get("changes", {}).items() if is_error(name)}
            if grown:
                text = f"in stage {stage}: {said(grown)}"
                yield Incident(kind="errors", node=node, stage=stage, text=text)
        elif kind == "device":
            text = f"in stage {stage}: {event['text']}"
            yield Incident(kind="errors", node=node, stage=stage, text=text)
        elif kind == "kernel-log":
            text = f"in stage {stage}: {event['text']}"
            yield Incident(kind="kernel-log", node=node, stage=stage, text=text)
        elif kind == "link" and (node, event["text"]) not in links:
            links.add((node, event["text"]))
            yield Incident(kind="link", node=node, stage=stage, text=event["text"])


def _unread(header: Header) -> Iterator[Incident]:
    """Once for all nodes: whose kernel log nobody could read."""
    why = Counter(
        text for node in header.nodes if (text := node.facts.get("kernel_log", "readable"))
    )
    del why["readable"]
    for reason, count in why.items():
        text = (
            f"cannot be read on {count} of {len(header.nodes)} node(s) ({reason}): what it says of "
            "links, memory and drivers is not known; run as root, or set kernel.dmesg_restrict=0 "
            "and let containers see /dev/kmsg"
        )
        yield Incident(kind="note", node="kernel log", stage="", text=text)


def said(changes: Mapping[str, Any]) -> str:
    """``eth0 rx_errors +12, mlx0/1 symbol_error +3``, the largest first."""
    order = sorted(changes.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{name} +{amount}" for name, amount in order[:8])
    return f"{shown} and {len(order) - 8} more counters" if len(order) > 8 else shown


def _card(address: str, link: Mapping[str, Any]) -> str:
    return f"{link.get('kind', 'device')} {address}"
