"""Block sizes, warps and stages for an operation on an architecture, from ``tuned/<arch>.yaml``.

A plain function of architecture, operation, dtype and shape: no search at run time, and nothing
that needs a device to be asked. `hengsuan tune` searches, and writes the tables. Folders given to
`look_in` come before this package's own: the first that has an architecture's file wins.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import tables
from .space import COMPILER, by_pointers

FOLDER = Path(__file__).parent / "tuned"

_folders: tuple[Path, ...] = ()
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


def look_in(folders: Iterable[Path]) -> None:
    """Take tables from these folders first, in this order; from nowhere else but this package."""
    global _folders
    given = tuple(folders)
    if given != _folders:
        _folders = given
        forget()


def forget() -> None:
    """Read the tables again when they are next asked for: a file has changed."""
    for cached in (table, targets, _config):
        cached.cache_clear()


def path_of(arch: str) -> Path | None:
    """The file of an architecture's own table; None where it has none."""
    paths = (folder / f"{arch}.yaml" for folder in (*_folders, FOLDER))
    return next((path for path in paths if path.is_file()), None)


@functools.cache
def table(arch: str) -> dict[str, Any]:
    """All configurations of an architecture; those of ``generic`` where it has no file.

    Raises `tables.TableError` with the file and what is wrong with it.
    """
    path = path_of(arch)
    if path is None:
        return table("generic")
    found = tables.read(path)
    if arch == "generic" and path.parent != FOLDER:
        _complete(found, tables.read(FOLDER / path.name))
    return found


def _complete(mine: dict[str, Any], built_in: Mapping[str, Any]) -> None:
    """Put what the built-in table says behind another ``generic`` one: some entry must fit."""
    for key, entries in built_in.items():
        if key in tables.SETTINGS:
            continue
        given = mine.setdefault(key, [])
        known = [_bounds(entry) for entry in given]
        if {} not in known:  # an entry without bounds fits all that is left
            given.extend(entry for entry in entries if _bounds(entry) not in known)


def _bounds(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "config"}


def source(arch: str) -> str:
    """Which files answer for an architecture, with digests: ``sm_90 built-in 1a2b3c4d, ...``."""
    found = []
    for name in dict.fromkeys((arch, "generic")):
        path = path_of(name)
        if path is not None:
            folder = "built-in" if path.parent == FOLDER else str(path)
            found.append(f"{name} {folder} {tables.digest(path)}")
    return ", ".join(found)


def config(arch: str | None, op: str, dtype: str, **facts: int) -> dict[str, int]:
    """The first entry of the operation whose dtypes and bounds fit.

    Where the installed Triton has no tensor descriptors (before 3.4), with the same blocks, moved
    by pointers.

    Args:
        arch: ``sm_90``, ``gfx942``, ... (None and unknown ones take ``generic``).
        op: Key of the table: an operation or one of its kernels (``attention_backward``).
        dtype: Element type, ``fp32`` and so on.
        facts: What an entry's ``min_<fact>`` and ``max_<fact>`` are compared with.

    Raises:
        ValueError: the tables have nothing that fits, or one of them is broken.
    """
    if _asked is not None:
        _asked.append(Asked(arch or "generic", op, dtype, dict(facts)))
    if op in _forced:
        return _forced[op]
    return _config(arch or "generic", op, dtype, tuple(sorted(facts.items())))


@functools.cache
def _config(arch: str, op: str, dtype: str, facts: tuple[tuple[str, int], ...]) -> dict[str, int]:
    name, number = place(arch, op, dtype, dict(facts))
    entry = table(name)[op][number]
    chosen = {str(key): int(value) for key, value in entry["config"].items()}
    return chosen if not chosen.get("tma") or described() else by_pointers(op, chosen)


@functools.cache
def described() -> bool:
    """Whether kernels can make tensor descriptors; True where no Triton is installed to say so."""
    try:
        import triton.language as language
    except ImportError:
        return True
    return hasattr(language, "make_tensor_descriptor")


def place(arch: str, op: str, dtype: str, facts: Mapping[str, int]) -> tuple[str, int]:
    """Whose table answers, the architecture's or ``generic``, and the number of the entry.

    Raises ValueError where neither has one that fits.
    """
    for name in (arch, "generic"):
        for number, entry in enumerate(table(name).get(op, [])):
            if dtype in entry.get("dtypes", [dtype]) and _fits(entry, facts):
                return (name if path_of(name) else "generic"), number
    said = "".join(f", {key} {value}" for key, value in facts.items())
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
    """The compiler's part of a configuration: warps, stages and registers."""
    return {key: chosen[key] for key in COMPILER if key in chosen}


def evictions(chosen: Mapping[str, int]) -> dict[str, str]:
    """A kernel's constants that tell the cache which lines to give up first: those that were
    loaded, those that were stored."""
    given = {"LOADS": "first_loads", "STORES": "first_stores"}
    return {name: "evict_first" if chosen.get(one) else "" for name, one in given.items()}


def architectures() -> list[str]:
    """Architectures with a table of their own."""
    found = (folder.glob("*.yaml") for folder in (*_folders, FOLDER))
    return sorted({path.stem for paths in found for path in paths})
