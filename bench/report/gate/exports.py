"""The candidate's figures for services that draw them over time.

Exported are medians in SI units of metrics that were measured soundly: what is INVALID has a figure
that does not count. The range is that in which the candidate lies by the limits of the change; it
is left out where those are unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from ...gates import GateReport, Judged
from ...records import Better
from ..plain import plain
from .words import clipped, finite, sentence

NAME = 1024
"""Characters of a benchmark's name that Bencher takes."""
MEASURE = 64
"""Characters of a measure's name that Bencher takes."""


def benchmark_action(report: GateReport, better: Better) -> list[dict[str, Any]]:
    """For github-action-benchmark: its tool ``customSmallerIsBetter`` or ``customBiggerIsBetter``.

    A file has one direction: ``better`` says of which metrics. Each is an object with ``name``,
    ``unit``, ``value``, ``extra`` and, where it is known, ``range``.
    """
    made = []
    for one, value in _sound(report):
        if one.better != better:
            continue
        entry: dict[str, Any] = {"name": plain(one.name), "unit": plain(one.unit), "value": value}
        if limits := _limits(one, value):
            entry["range"] = f"{limits[0]:.4g} to {limits[1]:.4g}"
        baseline = plain(clipped(report.baseline, NAME))
        made.append({**entry, "extra": f"{one.state}: {sentence(one)}\nbaseline: {baseline}"})
    return made


def bencher(report: GateReport) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: by benchmark, by measure, ``value`` and its two limits.

    A measure is a unit and a direction (``FLOP/s, higher is better``), for there a threshold is one
    of a measure. (https://bencher.dev/docs/reference/bencher-metric-format)
    """
    made: dict[str, dict[str, dict[str, float]]] = {}
    for one, value in _sound(report):
        metric = {"value": value}
        if limits := _limits(one, value):
            metric |= {"lower_value": limits[0], "upper_value": limits[1]}
        measure = _short(f"{plain(one.unit) or 'number'}, {one.better} is better", MEASURE)
        made.setdefault(_short(plain(one.name), NAME), {})[measure] = metric
    return made


def _sound(report: GateReport) -> Iterator[tuple[Judged, float]]:
    for one in report.judged:
        if finite(one.candidate) and one.state != "INVALID":
            yield one, one.candidate


def _limits(one: Judged, value: float) -> tuple[float, float] | None:
    """The change's limits, laid on the candidate's median: lower and upper, in its unit.

    With s = 1 where lower is better and -1 where higher is, 1 + change is (candidate /
    baseline)^s: the estimate stands for ``value``, and the limits lie about it as they do about
    the estimate.
    """
    if not (finite(one.change) and finite(one.low) and finite(one.high)):
        return None
    if min(one.change, one.low) <= -1:
        return None
    sign = 1 if one.better == "lower" else -1
    ends = [value * ((1 + end) / (1 + one.change)) ** sign for end in (one.low, one.high)]
    return min(ends), max(ends)


def _short(name: str, most: int) -> str:
    """A name that fits; two that begin alike stay two."""
    if len(name) <= most:
        return name
    return f"{name[: most - 13]}~{hashlib.sha256(name.encode()).hexdigest()[:12]}"
