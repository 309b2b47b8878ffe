"""The page of benchmarks: what each measures, over which axes, in which metrics."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import msgspec

from ..kernels.costs import SPECS
from ..records import Measure
from ..workloads.base import Benchmark, axis_fields, registry
from .attributes import attribute_docs
from .markdown import code, inline, kind, prose, sections, table, value

_SCOPES = {
    "device": "one device by itself",
    "node": "the devices of one node",
    "pair": "two ranks",
    "group": "a group of ranks: all, a node's, a rail's, those that share a label, growing ones",
}


def built_in() -> dict[str, type[Benchmark]]:
    """The benchmarks that come with hengsuan, by name; those of plugins that are installed not."""
    return {
        name: cls for name, cls in sorted(registry().items()) if cls.__module__.startswith("bench.")
    }


def page() -> str:
    """All benchmarks, by name."""
    found = built_in()
    index = table(
        ("benchmark", "scope", "measures"),
        ((f"[{name}](#{name})", cls.scope, inline(_first(cls))) for name, cls in found.items()),
    )
    return sections(
        "# Benchmarks",
        "A suite names benchmarks with values of their axes; several values of an axis, or a sweep "
        "such as `1KiB..1GiB x4`, are as many cases. `hengsuan show benchmarks` lists them with "
        "those of plugins. Where a suite may write `fitting`, the plan takes one value on an "
        "accelerator and another on devices that only stand in for one.",
        table(("scope", "measured on"), ((code(k), v) for k, v in _SCOPES.items())),
        index,
        *(part for name, cls in found.items() for part in _benchmark(name, cls)),
        *_operations(),
    )


def _first(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n\n")[0]


def _benchmark(name: str, cls: type[Benchmark]) -> Iterator[str]:
    yield f"## {name}"
    yield f"Scope {code(cls.scope)}; declared in {code(cls.__module__)}."
    yield prose(inspect.getdoc(cls) or "")
    yield table(("axis", "default", "values", "meaning"), _axes(cls))
    yield table(
        ("metric", "unit", "better", "what it is"), (_metric(name, one) for one in cls.measures)
    )


def _axes(cls: type[Benchmark]) -> Iterator[tuple[str, str, str, str]]:
    said = attribute_docs(cls)
    for name, field in axis_fields(cls).items():
        about = inline(said.get(name, ""))
        if name in cls.fitting:
            large, small = cls.fitting[name]
            about += f" `fitting`: {code(str(large))}, on a weak device {code(str(small))}."
        yield code(name), _default(field), kind(field.type), about


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return value(field.default_factory())
    return value(field.default)


def _metric(benchmark: str, one: Measure) -> tuple[str, str, str, str]:
    said = one.about + (", of each rank" if one.each and "each rank" not in one.about else "")
    link = f"[{one.name}](metrics.md#{benchmark}-{one.name})"
    return link, one.unit or "–", one.better, inline(said)


def _operations() -> Iterator[str]:
    yield "## Operations"
    yield (
        "What `op` of `compute`, `memory` and `counts` may be. The first variant and dtype are "
        "defaults; FLOPs and bytes of a call are those of `bench.kernels.costs`."
    )
    yield table(
        ("operation", "benchmark", "shape", "variants", "dtypes"),
        (
            (
                code(name),
                spec.kind,
                " × ".join(spec.extents),
                ", ".join(map(code, filter(None, spec.variants))),
                ", ".join(map(code, spec.dtypes)),
            )
            for name, spec in sorted(SPECS.items())
        ),
    )
