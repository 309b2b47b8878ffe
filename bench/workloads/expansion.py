"""From axes as a suite writes them to the cases that they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import UsageError, unknown
from ..units import parse_sweep
from .base import Benchmark, Bytes, axis_fields


def expand(
    cls: type[Benchmark],
    axes: Mapping[str, Any],
    *,
    weak: bool = False,
    numa: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """The Cartesian product of axes as a suite writes them: lists, sweeps of sizes, named sets.

    ``weak``: the plan is for devices far slower than accelerators. ``numa``: NUMA nodes
    that any host has.
    """
    for made in choices(cls, axes):
        yield from cls.spread(made, weak=weak, numa=numa)


def choices(cls: type[Benchmark], axes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One value of every axis at a time; named sets stay as they are, and of what a list has twice
    there is one."""
    fields = axis_fields(cls)
    every = []
    for key, value in axes.items():
        if key not in fields:
            raise unknown(f"axis of {cls.name}", key, fields)
        options: list[Any] = []
        for item in value if isinstance(value, list) else [value]:
            sized = fields[key].type is Bytes and isinstance(item, str)
            try:
                sweep = parse_sweep(item) if sized else None
            except ValueError as error:
                raise UsageError(f"{cls.name}.{key}: {error}") from None
            options.extend([item] if sweep is None else map(Bytes, sweep))
        if not options:
            raise UsageError(f"{cls.name}.{key}: an empty list measures nothing")
        every.append(list({repr(one): one for one in options}.values()))
    for chosen in itertools.product(*every):
        yield dict(zip(axes, chosen, strict=True))
