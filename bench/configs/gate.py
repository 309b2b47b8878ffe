"""Gate files: which metrics gate, by how much they may become slower, and what is spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from ..units import parse_duration, parse_share
from .document import Document, Place
from .typed import convert_value, unknown_key, wrong


class GateLine(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One line: metrics whose label fits, and the relative change that is accepted."""

    match: str
    """The label, ``gemm 512x512x512 fp32 torch flops``; ``*`` stands for anything."""
    margin: float
    """Towards worse, as 5%."""
    exact: bool = False
    """They are counts without noise, whatever their benchmark declares: every rise above the
    margin, which may be 0 then, is one."""
    better: Literal["higher", "lower", "declared"] = "declared"
    """Which direction is better, where not as the benchmark declares it."""


class Gate(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A gate (``configs/gates/*.yaml``)."""

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    suite: str = "gate"
    """What a block measures."""
    blocks: list[int] = msgspec.field(default_factory=lambda: [10, 20, 40])
    """After how many it is looked, rising; the last is the most."""
    alpha: float = 0.01
    """Probability of a false alarm over all metrics, and of a false pass."""
    budget: float = 1200.0
    """Seconds, or a duration."""
    inconclusive: Literal["fail", "warn"] = "fail"
    """Whether it fails or is a warning."""
    metrics: list[GateLine]
    """The lines; the first that fits a metric counts."""

    def line(self, label: str) -> GateLine | None:
        """The first line that fits a metric's label; None: it does not gate."""
        return next((one for one in self.metrics if fnmatchcase(label, one.match)), None)


def parse_gate(document: Document) -> Gate:
    """The gate that a document describes. Raises `ConfigError` with ``file:line``."""
    top = document.data
    if not isinstance(top, dict):
        raise wrong(document, top, "keys with values", ())
    data = {**top}
    for key, parse in (("alpha", parse_share), ("budget", parse_duration)):
        if key in data:
            data[key] = _parsed(document, data[key], parse, (key,))
    lines = data.get("metrics")
    if not isinstance(lines, list) or not lines:
        raise document.error(("metrics",), "must be a list of lines: {match: ..., margin: 5%}")
    data["metrics"] = list(_lines(document, lines))
    for key in data:
        if key not in Gate.__struct_fields__:
            raise unknown_key(document, "key of a gate", key, Gate.__struct_fields__, (key,))
    found: Gate = convert_value(document, data, Gate, ())
    _check(document, found)
    return found


def _lines(document: Document, lines: list[Any]) -> Iterator[Any]:
    for number, line in enumerate(lines):
        if isinstance(line, dict) and line.get("exact") is True:
            line = {"margin": 0, **line}  # what has no noise needs none
        if isinstance(line, dict) and "margin" in line:
            place = ("metrics", number, "margin")
            yield {**line, "margin": _parsed(document, line["margin"], parse_share, place)}
        else:
            yield line


def _parsed(document: Document, value: Any, parse: Any, place: Place) -> float:
    try:
        return float(parse(str(value)))
    except ValueError as error:
        raise document.error(place, str(error)) from None


def _check(document: Document, gate: Gate) -> None:
    if not 0 < gate.alpha < 0.5:
        raise document.error(("alpha",), "must be above 0 and below 50%")
    if gate.budget <= 0:
        raise document.error(("budget",), "must be positive")
    rising = sorted(set(gate.blocks)) == gate.blocks
    if not gate.blocks or not rising or gate.blocks[0] < 2:
        raise document.error(("blocks",), "must be rising numbers from 2 on, as [10, 20, 40]")
    for number, line in enumerate(gate.metrics):
        if line.margin <= 0 and not line.exact:
            raise document.error(
                ("metrics", number, "margin"),
                "must be above 0: a margin of nothing cannot be told from noise (of counts, which "
                "have none, write exact: true)",
            )
