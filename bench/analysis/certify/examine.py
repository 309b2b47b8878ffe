"""All that a run says of its nodes at a point in time: the campaign and the verdict ask here.

Everything follows from the rows: the same rows give the same findings, whenever they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import msgspec
import numpy as np

from ...configs import Profile
from ...errors import UsageError
from ...inventory import Inventory
from ...records import Header
from ...results import Columns
from ...verdicts import Evidence
from ..corruption import corruption
from ..drift import drift
from ..health import incidents
from ..joining import base
from ..table import Table, table
from ..temperatures import temperature_spread
from .blame import by_name
from .cells import Cells, Judgement, Rules
from .coverage import Uncovered, gaps, unasked
from .endurance import fading
from .limits import beyond
from .links import Links, links
from .relative import evidence, unproven
from .screen import judge
from .troubles import troubles
from .unchecked import unchecked
from .values import cells

UNEVEN = 20.0
"""Kelvin between the devices of a node from which that is said."""
SHOWN = 5
"""Nodes of which it is said one by one."""
_SEVERE = frozenset({"errors", "link"})
"""Kinds of incidents that no node may have; others are said and leave it inconclusive."""


class Proven(msgspec.Struct, kw_only=True):
    """An already proven run: its header and its rows."""

    header: Header
    columns: Columns


class Examined(msgspec.Struct, kw_only=True):
    """What a run says.

    ``evidence`` is by node. ``cells`` and ``judged`` are what the comparison rests on and says.
    """

    header: Header
    columns: Columns
    table: Table
    cells: Cells
    judged: Judgement
    uncovered: Uncovered
    links: Links
    evidence: dict[int, list[Evidence]]
    notes: list[str]

    @property
    def inventory(self) -> Inventory:
        """The run's nodes."""
        return self.table.inventory

    def rejected(
        self, waived: Callable[[str, Evidence], bool] = lambda node, one: False
    ) -> set[int]:
        """Nodes that something speaks against that re-testing cannot take back.

        ``waived`` says of a node's name and a finding whether somebody answers for it.
        """
        return {
            node
            for node, found in self.evidence.items()
            if any(
                one.verdict == "reject" and not waived(self.inventory.name(node), one)
                for one in found
            )
        }


def examine(
    header: Header,
    columns: Columns,
    profile: Profile,
    rules: Rules,
    *,
    baseline: Proven | None = None,
    stages: Collection[str] | None = None,
    ended: bool = True,
) -> Examined:
    """Examine a run.

    Args:
        header: The run's header.
        columns: Its rows.
        profile: What is judged, and absolute limits.
        rules: How the comparison decides.
        baseline: A proven run: its nodes say what is usual.
        stages: Only what these stages measured (None: all).
        ended: Nothing more will be measured.

    Raises:
        UsageError: the profile asks for the largest of an axis that has no order, the header has a
            schedule that its nodes cannot give, or the baseline is of another provenance, or the
            run itself.
    """
    if baseline is not None and baseline.header.label != header.label:
        raise UsageError(
            f"the baseline {baseline.header.id} is {baseline.header.label}, "
            f"{header.id} is {header.label}: they are never compared"
        )
    if baseline is not None and baseline.header.id == header.id:
        raise UsageError(
            f"run {header.id} is its own baseline: it would be held against itself",
            hint="name the run of a fleet that is proven",
        )
    if stages is not None:
        there = np.array([case.stage in stages for case in header.cases], dtype=bool)
        columns = columns.only(there[columns.case]) if there.size else columns
        header = _until(header, stages)
    found = table(header, columns, profile, stages)
    other = None
    if baseline is not None:
        other = table(baseline.header, baseline.columns, profile), baseline.columns
    values = cells(found, columns, other)
    judged = judge(values, rules)
    uncovered = Uncovered(found, columns)
    pairs = links(header, columns, profile, stages)
    lacking, uncoverable = gaps(found, columns, uncovered)
    unsaid, impossible = unchecked(header, columns, found, stages)
    absolute, remarks = beyond(found, columns, header.stands_for)
    theirs = (baseline.header, baseline.columns) if baseline is not None else None
    bits = corruption(header, columns, found.inventory, theirs)
    unknown, absent = ([], []) if baseline is None else unproven(found, judged, baseline.header.id)
    by_node: dict[int, list[Evidence]] = {}
    for node, one in (
        *troubles(header, columns, found.inventory),
        *_hosts(header, baseline, found.inventory),
        *bits.evidence,
        *absolute,
        *pairs.evidence,
        *fading(found, columns),
        *lacking,
        *unsaid,
        *unknown,
        *evidence(found, columns, header, judged, ended=ended),
    ):
        by_node.setdefault(node, []).append(one)
    uneven = _uneven(header, columns, found.inventory)
    notes = [
        *judged.notes,
        *uneven,
        *uncoverable,
        *impossible,
        *absent,
        *remarks,
        *pairs.notes,
        *bits.notes,
    ]
    return Examined(
        header=header,
        columns=columns,
        table=found,
        cells=values,
        judged=judged,
        uncovered=uncovered,
        links=pairs,
        evidence=by_node,
        notes=[*notes, *unasked(header, profile)] if ended else notes,
    )


def _until(header: Header, stages: Collection[str]) -> Header:
    """The header as it was when these stages had ended: without the events of later ones.

    An event without a stage is placed by its time. A resumed run walks its stages anew, and notes
    each again: the first time counts.
    """
    ends: dict[str, float] = {}
    for stage in header.stages:
        ends.setdefault(stage["name"], stage["began"] + stage["seconds"])
    end = max((when for name, when in ends.items() if name in stages), default=0.0)
    kept = [
        event
        for event in header.events
        if (event["stage"] in stages if event.get("stage") else event.get("time", 0.0) <= end)
    ]
    return msgspec.structs.replace(header, events=kept)


def _uneven(header: Header, columns: Columns, inventory: Inventory) -> list[str]:
    """Nodes whose devices get unequally warm, the worst first, in sentences."""
    wide = [s for s in temperature_spread(header, columns, inventory) if s.kelvin >= UNEVEN]
    wide.sort(key=lambda one: -one.kelvin)
    said = [f"node {one.name}: {one.text(header.cases[one.case])}" for one in wide[:SHOWN]]
    if len(wide) > SHOWN:
        said.append(f"{len(wide) - SHOWN} more nodes have devices that differ by {UNEVEN:g} K")
    return said


def _hosts(
    header: Header, baseline: Proven | None, inventory: Inventory
) -> Iterator[tuple[int, Evidence]]:
    """What nodes say of themselves, and what happened to them while measuring."""
    # Nodes of a proven fleet belong to the majority; what they say themselves is no finding here.
    beside = [] if baseline is None else baseline.header.nodes
    theirs = [msgspec.structs.replace(node, name=f"proven {node.name}") for node in beside]
    both = msgspec.structs.replace(header, nodes=[*header.nodes, *theirs]) if beside else header
    for one in drift(both):
        told = Evidence(
            verdict="reject", against="drift", text=one.text, metric=one.fact, peers=one.nodes
        )
        yield from by_name(inventory, one.node, told)
    for incident in incidents(header):
        told = Evidence(
            verdict="reject" if incident.kind in _SEVERE else "inconclusive",
            against="fault",
            text=incident.text,
            stage=base(incident.stage),
        )
        yield from by_name(inventory, incident.node, told)
