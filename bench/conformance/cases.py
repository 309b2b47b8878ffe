"""What is measured for conformance: every operation, collective and benchmark, in small shapes.

Each part is a suite of its own, a stage for each check; its stages carry the checks' names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import yaml

from ..backends.base import Backend
from ..configs import Suite, load_suite, suite_from_text
from ..configs.search import BUILT_IN as BUILT_IN_CONFIGS
from ..kernels import costs
from ..workloads import BUILT_IN
from ..workloads.base import registry
from ..workloads.collectives import DTYPES, ONE_BUFFER, TWO_BUFFERS, Op

RULE = {"precision": 0.5, "budget": 0.02, "warmup": 0.001, "min_samples": 3, "limit": 120}
"""Values count, not their times: as few samples as the harness takes. ``limit`` is a hang's."""
WITHOUT_DEVICES = ("rdma", "storage", "metadata", "counts")
"""Benchmarks of the hosts' network cards and files, and of what the compiler makes: no device of a
backend takes part."""
SIZE = "64KiB"

Stages = dict[str, list[dict[str, Any]]]


def parts(backend: Backend) -> dict[str, Stages]:
    """Part → check → entries of a suite, for this backend."""
    kernels = _operations("triton", "triton", costs.SPECS, most=1).values()
    return {
        "operations": _operations("op", "torch", costs.SPECS),
        "vendor": _operations("vendor", "vendor", sorted(backend.implementations())),
        "triton": {"triton": [entry for entries in kernels for entry in entries]},
        "collectives": _collectives(),
        "benchmarks": _benchmarks(),
    }


def suite(stages: Stages) -> Suite:
    """The stages as a suite."""
    made = {
        "name": "conformance",
        "rule": RULE,
        "stages": [{"name": name, "benchmarks": entries} for name, entries in stages.items()],
    }
    text = yaml.safe_dump(made, sort_keys=False, width=10_000)
    return suite_from_text(text, "the conformance suite")


def _operations(prefix: str, impl: str, names: Iterable[str], most: int | None = None) -> Stages:
    """Every variant in every dtype (the first ``most``) that the operation has."""
    found: Stages = {}
    for name in names:
        spec = costs.SPECS[name]
        found[f"{prefix}-{name}"] = [
            {
                spec.kind: {
                    "op": name,
                    "variant": variant,
                    "dtype": dtype,
                    "shape": "small",
                    "impl": impl,
                }
            }
            for variant in spec.variants
            for dtype in spec.dtypes[:most]
            if _exists(name, variant, dtype)
        ]
    return found


def _exists(name: str, variant: str, dtype: str) -> bool:
    try:
        costs.cost(name, costs.SPECS[name].small, variant, dtype)
    except ValueError:
        return False
    return True


def _collectives() -> Stages:
    """Every operation in every dtype; in both forms where it has both, and several in flight."""
    found: Stages = {}
    for op in get_args(Op):
        common = {"op": op, "over": "node"}
        if op == "barrier":
            found[f"collective-{op}"] = [{"collectives": common}]
            continue
        entries = [{"collectives": {**common, "size": SIZE, "dtype": list(DTYPES)}}]
        if op not in ONE_BUFFER and op not in TWO_BUFFERS:
            entries.append({"collectives": {**common, "size": SIZE, "buffers": "in_place"}})
        entries.append({"collectives": {**common, "size": SIZE, "in_flight": 3}})
        found[f"collective-{op}"] = entries
    return found


def _benchmarks() -> Stages:
    """The suite ``conformance``: an entry or more for every benchmark of this package.

    Our own, whatever suite of that name a plugin or a user has.
    """
    given: Stages = {}
    for stage in load_suite(BUILT_IN_CONFIGS / "suites" / "conformance.yaml").stages:
        for entry in stage.entries:
            rule = {"rule": entry.rule} if entry.rule else {}
            one = {entry.benchmark: {**entry.axes, **entry.place, **rule}}
            given.setdefault(f"benchmark-{entry.benchmark}", []).append(one)
    return given


def uncovered() -> list[str]:
    """Benchmarks of this package that the suite ``conformance`` lacks; there should be none."""
    built_in = {f"bench.workloads.{module}" for module in BUILT_IN}
    wanted = {name for name, cls in registry().items() if cls.__module__ in built_in}
    covered = {name.partition("-")[2] for name in _benchmarks()}
    return sorted(wanted - covered - set(WITHOUT_DEVICES))
