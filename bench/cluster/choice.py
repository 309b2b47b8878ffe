"""A suite otherwise than its file says: a part of it, or with other values of an axis."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ..configs import Entry, StageConfig, Suite, suite_from_text
from ..errors import UsageError, unknown
from ..workloads.axes import plain_axis
from ..workloads.base import axis_fields, make, registry, title_of
from ..workloads.expansion import choices


def only(suite: Suite, wanted: str) -> Suite:
    """The suite with those checks alone that ``wanted`` names, as reports print them.

    Args:
        suite: The whole suite.
        wanted: A title (``gemm 8192x8192x8192 bf16 torch``), the beginning of one, one with more
            behind it (its metric, say), or a pattern with ``*``.

    Raises `UsageError` with the titles that are near if nothing fits.
    """
    stages: list[dict[str, Any]] = []
    for stage in suite.stages:
        entries = [one for entry in stage.entries for one in _chosen(entry, wanted)]
        if entries:
            stages.append(_stage(stage, entries))
    if not stages:
        titles = {title for s in suite.stages for e in s.entries for title in _titles(e)}
        raise unknown(f"check of suite {suite.name}", wanted, titles)
    kept = {one["name"] for one in stages}
    for one in stages:
        one["needs"] = [name for name in one["needs"] if name in kept]
    return _written(suite, stages, f"a part of suite {suite.name}")


def with_axis(suite: Suite, key: str, value: Any) -> Suite:
    """The suite with this value of an axis in every entry of a benchmark that has the axis.

    Raises `UsageError` if none of its benchmarks has it.
    """
    known = registry()
    stages, found = [], 0
    for stage in suite.stages:
        entries = []
        for entry in stage.entries:
            axes = entry.axes
            if entry.benchmark in known and key in axis_fields(known[entry.benchmark]):
                axes, found = {**axes, key: value}, found + 1
            entries.append(_plainly(entry, axes))
        stages.append(_stage(stage, entries))
    if not found:
        raise UsageError(f"no benchmark of suite {suite.name} has an axis {key!r}")
    return _written(suite, stages, f"suite {suite.name} with {key}={value}")


def _written(suite: Suite, stages: list[dict[str, Any]], where: str) -> Suite:
    """A suite of these stages, with the text that a run keeps of it."""
    text = yaml.dump(
        {"name": suite.name, "rule": suite.rule, "stages": stages},
        Dumper=_Plain,
        sort_keys=False,
        width=10_000,
    )
    return suite_from_text(text, where)


def _plainly(entry: Entry, axes: Mapping[str, Any]) -> dict[str, Any]:
    rule = {"rule": entry.rule} if entry.rule else {}
    return {entry.benchmark: {**axes, **entry.place, **rule}}


class _Plain(yaml.SafeDumper):
    """Writes what several checks share in each: our documents follow no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _stage(stage: StageConfig, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": stage.name,
        "needs": stage.needs,
        "repeats": stage.repeats,
        "benchmarks": entries,
    }


def _chosen(entry: Entry, wanted: str) -> Iterator[dict[str, Any]]:
    for axes in _choices(entry):
        if any(_fits(title, wanted) for title in _titled(entry, axes)):
            yield _plainly(entry, {key: plain_axis(value) for key, value in axes.items()})


def _choices(entry: Entry) -> list[dict[str, Any]]:
    known = registry()
    if entry.benchmark not in known:
        raise unknown("benchmark", entry.benchmark, known)
    return list(choices(known[entry.benchmark], entry.axes))


def _titled(entry: Entry, axes: dict[str, Any]) -> Iterator[str]:
    """What the case may be called: a named set stands for several."""
    cls = registry()[entry.benchmark]
    for weak in (False, True):
        for made in cls.spread(axes, weak=weak, numa=()):
            try:
                yield title_of(make(entry.benchmark, made))
            except UsageError:
                continue  # a plan says so, with file and line


def _titles(entry: Entry) -> Iterator[str]:
    for axes in _choices(entry):
        yield from _titled(entry, axes)


def _fits(title: str, wanted: str) -> bool:
    return (
        fnmatch.fnmatchcase(title, wanted)
        or f"{title} ".startswith(f"{wanted} ")
        or f"{wanted} ".startswith(f"{title} ")
    )
