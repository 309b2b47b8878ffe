"""Sections about structs: what they are, their fields, and the structs that these hold."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import msgspec

from .attributes import attribute_docs
from .markdown import code, inline, kind, prose, table, value


def described(roots: Sequence[type], level: int = 3) -> Iterator[str]:
    """A section for each struct, and behind it for those that its fields hold, each once.

    Args:
        roots: Structs.
        level: Of the headings.
    """
    seen: set[type] = set()
    for root in roots:
        yield from _section(root, level, seen)


def _section(struct: type, level: int, seen: set[type]) -> Iterator[str]:
    if struct in seen:
        return
    seen.add(struct)
    yield f"{'#' * level} {struct.__name__.strip('_')}"
    yield prose(inspect.getdoc(struct) or "")
    yield fields_table(struct)
    for field in msgspec.structs.fields(struct):
        for inner in _structs(field.type):
            yield from _section(inner, level, seen)


def fields_table(struct: type) -> str:
    """The fields of a struct: names as files have them, types, defaults, meanings."""
    said = attribute_docs(struct)
    about = inspect.getdoc(struct) or ""
    rows = []
    for field in msgspec.structs.fields(struct):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if isinstance(default, msgspec.Struct):
            default = {}
        usual = "required" if field.required else value(default)
        told = "see above" if f"``{field.name}``" in about else ""
        meaning = inline(said.get(field.name, "")) or told
        rows.append((code(field.encode_name), kind(field.type), usual, meaning))
    meant = any(row[3] for row in rows)
    head = ("key", "type", "default", "meaning")
    return table(head, rows) if meant else table(head[:3], (row[:3] for row in rows))


def undescribed(struct: type) -> list[str]:
    """Fields that neither a string behind them nor the docstring of the struct speaks of."""
    about, said = inspect.getdoc(struct) or "", attribute_docs(struct)
    return [
        field.name
        for field in msgspec.structs.fields(struct)
        if field.name not in said and field.name not in about
    ]


def _structs(given: Any) -> Iterator[type]:
    if isinstance(given, type) and issubclass(given, msgspec.Struct):
        yield given
    for one in get_args(given):
        yield from _structs(one)


def held(roots: Sequence[type]) -> list[type]:
    """The structs and all that their fields hold."""
    found: dict[type, None] = {}
    left = list(roots)
    while left:
        struct = left.pop()
        if struct not in found:
            found[struct] = None
            left += (one for f in msgspec.structs.fields(struct) for one in _structs(f.type))
    return list(found)
