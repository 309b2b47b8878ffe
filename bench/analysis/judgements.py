"""What was judged twice: how nodes or metrics stand now, which findings are new, gone, or stay.

Nodes are those of two certifications, metrics those of two gates' reports. A node is itself by its
machine, whatever it is called, and by its name where nothing identifies its machine. A finding is
the same where it is held against the same, of the same device and metric; of what is no
measurement, where its sentence is the same but for figures. What does not count any more because
somebody answers for it is neither gone nor cured: it is waived.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ..gates import STATES as GATE_STATES
from ..gates import GateReport
from ..verdicts import Certification, Evidence, NodeVerdict
from .finding import Finding

Standing: TypeAlias = Literal["worse", "only after", "only before", "better", "as before"]
STANDINGS: tuple[Standing, ...] = ("worse", "only after", "only before", "better", "as before")
"""In the order in which they are told."""
FIGURE = re.compile(r"\d+(?:\.\d+)?")
_WORST_FIRST: dict[str, tuple[str, ...]] = {
    "node": ("reject", "inconclusive", "accept"),
    "metric": GATE_STATES,
}


class Change(msgspec.Struct, kw_only=True, frozen=True):
    """One node or metric. ``before`` and ``after`` are its verdicts, empty where it had none.

    ``was``: what it was called before, where that is another name. ``waived`` are findings that
    counted before and that somebody answers for now.
    """

    name: str
    standing: Standing
    before: str
    after: str
    was: str = ""
    new: list[Finding] = []
    gone: list[Finding] = []
    stay: list[Finding] = []
    waived: list[Finding] = []


class Changes(msgspec.Struct, kw_only=True, frozen=True):
    """What two runs' verdicts say, one after the other, of their nodes or their gates' metrics.

    ``changes`` are all that stand otherwise, or have a finding; ``alike`` counts the others.
    """

    of: Literal["node", "metric"]
    before: str
    after: str
    changes: list[Change] = []
    alike: int = 0

    def count(self, standing: Standing) -> int:
        """How many stand so."""
        told = sum(one.standing == standing for one in self.changes)
        return told + (self.alike if standing == "as before" else 0)


class _Judged(NamedTuple):
    """One node or metric under one verdict: findings by what makes them the same."""

    name: str
    word: str
    found: Mapping[tuple[str, ...], Finding] = {}
    waived: Mapping[tuple[str, ...], Finding] = {}


def certifications(before: Sequence[Certification], after: Sequence[Certification]) -> Changes:
    """What changed for nodes. Of a node that several runs of a system judge, the last one holds."""
    was, has = (_nodes(found) for found in (before, after))
    known = {node.identity.machine: name for name, node in was.items() if node.identity.machine}
    pairs: dict[str, str] = {}
    for name, node in has.items():
        if (old := known.get(node.identity.machine)) is not None:
            pairs[name] = old
    taken = set(pairs.values())
    pairs |= {name: name for name in has if name not in pairs and name in was and name not in taken}
    return _changes(
        "node",
        (_ids(before), _ids(after)),
        {name: _judged(node) for name, node in was.items()},
        {name: _judged(node) for name, node in has.items()},
        pairs,
    )


def gates(before: tuple[str, GateReport], after: tuple[str, GateReport]) -> Changes:
    """What changed for a gate's metrics; each report with the id of the run that it judges."""
    was, has = (
        {one.name: _Judged(one.name, one.state) for one in report.judged}
        for _, report in (before, after)
    )
    return _changes("metric", (before[0], after[0]), was, has, {name: name for name in has})


def _nodes(found: Sequence[Certification]) -> dict[str, NodeVerdict]:
    return {node.node: node for one in found for node in one.nodes}


def _ids(found: Sequence[Certification]) -> str:
    return "+".join(one.run for one in found)


def _judged(node: NodeVerdict) -> _Judged:
    waived = (one.finding for one in node.waived)
    return _Judged(node.node, node.verdict, _by_key(node.evidence), _by_key(waived))


def _by_key(found: Iterable[Evidence]) -> dict[tuple[str, ...], Finding]:
    held: dict[tuple[str, ...], Finding] = {}
    for one in found:
        device = one.device.rpartition("/")[2]
        what = one.metric or FIGURE.sub("#", one.text)
        said = f"device {device}: {one.text}" if device else one.text
        finding = Finding(kind=one.against, name=one.metric, text=said)
        held.setdefault((one.against, device, what), finding)
    return held


def _changes(
    of: Literal["node", "metric"],
    ids: tuple[str, str],
    was: Mapping[str, _Judged],
    has: Mapping[str, _Judged],
    pairs: Mapping[str, str],
) -> Changes:
    """``pairs``: from a name after to the one before, of what may be in both."""
    order = _WORST_FIRST[of]
    every = list(_all(order, was, has, pairs))
    told = [
        one
        for one in every
        if one.standing != "as before" or one.new or one.gone or one.stay or one.waived
    ]
    return Changes(
        of=of,
        before=ids[0],
        after=ids[1],
        changes=sorted(told, key=lambda one: STANDINGS.index(one.standing)),
        alike=len(every) - len(told),
    )


def _all(
    order: Sequence[str],
    was: Mapping[str, _Judged],
    has: Mapping[str, _Judged],
    pairs: Mapping[str, str],
) -> Iterator[Change]:
    for name, now in has.items():
        old = was.get(pairs.get(name, ""))
        yield _change(order, old, now)
    left = was.keys() - {pairs[name] for name in has if name in pairs}
    for name, old in was.items():
        if name in left:
            yield _change(order, old, None)


def _change(order: Sequence[str], old: _Judged | None, now: _Judged | None) -> Change:
    one = now or old
    assert one is not None
    before, after = old or _Judged(one.name, ""), now or _Judged(one.name, "")
    cured = {key: item for key, item in before.found.items() if key not in after.found}
    return Change(
        name=one.name,
        standing=_standing(order, before.word, after.word),
        before=before.word,
        after=after.word,
        was=before.name if before.name != after.name else "",
        new=[item for key, item in after.found.items() if key not in before.found],
        # What is not looked at any more is not cured.
        gone=[item for key, item in cured.items() if now and key not in after.waived],
        stay=[item for key, item in after.found.items() if key in before.found],
        waived=[item for key, item in cured.items() if key in after.waived],
    )


def _standing(order: Sequence[str], before: str, after: str) -> Standing:
    if not before:
        return "only after"
    if not after:
        return "only before"
    if before == after:
        return "as before"
    return "worse" if order.index(after) < order.index(before) else "better"
