"""The scale of a system, and whose parts it is made of: declared counts times measured FLOP/s.

Counts and origins come from SYSTEM.yaml; nobody can measure them. What a device computes does:
shares and scales are given by count or by peak, and by what the runs measured. A scale by measured
FLOP/s is declared devices times the median device of the best matrix product, so its coverage is
the share of the declared devices that were measured. Its interval is that of the best product's
median device (`estimates.largest`) times the counts, of several kinds the sum of their ends, and
that of a share by FLOP/s what these ends make of it: all kinds err, each in its worse way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...configs import Facility
from ...kernels import costs
from ..estimates import ENOUGH, Estimate
from ..roofline import Ceiling
from ..subject import TRILLION, Subject
from .value import Derived, Table, Value, absent

PETA = 1e15
CLASSES = (
    (100 * PETA, 300 * PETA, "100-300 P, a heterogeneous cluster of high performance"),
    (1000 * PETA, 3000 * PETA, "1,000-3,000 P, a test platform for chips"),
)
"""Scale classes of the action plan's demonstration project 1: from, to (FLOP/s), in words."""
_UNDECLARED = "not declared: no --system SYSTEM.yaml"


def scale_class(flops: float) -> str:
    """The class of the plan that a scale belongs to, in words; or between which it lies."""
    for low, high, words in CLASSES:
        if flops < low:
            return f"below the class {words}"
        if flops <= high:
            return f"of the class {words}"
    return f"above the class {CLASSES[-1][2]}"


def _counts(subject: Subject) -> dict[str, int]:
    """Devices by chip: as declared, else as the run with most devices found them."""
    if subject.facility is not None and subject.facility.chips:
        found: dict[str, int] = {}
        for item in subject.facility.chips:
            found[item.name] = found.get(item.name, 0) + item.count
        return found
    return _measured_devices(subject)


def _measured_devices(subject: Subject) -> dict[str, int]:
    """By chip, how many devices the run with most of them has."""
    most: dict[str, int] = {}
    for run in subject.runs:
        found: dict[str, int] = {}
        if run.header.fleet is not None:
            fleet = run.header.fleet
            found[fleet.chip] = fleet.count * fleet.devices
        for node in run.header.nodes:
            for device in node.devices:
                name = device.judged_as or device.name
                found[name] = found.get(name, 0) + 1
        for name, count in found.items():
            most[name] = max(most.get(name, 0), count)
    return most


def _dtype(subject: Subject) -> str:
    return subject.facility.dtype if subject.facility is not None else "bf16"


def _peak(subject: Subject) -> Value:
    counts, dtype = _counts(subject), _dtype(subject)
    if not counts:
        return absent("no device is known")
    total = 0.0
    for name, count in counts.items():
        chip = subject.chips.get(name)
        peak = chip.peak(dtype) if chip is not None else None
        if peak is None:
            what = "no datasheet is" if chip is None else f"no undisputed {dtype} peak is"
            return absent(f"{what} known of {name}")
        total += count * peak
    return Value(
        value=total,
        provenance="declared" if subject.facility and subject.facility.chips else "datasheet",
        detail=f"{_said(counts)}, {dtype}: {scale_class(total)}",
    )


def _measured(subject: Subject) -> Value:
    counts, dtype = _counts(subject), _dtype(subject)
    each = _flops(subject)
    lacking = [name for name in counts if name not in each]
    if not counts or lacking:
        return absent(f"no {dtype} matrix product was measured on {', '.join(lacking) or 'any'}")
    there = _measured_devices(subject)
    total = _total([(each[name], count) for name, count in counts.items()])
    seen = sum(min(count, there.get(name, 0)) for name, count in counts.items())
    size = sum(counts.values())
    return Value(
        value=total.value,
        low=total.low,
        high=total.high,
        values=total.values,
        coverage=seen / size,
        provenance=subject.runs[0].label,
        run=subject.runs[0].header.id,
        detail=f"{seen} of {size} devices measured, {dtype}: {scale_class(total.value)}",
    )


def _total(parts: Sequence[tuple[Ceiling, int]]) -> Estimate:
    """The sum of what so many devices compute that are alike, all erring in their worse way.

    Of six devices or more an interval is one of the median of all that are alike; of fewer it is of
    these alone, and there is none where more are counted.
    """
    value = sum(count * each.value for each, count in parts)
    lows = [count * each.low for each, count in parts if each.low is not None]
    highs = [count * each.high for each, count in parts if each.high is not None]
    met = all(each.devices >= min(count, ENOUGH) for each, count in parts)
    if not met or len(lows) < len(parts):
        return Estimate(value=value)
    values = min((each.values for each, _ in parts), default=0)
    return Estimate(value=value, low=sum(lows), high=sum(highs), values=values)


def _flops(subject: Subject) -> dict[str, Ceiling]:
    """By chip: FLOP/s of its median device in the best matrix product of the system's dtype."""
    wanted = costs.PEAK.get(_dtype(subject), _dtype(subject))
    return {chip: flops for (chip, dtype), flops in subject.ceilings.items() if dtype == wanted}


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _share(kind: str, by: str) -> Callable[[Subject], Value]:
    """A share of self-reliant products of a ``kind`` (a list of SYSTEM.yaml), by what is counted.

    An item of unknown origin counts as not self-reliant: nothing is counted as good that nobody
    declared.
    """

    def find(subject: Subject) -> Value:
        declared = subject.facility
        if declared is None:
            return absent(_UNDECLARED)
        items = getattr(declared, kind)
        if not items:
            return absent(f"{kind} are not declared in SYSTEM.yaml")
        if by == "flops":
            return _share_by_flops(subject, declared, kind)
        total = sum(item.count for item in items)
        ours = sum(item.count for item in items if item.origin == "self-reliant")
        unknown = sum(item.count for item in items if item.origin == "unknown")
        return Value(
            value=ours / total,
            provenance="declared",
            detail=f"{ours} of {total} declared self-reliant"
            + (f", {unknown} of unknown origin" if unknown else ""),
        )

    return find


def _share_by_flops(subject: Subject, declared: Facility, kind: str) -> Value:
    each = _flops(subject)
    ours: list[tuple[Ceiling, int]] = []
    others: list[tuple[Ceiling, int]] = []
    for item in getattr(declared, kind):
        carries = {item.name: item.count} if kind == "chips" else item.carries
        if not carries:
            return absent(f"SYSTEM.yaml does not say which chips {item.name} carries")
        if lacking := [chip for chip in carries if chip not in each]:
            return absent(f"no {declared.dtype} matrix product was measured on {lacking[0]}")
        mine = ours if item.origin == "self-reliant" else others
        mine.extend((each[chip], count) for chip, count in carries.items())
    part, rest = _total(ours), _total(others)
    total = part.value + rest.value
    if not total:
        return absent(f"the {kind} of SYSTEM.yaml carry no device")
    return Value(
        value=part.value / total,
        low=_share_of(part.low, rest.high),
        high=_share_of(part.high, rest.low),
        values=min((one.values for one in (part, rest) if one.value), default=0),
        provenance="declared",
        run=subject.runs[0].header.id,
        detail=f"{part.value / PETA:.4g} of {total / PETA:.4g} PFLOP/s: declared devices times "
        f"measured {declared.dtype} FLOP/s ({subject.runs[0].label})",
    )


def _share_of(part: float | None, rest: float | None) -> float | None:
    if part is None or rest is None or not part + rest:
        return None
    return part / (part + rest)


def _devices(subject: Subject) -> Value:
    counts = _counts(subject)
    if not counts:
        return absent("no device is known")
    known = subject.facility is not None and bool(subject.facility.chips)
    return Value(
        value=float(sum(counts.values())),
        provenance="declared" if known else subject.runs[0].label,
        detail=_said(counts),
    )


def _nodes(subject: Subject) -> Value:
    run = max(subject.runs, key=lambda one: one.inventory.occupied.size)
    nodes = float(run.inventory.occupied.size)
    return Value(value=nodes, provenance=run.label, run=run.header.id, detail="")


def _storage(subject: Subject) -> Value:
    found = subject.facility.storage if subject.facility is not None else None
    if found is None:
        return absent("storage is not declared in SYSTEM.yaml")
    return Value(value=found.value, provenance="declared", detail=found.source)


def _pue(subject: Subject) -> Value:
    found = subject.facility.pue if subject.facility is not None else None
    if found is None:
        return absent("pue is not declared in SYSTEM.yaml")
    return Value(value=found.value, provenance="declared", detail=found.source)


def _ready(subject: Subject) -> Value:
    """Parameters of the model that a projection says this cluster trains; 0 where none fits."""
    found = subject.readiness
    if found is None:
        return absent("no projection is given (--projection, from `hengsuan project --json`)")
    said = [found.model, f"{found.parameters / TRILLION:.4g} trillion parameters"]
    if found.devices is not None:
        said.append(f"{found.devices} devices")
    if found.mfu is not None:
        said.append(f"mfu {found.mfu:.1%}")
    if found.days is not None:
        said.append(f"{found.days:.4g} days")
    if not found.fits:
        said.append("fits at no layout")
    return Value(
        value=found.parameters if found.fits else 0.0,
        provenance="projected",
        detail=", ".join(said),
    )


DECLARED: Table = {
    ("system", "peak_flops"): Derived(
        unit="FLOP/s",
        about="declared devices × datasheet peak",
        formula="Σ count × peak in the declared dtype",
        find=_peak,
    ),
    ("system", "measured_flops"): Derived(
        unit="FLOP/s",
        about="declared devices × measured matrix product",
        formula="Σ count × median FLOP/s of the best matrix product in the declared dtype",
        find=_measured,
    ),
    ("system", "devices"): Derived(unit="count", about="devices", find=_devices),
    ("system", "nodes"): Derived(unit="count", about="nodes that were measured", find=_nodes),
    ("system", "storage_capacity"): Derived(
        unit="B", about="storage capacity, declared", find=_storage
    ),
    ("system", "pue"): Derived(
        unit="",
        better="lower",
        about="facility energy over IT energy, declared",
        formula="facility energy / IT energy",
        source="ISO/IEC 30134-2",
        find=_pue,
    ),
    ("system", "trainable_parameters"): Derived(
        unit="parameters", about="parameters of the model that it trains, projected", find=_ready
    ),
    **{
        ("system", f"self_reliant_{kind}_by_{by}"): Derived(
            unit="ratio",
            about=f"share of self-reliant {kind}, by {'count' if by == 'count' else 'FLOP/s'}",
            find=_share(kind, by),
        )
        for kind in ("chips", "frameworks", "switches")
        for by in ("count", "flops")
    },
}
