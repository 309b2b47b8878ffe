"""What a verdict says, in words: shared by the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ..analysis.certify.relative import WIDE
from ..hostlists import compress
from ..records import labelled
from ..units import format_value
from ..verdicts import Against, Certification, Evidence, NodeVerdict, Word
from .plain import FIGURE, plain

AGAINST: dict[Against, str] = {
    "sanity": "a wrong result",
    "fault": "a fault",
    "corruption": "corruption: equal work gave unequal bits",
    "floor": "below the profile's floor",
    "datasheet": "against the datasheet",
    "fleet": "against the fleet",
    "baseline": "against the baseline",
    "history": "against its own past",
    "fabric": "against the other links",
    "drift": "unlike the majority",
    "coverage": "not measured",
}
_GRAVE: tuple[Against, ...] = ("corruption", "sanity", "fault")
"""What weighs more than being slow, the worst first."""
_SAID: dict[Word, str] = {
    "reject": "rejected",
    "inconclusive": "inconclusive",
    "accept": "accepted",
}
UNEXPLAINED = "no evidence is given"
NAMES = 300
"""Characters of a list of nodes that a line has room for."""


class Alike(msgspec.Struct, frozen=True):
    """Nodes of which the same is said."""

    nodes: list[str]
    text: str

    def line(self) -> str:
        """``gpu-[01-20] (20 nodes): the host was contended``."""
        return f"{named(self.nodes)}: {plain(self.text)}"


def verdict_line(found: Certification) -> str:
    """``3 of 512 nodes rejected, 2 inconclusive, 507 accepted``: what is worst comes first."""
    total = len(found.nodes)
    if not total:
        return "no nodes were judged"
    counts = [(found.count(word), text) for word, text in _SAID.items()]
    (number, text), *rest = [(number, text) for number, text in counts if number]
    first = f"{number} of {total} {'node' if total == 1 else 'nodes'} {text}"
    return ", ".join([first, *(f"{number} {text}" for number, text in rest)])


def circumstances(found: Certification) -> Iterator[str]:
    """Where the verdict comes from, in lines."""
    by = f" by hengsuan {found.version}" if found.version else ""
    yield (
        f"{labelled(found.provenance, found.stands_for)}; suite {found.suite}, "
        f"profile {found.profile}, run {found.run}, {found.began} to {found.finished}{by}"
    )
    if found.measured:
        share = found.retested / found.measured
        yield f"{found.measured} values measured, {found.retested} of them again ({share:.1%})"
    if found.stopped:
        yield f"stopped early: {found.stopped}"


def rejected(found: Certification) -> list[NodeVerdict]:
    """The rejected nodes, worst first: wrong results, faults, then by how far they are off."""
    return sorted((node for node in found.nodes if node.verdict == "reject"), key=_badness)


def _badness(node: NodeVerdict) -> tuple[int, float]:
    worst = node.evidence[0] if node.evidence else None
    if worst is None:
        return len(_GRAVE), 0.0
    grave = _GRAVE.index(worst.against) if worst.against in _GRAVE else len(_GRAVE)
    return grave, -(worst.effect or 0.0)


def inconclusive(found: Certification) -> list[Alike]:
    """Why nodes are inconclusive; those of which the same is said are together."""
    said = []
    for node in found.nodes:
        if node.verdict == "inconclusive":
            unsure = [one for one in node.evidence if one.verdict == "inconclusive"]
            why = unsure or node.evidence
            said.append((node.node, _unsure(why[0]) if why else "no reason is given"))
    return together(said)


def _unsure(one: Evidence) -> str:
    """What is not sure: figures say little without what they are of."""
    return f"{about(one)}: {one.text}" if one.value is not None and one.metric else one.text


def waived(found: Certification) -> list[Alike]:
    """What does not count because somebody answers for it."""
    said = [
        (node.node, f"waived until {one.until}: {one.finding.text} (reason: {one.reason})")
        for node in found.nodes
        for one in node.waived
    ]
    return together(said, exactly=True)


def together(said: Iterable[tuple[str, str]], exactly: bool = False) -> list[Alike]:
    """What is said of most nodes first; the same but for figures is the same, unless exactly."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for node, text in said:
        key = text if exactly else FIGURE.sub("#", text)
        groups.setdefault(key, []).append((node, text))
    found = []
    for group in sorted(groups.values(), key=len, reverse=True):
        texts = {text for _, text in group}
        example = "" if len(texts) == 1 else "for example, "
        found.append(Alike([node for node, _ in group], f"{example}{group[0][1]}"))
    return found


def named(nodes: Sequence[str]) -> str:
    """``gpu-[01-20] (20 nodes)``, cut where it is too long to read."""
    text = plain(compress(nodes))
    if len(text) > NAMES:
        text = f"{text[:NAMES]}..."
    return text if len(nodes) == 1 else f"{text} ({len(nodes)} nodes)"


def figures(one: Evidence) -> tuple[str, str, str]:
    """Value, expectation, and by how much it is worse; empty where there is none."""
    return (
        format_value(one.value, one.unit) if one.value is not None else "",
        format_value(one.expected, one.unit) if one.expected is not None else "",
        f"{one.effect:.1%}" if one.effect is not None else "",
    )


def about(one: Evidence) -> str:
    """What was found, in a few words: the metric, or the sentence where it is no measurement."""
    where = f"device {one.device.rpartition('/')[2]}: " if one.device else ""
    return plain(f"{where}{one.metric or one.text}")


def details(one: Evidence) -> list[str]:
    """What else a reader needs to judge it, in lines: against what, how sure, conditions, cause."""
    held = [AGAINST[one.against]]
    if one.low is not None and one.high is not None and -WIDE < one.low <= one.high < WIDE:
        held.append(f"{one.low:.1%} to {one.high:.1%} worse (95 %)")
    if one.peers and one.percentile is not None:
        held.append(f"{one.percentile:.3g} % of {one.peers} are as bad or worse")
    if one.repeats:
        held.append(f"measured {one.repeats} times" if one.repeats > 1 else "measured once")
    if one.stage:
        held.append(f"stage {one.stage}")
    lines = ["; ".join(held)]
    if one.metric and (one.value is None or one.expected is None):
        lines.append(one.text)
    if one.conditions:
        lines.append(", ".join(_condition(key, value) for key, value in one.conditions.items()))
    if one.cause:
        lines.append(f"likely cause: {one.cause}")
    return [plain(line) for line in lines]


_UNITS = {"temperature": " °C", "power": " W", "clock": " MHz"}


def _condition(name: str, value: object) -> str:
    said = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{name} {said}{_UNITS.get(name, '')}"
