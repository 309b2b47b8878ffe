"""The page of files that hengsuan reads: their grammar, and those that come with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..configs import (
    PAIRINGS,
    PLACEMENT,
    RULE,
    Chip,
    Cluster,
    Entry,
    Facility,
    Gate,
    Kind,
    ModelConfig,
    Profile,
    facility,
    labels,
    load_chip,
    load_cluster,
    load_gate,
    load_model,
    load_profile,
    load_suite,
    suite,
    waivers,
)
from ..configs.search import BUILT_IN
from ..kernels.model_costs import ModelShape, parameters
from ..submissions import edition, system
from ..timing import Rule
from ..units import format_value
from .attributes import attribute_docs
from .markdown import code, inline, prose, sections, table
from .structs import described

STRUCTS: tuple[type, ...] = (
    Profile,
    Gate,
    Chip,
    Cluster,
    ModelConfig,
    edition.Edition,
    Facility,
    system.System,
)
"""What the files but suites, labels and waivers are read as."""


def built_in(kind: Kind) -> list[str]:
    """The names of a kind that come with hengsuan; not those of the user or of plugins."""
    return sorted(path.stem for path in (BUILT_IN / kind).glob("*.yaml"))


def page() -> str:
    """All kinds of file."""
    return sections(
        "# Files that hengsuan reads",
        "YAML, found by name in the folders of `HENGSUAN_CONFIG_PATH`, in `~/.config/hengsuan`, "
        "among those that come with hengsuan, then in `configs/` of plugins; or given by path. "
        "`hengsuan show config` says which file a name is read from. What is wrong in one is said "
        "with file and line.",
        "## Suites",
        prose(inspect.getdoc(suite) or ""),
        f"Keys of an entry that are no axes: {', '.join(map(code, (*PLACEMENT, 'rule')))}; "
        f"`schedule` where it is {', '.join(map(code, PAIRINGS))}.",
        prose(inspect.getdoc(Entry) or ""),
        _rule(),
        _listed("suites", lambda name: load_suite(name).description),
        "## Profiles",
        _listed("profiles", lambda name: load_profile(name).description),
        "## Gates",
        _listed("gates", lambda name: load_gate(name).description),
        "## Clusters",
        _listed("clusters", lambda name: load_cluster(name).description),
        "## Models",
        _models(),
        "## Editions",
        prose(inspect.getdoc(edition) or ""),
        _listed("editions", lambda name: edition.load_edition(name).description),
        "## Chips",
        _chips(),
        "## System of a score",
        prose(inspect.getdoc(facility) or ""),
        "## System of a submission",
        prose(inspect.getdoc(system) or ""),
        "## Labels",
        prose(inspect.getdoc(labels) or ""),
        "## Waivers",
        prose(inspect.getdoc(waivers) or ""),
        "# Parts of these files",
        *described(STRUCTS, level=2),
    )


def _rule() -> str:
    said = attribute_docs(Rule)
    about = inspect.getdoc(Rule) or ""
    rows = [
        (code(name), inline(said.get(name, "see above")), f"{getattr(Rule(), name):g}")
        for name in RULE
        if hasattr(Rule(), name)
    ]
    return sections(
        f"A rule, of a suite or of an entry: {inline(about)}",
        table(("key", "meaning", "default"), rows),
        "`limit` is the wall-clock limit of a job, in seconds or as a duration. Without it every "
        "part of a job has a limit of its own, which grows with what the parts before have taken: "
        "a large case may take long, and who hangs in one part is ended all the same.",
    )


def _listed(kind: Kind, about: Callable[[str], str]) -> str:
    return table((kind[:-1], "about"), ((code(one), inline(about(one))) for one in built_in(kind)))


def _models() -> str:
    found = [load_model(name) for name in built_in("models")]
    return table(
        ("model", "weights", "layers", "width", "tokens a sequence", "experts"),
        (
            (
                code(one.name),
                format_value(parameters(ModelShape.of(one)), ""),
                str(one.layers),
                str(one.dim),
                str(one.seq),
                f"{one.top_k} of {one.experts}" if one.experts else "–",
            )
            for one in found
        ),
    )


def _chips() -> str:
    return table(
        ("chip", "vendor", "peak", "memory", "bandwidth"),
        map(_chip, map(load_chip, built_in("chips"))),
    )


def _chip(chip: Chip) -> tuple[str, ...]:
    def said(figure: Any, unit: str) -> str:
        if figure is None:
            return "unknown"
        mark = "" if figure.status == "vendor" else f" ({figure.status})"
        return format_value(figure.value, unit) + mark

    peaks = ", ".join(f"{name} {said(one, 'FLOP/s')}" for name, one in chip.flops.items())
    return (
        code(chip.name),
        inline(chip.vendor),
        peaks or "unknown",
        said(chip.memory, "B"),
        said(chip.memory_bandwidth, "B/s"),
    )
