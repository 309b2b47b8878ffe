"""Where an entry of a suite is measured: its placement keys, and the schedule that they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..configs import PAIRINGS
from ..errors import UsageError, unknown
from ..inventory import Inventory
from ..records import ScheduleSpec, Scope
from .base import Benchmark, axis_fields

MOST_MATCHINGS = (1 << 31) - 1
"""As many as readers of a run take (`bench.declared`): far more than any fleet has."""
_PAIRS = {
    "schedule": "full",
    "matchings": 3,
    "seed": 0,
    "within": None,
    "across": None,
    "together": None,
}
PLACEMENT: Mapping[Scope, dict[str, Any]] = {
    "device": {},
    "node": {},
    "pair": {"of": "device", **_PAIRS},
    "group": {"over": "all", **_PAIRS},
}
"""Placement keys of each scope with their defaults.

Groups are over all devices, each ``node``, each ``rail`` (devices of equal place in all nodes),
each ``pair`` of nodes, ``growing`` (one device, two, four, ..., then nodes likewise: a case for
each number), or the nodes of equal value of a label; ``schedule``, ``matchings`` and
``seed`` say which pairs; ``within: rack`` or ``across: site`` leaves one class of them, and of
different values ``schedule: values`` takes one pair for every two. A topology is planned as one
case a class. Disjoint groups are measured as their nodes come to it, mostly at the same time.
``together: true`` starts all groups of a round at one time, so that they contend for
what they share; ``together: false`` measures one group while all others rest. The difference is
contention.
"""

OVER = {
    "node": "nodes",
    "all": "all",
    "rail": "rails",
    "pair": "node_pairs",
    "growing": "growing",
}
"""Kinds of schedule by what groups are over; everything else is the name of a label."""


def schedule_spec(cls: type[Benchmark], place: dict[str, Any]) -> ScheduleSpec:
    """The schedule that an entry's placement keys ask for.

    Raises `UsageError` for a key or value that the benchmark's scope does not take.
    """
    defaults = PLACEMENT[cls.scope]
    for key in place:
        if key not in defaults:
            raise unknown(f"placement of {cls.name} (scope {cls.scope})", key, defaults)
    arguments = {**defaults, **place}
    together = arguments.pop("together", None)
    if not isinstance(together, bool | None):
        raise UsageError(f"together must be true or false, not {together!r}")
    over = str(arguments.pop("over", ""))
    kind = {"device": "devices", "node": "nodes", "pair": "pairs"}.get(cls.scope)
    if kind is None:
        kind = OVER.get(over, "label")
    if kind in ("pairs", "node_pairs"):
        _one_of("of", arguments.get("of", "node"), ("device", "node"))
        _one_of("schedule", arguments["schedule"], PAIRINGS)
        if arguments["within"] and arguments["across"]:
            raise UsageError(
                "within and across are two classes of link", hint="write an entry for each"
            )
        if arguments["schedule"] == "values" and not arguments["across"]:
            raise UsageError(
                "schedule: values lets the values of a label meet",
                hint="say of which, for example across: site",
            )
        for key in ("within", "across"):
            if arguments[key] is None:
                del arguments[key]
            elif not isinstance(arguments[key], str) or not arguments[key]:
                raise UsageError(f"{key} must be a label, not {arguments[key]!r}")
        for key in ("matchings", "seed"):
            least = int(key == "matchings")
            if type(arguments[key]) is not int or arguments[key] < least:
                raise UsageError(
                    f"{key} must be an integer of at least {least}, not {arguments[key]!r}"
                )
        if arguments["matchings"] > MOST_MATCHINGS:
            raise UsageError(
                f"matchings must be at most {MOST_MATCHINGS}, not {arguments['matchings']}"
            )
    elif useless := [key for key in _PAIRS if key in place and key != "together"]:
        raise UsageError(
            f"{useless[0]} says which pairs are measured, and over: {over} has no pairs",
            hint="leave it out, or write over: pair",
        )
    else:
        arguments = {"key": over} if kind == "label" else {}
    if together is not None:
        arguments["together"] = together
    return ScheduleSpec(kind=kind, scope=cls.scope, arguments=arguments)


def check_keys(
    cls: type[Benchmark], axes: Mapping[str, Any], asked: ScheduleSpec, inventory: Inventory
) -> None:
    """Raise `UsageError` for a key that is no axis, and a label that no node carries."""
    fields = axis_fields(cls)
    for key in axes:
        if key not in fields and key in PLACEMENT[cls.scope]:
            _one_of(key, axes[key], PAIRINGS)
        if key not in fields:
            raise unknown(f"key of {cls.name}", key, (*fields, *PLACEMENT[cls.scope], "rule"))
    labels = inventory.labels()
    if asked.kind == "label" and asked.arguments["key"] not in labels:
        raise UsageError(
            f"no node carries the label {asked.arguments['key']!r}, and over: takes "
            f"{', '.join(OVER)} or a label",
            hint=f"labels here: {', '.join(labels) or 'none'}; --labels FILE gives more",
        )


def with_arguments(spec: ScheduleSpec, **arguments: Any) -> ScheduleSpec:
    """The same rule with more arguments."""
    return msgspec.structs.replace(spec, arguments={**spec.arguments, **arguments})


def class_of(spec: ScheduleSpec) -> tuple[str, str]:
    """``("across", "site")``; empty where a schedule is of no single class."""
    for way in ("within", "across"):
        if key := spec.arguments.get(way):
            return way, str(key)
    return "", ""


def _one_of(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unknown(key, str(value), choices)
