"""The grammar of suites: one mapping a benchmark, from axis to value, list or sweep.

A suite file::

    name: quick
    rule: {precision: 0.01, budget: 500ms}
    stages:
      - name: fabric
        needs: [device]
        repeats: 3
        benchmarks:
          - collectives: {op: [all_reduce, all_gather], size: 1KiB..64MiB x4, over: node}

Axes stay as written: what they may be, the benchmark says, and that is on a higher floor.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import ConfigError
from ..units import parse_duration
from .document import Document, Place
from .typed import convert_value, unknown_key, wrong
from .types import Entry, StageConfig, Suite

PLACEMENT = ("over", "of", "schedule", "matchings", "seed", "within", "across", "together")
"""Keys of an entry that say where it is measured; all others are axes or ``rule``."""
PAIRINGS = ("full", "sample", "topology", "values")
"""Values of ``schedule`` that say which pairs meet: any other is of an axis, as of pipelines."""

_DURATIONS = ("budget", "warmup", "block", "sustained", "limit")
_COUNTS = ("min_samples", "max_samples", "again")
RULE = ("precision", *_DURATIONS, *_COUNTS)
"""Keys of a rule: those of `bench.timing.Rule`, and ``limit``, a job's wall-clock limit."""

_SUITE = ("name", "description", "rule", "stages")
_NAME = re.compile(r"\w[\w.-]{0,99}")
_STAGE = ("name", "needs", "repeats", "benchmarks")


def parse_suite(document: Document) -> Suite:
    """The suite that a document describes. Raises `ConfigError` with ``file:line``."""
    top = _mapping(document, document.data, (), _SUITE)
    stages: list[StageConfig] = []
    for place, item in _items(document, top, (), "stages"):
        stages.append(_stage(document, item, place, [stage.name for stage in stages]))
    return Suite(
        name=_required(document, top, (), "name"),
        description=convert_value(document, top.get("description", ""), str, ("description",)),
        stages=stages,
        rule=_rule(document, top.get("rule", {}), ("rule",)),
        text=document.text,
    )


def _stage(document: Document, item: Any, place: Place, earlier: list[str]) -> StageConfig:
    fields = _mapping(document, item, place, _STAGE)
    name = _required(document, fields, place, "name")
    if name in earlier:
        raise document.error((*place, "name"), f"a second stage is called {name!r}")
    needs = convert_value(document, fields.get("needs", []), list[str], (*place, "needs"))
    for index, needed in enumerate(needs):
        if needed not in earlier:
            raise unknown_key(document, "earlier stage", needed, earlier, (*place, "needs", index))
    repeats: int = convert_value(document, fields.get("repeats", 1), int, (*place, "repeats"))
    if repeats < 1:
        raise document.error((*place, "repeats"), f"must be at least 1, not {repeats}")
    return StageConfig(
        name=name,
        needs=needs,
        entries=[_entry(document, *one) for one in _items(document, fields, place, "benchmarks")],
        repeats=repeats,
        where=document.where(place),
    )


def _entry(document: Document, place: Place, item: Any) -> Entry:
    if isinstance(item, str):  # a benchmark with its default axes
        item = {item: None}
    if not isinstance(item, dict) or len(item) != 1:
        raise document.error(
            place, "must be one benchmark with its axes", "write for example - gemm: {dtype: fp32}"
        )
    ((name, fields),) = item.items()
    inner = (*place, name)
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise wrong(document, fields, "axes with values", inner)
    axes = {key: _axis(document, fields[key], (*inner, key)) for key in fields if key != "rule"}
    return Entry(
        benchmark=name,
        axes={key: value for key, value in axes.items() if not _is_place(key, value)},
        place={key: value for key, value in axes.items() if _is_place(key, value)},
        rule=_rule(document, fields.get("rule", {}), (*inner, "rule")),
        where=document.where(inner),
    )


def _axis(document: Document, value: Any, place: Place) -> Any:
    for item in value if isinstance(value, list) else [value]:
        if item is None or isinstance(item, (list, dict)):
            raise wrong(document, item, "a value, a sweep or a list of values", place)
    if isinstance(value, list) and _is_place(str(place[-1]), value):
        raise wrong(document, value, "a single value", place)
    return value


def _is_place(key: str, value: Any) -> bool:
    """Whether a key of an entry says where; only a benchmark knows what its axes are."""
    return key in PLACEMENT and (key != "schedule" or value in PAIRINGS)


def _rule(document: Document, value: Any, place: Place) -> dict[str, float]:
    fields = _mapping(document, value, place, RULE)
    return {key: _rule_value(document, key, fields[key], (*place, key)) for key in fields}


def _rule_value(document: Document, key: str, value: Any, place: Place) -> float:
    number: float
    if key in _DURATIONS and isinstance(value, str):
        try:
            number = parse_duration(value)
        except ValueError as error:
            raise document.error(place, str(error)) from None
    else:
        number = convert_value(document, value, int if key in _COUNTS else float, place)
    if number < 0 or (number == 0 and key not in ("warmup", "sustained", "again")):
        raise document.error(place, f"must be positive, not {value}")
    return number


def _mapping(
    document: Document, value: Any, place: Place, known: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(document, value, f"keys ({', '.join(known)}) with values", place)
    for key in value:
        if key not in known:
            raise unknown_key(document, "key", key, known, (*place, key))
    return value


def _items(
    document: Document, fields: dict[str, Any], place: Place, key: str
) -> list[tuple[Place, Any]]:
    items = fields.get(key)
    if not items or not isinstance(items, list):
        raise document.error(place, f"the key {key!r} must hold a list with at least one item")
    return [((*place, key, index), item) for index, item in enumerate(items)]


def _required(document: Document, fields: dict[str, Any], place: Place, key: str) -> str:
    if key not in fields:
        raise document.error(place, f"the key {key!r} is missing")
    text: str = convert_value(document, fields[key], str, (*place, key))
    if not text:
        raise ConfigError(f"the key {key!r} is empty", where=document.where((*place, key)))
    if not _NAME.fullmatch(text):
        # Names become parts of folder names.
        raise document.error(
            (*place, key), f"{text!r} may hold letters, digits, '.', '_' and '-' only"
        )
    return text
