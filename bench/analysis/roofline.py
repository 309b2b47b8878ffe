"""The roofline: how near every case comes to what arithmetic and memory allow, chip by chip.

A call of F FLOPs that moves B bytes takes at least max(F / peak, B / bandwidth) seconds, so at an
intensity of I = F / B its rate is at most min(peak, bandwidth · I); the two roofs meet at the
ridge, peak / bandwidth (Williams, Waterman, Patterson, *Roofline*, CACM 2009). FLOPs and bytes are
those of `bench.kernels.costs`. Each chip has two pairs of roofs: what its datasheet says, and what
the run reached with the best matrix product of each dtype and the best STREAM operation, back to
back.

A pure function of a run. A roof that nobody knows is absent; chips of several kinds, and values of
several provenances, are told apart. The same view says how mature a chip's compiler is
(`maturity`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..configs import Chip, datasheet, load_model
from ..errors import HengsuanError
from ..kernels import costs, shapes
from ..records import PROVENANCES, STATUSES, Case, Header, Provenance
from ..results import Columns
from ..units import format_value, parse_size
from .estimates import Estimate, largest, over_groups
from .finding import Finding
from .maturity import Maturity, maturity
from .scores import TOLERANCE
from .summary import group_medians, rows_by_case

_RATES = {"gemm": "flops", "compute": "flops", "stream": "bandwidth", "memory": "bandwidth"}
"""Benchmarks that have a place under the roofs, and the metric that is their height."""


class Ceiling(msgspec.Struct, kw_only=True):
    """A roof: ``value`` in FLOP/s or B/s, and what says so (a datasheet, or a case of the run).

    Of what was measured, ``low`` to ``high`` is the 95 % interval of the best that the cases truly
    reach (`estimates.largest`), None where it is not known; it rests on ``values`` values, of
    ``devices`` devices.
    """

    value: float
    source: str
    low: float | None = None
    high: float | None = None
    values: int = 0
    devices: int = 0

    @property
    def known(self) -> Estimate:
        """Its value with the interval."""
        return Estimate(value=self.value, low=self.low, high=self.high, values=self.values)


class Roofs(msgspec.Struct, kw_only=True):
    """The roofs of one origin. ``peaks`` by dtype, FLOP/s; ``bandwidth`` B/s; None: unknown.

    ``ridges`` by dtype: FLOPs a byte from which on arithmetic limits; only where both are known.
    """

    peaks: dict[str, Ceiling] = {}
    bandwidth: Ceiling | None = None
    ridges: dict[str, float] = {}

    def roof(self, limit: str, dtype: str) -> Ceiling:
        """The one that a `Standing` names, ``dtype`` as datasheets call it. It is known."""
        roof = self.peaks[dtype] if limit == "compute" else self.bandwidth
        assert roof is not None
        return roof


class Standing(msgspec.Struct, kw_only=True):
    """How near a point comes to one pair of roofs.

    ``of_peak`` and ``of_bandwidth`` are achieved over each, None where the roof is unknown.
    ``fraction`` is the larger: achieved over the lower roof. ``limit`` names that roof (``compute``
    or ``memory``); ``certain`` is false where the other is unknown and may be lower still.
    """

    of_peak: float | None = None
    of_bandwidth: float | None = None
    fraction: float | None = None
    limit: str = ""
    certain: bool = False


class Point(msgspec.Struct, kw_only=True):
    """One case: ``intensity`` in FLOPs a byte, and the median over devices of what it achieved.

    ``flops`` in FLOP/s and ``bandwidth`` in B/s are the same rate of calls in both units;
    ``metric`` is the one that was measured.
    """

    case: int
    name: str
    op: str
    dtype: str
    impl: str
    metric: str
    intensity: float
    flops: float
    bandwidth: float
    devices: int
    datasheet: Standing
    measured: Standing


class ChipRoofline(msgspec.Struct, kw_only=True):
    """All of one kind of chip under one provenance. ``maturity``: None without equal cases."""

    chip: str
    provenance: Provenance
    devices: int
    datasheet: Roofs
    measured: Roofs
    points: list[Point]
    maturity: Maturity | None
    findings: list[Finding]


class _Rate(msgspec.Struct):
    """What a case achieved on a kind of chip, before there are roofs to hold it against."""

    case: Case
    op: str
    dtype: str
    cost: costs.Cost
    rate: Estimate
    """Calls a second."""
    devices: int

    @property
    def calls(self) -> float:
        return self.rate.value


def roofline(header: Header, columns: Columns, chips: Mapping[str, Chip]) -> list[ChipRoofline]:
    """One entry a kind of chip and provenance, in the order of the inventory. Only ok rows count.

    Args:
        header: The run's header.
        columns: Its rows.
        chips: Datasheets by name.
    """
    kinds = _kinds(header)
    rows = rows_by_case(columns, len(header.cases))
    good = columns.status == STATUSES.index("ok")
    sheets = _sheets(header, chips)
    lacking: list[Finding] = []
    placed = list(_placed(header, lacking))
    found = []
    for kind in dict.fromkeys(kinds.tolist()):
        ranks = np.flatnonzero(kinds == kind)
        for index in np.unique(columns.provenance[good]).tolist():
            here = (columns.provenance == index) & np.isin(columns.group, ranks)
            rates = []
            for case, op, dtype, cost in placed:
                mine = rows[case.id]
                groups, medians = group_medians(columns, mine[here[mine]])
                if groups.size and medians.min() > 0 and medians.max() < np.inf:
                    work = cost.flops if case.metric == "flops" else cost.bytes
                    rate = over_groups(columns, mine[here[mine]], medians).times(1 / work)
                    rates.append(_Rate(case, op, dtype, cost, rate, int(groups.size)))
            if rates:
                chip = _chip(kind, PROVENANCES[index], ranks.size, rates, sheets.get(kind))
                chip.findings.extend(lacking)
                found.append(chip)
    return found


def _kinds(header: Header) -> npt.NDArray[Any]:
    """By rank: the datasheet's name, or what the device calls itself."""
    if header.fleet is not None:
        return np.full(header.fleet.count * header.fleet.devices, header.fleet.chip)
    devices = (device for node in header.nodes for device in node.devices)
    return np.array([device.judged_as or device.name for device in devices], dtype=str)


def _sheets(header: Header, chips: Mapping[str, Chip]) -> dict[str, Chip | None]:
    """The datasheets by kind."""
    if header.fleet is not None:
        return {header.fleet.chip: chips.get(header.fleet.chip)}
    devices = (device for node in header.nodes for device in node.devices)
    return {device.judged_as or device.name: datasheet(device, chips) for device in devices}


def _placed(header: Header, lacking: list[Finding]) -> Iterator[tuple[Case, str, str, costs.Cost]]:
    """The cases that have a place: operation, dtype, FLOPs and bytes of a call."""
    models = functools.cache(load_model)
    for case in header.cases:
        if case.scope != "device" or _RATES.get(case.benchmark) != case.metric:
            continue
        axes = case.axes
        try:
            if case.benchmark == "stream":
                dtype, op, variant = axes["dtype"], "stream", axes["op"]
                shape: tuple[int, ...] = (parse_size(axes["size"]) // costs.ITEMSIZE[dtype],)
            else:
                dtype, op = axes["dtype"], axes.get("op", "gemm")
                variant = (
                    axes["variant"] if case.benchmark in ("compute", "memory") else axes["layout"]
                )
                shape = shapes.sizes(op, axes["shape"], models)
            yield case, op, dtype, costs.cost(op, shape, variant, dtype)
        except (HengsuanError, KeyError, ValueError) as error:
            # A model's file may have gone since, or the record is of another version.
            text = f"has no place under the roofs: {error}"
            lacking.append(Finding(kind="unplaced", name=case.short(), text=text))


def _chip(
    kind: str, provenance: Provenance, devices: int, rates: list[_Rate], sheet: Chip | None
) -> ChipRoofline:
    datasheet, measured = _datasheet(sheet), _measured(rates)
    points = [
        Point(
            case=one.case.id,
            name=one.case.short(),
            op=one.op,
            dtype=one.dtype,
            impl=one.case.axes.get("impl", ""),
            metric=one.case.metric,
            intensity=one.cost.intensity,
            flops=one.calls * one.cost.flops,
            bandwidth=one.calls * one.cost.bytes,
            devices=one.devices,
            datasheet=_standing(one, datasheet),
            measured=_standing(one, measured),
        )
        for one in rates
    ]
    return ChipRoofline(
        chip=kind,
        provenance=provenance,
        devices=devices,
        datasheet=datasheet,
        measured=measured,
        points=points,
        maturity=maturity((one.op, one.case, one.rate) for one in rates),
        findings=list(_above(points, datasheet, measured)),
    )


def _datasheet(sheet: Chip | None) -> Roofs:
    if sheet is None:
        return Roofs()
    source = f"datasheet of {sheet.name}"
    known = {dtype: sheet.peak(dtype) for dtype in sheet.flops}
    peaks = {t: Ceiling(value=peak, source=source) for t, peak in known.items() if peak is not None}
    figure = sheet.memory_bandwidth
    if figure is None or figure.status == "disputed":
        return Roofs(peaks=peaks)
    return _ridged(Roofs(peaks=peaks, bandwidth=Ceiling(value=figure.value, source=source)))


def _measured(rates: list[_Rate]) -> Roofs:
    """The best product of each dtype and the best STREAM operation, back to back."""
    products: dict[str, list[tuple[_Rate, Estimate]]] = {}
    streams: list[tuple[_Rate, Estimate]] = []
    for one in rates:
        if one.case.axes.get("mode", "sustained") != "sustained":
            continue
        if one.op == "gemm":
            product = one, one.rate.times(one.cost.flops)
            products.setdefault(_peak(one.dtype), []).append(product)
        elif one.op == "stream":
            streams.append((one, one.rate.times(one.cost.bytes)))
    found = Roofs(peaks={dtype: _best(those) for dtype, those in products.items()})
    if streams:
        found.bandwidth = _best(streams)
    return _ridged(found)


def _best(found: list[tuple[_Rate, Estimate]]) -> Ceiling:
    return highest(
        [
            Ceiling(
                value=reached.value,
                source=one.case.short(),
                low=reached.low,
                high=reached.high,
                values=reached.values,
                devices=one.devices,
            )
            for one, reached in found
        ]
    )


def highest(found: Sequence[Ceiling]) -> Ceiling:
    """The highest of one or more roofs, with the interval of the highest (`estimates.largest`)."""
    best = max(found, key=lambda one: one.value)
    known = largest([one.known for one in found])
    return msgspec.structs.replace(best, low=known.low, high=known.high)


def _ridged(roofs: Roofs) -> Roofs:
    if roofs.bandwidth is not None:
        wide = roofs.bandwidth.value
        roofs.ridges = {dtype: peak.value / wide for dtype, peak in roofs.peaks.items()}
    return roofs


def _peak(dtype: str) -> str:
    """What datasheets call the peak of a dtype."""
    return costs.PEAK.get(dtype, dtype)


def _standing(one: _Rate, roofs: Roofs) -> Standing:
    made = Standing()
    peak = roofs.peaks.get(_peak(one.dtype))
    if one.cost.flops == 0:
        made.of_peak = 0.0  # arithmetic cannot limit what computes nothing
    elif peak is not None:
        made.of_peak = one.calls * one.cost.flops / peak.value
    if roofs.bandwidth is not None:
        made.of_bandwidth = one.calls * one.cost.bytes / roofs.bandwidth.value
    known = {"compute": made.of_peak, "memory": made.of_bandwidth}
    sure = {name: part for name, part in known.items() if part is not None}
    made.certain = len(sure) == 2
    if sure and (one.cost.flops or made.of_bandwidth is not None):
        made.limit = max(sure, key=lambda name: sure[name])
        made.fraction = sure[made.limit]
    return made


def _above(points: list[Point], datasheet: Roofs, measured: Roofs) -> Iterator[Finding]:
    """Points that lie above a roof, by more than any measurement may err."""
    for point in points:
        for standing, roofs, why in (
            (point.datasheet, datasheet, "one of them is wrong"),
            (point.measured, measured, "what should be the run's best was not"),
        ):
            peak, wide = roofs.peaks.get(_peak(point.dtype)), roofs.bandwidth
            for part, roof, value, unit in (
                (standing.of_peak, peak, point.flops, "FLOP/s"),
                (standing.of_bandwidth, wide, point.bandwidth, "B/s"),
            ):
                if part is not None and roof is not None and part > 1 + TOLERANCE:
                    text = (
                        f"{format_value(value, unit)} is {part - 1:.0%} above the roof of "
                        f"{format_value(roof.value, unit)} ({roof.source}): {why}"
                    )
                    yield Finding(kind="above-roof", name=point.name, text=text)
