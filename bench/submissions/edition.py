"""Editions: what a submission must have measured (``configs/editions/*.yaml``).

An edition names a suite and pins its text by a digest, so that what it requires never changes
under its name; its own keys say what a submitter may do otherwise::

    name: "2026.1"
    suite: edition-2026.1
    sha256: 3f2a...                     # of the suite's file
    provenance: [measured, stand-in]
    samples: 10                         # at least, behind every value that is measured over time
    changes:
      - {benchmark: gemm, axes: {impl: [triton, vendor]}, reason: ...}
      - {benchmark: stream, axes: {size: larger}, reason: ...}
    optional:
      - {benchmark: transfer, reason: a stand-in has no link to its host}
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..configs import Suite, load_suite
from ..configs.document import Document, read_document
from ..configs.search import path_of
from ..configs.typed import convert
from ..errors import UsageError, unknown
from ..records import Provenance, ScheduleSpec
from ..timing import Rule
from ..workloads.base import Benchmark, axis_fields, make, registry
from ..workloads.expansion import expand
from ..workloads.placement import schedule_spec

LARGER = "larger"
"""What stands for every value of an axis above the required one."""
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,40}(?<!\.yaml)(?<!\.yml)")


class Change(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What may be measured instead."""

    benchmark: str
    """Of this one."""
    axes: dict[str, Any]
    """Other values of these axes; ``larger``: every value above the required one."""
    reason: str
    """Why that is fair."""


class Optional(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What may be skipped, by chips that cannot do it."""

    benchmark: str
    """Its name."""
    reason: str
    """Why that is fair."""
    where: dict[str, Any] = {}
    """Limits it to values of axes."""


class Edition(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The rules of one edition."""

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    suite: str
    """That must be measured."""
    sha256: str
    """Of the suite's file."""
    provenance: list[Provenance]
    """That a submission may have."""
    samples: int = 10
    """At least, behind every value that is measured over time."""
    changes: list[Change] = []
    """What may be measured instead."""
    optional: list[Optional] = []
    """What may be skipped."""


class Requirement(msgspec.Struct, frozen=True):
    """One thing that must have been measured: a benchmark, where, how often, by which rule."""

    bench: Benchmark
    spec: ScheduleSpec
    repeats: int
    rule: Rule


def load_edition(name: str) -> Edition:
    """An edition by name, never by path: a submission may say anything.

    Raises:
        UsageError: there is none of this name.
        ConfigError: its file does not say what it must, or its suite is not the one it pins.
    """
    if not _NAME.fullmatch(name):
        raise unknown("edition", name, ())
    document = read_document(path_of("editions", name))
    edition = convert(document, Edition)
    if edition.name != name:
        raise document.error(("name",), f"must be {name!r}, as the file is called")
    if edition.samples < 1:
        raise document.error(("samples",), "must be at least 1")
    for key in ("changes", "optional"):
        for index, one in enumerate(getattr(edition, key)):
            _check_axes(document, one, (key, index))
    suite_of(edition, document)
    return edition


def _check_axes(document: Document, one: Change | Optional, place: tuple[str | int, ...]) -> None:
    known = registry()
    if one.benchmark not in known:
        where = document.where((*place, "benchmark"))
        raise unknown("benchmark", one.benchmark, known, where=where)
    key = "axes" if isinstance(one, Change) else "where"
    fields = axis_fields(known[one.benchmark])
    for axis in getattr(one, key):
        if axis not in fields:
            where = document.where((*place, key, axis))
            raise unknown(f"axis of {one.benchmark}", axis, fields, where=where)


def suite_of(edition: Edition, document: Document | None = None) -> Suite:
    """The suite that an edition pins. Raises `UsageError` if its text is another one here."""
    suite = load_suite(edition.suite)
    digest = hashlib.sha256(suite.text.encode()).hexdigest()
    if digest != edition.sha256:
        message = (
            f"edition {edition.name} pins another text of the suite {edition.suite} than the one "
            f"here, whose digest is {digest}"
        )
        hint = "an edition never changes: a new suite needs a new edition"
        if document is not None:
            raise document.error(("sha256",), message, hint)
        raise UsageError(message, hint=hint)
    return suite


def requirements(edition: Edition, *, weak: bool) -> Iterator[Requirement]:
    """All that an edition requires; ``weak``: in the sizes of devices that are far slower."""
    suite = suite_of(edition)
    known = registry()
    for stage in suite.stages:
        for entry in stage.entries:
            cls = known[entry.benchmark]
            for axes in expand(cls, entry.axes, weak=weak):
                yield Requirement(
                    make(entry.benchmark, axes),
                    schedule_spec(cls, entry.place),
                    stage.repeats,
                    rule_of(suite, entry.rule),
                )


def rule_of(suite: Suite, own: dict[str, float]) -> Rule:
    """The stopping rule of an entry: the suite's, with the entry's own keys."""
    merged = {**suite.rule, **own}
    merged.pop("limit", None)
    return msgspec.convert(merged, Rule)


def laxer(rule: Rule, required: Rule) -> list[str]:
    """What a rule asks less of than the required one, in words; empty if nothing."""
    least = ("budget", "warmup", "sustained", "min_samples", "max_samples")
    said = [
        f"{key} {getattr(rule, key):g} is below {getattr(required, key):g}"
        for key in least
        if getattr(rule, key) < getattr(required, key)
    ]
    if rule.precision > required.precision:
        said.append(f"precision {rule.precision:g} is above {required.precision:g}")
    return said


def allowed(edition: Edition, required: Benchmark, axis: str, value: Any) -> bool:
    """Whether a value of an axis may stand in the place of the required one."""
    wanted = getattr(required, axis)
    if value == wanted:
        return True
    for change in edition.changes:
        if change.benchmark != required.name or axis not in change.axes:
            continue
        instead = change.axes[axis]
        if instead == LARGER:
            return isinstance(value, (int, float)) and value > wanted
        if str(value) in map(str, instead if isinstance(instead, list) else [instead]):
            return True
    return False


def optional(edition: Edition, bench: Benchmark) -> str:
    """Why a benchmark with these axes may be skipped; empty if it may not."""
    for one in edition.optional:
        if one.benchmark == bench.name and all(
            str(getattr(bench, axis)) in map(str, value if isinstance(value, list) else [value])
            for axis, value in one.where.items()
        ):
            return one.reason
    return ""
