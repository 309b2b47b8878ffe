"""What the pairs of nodes say: whose network is slow, which link is, and who met nobody.

A slow pair is a suspicion, for chance and a passing neighbour make some; what a re-test confirms
is a verdict. A link that is slow between two nodes whose other links are well names both and
rejects neither: the cable, a port or the switch is at fault, and where the nodes go it stays. A
node that is an end of several slow links to different nodes is what they have in common: it is slow
at times, and the nodes that it met then are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec
import numpy as np

from ...configs import Profile, ProfileMetric
from ...inventory import Inventory
from ...records import STATUSES, Case, Header
from ...results import Columns
from ...rounds import schedule_for
from ...units import format_value
from ...verdicts import Evidence
from ..joining import AGAIN, base
from ..pairs import PairFabric, Suspect, pair_fabrics
from ..selection import selected
from ..summary import summarize
from ..table import key_of
from .blame import blamed, by_name
from .coverage import why
from .limits import limit
from .values import measured

_OK = STATUSES.index("ok")
_UNREACHED = "it was not reached"


class Links(msgspec.Struct, kw_only=True):
    """What was found of pairs.

    ``evidence``: (node, evidence). ``suspects`` by stage: nodes that a re-test should measure
    again. ``met`` by stage: every node that takes part in its pairs. ``notes``: sentences.
    """

    evidence: list[tuple[int, Evidence]] = []
    suspects: dict[str, set[int]] = {}
    met: dict[str, set[int]] = {}
    notes: list[str] = []


def links(
    header: Header,
    columns: Columns,
    profile: Profile,
    stages: Collection[str] | None = None,
) -> Links:
    """Judge the pairs that the profile asks for, of these stages (None: of all).

    Raises `UsageError` where the header has a schedule that its nodes cannot give.
    """
    found = Links()
    lines = [line for every in profile.categories.values() for line in every]
    asked = {
        case.id: (line, case)
        for line in lines
        for case in selected(line, header.cases, header)
        if case.scope == "pair" and (stages is None or case.stage in stages)
    }
    wanted = {number: case for number, (_, case) in asked.items()}
    if not wanted:
        return found
    columns = columns.only(np.isin(columns.case, list(wanted)))
    inventory = Inventory(header.nodes, header.fleet)
    seen = set(np.unique(columns.case).tolist())
    again = {
        base(case.stage) for case in wanted.values() if case.id in seen and AGAIN in case.stage
    }
    needed = {
        line.metric
        for line in lines
        for case in selected(line, header.cases, header)
        if case.scope == "pair" and not line.optional
    }
    _coverage(header, columns, wanted, needed, inventory, found)
    _limits(header, columns, asked, inventory, found)
    summaries = [one for one in summarize(header, columns) if one.case.id in wanted]
    for metric in dict.fromkeys(case.metric for case in wanted.values()):
        for fabric in pair_fabrics(header, columns, summaries, metric):
            case = header.cases[fabric.case]
            stage = base(case.stage)
            ends = [_ends(suspect, inventory) for suspect in fabric.suspects]
            common = _common([nodes for nodes in ends if len(nodes) > 1])
            for suspect, nodes in zip(fabric.suspects, ends, strict=True):
                blamed = [node for node in nodes if node in common] or nodes
                found.suspects.setdefault(stage, set()).update(blamed)
                one = _evidence(fabric, case, suspect, blamed != nodes, stage in again)
                for name in dict.fromkeys(map(inventory.name, blamed)):
                    found.evidence.extend(by_name(inventory, name, one))
    return found


def _ends(suspect: Suspect, inventory: Inventory) -> list[int]:
    """The nodes that a suspect is, or lies between."""
    # The name of a node, or of a device: node/index.
    nodes = [
        inventory.named(one) or inventory.named(one.rpartition("/")[0]) for one in suspect.names
    ]
    return sorted({node for some in nodes for node in some})


def _common(links: list[list[int]]) -> set[int]:
    """Nodes at which several of these links end, while at most of their other ends one does."""
    ends = Counter(node for nodes in links for node in nodes)
    return {
        node
        for node, count in ends.items()
        if count > 1
        and all(
            ends[other] < count
            for nodes in links
            if node in nodes
            for other in nodes
            if other != node
        )
    }


def _evidence(
    fabric: PairFabric, case: Case, suspect: Suspect, blamed: bool, confirmed: bool
) -> Evidence:
    """``blamed``: of two ends, one alone, for other links of it are slow as well."""
    alone = len(suspect.names) == 1 or blamed
    usual = max(fabric.usual, key=lambda one: one.pairs).value
    sign = 1.0 if case.better == "higher" else -1.0
    said = suspect.text(case.metric)
    if blamed:
        said = (
            f"slow at times: one of several slow links of this node, {' to '.join(suspect.names)}: "
            f"{said}"
        )
    elif alone:
        said = f"{said}; the usual pair has {format_value(usual, case.unit)}"
        said += "" if confirmed else "; seen in one sweep only"
    else:
        which = "link between" if suspect.kind == "slow-link" else "pair of"
        said = f"{which} {' and '.join(suspect.names)}: {said}"
    return Evidence(
        verdict="reject" if alone and confirmed else "inconclusive",
        against="fabric",
        text=said,
        stage=case.stage,
        metric=f"{fabric.name} {case.metric}",
        device=suspect.names[0] if suspect.kind == "slow-device" else "",
        unit=case.unit,
        better=case.better,
        value=usual * (1 + suspect.effect),
        expected=usual,
        effect=-sign * suspect.effect,
        low=min(-sign * suspect.low, -sign * suspect.high),
        high=max(-sign * suspect.low, -sign * suspect.high),
        peers=fabric.nodes,
        repeats=suspect.pairs,
    )


def _limits(
    header: Header,
    columns: Columns,
    asked: Mapping[int, tuple[ProfileMetric, Case]],
    inventory: Inventory,
    found: Links,
) -> None:
    """Pairs beyond an absolute limit: a node all of whose pairs are is rejected."""
    pools: dict[bytes, list[tuple[ProfileMetric, Case]]] = {}
    for line, case in asked.values():
        pools.setdefault(key_of(header, case), []).append((line, case))
    for pool in pools.values():
        line, first = pool[0]
        worst, against = limit(line, first)
        if worst is None:
            continue
        rows, groups = [], []
        for _, case in pool:
            nodes_of = _groups(header, case, inventory)
            good = (columns.case == case.id) & (columns.status == STATUSES.index("ok"))
            for row in np.flatnonzero(good).tolist():
                rows.append(row)
                groups.append(nodes_of[int(columns.group[row])])
        value = columns.value[rows]
        bad = value < worst if first.better == "higher" else value > worst
        if not bad.any():
            continue
        culprit = blamed(groups, bad.tolist(), inventory.node_count)
        nodes = {node for place in np.flatnonzero(bad).tolist() for node in groups[place]}
        beyond = {node for node in nodes if culprit[node]}
        # Where nobody can be blamed, nobody who was in such a pair is beyond doubt.
        left = [groups[place] for place in np.flatnonzero(bad).tolist()]
        beyond |= {node for both in left if not any(culprit[both]) for node in both}
        found.suspects.setdefault(base(first.stage), set()).update(beyond)
        for node in sorted(beyond):
            mine = [place for place, both in enumerate(groups) if node in both and bad[place]]
            pairs = len({tuple(groups[place]) for place in mine})
            middle = float(np.median(value[mine]))
            least = "at least" if first.better == "higher" else "at most"
            said = (
                f"{format_value(middle, first.unit)} in {pairs} pair(s); {least} "
                f"{format_value(worst, first.unit)} is asked for"
            )
            said += "" if culprit[node] else "; whether it or its partner is slow cannot be told"
            one = Evidence(
                verdict="reject" if culprit[node] else "inconclusive",
                against=against,
                text=said,
                stage=first.stage,
                metric=f"{first.short()} {first.metric}",
                unit=first.unit,
                better=first.better,
                value=middle,
                expected=worst,
                repeats=len(mine),
            )
            found.evidence.append((node, one))


def _coverage(
    header: Header,
    columns: Columns,
    wanted: Mapping[int, Case],
    needed: set[str],
    inventory: Inventory,
    found: Links,
) -> None:
    """Nodes that take part in pairs and have no value of any."""
    pools: dict[bytes, list[Case]] = {}
    for case in wanted.values():
        pools.setdefault(key_of(header, case), []).append(case)
    for cases in pools.values():
        stage = base(cases[0].stage)
        asked, good = (np.zeros(inventory.node_count, dtype=bool) for _ in range(2))
        reasons: dict[int, str] = {}
        for case in cases:
            groups = _groups(header, case, inventory)
            asked[sorted({node for nodes in groups.values() for node in nodes})] = True
            rows = np.flatnonzero(columns.case == case.id)
            counts = measured(columns.value[rows], case.better == "lower")
            counts &= columns.status[rows] == _OK
            for row, well in zip(rows.tolist(), counts.tolist(), strict=True):
                nodes = groups[int(columns.group[row])]
                good[nodes] |= well
                if not well:
                    reasons.update(dict.fromkeys(nodes, why(columns, row)))
        found.met.setdefault(stage, set()).update(np.flatnonzero(asked).tolist())
        lacking = np.flatnonzero(asked & ~good).tolist()
        skipped = [reasons.get(node, _UNREACHED).startswith("skipped") for node in lacking]
        if lacking and not good.any() and all(skipped):
            # Nobody can do it: said once, and no node's fault.
            found.notes.append(f"{cases[0].short()} is not covered: {reasons[lacking[0]]}")
            continue
        found.suspects.setdefault(stage, set()).update(lacking)
        if cases[0].metric in needed:
            for node in lacking:
                text = f"no pair of it has a value: {reasons.get(node, _UNREACHED)}"
                found.evidence.append((node, _gap(cases[0], text)))


def _gap(case: Case, text: str) -> Evidence:
    return Evidence(
        verdict="inconclusive",
        against="coverage",
        text=text,
        stage=case.stage,
        metric=f"{case.short()} {case.metric}",
    )


def _groups(header: Header, case: Case, inventory: Inventory) -> dict[int, list[int]]:
    """The nodes of every group of a case."""
    schedule = schedule_for(header.schedules[case.schedule], inventory)
    found: dict[int, list[int]] = {}
    for whole in schedule.rounds():
        for batch in whole:
            nodes = inventory.node_of(batch.ranks).tolist()
            found.update(zip(batch.ids.tolist(), nodes, strict=True))
    return found
