"""From evidence to verdicts: the worst that is found of a node decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from ...identity import identities
from ...records import STATUSES, Header
from ...results import Columns
from ...verdicts import WORDS, Against, Certification, Evidence, NodeVerdict, Word
from ..graph import Bools, Ints
from .causes import explained
from .coverage import left_out
from .examine import Examined
from .limits import limit
from .values import usable

_GRAVE: tuple[Against, ...] = ("corruption", "sanity", "fault")
"""What weighs more than being slow, the worst first."""

Command = Callable[[Evidence, str], str]
"""Of evidence and the name of its node: the command that repeats this one check."""

_GRAVITY: dict[Word, int] = {"reject": 0, "inconclusive": 1, "accept": 2}


def certification(
    found: Examined,
    *,
    stages: Sequence[str],
    profile: str,
    stopped: str = "",
    command: Command | None = None,
) -> Certification:
    """The verdict on every node of a run.

    Args:
        found: What the ended run says.
        stages: All stages that the suite has: what was not reached leaves a node inconclusive.
        profile: Name of the profile.
        stopped: Why the run ended early.
        command: Writes the commands that repeat single checks.
    """
    header = found.header
    reached = {one["name"] for one in header.stages}
    missing = [name for name in stages if name not in reached]
    gated = left_out(header, found.inventory)
    usual = _temperature(header, found.columns)
    checks = _checks(found)
    held = _held(found)
    who = identities(header)
    nodes = []
    for node in range(found.inventory.node_count):
        name = found.inventory.name(node)
        evidence = list(found.evidence.get(node, []))
        for names, why in (
            (missing, stopped or f"the run is {header.state}"),
            (gated.get(node, []), "something spoke against it before"),
        ):
            if names:
                text = f"not measured: stage(s) {', '.join(names)}; {why}"
                evidence.append(Evidence(verdict="inconclusive", against="coverage", text=text))
        last: list[Evidence] = []
        if not held[node] and checks[node].any():
            text = (
                "nothing to hold its figures against: no other node of its kind, and no limit that "
                "applies; give a proven fleet (--baseline RUN) or a profile with targets"
            )
            # Behind the others: why nothing could be measured, say.
            last = [Evidence(verdict="inconclusive", against="coverage", text=text)]
        evidence = explained([*sorted(evidence, key=_order), *last], usual)
        if command is not None:
            evidence = [_with_command(one, command(one, name)) for one in evidence]
        counts = {
            str(status): int(n) for status, n in zip(STATUSES, checks[node], strict=True) if n
        }
        if not counts and not evidence:
            text = "nothing was measured on it"
            evidence = [Evidence(verdict="inconclusive", against="coverage", text=text)]
        nodes.append(
            NodeVerdict(
                node=name,
                verdict=verdict(evidence),
                chip=_chip(found, node),
                identity=who[node],
                evidence=evidence,
                checks=counts,
            )
        )
    return Certification(
        run=header.id,
        suite=header.suite,
        profile=profile,
        provenance=header.provenance,
        stands_for=header.stands_for,
        began=header.started,
        finished=header.finished or "",
        nodes=sorted(nodes, key=lambda one: (_GRAVITY[one.verdict], one.node)),
        measured=int((found.table.session == 0).sum()),
        retested=int((found.table.session > 0).sum()),
        notes=list(dict.fromkeys([*found.notes, *_scale(found)])),
        stopped=stopped,
    )


def verdict(evidence: Sequence[Evidence]) -> Word:
    """What the evidence on a node comes to: the worst of it; accept without any."""
    said = {one.verdict for one in evidence}
    return next((word for word in ("reject", "inconclusive") if word in said), WORDS[0])


def _order(one: Evidence) -> tuple[int, int, float, str]:
    """What speaks most against a node comes first: wrong results, faults, how far it is off."""
    kind = _GRAVE.index(one.against) if one.against in _GRAVE else len(_GRAVE)
    kind += one.against == "coverage"
    return _GRAVITY[one.verdict], kind, -(one.effect or 0.0), one.metric


def _with_command(one: Evidence, command: str) -> Evidence:
    return msgspec.structs.replace(one, command=command)


def _scale(found: Examined) -> list[str]:
    """What the size of the fleet, and of a baseline beside it, allows to say."""
    nodes = found.inventory.occupied.size
    if nodes == 1 and not found.judged.proven.any():
        return [
            "one node: there is no fleet to compare it with, so only absolute limits and checks "
            "were applied; a baseline (--baseline RUN) gives one"
        ]
    return []


def _held(found: Examined) -> Bools:
    """bool[nodes]: whether any figure of the node is compared with anything."""
    judged, nodes = found.judged, found.inventory.node_count
    held = np.zeros(nodes, dtype=bool)
    compared = (judged.unit < found.table.size + nodes) & (judged.peers > 1)
    held[found.table.node(judged.unit[compared])] = True
    limited = [
        n
        for n, metric in enumerate(found.table.metrics)
        if limit(metric.line, metric.case)[0] is not None
    ]
    counted = np.isin(found.table.metric, limited) & usable(found.table, found.columns)
    held[found.table.node(found.table.unit[counted])] = True
    for nodes_met in found.links.met.values():
        held[list(nodes_met)] = True
    return held


def _checks(found: Examined) -> Ints:
    """int64[nodes, statuses]: rows of the sweep and of re-tests on units of each node."""
    nodes = found.inventory.node_count
    node = found.table.node(found.table.unit)
    status = found.columns.status[found.table.row].astype(np.int64)
    width = len(STATUSES)
    counts = np.bincount(node * width + status, minlength=nodes * width)
    return counts.reshape(nodes, width).astype(np.int64)


def _chip(found: Examined, node: int) -> str:
    """The chips of a node; a stand-in says so, and what it is itself."""
    inventory = found.inventory
    chips = dict.fromkeys(inventory.chip(rank) or "" for rank in inventory.ranks_of(node))
    if inventory.fleet is None:
        for device in inventory.nodes[node].devices:
            if device.stands_for:
                own = f"stand-in for {device.stands_for} ({device.chip or device.name})"
                chips = {own: None} | {k: None for k in chips if k != device.stands_for}
    return " + ".join(filter(None, chips))


def _temperature(header: Header, columns: Columns) -> float | None:
    """°C, the median of what devices had at the end of their measurements; None if nobody says."""
    after = [one.temperature[1] for one in header.conditions]
    degrees = np.array([math.nan if one is None else one for one in after], dtype=np.float64)
    # Equal conditions are stored once, however many rows have them: rows are what is counted.
    which = columns.conditions[(columns.conditions >= 0) & (columns.conditions < degrees.size)]
    known = degrees[which][~np.isnan(degrees[which])]
    return float(np.median(known)) if known.size else None
