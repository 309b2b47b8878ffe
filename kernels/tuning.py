"""Block sizes, warps and stages for an operation on an architecture, from ``tuned/<arch>.yaml``.

A plain function of architecture, operation, dtype and shape: no search at run time, and nothing
that needs a device to be asked. `hengsuan tune` searches, and writes the tables.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "tuned"

_forced: dict[str, dict[str, int]] = {}


@dataclass(frozen=True)
class Asked:
    """A question that `config` was asked."""

    arch: str
    op: str
    dtype: str
    facts: Mapping[str, int]

    def entries(self) -> list[dict[str, Any]]:
        """Entries of the architecture's own table that could answer it, the first of which did."""
        return [
            entry
            for entry in table(self.arch).get(self.op, [])
            if self.dtype in entry.get("dtypes", [self.dtype]) and _fits(entry, self.facts)
        ]


_asked: list[Asked] | None = None


@functools.cache
def table(arch: str) -> dict[str, Any]:
    """All configurations of an architecture; those of ``generic`` where it has no file."""
    path = FOLDER / f"{arch}.yaml"
    if not path.exists():
        path = FOLDER / "generic.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded or {}


def config(arch: str | None, op: str, dtype: str, **facts: int) -> dict[str, int]:
    """The first entry of the operation whose dtypes and bounds fit.

    Args:
        arch: ``sm_90``, ``gfx942``, ... (None and unknown ones take ``generic``).
        op: Key of the table: an operation or one of its kernels (``attention_backward``).
        dtype: Element type, ``fp32`` and so on.
        facts: What an entry's ``min_<fact>`` and ``max_<fact>`` are compared with.

    Raises:
        ValueError: the tables have nothing that fits.
    """
    if _asked is not None:
        _asked.append(Asked(arch or "generic", op, dtype, dict(facts)))
    if op in _forced:
        return _forced[op]
    return _config(arch or "generic", op, dtype, tuple(sorted(facts.items())))


@functools.cache
def _config(arch: str, op: str, dtype: str, facts: tuple[tuple[str, int], ...]) -> dict[str, int]:
    for source in (table(arch), table("generic")):
        for entry in source.get(op, []):
            if dtype in entry.get("dtypes", [dtype]) and _fits(entry, dict(facts)):
                return {str(key): int(value) for key, value in entry["config"].items()}
    said = "".join(f", {key} {value}" for key, value in facts)
    raise ValueError(f"no configuration for {op} in {dtype} on {arch}{said}")


@dataclass(frozen=True)
class Target:
    """How the cross-compiler is told of an architecture, and the shared memory of a program."""

    target: tuple[Any, ...]
    shared: int


@functools.cache
def targets() -> dict[str, Target]:
    """Architectures that stock Triton compiles for, by name."""
    found = {name: table(name).get("compiler") for name in architectures()}
    return {
        name: Target(tuple(said["target"]), int(said["shared"]))
        for name, said in found.items()
        if said
    }


def lacks(arch: str, dtype: str) -> bool:
    """Whether kernels cannot use ``dtype`` on the architecture (its table's ``without``)."""
    return dtype in table(arch).get("without", [])


def _fits(entry: Mapping[str, Any], facts: Mapping[str, int]) -> bool:
    return all(
        facts[key[4:]] >= bound if key.startswith("min_") else facts[key[4:]] <= bound
        for key, bound in entry.items()
        if key.startswith(("min_", "max_"))
    )


@contextmanager
def forcing(op: str, chosen: Mapping[str, int]) -> Iterator[None]:
    """Use this configuration of ``op`` inside, whatever the tables say: the search does."""
    before = _forced.get(op)
    _forced[op] = dict(chosen)
    try:
        yield
    finally:
        del _forced[op]
        if before is not None:
            _forced[op] = before


@contextmanager
def watching() -> Iterator[list[Asked]]:
    """Collect what `config` is asked inside: which entries of a table an operation uses."""
    global _asked
    before, _asked = _asked, []
    try:
        yield _asked
    finally:
        _asked = before


def meta(chosen: Mapping[str, int]) -> dict[str, int]:
    """The compiler's part of a configuration: warps and stages."""
    return {key: chosen[key] for key in ("num_warps", "num_stages") if key in chosen}


def architectures() -> list[str]:
    """Architectures with a table of their own."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
