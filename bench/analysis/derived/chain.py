"""The chain of a whole cluster: what is left of its peak on the way to preserved training.

    end to end = MFU(one device) × η(inside a node) × η(between nodes) × goodput

η is throughput per device over that of the smaller group: of one node over one device, of all
nodes over one. Each factor is measured, or absent and the product with it: a factor that nobody
measured is not 1. On a system of one node there is nothing between nodes, and no such factor.

算力利用率 is used for two things, which have nothing in common but a unit: ``flops_utilization`` is
achieved over peak FLOP/s, ``device_hours_utilization`` allocated over available device-hours.
"""

from __future__ import annotations

from ...configs import load_model
from ...errors import HengsuanError
from ...kernels.model_costs import ModelShape, flops_per_token
from ...records import Case
from ..subject import Subject
from .training import Trained, families, largest
from .value import Derived, Table, Value, absent, quotient

NO_TRAINING = "no training was measured"


class Factors:
    """The factors of the family of trainings that knows most of them, and then is the largest."""

    def __init__(self, subject: Subject) -> None:
        choices = [_Steps(family) for family in families(subject)]
        best = max(choices, key=lambda one: one.rank, default=None)
        self.device = best.mfu() if best else absent(NO_TRAINING)
        self.inside = best.inside() if best else absent(NO_TRAINING)
        self.between = best.between() if best else absent(NO_TRAINING)
        self.one_node = all(run.inventory.occupied.size == 1 for run in subject.runs)
        if self.one_node:
            self.between = absent("one node: nothing lies between nodes")
        self.goodput = _goodput(subject)

    def whole(self) -> Value:
        """The product; absent where a factor is, naming all that are.

        Its interval is the product of their ends, as if all erred in their worse way: it covers at
        least as often as theirs, whatever they have in common (`bench.analysis.scores`). A factor
        of which one value is known counts as exact, and is named.
        """
        parts = {
            "MFU of one device": self.device,
            "η inside a node": self.inside,
            "η between nodes": self.between,
            "goodput": self.goodput,
        }
        if self.one_node:
            del parts["η between nodes"]
        missing = [name for name, part in parts.items() if part.value is None]
        if missing:
            return absent(f"not measured: {', '.join(missing)}")
        value, low, high = 1.0, 1.0, 1.0
        for part in parts.values():
            assert part.value is not None
            value *= part.value
            low *= part.value if part.low is None else part.low
            high *= part.value if part.high is None else part.high
        spread = [part for part in parts.values() if part.low is not None]
        exact = [name for name, part in parts.items() if part.low is None] if spread else []
        said = " × ".join(f"{part.value:.3f}" for part in parts.values())
        return Value(
            value=value,
            low=low if spread else None,
            high=high if spread else None,
            # One value, taken as exact, makes no interval that can be relied on.
            values=min(1 if part.low is None else part.values for part in parts.values()),
            provenance=self.device.provenance,
            run=", ".join(dict.fromkeys(part.run for part in parts.values())),
            detail=f"{' × '.join(parts)} = {said}"
            + ("; one node, nothing between nodes" if self.one_node else "")
            + (f"; of {', '.join(exact)} one value is known, taken as exact" if exact else ""),
        )


class _Steps:
    """The sizes of one family that the chain goes by: one device, one node, all."""

    def __init__(self, family: dict[int, Trained]) -> None:
        self.alone = family.get(1)
        within = [one for one in family.values() if one.nodes == 1 and one.devices > 1]
        beyond = [one for one in family.values() if one.nodes > 1]
        self.node = max(within, key=lambda one: one.devices, default=None)
        self.all = max(beyond, key=lambda one: one.devices, default=None)
        known = [one for one in (self.alone, self.node, self.all) if one is not None]
        self.rank = (len(known), max((one.devices for one in known), default=0))

    def mfu(self) -> Value:
        if self.alone is None:
            return absent("no training on one device was measured")
        if self.alone.mfu is None:
            return absent("the MFU of one device is not known: no peak of its chip and dtype is")
        one = self.alone.mfu
        return Value(
            value=one.median,
            low=one.low,
            high=one.high,
            values=one.values,
            provenance=self.alone.run.label,
            run=self.alone.run.header.id,
            detail=one.name,
        )

    def inside(self) -> Value:
        if self.alone is None:
            return absent("no training on one device was measured")
        if self.node is None:
            return absent("no training on several devices of one node was measured")
        return _efficiency(self.alone, self.node)

    def between(self) -> Value:
        if self.all is None:
            return absent("no training on several nodes was measured")
        # Nodes of one device each have nothing inside them to lose.
        first = self.node or (self.alone if self.all.nodes == self.all.devices else None)
        if first is None:
            return absent("no training on one node was measured")
        return _efficiency(first, self.all)


def _efficiency(first: Trained, then: Trained) -> Value:
    value, low, high = quotient(then.rate, first.rate)
    fewer = first.devices / then.devices
    return Value(
        value=value * fewer,
        low=None if low is None else low * fewer,
        high=None if high is None else high * fewer,
        values=min(first.rate.values, then.rate.values),
        provenance=then.run.label,
        run=", ".join(dict.fromkeys((first.run.header.id, then.run.header.id))),
        detail=f"token/s a device, {then.devices} device(s) over {first.devices}",
    )


def _goodput(subject: Subject) -> Value:
    """Of the last attempt that came to an end, which accounts for those before it.

    Where no failure struck, it says nothing of what failures cost.
    """
    why = "no interrupted training was measured (`hengsuan goodput`)"
    for run in subject.runs:
        found = run.of("resumable", "goodput")
        if found:
            one = found[-1]
            struck = [
                other.median
                for other in run.of("resumable", "failures")
                if other.case.stage == one.case.stage
            ]
            if struck == [0.0]:
                why = "no failure struck the training that was to be interrupted"
                continue
            return Value(
                value=one.median,
                low=one.low,
                high=one.high,
                values=one.values,
                provenance=run.label,
                run=run.header.id,
                detail=f"{one.case.axes.get('model', 'a model')}"
                + (f", {struck[0]:g} failure(s)" if struck and struck[0] else ""),
            )
    return absent(why)


def _of_peak(subject: Subject) -> Value:
    trained = largest(subject)
    if trained is None:
        return absent(NO_TRAINING)
    if trained.mfu is None:
        return absent("no peak of its chip and dtype is known, so that no MFU is")
    return Value(
        value=trained.mfu.median,
        low=trained.mfu.low,
        high=trained.mfu.high,
        values=trained.mfu.values,
        provenance=trained.run.label,
        run=trained.run.header.id,
        detail=f"mfu (causal-exact) on {trained.devices} device(s): {trained.mfu.name}",
    )


def _of_hours(subject: Subject) -> Value:
    hours = subject.facility.device_hours if subject.facility is not None else None
    if hours is None:
        return absent("device_hours is not declared in SYSTEM.yaml")
    return Value(
        value=hours.allocated / hours.available,
        provenance="declared",
        detail=f"{hours.allocated:g} of {hours.available:g} device-hours, {hours.source}",
    )


def _per_watt(subject: Subject) -> Value:
    """Achieved FLOP/s over the facility's watts; both of equally many devices."""
    declared = subject.facility
    if declared is None or declared.it_power is None or declared.pue is None:
        lacking = [
            name
            for name in ("it_power", "pue")
            if declared is None or getattr(declared, name) is None
        ]
        return absent(f"{' and '.join(lacking)} not declared in SYSTEM.yaml")
    trained = largest(subject)
    if trained is None:
        return absent(NO_TRAINING)
    power = declared.it_power
    if power.devices != trained.devices:
        return absent(
            f"IT power is declared of {power.devices} devices, and training was measured on "
            f"{trained.devices}"
        )
    each = _flops_per_token(trained.rate.case)
    if each is None:
        return absent(f"the model {trained.rate.case.axes.get('model')} is not known here")
    watts = power.value * declared.pue.value
    ends = (trained.rate.median, trained.rate.low, trained.rate.high)
    value, low, high = (None if rate is None else rate * each / watts for rate in ends)
    return Value(
        value=value,
        low=low,
        high=high,
        values=trained.rate.values,
        provenance=trained.run.label,
        run=trained.run.header.id,
        detail=f"over {power.value:g} W of IT ({power.source}) × PUE {declared.pue.value:g} "
        f"({declared.pue.source}), both declared",
    )


def _device_per_watt(subject: Subject) -> Value:
    """FLOPs of a joule that devices took, against peak over thermal design power."""
    for run in subject.runs:
        for one in run.of("train", "energy_per_token"):
            each = _flops_per_token(one.case)
            if each is None or not one.median:
                continue
            chip = subject.chips.get(run.kinds[0]) if len(run.kinds) == 1 else None
            peak = chip.peak(one.case.axes.get("dtype", "")) if chip is not None else None
            tdp = chip.tdp.value if chip is not None and chip.tdp is not None else None
            return Value(
                value=each / one.median,
                low=each / one.high if one.high else None,
                high=each / one.low if one.low else None,
                values=one.values,
                reference=peak / tdp if peak and tdp else None,
                reference_from=f"peak over TDP, datasheet of {run.kinds[0]}"
                if peak and tdp
                else "",
                provenance=run.label,
                run=run.header.id,
                detail=one.name,
            )
    return absent("no device says what energy it takes")


def _flops_per_token(case: Case) -> float | None:
    try:
        return flops_per_token(ModelShape.of(load_model(case.axes["model"])))
    except (HengsuanError, KeyError):
        return None  # its file may have gone since


CHAIN: Table = {
    ("cluster", "mfu_device"): Derived(
        unit="ratio",
        about="MFU of one device",
        formula="`train` mfu on one device",
        find=lambda s: Factors(s).device,
    ),
    ("cluster", "eta_intra"): Derived(
        unit="ratio",
        about="token/s a device on one node over that on one device",
        formula="(token/s of a node / its devices) / token/s of one device",
        find=lambda s: Factors(s).inside,
    ),
    ("cluster", "eta_inter"): Derived(
        unit="ratio",
        about="token/s a device on all nodes over that on one node",
        formula="(token/s of all / their devices) / (token/s of a node / its devices)",
        find=lambda s: Factors(s).between,
    ),
    ("cluster", "goodput"): Derived(
        unit="ratio",
        about="share of an interrupted training's time that was productive and kept",
        formula="`resumable` goodput of the last training that failures struck",
        find=_goodput,
    ),
    ("cluster", "end_to_end"): Derived(
        unit="ratio",
        about="MFU of one device × η inside a node × η between nodes × goodput",
        formula="mfu_device × eta_intra × eta_inter × goodput; on one node without eta_inter",
        find=lambda s: Factors(s).whole(),
    ),
    ("cluster", "flops_utilization"): Derived(
        unit="ratio",
        about="achieved over peak FLOP/s of the largest training",
        formula="`train` mfu on the most devices that were measured",
        find=_of_peak,
    ),
    ("cluster", "device_hours_utilization"): Derived(
        unit="ratio",
        about="allocated over available device-hours, declared",
        formula="allocated / available, of SYSTEM.yaml",
        find=_of_hours,
    ),
    ("cluster", "facility_flops_per_watt"): Derived(
        unit="FLOP/s/W",
        about="achieved FLOP/s over IT power × PUE, these two declared",
        formula="token/s × FLOPs of a token / (IT power × PUE)",
        find=_per_watt,
    ),
    ("cluster", "device_flops_per_watt"): Derived(
        unit="FLOP/s/W",
        about="FLOPs of a joule that devices took while training",
        formula="FLOPs of a token / energy_per_token",
        find=_device_per_watt,
    ),
}
SHOWN = (
    "mfu_device",
    "eta_intra",
    "eta_inter",
    "goodput",
    "end_to_end",
    "flops_utilization",
    "device_hours_utilization",
    "facility_flops_per_watt",
)
"""What every score shows of ``cluster``, in the order of the chain."""
