"""What waivers make of verdicts: a waived finding is shown, and does not reject."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec

from ..configs.waivers import Waiver
from ..verdicts import Evidence, NodeVerdict, Waived, Word

_WRONG = ("corruption", "sanity")
"""Wrong results: waived only by a waiver that says so."""
_GRAVITY: dict[Word, int] = {"accept": 0, "inconclusive": 1, "reject": 2}


def apply_waivers(
    nodes: Sequence[NodeVerdict], waivers: Sequence[Waiver], today: date
) -> tuple[list[NodeVerdict], list[str]]:
    """Nodes with their waived findings set apart, and judged by what is left.

    Wrong results are waived only by a waiver that says ``corruption: true``. What was not measured
    (``coverage``) cannot be waived: nobody can answer for what nobody knows.

    Args:
        nodes: The nodes as they were judged.
        waivers: In the order in which they are asked; the first that fits a finding counts.
        today: A waiver holds through its last day.

    Returns:
        The nodes in the same order, and in sentences which waivers did not count and why.
    """
    notes = [
        f"{one.where}: the waiver of {one.metric} ended on {one.until}: it does not count any more"
        for one in waivers
        if one.until < today
    ]
    held = [one for one in waivers if one.until >= today]
    used: set[int] = set()
    refused: dict[tuple[str, str], list[str]] = {}
    judged = [_judged(node, held, used, refused) for node in nodes]
    for (where, why), names in refused.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        notes.append(f"{where}: {names[0]}{more}: {why}")
    notes += [
        f"{one.where}: nothing was found that the waiver of {one.metric} is about"
        for index, one in enumerate(held)
        if index not in used
    ]
    return judged, notes


def waived(node: str, one: Evidence, waivers: Sequence[Waiver], today: date) -> bool:
    """Whether somebody answers for a finding, as `apply_waivers` has it."""
    held = [waiver for waiver in waivers if waiver.until >= today]
    index = _first(node, one, held)
    return index is not None and not _refused(one, held[index])


def _judged(
    node: NodeVerdict,
    waivers: Sequence[Waiver],
    used: set[int],
    refused: dict[tuple[str, str], list[str]],
) -> NodeVerdict:
    left: list[Evidence] = []
    waived: list[Waived] = []
    for one in node.evidence:
        index = _first(node.node, one, waivers)
        if index is None:
            left.append(one)
            continue
        used.add(index)
        waiver = waivers[index]
        if why := _refused(one, waiver):
            left.append(one)
            refused.setdefault((waiver.where, why), []).append(f"{node.node}: {one.text}")
        else:
            waived.append(
                Waived(
                    metric=waiver.metric,
                    finding=one,
                    reason=waiver.reason,
                    until=waiver.until.isoformat(),
                )
            )
    if not waived:
        return node
    return msgspec.structs.replace(
        node,
        evidence=left,
        waived=[*node.waived, *waived],
        verdict=_verdict(node, left),
    )


def _first(node: str, one: Evidence, waivers: Sequence[Waiver]) -> int | None:
    """The first waiver about a finding that would not be refused, else the first about it."""
    about = [
        index
        for index, waiver in enumerate(waivers)
        if waiver.covers(node, one.metric or one.against) or waiver.covers(node, one.against)
    ]
    taken = (index for index in about if not _refused(one, waivers[index]))
    return next(taken, about[0] if about else None)


def _refused(one: Evidence, waiver: Waiver) -> str:
    if one.against in _WRONG and not waiver.corruption:
        return "a wrong result is waived only where the waiver says corruption: true"
    if one.against == "coverage":
        return "what was not measured cannot be waived"
    return ""


def _verdict(node: NodeVerdict, left: Sequence[Evidence]) -> Word:
    """The gravest of what is left; what no evidence explains stays as it was."""
    explained = max((one.verdict for one in node.evidence), key=_GRAVITY.__getitem__)
    if _GRAVITY[explained] < _GRAVITY[node.verdict]:
        return node.verdict
    return max((one.verdict for one in left), key=_GRAVITY.__getitem__, default="accept")
