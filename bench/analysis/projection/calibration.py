"""Efficiencies from a run: its operations, collectives and training steps.

- matrix products and attention at exactly the shapes that a layout has take as long as they were
  measured to (a table by op, shape, variant and dtype, the best implementation of each);
- products of other shapes are scaled by how measured ones compare with the model of tiles, and
  operations that memory bounds by what those of the run reached;
- links and networks take α and β of the lines through collectives (`bench.analysis.alphabeta`);
- what runs beside computing is hidden as far as `overlap` says, and waiting takes the spread of
  steps of `train`.

What a run does not have stays typical, and `Calibration.sources` says which is which.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ...configs import Chip, load_model
from ...errors import HengsuanError, UsageError
from ...inventory import Inventory
from ...kernels import costs, shapes
from ...records import STATUSES, Case, Header
from ...results import Columns
from ...stats import geometric_mean
from ...units import parse_size
from ..alphabeta import Link, links
from ..selection import Spans
from ..summary import group_medians, rows_by_case
from .fitting import Fitted
from .machine import Machine
from .rates import Efficiency, Measured, Rates

_RATES = {"gemm": "flops", "compute": "flops", "stream": "bandwidth", "memory": "bandwidth"}
_LARGE = 1e9
"""FLOPs of a product from which on its shape, not its launch, says how fast it is."""
_WHOLE = ("all", "growing", "label")
"""Kinds of schedules over nodes in which all devices of each take part; of rails one does."""
_TIGHT = 0.9
"""Of the rate inside a node: reductions over nodes that reach more are not the network's own."""
_TAIL = 1.645
"""Standard deviations from the median of a normal distribution to its 95th percentile."""


@dataclass(frozen=True)
class Calibration:
    """``efficiency`` and ``measured`` for `Rates`; ``latency`` in s inside a node and beyond, None
    where not measured; ``sources``: by what it is about, ``measured: ...`` (``imported: ...`` where
    another tool did) or ``typical``."""

    efficiency: Efficiency
    measured: Measured = field(default_factory=dict)
    latency: tuple[float | None, float | None] = (None, None)
    sources: dict[str, str] = field(default_factory=dict)


ABOUT = {
    "gemm": "matrix products",
    "memory": "memory",
    "link": "links",
    "network": "network",
    "jitter": "waiting",
    "overlap": "overlap",
    "host": "the host",
}
"""Constants, as sources name what they are about."""


def typical(fitted: Fitted | None = None, chip: str = "") -> Calibration:
    """Nothing was measured here; ``fitted``: but published runs say something."""
    sources = dict.fromkeys((*ABOUT.values(), "attention"), "typical")
    if fitted is None:
        return Calibration(Efficiency(), sources=sources)
    for one in fitted.constants:
        if one.chip in ("", chip):
            sources[ABOUT[one.name]] = f"typical, fitted on {fitted.rows} small published runs"
    return Calibration(fitted.efficiency(chip), sources=sources)


def calibrate(
    header: Header,
    columns: Columns,
    chip: Chip,
    machine: Machine,
    dtype: str,
    begin: Calibration | None = None,
) -> Calibration:
    """What a run says of a chip and its links.

    Args:
        header, columns: The run.
        chip, machine: What is projected on; the machine's bandwidths as they are declared.
        dtype: Of matrix products.
        begin: What stays where the run says nothing; None: what is typical.

    Raises:
        UsageError: the run was simulated, stood in, or is of another chip.
    """
    refuse(header, chip)
    ops = dict(_ops(header, columns))
    made = begin or typical()
    said, usual = dict(made.sources), made.efficiency
    changes: dict[str, object] = {}
    rates = Rates(machine, replace(usual, gemm=1.0), dtype)
    table: dict[Key, float] = dict(made.measured)
    parts: dict[str, list[float]] = {"gemm": [], "memory": [], "stream": []}
    parts |= {"causal": [], "causal_backward": []}
    for (op, shape, variant, of), (seconds, cost) in ops.items():
        table[op, shape, variant, of] = seconds
        if op == "gemm" and of == dtype and cost.flops > _LARGE:
            parts["gemm"].append(rates.modelled(shape[0], shape[1], shape[2]) / seconds)
        elif op == "attention" and of == dtype and variant in parts:
            parts[variant].append(cost.flops / seconds / machine.flops)
        elif costs.SPECS[op].kind == "memory":
            kind = "stream" if op == "stream" else "memory"
            parts[kind].append(cost.bytes / seconds / machine.bandwidth)
    # Plain streams are what operations of a layer come near to at best.
    parts["memory"] = parts["memory"] or parts["stream"]
    for name, what in (("gemm", "matrix products"), ("memory", "memory")):
        if parts[name]:
            changes[name] = min(1.0, geometric_mean(parts[name]))
            said[what] = f"{header.provenance}: {len(parts[name])} case(s) of {header.id}"
    if parts["causal"] and parts["causal_backward"]:
        both = (geometric_mean(parts["causal"]), geometric_mean(parts["causal_backward"]))
        changes["attention"] = tuple(min(1.0, share) for share in both)
        said["attention"] = f"{header.provenance}: {header.id}"
    near, far = made.latency
    for link, inside in _lines(header, columns, machine, usual):
        share, alpha = link
        name, what = ("link", "links") if inside else ("network", "network")
        changes[name] = min(1.0, share)
        said[what] = f"measured: collectives of {header.id}"
        near, far = (alpha, far) if inside else (near, alpha)
    if (hidden := _median(header, columns, "overlap", "efficiency")) is not None:
        changes["overlap"] = min(max(hidden, 0.0), 1.0)
        said["overlap"] = f"measured: overlap of {header.id}"
    if (spread := _spread(header, columns)) is not None:
        changes["jitter"] = spread
        said["waiting"] = f"measured: steps of {header.id}"
    efficiency = replace(usual, **changes)  # type: ignore[arg-type]
    return Calibration(efficiency, table, (near, far), said)


def refuse(header: Header, chip: Chip) -> None:
    """Raise `UsageError` for a run that says nothing of this chip."""
    if header.provenance in ("simulated", "stand-in"):
        what = "was simulated" if header.provenance == "simulated" else "ran on a stand-in"
        raise UsageError(
            f"run {header.id} {what}: what it measured is not what {chip.name} does",
            hint="calibrate with a run that measured this chip",
        )
    if header.fleet is not None:
        kinds = {header.fleet.chip}
    else:
        kinds = {d.judged_as or d.name for node in header.nodes for d in node.devices}
    if kinds != {chip.name}:
        raise UsageError(
            f"run {header.id} measured {', '.join(sorted(kinds)) or 'no device'}, the cluster has "
            f"{chip.name}"
        )


Key = tuple[str, tuple[int, ...], str, str]


def _ops(header: Header, columns: Columns) -> Iterator[tuple[Key, tuple[float, costs.Cost]]]:
    """Every operation that was measured: the seconds of its best implementation."""
    rows = rows_by_case(columns, len(header.cases))
    best: dict[Key, tuple[float, costs.Cost]] = {}
    for case in header.cases:
        if case.scope != "device" or _RATES.get(case.benchmark) != case.metric:
            continue
        if (placed := _placed(case)) is None:
            continue
        key, cost = placed
        groups, medians = group_medians(columns, rows[case.id])
        if not groups.size or (work := cost.flops if case.metric == "flops" else cost.bytes) <= 0:
            continue
        seconds = work / float(np.median(medians))
        if key not in best or seconds < best[key][0]:
            best[key] = seconds, cost
    yield from best.items()


def _placed(case: Case) -> tuple[Key, costs.Cost] | None:
    axes = case.axes
    try:
        if case.benchmark == "stream":
            op, dtype, variant = "stream", axes["dtype"], axes["op"]
            shape: tuple[int, ...] = (parse_size(axes["size"]) // costs.ITEMSIZE[dtype],)
        else:
            op, dtype = axes.get("op", "gemm"), axes["dtype"]
            variant = axes["layout"] if case.benchmark == "gemm" else axes["variant"]
            shape = tuple(shapes.sizes(op, axes["shape"], load_model))
        return (op, shape, variant, dtype), costs.cost(op, shape, variant, dtype)
    except (HengsuanError, KeyError, ValueError):
        return None  # of another version, or of a model whose file is gone: nothing to look up


def _lines(
    header: Header, columns: Columns, machine: Machine, usual: Efficiency
) -> Iterator[tuple[tuple[float, float], bool]]:
    """((share of the declared bandwidth, latency of a step), whether inside a node) of reductions.

    The widest group of each kind counts. Steps are those of `Machine.seconds`: α is twice a step
    inside a node and those of a tree over nodes. Where nodes together are about as fast as each of
    them, their own links are what is tight: of the network that is the least that it carries.
    """
    inventory = Inventory(header.nodes, header.fleet)
    node = max(1, inventory.size // max(1, inventory.occupied.size))
    found: dict[bool, Link] = {}
    spans = Spans(header)
    for link in links(header, columns):
        spec = header.schedules[link.schedule]
        inside = spans.of(spec) == "node"
        if link.op != "all_reduce" or link.line is None or link.line.beta is None:
            continue
        if not inside and spec.kind not in _WHOLE:
            continue
        if inside not in found or link.ranks > found[inside].ranks:
            found[inside] = link
    near = machine.levels[0]
    known = near.latency
    rate = near.bandwidth * usual.link if node > 1 else math.inf
    for inside, link in sorted(found.items(), reverse=True):
        assert link.line is not None
        assert link.line.beta is not None
        once = link.line.alpha / 2
        if inside:
            known, rate = once, link.line.beta
            yield (link.line.beta / near.bandwidth, once), True
            continue
        level = machine.levels[min(1, len(machine.levels) - 1)]
        steps = math.log2(max(2.0, link.ranks / node))
        # What nobody measured inside a node is no more than any other step.
        first = min(known, once / (1 + steps)) if node > 1 else 0.0
        # A node's devices carry together what goes beyond it.
        share = link.line.beta / (level.bandwidth * node)
        if link.line.beta > _TIGHT * rate:
            share = max(share, usual.network)
        yield (share, (once - first) / steps), False


def _spread(header: Header, columns: Columns) -> float | None:
    """How much longer a step is each time that ranks double, from the spread of steps.

    The largest of N normal delays of deviation σ is σ·√(2 ln N) late (Cramér, Mathematical Methods
    of Statistics, 1946, §28.6); at a thousand ranks that is 0.37 σ for each doubling.
    """
    jitter = _median(header, columns, "train", "jitter")
    if jitter is None:
        return None
    return max(0.0, jitter - 1) / _TAIL * math.sqrt(2 * math.log(1024)) / math.log2(1024)


def _median(header: Header, columns: Columns, benchmark: str, metric: str) -> float | None:
    """Of all good values of a metric; None without any."""
    rows = rows_by_case(columns, len(header.cases))
    good = columns.status == STATUSES.index("ok")
    values = [
        columns.value[rows[case.id][good[rows[case.id]]]]
        for case in header.cases
        if case.benchmark == benchmark and case.metric == metric
    ]
    found = np.concatenate(values) if values else np.zeros(0)
    return float(np.median(found)) if found.size else None
