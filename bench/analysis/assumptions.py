"""Why a value is expected: the model behind it with its figures, and what other models say.

What datasheet and topology predict stands in `Case.expected`; here is what that rests on, in
words, and beside it the prediction from what the run itself measured: the ceilings of its
operations, and α and β of its pairs, or of lines through its collectives, in a ring, a tree and a
direct exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import msgspec
import numpy as np

from ..configs import Chip, datasheet, load_model, undisputed
from ..errors import HengsuanError
from ..kernels import costs, messages
from ..kernels.layout import Layout
from ..kernels.model_costs import ModelShape, flops_per_token, optimizer_bytes, parameters
from ..kernels.model_memory import counted, estimate
from ..records import Case
from ..units import format_size, format_value, parse_size
from .alphabeta import links as lines
from .derived.training import size_of
from .linkmodels import times
from .selection import Spans
from .subject import Run


class Model(msgspec.Struct, kw_only=True, frozen=True):
    """What one model predicts: ``value`` in the case's unit, ``seconds`` where it is a time."""

    name: str
    value: float
    seconds: float | None = None


class Assumed(msgspec.Struct, kw_only=True, frozen=True):
    """``text`` is the assumption in words; ``models`` what others predict, the best one first."""

    text: str
    models: list[Model] = []


class Links(msgspec.Struct, frozen=True):
    """α in seconds and β in B/s of one device's link, None where nobody knows; from where."""

    alpha: float | None
    beta: float | None
    source: str


class Assumptions:
    """The models behind a run's cases."""

    def __init__(self, run: Run, chips: dict[str, Chip]) -> None:
        self._run, self._chips = run, chips
        self._spans = Spans(run.header)

    def of(self, case: Case) -> Assumed:
        """What the expectation of a case rests on."""
        told = _BY_BENCHMARK.get(case.benchmark)
        if told is None:
            return Assumed(text="no model predicts it")
        try:
            return told(self, case)
        except (HengsuanError, KeyError, ValueError) as error:
            # A model's file may have gone since, or the record is of another version.
            return Assumed(text=f"no model predicts it here: {error}")

    @cached_property
    def _chip(self) -> Chip | None:
        """What is known of one device; None of several kinds."""
        header = self._run.header
        if len(self._run.kinds) != 1:
            return None
        if header.fleet is not None:
            known = self._chips.get(header.fleet.chip)
            return undisputed(known) if known is not None else None
        devices = (device for node in header.nodes for device in node.devices)
        first = next(devices, None)
        return datasheet(first, self._chips) if first is not None else None

    @cached_property
    def _roofs(self) -> dict[int, tuple[float, str]]:
        """By case: what the measured ceilings allow over what was achieved, and which limits."""
        found = {}
        for chip in self._run.rooflines:
            for point in chip.points:
                if point.measured.fraction:
                    found[point.case] = (1 / point.measured.fraction, point.measured.limit)
        return found

    def _operation(self, case: Case) -> Assumed:
        chip = self._chip
        dtype = str(case.axes.get("dtype", ""))
        peak = chip.peak(costs.PEAK.get(dtype, dtype)) if chip is not None else None
        wide = chip.memory_bandwidth if chip is not None else None
        known = wide.value if wide is not None else None
        text = (
            f"roofline: the lower of {_said(peak, 'FLOP/s')} {dtype} and FLOPs a byte × "
            f"{_said(known, 'B/s')} of memory, every byte moved once"
        )
        median = next((s.median for s in self._run.summaries if s.case.id == case.id), None)
        if case.id not in self._roofs or median is None:
            return Assumed(text=text)
        scale, limit = self._roofs[case.id]
        return Assumed(text=text, models=[Model(name=f"measured {limit}", value=median * scale)])

    def _transfer(self, case: Case) -> Assumed:
        link = self._chip.host_link if self._chip is not None else None
        both = ", in both directions at once" if case.axes.get("direction") == "both" else ""
        return Assumed(text=f"the host link: {_said(link.value if link else None, 'B/s')}{both}")

    def links(self, span: str) -> Links:
        """What pairs inside a ``node`` or between ``nodes`` measured; else the datasheet."""
        alphas: list[tuple[int, float]] = []
        betas: list[tuple[int, float]] = []
        for metric, into in (("latency", alphas), ("bandwidth", betas)):
            for one in self._run.of("pairs", metric):
                axes = one.case.axes
                plain = axes.get("direction", "unidirectional") == "unidirectional"
                where = self._spans.of(self._run.header.schedules[one.case.schedule])
                if plain and where == span and one.median:
                    into.append((parse_size(axes.get("size", 1)), one.median))
        if alphas and betas:
            return Links(min(alphas)[1], max(betas)[1], "pairs of this run")
        alpha, beta = self._fitted.get(span, (None, None))
        if alpha is not None and beta is not None:
            return Links(alpha, beta, "lines through this run's collectives")
        chip = self._chip
        figure = None if chip is None else chip.link if span == "node" else chip.network
        return Links(None, figure.value if figure is not None else None, "datasheet")

    @cached_property
    def _fitted(self) -> dict[str, tuple[float, float]]:
        """By span: the medians over collectives of α of one step and of β of one link."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        schedules = self._run.header.schedules
        for link in lines(self._run.header, self._run.columns):
            if link.line is not None and link.line.alpha > 0 and link.line.beta is not None:
                span = self._spans.of(schedules[link.schedule])
                alphas, betas = found.setdefault(span, ([], []))
                alphas.append(link.line.alpha / max(1, messages.steps(link.op, link.ranks)))
                betas.append(link.line.beta)
        return {
            span: (float(np.median(alphas)), float(np.median(betas)))
            for span, (alphas, betas) in found.items()
        }

    def _collective(self, case: Case) -> Assumed:
        spec = self._run.header.schedules[case.schedule]
        ranks, span = size_of(self._run, spec), self._spans.of(spec)
        if ranks is None or not span:
            return Assumed(text="groups of several sizes or places: no one model holds for all")
        op, dtype = case.axes["op"], case.axes.get("dtype", "fp32")
        unit = messages.ITEMSIZE[dtype]
        size = messages.elements(op, parse_size(case.axes["size"]), unit, ranks) * unit
        found = self.links(span)
        beta = found.beta
        where = "inside a node" if span == "node" else "between nodes"
        text = (
            f"{op} of {format_size(size) if size else 'nothing'} on {ranks} ranks {where}: "
            f"{messages.steps(op, ranks)} step(s) × α, then S × "
            f"{messages.bus_factor(op, ranks):.3g} over the slowest link; models take α "
            f"{_said(found.alpha, 's')} and β {_said(beta, 'B/s')} of {found.source}"
        )
        models = [
            _of_time(name, seconds, case.metric, size, messages.bus_factor(op, ranks))
            for name, seconds in times(op, ranks, size, found.alpha, beta).items()
        ]
        # Without α a small message would take no time at all.
        models = sorted(models, key=lambda one: one.seconds or 0.0) if found.alpha else []
        return Assumed(text=text, models=models)

    def _pair(self, case: Case) -> Assumed:
        span = self._spans.of(self._run.header.schedules[case.schedule])
        if not span:
            return Assumed(text="pairs inside nodes and between them: no one link predicts all")
        chip = self._chip
        figure = None if chip is None else chip.link if span == "node" else chip.network
        where = "device's link in the node" if span == "node" else "node's network"
        text = (
            f"α + S/β of the {where}: β {_said(figure.value if figure else None, 'B/s')}, "
            "α as the run was told, else nothing"
        )
        found = self.links(span)
        if case.metric != "bandwidth" or case.unit != "B/s" or figure is None or not found.alpha:
            return Assumed(text=text)
        size = parse_size(case.axes["size"])
        ways = 2 if case.axes.get("direction") == "bidirectional" else 1
        seconds = found.alpha + size / figure.value
        model = Model(name="direct, measured α", value=ways * size / seconds, seconds=seconds)
        return Assumed(text=text, models=[model])

    def _step(self, case: Case) -> Assumed:
        """Compute, the optimizer's bytes, and the gradients' reduction, each by itself."""
        axes = case.axes
        spec = self._run.header.schedules[case.schedule]
        ranks, chip = size_of(self._run, spec), self._chip
        shape = ModelShape.of(load_model(axes["model"]))
        layout = Layout(**{name: axes[name] for name in Layout.__dataclass_fields__})
        dtype = axes.get("dtype", "")
        peak = chip.peak(dtype) if chip is not None else None
        if case.metric in _OF_MEMORY:
            return self._memory(case, shape, layout, ranks)
        text = (
            f"{flops_per_token(shape):.4g} FLOPs a token at {_said(peak, 'FLOP/s')} {dtype} a "
            "device, nothing waited for"
        )
        if layout.bubble:
            text += f", but {layout.bubble / (1 + layout.bubble):.1%} of the step in the pipeline"
        if ranks is None or peak is None or case.metric not in _OF_STEP:
            return Assumed(text=text)
        spread = layout.over(ranks)
        of_group = axes.get("batch_of") == "group"
        sequences = axes["batch"] if of_group else axes["batch"] * spread.data
        tokens = sequences * shape.seq
        compute = (1 + layout.bubble) * tokens * flops_per_token(shape) / (ranks * peak)
        parts = {"compute": compute}
        held = parameters(shape) / (layout.pp * layout.tp * spread.shards)
        wide = chip.memory_bandwidth.value if chip and chip.memory_bandwidth else None
        if wide:
            parts["optimizer"] = optimizer_bytes(int(held)) / wide
        links = self.links(self._spans.of(spec) or "node")
        if spread.data > 1:
            gradient = 4 * parameters(shape) / (layout.pp * layout.tp)
            ring = times("all_reduce", spread.data, gradient, links.alpha, links.beta)
            if ring:
                parts["gradients"] = min(ring.values())
        told = ", ".join(f"{name} {format_value(value, 's')}" for name, value in parts.items())
        hidden = parts["compute"] + parts.get("optimizer", 0.0)
        exposed = hidden + parts.get("gradients", 0.0)
        models = [_of_step("gradients hidden", hidden, case.metric, tokens, compute)]
        if exposed > hidden:
            models.append(_of_step("gradients exposed", exposed, case.metric, tokens, compute))
        return Assumed(text=f"{text}; a step at least: {told}", models=models)

    def _memory(self, case: Case, shape: ModelShape, layout: Layout, ranks: int | None) -> Assumed:
        """Where a step takes most, on the rank that takes most."""
        text = "weights, moments, gradients, what the backward pass needs, logits and buffers"
        axes = case.axes
        ops = axes.get("ops", "torch")
        if ranks is None or not counted(ops):
            return Assumed(text=f"{text}: of compiled or a vendor's operations not counted")
        spread = layout.over(ranks)
        of_group = axes.get("batch_of") == "group"
        batch = axes["batch"] // spread.data if of_group else axes["batch"]
        again = axes.get("recompute", "none")
        parts = estimate(shape, spread, batch=batch, dtype=axes["dtype"], again=again, ops=ops)
        told = ", ".join(f"{name} {format_value(size, 'B')}" for name, size in vars(parts).items())
        return Assumed(
            text=f"{text} at the highest point: {told}",
            models=[Model(name="counted", value=float(parts.total))],
        )

    def _generated(self, case: Case) -> Assumed:
        return Assumed(
            text="roofline of each step: prompts at the peak, tokens at the memory's bandwidth"
        )

    def _nothing_wrong(self, case: Case) -> Assumed:
        return Assumed(text="equal work gives equal bits")

    def _incast(self, case: Case) -> Assumed:
        return Assumed(text="α + what all senders send over the receiver's one link or network")

    def _overlap(self, case: Case) -> Assumed:
        return Assumed(text="the shorter of both hidden whole behind the longer")


_OF_STEP = ("step_p50", "tokens_per_second", "mfu")
_OF_MEMORY = ("peak_memory", "memory_estimate")
_BY_BENCHMARK: dict[str, Callable[[Assumptions, Case], Assumed]] = {
    **dict.fromkeys(("gemm", "stream", "compute", "memory", "precision"), Assumptions._operation),
    **dict.fromkeys(("pairs", "link", "stability", "rdma"), Assumptions._pair),
    **dict.fromkeys(("corruption", "collective_corruption"), Assumptions._nothing_wrong),
    "transfer": Assumptions._transfer,
    "collectives": Assumptions._collective,
    "train": Assumptions._step,
    "generate": Assumptions._generated,
    "incast": Assumptions._incast,
    "overlap": Assumptions._overlap,
}


def modelled() -> Iterator[str]:
    """The benchmarks whose expectations have an assumption in words."""
    yield from _BY_BENCHMARK


def _said(value: float | None, unit: str) -> str:
    return "an unknown figure" if value is None else format_value(value, unit)


def _of_time(name: str, seconds: float, metric: str, size: int, factor: float) -> Model:
    """A time, or the bandwidth that it is."""
    value = seconds
    if metric in ("busbw", "algbw"):
        value = size / seconds * (factor if metric == "busbw" else 1.0)
    return Model(name=name, value=value, seconds=seconds)


def _of_step(name: str, seconds: float, metric: str, tokens: float, compute: float) -> Model:
    value = {"tokens_per_second": tokens / seconds, "mfu": compute / seconds}.get(metric, seconds)
    return Model(name=name, value=value, seconds=seconds)
