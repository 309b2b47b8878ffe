"""Which devices compute other bits than their equals: digests of the same work, compared.

A device that is always wrong in the same way repeats itself without a fault; only its equals show
it. Equal are devices of one name and backend with the same software; then the digest of a
deterministic result is the same, whatever it is, and who stands alone against a majority is wrong.

What a device does not repeat is in its own rows, invalid with a reason (`bench.workloads`), and
needs no comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from ..inventory import Inventory
from ..records import DIGEST, STATUSES, Case, Header
from ..results import Columns
from ..rounds import schedule_for
from ..units import format_value
from ..verdicts import Evidence, Word
from .graph import Ints
from .summary import rows_by_case
from .table import units_of

FEWEST = 3
"""Devices of which a majority can be two."""
_COUNTED = [STATUSES.index("ok"), STATUSES.index("invalid"), STATUSES.index("contended")]
"""Of these a digest counts: neither other work nor an error in one repetition changes it."""


class Corruption(msgspec.Struct, kw_only=True):
    """What digests say of devices.

    ``evidence``: (node, evidence) of every device that differs from the majority of its equals, or
    from itself, or for which there is no majority. ``notes``: what could not be compared.
    """

    evidence: list[tuple[int, Evidence]] = []
    notes: list[str] = []


class _Digests(msgspec.Struct):
    """Digests as arrays of one length: of which work, on which device, what.

    ``equal`` and ``tables`` are equal for devices that must compute the same bits.
    """

    work: Ints
    equal: Ints
    tables: Ints
    device: Ints
    case: Ints
    value: Ints


class _Codes(dict[bytes, int]):
    """Numbers for things in order of appearance."""

    def of(self, thing: Any) -> int:
        return self.setdefault(msgspec.json.encode(thing, order="deterministic"), len(self))


def corruption(
    header: Header,
    columns: Columns,
    inventory: Inventory,
    baseline: tuple[Header, Columns] | None = None,
) -> Corruption:
    """Compare every digest of a run with those of equal devices.

    A digest that one device alone has, against more than half of its equals, is a defect. One that
    several devices share is more likely another way to compute than the same defect twice, so
    they are not sure; nor are any where no digest has a majority.

    Args:
        header: The run's header.
        columns: Its rows.
        inventory: Its nodes.
        baseline: Another run, whose devices are compared with and not judged.
    """
    found, codes = Corruption(), _Codes()
    digests = _collected(header, columns, inventory, codes)
    if baseline is not None:
        other = _collected(*baseline, Inventory(baseline[0].nodes, baseline[0].fleet), codes)
        # Behind the run's own devices; none of them is judged, so that their case is never read.
        other.device += inventory.size
        pairs = zip(msgspec.structs.astuple(digests), msgspec.structs.astuple(other), strict=True)
        digests = _Digests(*(np.concatenate(pair) for pair in pairs))
    alone: Counter[str] = Counter()
    party = (digests.work * len(codes) + digests.equal) * len(codes) + digests.tables
    order = np.lexsort((digests.device, party))
    for mine in np.split(order, np.flatnonzero(np.diff(party[order])) + 1):
        own = mine[digests.device[mine] < inventory.size]
        if not own.size:
            continue
        case = header.cases[digests.case[own[0]]]
        device, value = digests.device[mine], digests.value[mine]
        if device[0] == device[-1]:
            alone[case.short()] += 1
        if (value != value[0]).any():
            found.evidence.extend(_judged(inventory, case, device, value))
    for name, count in alone.items():
        found.notes.append(
            f"{name}: {count} device(s) have no equal here with which to compare their digest"
        )
    return found


def _collected(header: Header, columns: Columns, inventory: Inventory, codes: _Codes) -> _Digests:
    """All digests of a run."""
    rows = rows_by_case(columns, len(header.cases))
    equal = _equal(inventory, codes)
    # Kernels of ours compute as their tables say. The last is of rows without conditions.
    tables = np.array([codes.of(one.tables) for one in header.conditions] + [codes.of("")])
    parts = []
    for case in header.cases:
        if case.unit != DIGEST:
            continue
        groups, unit = units_of(schedule_for(header.schedules[case.schedule], inventory), inventory)
        mine = rows[case.id]
        whole = np.abs(columns.value[mine]) < 2**53  # NaN is none
        good = mine[np.isin(columns.status[mine], _COUNTED) & whole]
        device = unit[np.searchsorted(groups, columns.group[good])]
        met = columns.conditions[good]
        work = codes.of((case.benchmark, case.axes, case.metric, case.source))
        parts.append(
            (
                np.full(good.size, work),
                equal[device],
                tables[np.where(met < len(header.conditions), met, -1)],
                device,
                np.full(good.size, case.id),
                columns.value[good].astype(np.int64),
            )
        )
    nothing = np.empty(0, dtype=np.int64)
    return _Digests(*(np.concatenate([nothing, *(part[i] for part in parts)]) for i in range(6)))


def _equal(inventory: Inventory, codes: _Codes) -> Ints:
    """int64[ranks], equal for devices that must compute the same bits."""
    if inventory.fleet is not None:
        return np.full(inventory.size, codes.of(inventory.fleet.chip), dtype=np.int64)
    found = []
    for node in inventory.nodes:
        software = codes.of((node.facts.get("versions"), node.facts.get("packages")))
        for device in node.devices:
            # A stand-in shares its work out over its cores: other sums for other numbers of them.
            cores = len(device.facts.get("cpus", ())) if device.stand_in else 0
            found.append(codes.of((device.backend, device.name, cores, software)))
    return np.array(found, dtype=np.int64)


def _judged(
    inventory: Inventory, case: Case, device: Ints, value: Ints
) -> Iterator[tuple[int, Evidence]]:
    """Evidence about devices that must have one digest; ``device`` ascends."""
    devices, start, repeats = np.unique(device, return_index=True, return_counts=True)
    steady = np.minimum.reduceat(value, start) == np.maximum.reduceat(value, start)
    digest = value[start]
    votes = Counter(digest[steady].tolist())
    wavering, total = int((~steady).sum()), int(devices.size)
    usual, most = votes.most_common(1)[0] if votes else (-1, 0)
    decided = total >= FEWEST and most > total / 2
    agrees = steady & (digest == usual if decided else np.full(total, len(votes) == 1))
    for place in np.flatnonzero(~agrees & (devices < inventory.size)).tolist():
        own = value[start[place] : start[place] + repeats[place]]
        word, text = (
            _other(int(digest[place]), votes, total, decided=decided)
            if steady[place]
            else _unsteady(own, wavering, total)
        )
        yield (
            int(inventory.node_of(devices[place])),
            Evidence(
                verdict=word,
                against="corruption",
                text=text,
                stage=case.stage,
                metric=f"{case.short()} {case.metric}",
                device=inventory.rank_name(int(devices[place])),
                unit=DIGEST,
                value=float(digest[place]),
                expected=float(usual) if decided else None,
                peers=total - 1,
                repeats=int(repeats[place]),
            ),
        )


def _unsteady(own: Ints, wavering: int, total: int) -> tuple[Word, str]:
    """A device that differs from itself; where most do, the work is not deterministic."""
    said = f"{np.unique(own).size} different digests in {own.size} measurements"
    if total < FEWEST or wavering <= total / 2:
        return "reject", f"it differs from itself: {said}"
    many = f"as {wavering} of {total} equal devices"
    return "inconclusive", f"{said}, {many}: it is not deterministic here"


def _other(digest: int, votes: Mapping[int, int], total: int, *, decided: bool) -> tuple[Word, str]:
    """A device that has another digest than its equals."""
    mine = f"its result has digest {format_value(digest, DIGEST)}"
    if not decided:
        few = f"{len(votes)} different ones on {total} equal devices"
        return "inconclusive", f"{mine}; there are {few} and no majority"
    usual = max(votes, key=lambda one: votes[one])
    theirs = f"{votes[usual]} of {total} equal devices have {format_value(usual, DIGEST)}"
    if votes[digest] == 1:
        return "reject", f"{mine}; {theirs}"
    alike = f"as {votes[digest]} devices have"
    return "inconclusive", f"{mine}, {alike}; {theirs}: do they run other software?"
