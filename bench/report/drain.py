"""Commands that take rejected nodes out of a scheduler, and that bring back those that pass again.

They are printed for people, or scripts of theirs, to run; nothing here runs them.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from ..hostlists import compress
from ..records import Node
from ..verdicts import Certification, NodeVerdict
from .plain import plain

Scheduler: TypeAlias = Literal["slurm", "kubernetes"]
SCHEDULERS: tuple[Scheduler, ...] = ("slurm", "kubernetes")
TAINT = "hengsuan/rejected"
"""The key of the taint; its value says what was held against the node (`verdicts.Against`)."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
"""What a scheduler's names of nodes look like."""
_NODES = 200
"""Nodes of one command: a line that a terminal, a log and a scheduler take."""
_REASON = 120


def scheduler_names(nodes: Sequence[Node], scheduler: Scheduler) -> dict[str, str]:
    """By which name a scheduler knows each node, by the node's own name.

    The label ``slurm-node`` or ``kubernetes-node`` says it. Else it is the node's name: for Slurm
    without the domain, as Slurm's own default is. A pod's host name is not its node's: in pods the
    label is needed, by ``--labels FILE`` or as a label of Ray's own.
    """
    found = {}
    for node in nodes:
        short, _, domain = node.name.partition(".")
        # Of an address, what stands before the first dot names nobody.
        own = short if scheduler == "slurm" and domain and not short.isdigit() else node.name
        found[node.name] = node.labels.get(f"{scheduler}-node", own)
    return found


def too_many(rejected: int, nodes: int, most: float) -> str:
    """Why so many nodes are not drained, as a sentence; empty where they may be.

    Args:
        rejected: How many nodes are rejected.
        nodes: How many were judged.
        most: The share of them that may be drained; one node always may.
    """
    allowed = max(1, math.floor(most * nodes + 1e-9))
    if rejected <= allowed:
        return ""
    return (
        f"no drain commands: {rejected} of {nodes} nodes ({rejected / nodes:.1%}) are rejected, "
        f"more than --max-drain {most * 100:.4g}% allows ({allowed}); what so many share is no "
        "reason to drain a fleet: look for its common cause (driver, switch, cooling) first"
    )


def drain(
    found: Certification, nodes: Sequence[Node] = (), most: float = 0.05
) -> tuple[dict[str, list[str]], list[str]]:
    """What takes the rejected nodes out: commands by scheduler, and what to know, in sentences.

    Args:
        found: The verdict.
        nodes: The run's nodes, whose labels may tell a scheduler's names.
        most: As of `too_many`: above it there are no commands.
    """
    rejected = [node for node in found.nodes if node.verdict == "reject"]
    if not rejected:
        return {}, []
    if why := too_many(len(rejected), len(found.nodes), most):
        return {}, [why]
    commands, notes = {}, []
    for scheduler in SCHEDULERS:
        named, strange = _named(rejected, scheduler_names(nodes, scheduler))
        make = _slurm_drain if scheduler == "slurm" else _kubernetes_drain
        commands[scheduler] = [*_not_real(found), *make(found, named)] if named else []
        notes += [text for text in strange if text not in notes]
    return {name: lines for name, lines in commands.items() if lines}, notes


def undrain(
    found: Certification, names: Iterable[str], nodes: Sequence[Node] = ()
) -> dict[str, list[str]]:
    """What brings nodes back that pass again: commands by scheduler.

    Args:
        found: The verdict.
        names: Which of its nodes, as of `returning`; those that it does not accept are left out.
        nodes: As in `drain`.
    """
    wanted = set(names)
    back = [node for node in found.nodes if node.node in wanted and node.verdict == "accept"]
    commands: dict[str, list[str]] = {}
    for scheduler in SCHEDULERS:
        named, _ = _named(back, scheduler_names(nodes, scheduler))
        lines: list[str] = []
        for part in _parts(list(named)):
            if scheduler == "slurm":
                words = [f"nodename={compress(part)}", "state=undrain"]
                lines.append(shlex.join(["scontrol", "update", *words]))
            else:
                # With the taint gone first, nothing is placed on a node that is half back.
                lines.append(shlex.join(["kubectl", "taint", "nodes", *part, f"{TAINT}-"]))
                lines.append(shlex.join(["kubectl", "uncordon", *part]))
        if lines:
            commands[scheduler] = [*_not_real(found), *lines]
    return commands


def returning(
    found: Certification, earlier: Sequence[Certification]
) -> tuple[list[str], list[str]]:
    """Nodes that are accepted now and that stood rejected; who stays out nevertheless, and why.

    A rejection is taken back by the suite that pronounced it, measured whole: one check that holds
    (``certify --only``), or another suite (``certify probe``), says nothing of what was found.

    Args:
        found: The verdict.
        earlier: Verdicts before it, the oldest first; only those of its provenance that
            stand in for the same chip count. A node is known by its machine, or by name where
            nothing identifies that.
    """
    out: dict[str, Certification] = {}
    """By whom each node that stands rejected was."""
    for one in earlier:
        if (one.provenance, one.stands_for) != (found.provenance, found.stands_for):
            continue
        for who, node in _known(one).items():
            if node.verdict == "reject":
                out[who] = one
            elif who in out and _takes_back(one, out[who]):
                del out[who]
    stood = [
        (node.node, out[who])
        for who, node in _known(found).items()
        if node.verdict == "accept" and who in out
    ]
    back = [name for name, by in stood if _takes_back(found, by)]
    stay: dict[str, list[str]] = {}
    for name, by in stood:
        if not _takes_back(found, by):
            stay.setdefault(by.suite, []).append(name)
    part = f"the check {found.only}" if found.only else f"the suite {found.suite}"
    return back, [
        f"{compress(names)} stood rejected by the suite {suite} and was measured by {part} alone: "
        f"to bring back what passes, certify with {suite}"
        for suite, names in stay.items()
    ]


def _takes_back(one: Certification, rejection: Certification) -> bool:
    return not one.only and one.suite == rejection.suite


def _known(found: Certification) -> dict[str, NodeVerdict]:
    """Nodes by machine, whose cards may have been replaced; cloned machine ids name nobody."""
    count = Counter(node.identity.machine for node in found.nodes)
    return {
        node.identity.machine if count[node.identity.machine] == 1 else f"name {node.node}": node
        for node in found.nodes
    }


def _not_real(found: Certification) -> list[str]:
    """What whoever copies the commands must know first, as a comment of a shell."""
    if found.provenance == "simulated":
        return ["# a simulated fleet: these nodes do not exist"]
    if found.provenance == "imported":
        return ["# imported from logs of another tool: measured then, and not by this one"]
    if found.stands_for:
        chip = plain(found.stands_for)
        return [f"# stand-ins for {chip}: held against that chip, not against what they are"]
    return []


def _named(
    nodes: Sequence[NodeVerdict], names: Mapping[str, str]
) -> tuple[dict[str, NodeVerdict], list[str]]:
    """Nodes by a scheduler's name, and who has none, in sentences."""
    named = {names.get(node.node, node.node): node for node in nodes}
    strange = [name for name in named if not _NAME.fullmatch(name)]
    notes = [
        f"no scheduler knows a node by the name {plain(name)!r}: no command" for name in strange
    ]
    return {name: node for name, node in named.items() if name not in strange}, notes


def _slurm_drain(found: Certification, named: Mapping[str, NodeVerdict]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for name, node in named.items():
        by_reason.setdefault(_reason(found, node), []).append(name)
    for reason, names in by_reason.items():
        for part in _parts(names):
            words = [f"nodename={compress(part)}", "state=drain", f"reason={reason}"]
            yield shlex.join(["scontrol", "update", *words])


def _kubernetes_drain(found: Certification, named: Mapping[str, NodeVerdict]) -> Iterator[str]:
    by_kind: dict[str, list[str]] = {}
    for name, node in named.items():
        by_kind.setdefault(_against(node), []).append(name)
    for part in _parts(list(named)):
        yield shlex.join(["kubectl", "cordon", *part])
    for kind, names in by_kind.items():
        for part in _parts(names):
            taint = f"{TAINT}={kind}:NoSchedule"
            yield shlex.join(["kubectl", "taint", "nodes", *part, taint, "--overwrite"])


def _against(node: NodeVerdict) -> str:
    return node.evidence[0].against if node.evidence else "verdict"


def _reason(found: Certification, node: NodeVerdict) -> str:
    """``hengsuan RUN: cooling: hot and throttled``: one line that a list of nodes has room for."""
    worst = node.evidence[0] if node.evidence else None
    why = (worst.cause or worst.metric or worst.against) if worst is not None else "rejected"
    text = " ".join(plain(f"hengsuan {found.run}: {why}").split())
    return text if len(text) <= _REASON else f"{text[: _REASON - 3]}..."


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _NODES):
        yield names[start : start + _NODES]
