"""What went wrong in plain words: lost nodes, crashed benchmarks, checks that did not hold.

None of it is a matter of statistics but one: a benchmark that fails on most of the fleet is no
fault of a node, and is said of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ...inventory import Inventory
from ...records import STATUS_MEANING, STATUSES, Case, Header, Status
from ...results import Columns
from ...rounds import schedule_for
from ...verdicts import Against, Evidence, Word
from ..graph import Ints
from ..joining import base, number_of, what
from ..summary import members, rows_by_case
from ..table import Table, key_of, kinds_of, nodes_of, units_of
from .blame import blamed, by_name

BAD: tuple[Status, ...] = ("failed", "invalid", "missing")
_BAD = [STATUSES.index(status) for status in BAD]
_WELL = [STATUSES.index(status) for status in ("ok", "contended")]
CORRUPTION = ("corruption", "collective_corruption")
"""Benchmarks whose invalid rows say that equal work gave unequal bits."""
COMMON = 0.5
"""Share of the units of a kind above which a trouble is the fleet's and no node's."""
FEWEST = 3
"""Units below which nobody can say so."""


def troubles(
    header: Header,
    columns: Columns,
    inventory: Inventory,
    stages: Collection[str] | None = None,
) -> Iterator[tuple[int, Evidence]]:
    """(node, evidence) of every node that is lost, or on which something failed.

    Args:
        header: The run's header.
        columns: Its rows.
        inventory: Its nodes.
        stages: Only rows of these stages (None: all).
    """
    yield from _absent(header)
    gone = list(_lost(header, inventory))
    yield from gone
    # Of nodes that share a name, those that are lost lack rows, and are told by these.
    lost = {node for node, one in gone if one.verdict == "reject"}
    rows = rows_by_case(columns, len(header.cases))
    redone = _redone(header, columns, inventory, rows, stages)
    told: tuple[object, ...] = ()
    told_missing: set[tuple[int, str]] = set()
    for case in header.cases:
        # The metrics of a benchmark share its fate.
        job = (case.stage, case.benchmark, case.axes, case.schedule)
        if job == told or (stages is not None and case.stage not in stages):
            continue
        if case.scope == "rank":
            continue  # a rank has no value of its own where its group has none: that tells it
        told = job
        mine = rows[case.id]
        bad = mine[np.isin(columns.status[mine], _BAD)]
        if bad.size:
            found = _of_case(header, columns, inventory, case, mine, bad, lost, redone)
            yield from _once(found, told_missing)


def _once(
    found: Iterator[tuple[int, Evidence]], told: set[tuple[int, str]]
) -> Iterator[tuple[int, Evidence]]:
    """A node that answers no more lacks everything: that is said once a stage."""
    for node, one in found:
        if one.text.startswith("missing"):
            if (node, one.stage) in told:
                continue
            told.add((node, one.stage))
        yield node, one


def _absent(header: Header) -> Iterator[tuple[int, Evidence]]:
    """Nodes without a usable device, and devices that others use."""
    for number, node in enumerate(header.nodes):
        if node.problem and not node.busy:
            yield number, Evidence(verdict="reject", against="fault", text=node.problem)
        for text in node.busy:
            yield number, Evidence(verdict="inconclusive", against="coverage", text=text)


def _lost(header: Header, inventory: Inventory) -> Iterator[tuple[int, Evidence]]:
    """Nodes that were lost while the run went on."""
    for event in header.events:
        if event["kind"] == "agent-lost":
            one = Evidence(
                verdict="reject",
                against="fault",
                text=f"the node was lost: {event['text']}",
                stage=event.get("stage", ""),
            )
            yield from by_name(inventory, event["node"], one)


def _of_case(
    header: Header,
    columns: Columns,
    inventory: Inventory,
    case: Case,
    mine: Ints,
    bad: Ints,
    lost: set[int],
    redone: Mapping[bytes, set[int]],
) -> Iterator[tuple[int, Evidence]]:
    schedule = schedule_for(header.schedules[case.schedule], inventory)
    groups, units = units_of(schedule, inventory)
    unit = units[np.searchsorted(groups, columns.group[mine])]
    single = unit >= 0
    seen = np.unique(unit[single])
    broken = np.isin(mine, bad)
    hit = np.unique(unit[single & broken])
    kinds, _ = kinds_of(inventory)
    common = _common(inventory, kinds, seen, hit)
    for one in hit.tolist():
        node = int(nodes_of(inventory, one))
        if node in lost:
            continue
        row = int(mine[(unit == one) & broken][0])
        times, of = int(((unit == one) & broken).sum()), int((unit == one).sum())
        count = f" ({times} of {of} times)" if of > 1 else ""
        said = f"{_reason(columns, row)}{count}"
        word: Word = "reject"
        if (many := common.get(int(kinds[one]))) is not None:
            word = "inconclusive"
            said += f"; so it is on {many}: no fault of one node"
        device = inventory.rank_name(one) if one < inventory.size else ""
        yield node, _evidence(header, case, columns, row, word, said, device)
    if not single.all():
        # One row a group: what several repeats say of it is said by the first.
        others = mine[~single]
        yield from _of_groups(header, columns, inventory, case, others, bad, lost, redone)


def _common(inventory: Inventory, kinds: Ints, seen: Ints, hit: Ints) -> dict[int, str]:
    """By kind of unit: of how many it is the same, where that is no fault of one node."""
    found = {}
    for kind in np.unique(kinds[hit]).tolist():
        here, alike = hit[kinds[hit] == kind], int((kinds[seen] == kind).sum())
        several = np.unique(nodes_of(inventory, here)).size > 1
        if several and alike >= FEWEST and here.size > COMMON * alike:
            found[kind] = f"{here.size} of {alike}"
    return found


def _of_groups(
    header: Header,
    columns: Columns,
    inventory: Inventory,
    case: Case,
    mine: Ints,
    bad: Ints,
    lost: set[int],
    redone: Mapping[bytes, set[int]],
) -> Iterator[tuple[int, Evidence]]:
    """Groups over several nodes: whose fault it is, only other groups can tell.

    Who did the same in a later group did it, whatever became of an earlier one. Who did not is not
    passed because another one was at fault; of pairs, each node has others (`links`).
    """
    schedule = schedule_for(header.schedules[case.schedule], inventory)
    broken = np.isin(mine, bad)
    nodes_of: dict[int, list[int]] = {}
    for group in np.unique(columns.group[mine]).tolist():
        nodes_of[group] = np.unique(inventory.node_of(list(schedule.members(group)))).tolist()
    groups = [nodes_of[group] for group in columns.group[mine].tolist()]
    culprit = blamed(groups, broken.tolist(), inventory.node_count)
    culprit[list(lost)] = True
    after = redone.get(key_of(header, case), set())
    for row in mine[broken].tolist():
        nodes = nodes_of[int(columns.group[row])]
        culprits = [node for node in nodes if culprit[node]]
        names = " and ".join(inventory.name(node) for node in nodes[:3])
        names += f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
        for node in nodes:
            if node in lost:
                continue
            said = f"{_reason(columns, row)} (between {names})"
            if node in culprits:
                said += "; every group of this node failed, others' did not"
                yield node, _evidence(header, case, columns, row, "reject", said)
            elif node not in after and (case.scope != "pair" or not culprits):
                others = " and ".join(map(inventory.name, culprits))
                said += (
                    f"; it was not measured without {others}"
                    if culprits
                    else "; whose fault it is cannot be told"
                )
                yield node, _evidence(header, case, columns, row, "inconclusive", said)


def _redone(
    header: Header,
    columns: Columns,
    inventory: Inventory,
    rows: Sequence[Ints],
    stages: Collection[str] | None,
) -> dict[bytes, set[int]]:
    """By metric (`key_of`): nodes that were in a group of several that a re-test measured well."""
    found: dict[bytes, set[int]] = {}
    for case in header.cases:
        wanted = stages is None or case.stage in stages
        if not wanted or case.scope != "group" or not number_of(case.stage):
            continue
        schedule = schedule_for(header.schedules[case.schedule], inventory)
        mine = rows[case.id]
        well = columns.group[mine[np.isin(columns.status[mine], _WELL)]]
        for group in np.unique(well).tolist():
            nodes = np.unique(inventory.node_of(list(schedule.members(group)))).tolist()
            if len(nodes) > 1:
                found.setdefault(key_of(header, case), set()).update(nodes)
    return found


def spoilt(
    found: Table, header: Header, columns: Columns, stage: str, rejected: set[int]
) -> Iterator[Case]:
    """Cases over several nodes that last went wrong in a group with a rejected node, one a job."""
    rows = rows_by_case(columns, len(header.cases))
    last: dict[bytes, Case] = {}
    for case in header.cases:
        if base(case.stage) == stage and case.scope == "group" and rows[case.id].size:
            last[key_of(header, case)] = case
    told: set[tuple[str, str, int]] = set()
    for case in last.values():
        job = (case.stage, str((case.benchmark, case.axes)), case.schedule)
        schedule = schedule_for(header.schedules[case.schedule], found.inventory)
        mine = rows[case.id]
        bad = columns.group[mine[np.isin(columns.status[mine], _BAD)]]
        for group in np.unique(bad).tolist():
            nodes = set(found.inventory.node_of(list(schedule.members(group))).tolist())
            if len(nodes) > 1 and nodes & rejected and job not in told:
                told.add(job)
                yield case


def _reason(columns: Columns, row: int) -> str:
    status = STATUSES[columns.status[row]]
    return columns.reasons.get(row) or STATUS_MEANING[status]


def _evidence(
    header: Header,
    case: Case,
    columns: Columns,
    row: int,
    word: Word,
    said: str,
    device: str = "",
) -> Evidence:
    status = STATUSES[columns.status[row]]
    against: Against = "sanity" if status == "invalid" else "fault"
    if case.benchmark in CORRUPTION and status == "invalid":
        against = "corruption"
    name = f"{case.short()}{members(what(header.schedules[case.schedule]))}"
    return Evidence(
        verdict=word,
        against=against,
        text=f"{status}: {said}",
        stage=case.stage,
        metric=name,
        device=device,
    )
