"""Labels of a real cluster's nodes, from a file that lists nodes by label and value.

A label file::

    site:
      beijing: node-[001-016],gpu-7
      shanghai: [node-017, node-018, "edge-*"]
    rack:
      r1: node-[001-008]

A node is written as its name (short or full), address or Ray id. ``node-[001-016,020],gpu-7`` are
names as Slurm writes them, ``*`` and ``?`` stand for any characters and one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ConfigError
from ..hostlists import SEPARATOR, expand
from ..records import Node
from .document import Document, Place, read_document
from .typed import wrong

RESERVED = ("all", "node", "pair", "rail")
"""What ``over:`` of a suite means by itself: a label of that name could never be asked for."""
_NAME = re.compile(r"\w[\w.-]{0,62}")


class Labelled(msgspec.Struct, frozen=True):
    """One item of the file: nodes whose name fits get the label. ``where`` is ``file:line``."""

    label: str
    value: str
    written: str
    names: tuple[str, ...]
    where: str


def load_labels(path: str | Path) -> list[Labelled]:
    """The label file's items, in the order written.

    Raises `ConfigError` with ``file:line`` for what is no label, no value or no list of nodes.
    """
    document = read_document(Path(path))
    found = []
    for label, values in _mapping(document, document.data, (), "labels with values"):
        if not _NAME.fullmatch(label):
            raise document.error((label,), "a label holds letters, digits, '.', '_' and '-' only")
        if label in RESERVED:
            raise document.error(
                (label,),
                f"{label!r} has a meaning of its own in suites",
                "choose another name",
            )
        for value, nodes in _mapping(document, values, (label,), "values with lists of nodes"):
            place = (label, value)
            if not _NAME.fullmatch(value):
                raise document.error(place, "a value holds letters, digits, '.', '_' and '-' only")
            listed = nodes if isinstance(nodes, list) else [nodes]
            if not listed:
                raise wrong(document, nodes, "a list of nodes", place)
            for index, written in enumerate(listed):
                here = (*place, index)
                for text in SEPARATOR.split(_text(document, written, here)):
                    names = expanded(document, text.strip(), here)
                    found.append(Labelled(label, value, text.strip(), names, document.where(here)))
    return found


def label_nodes(nodes: Sequence[Node], items: Sequence[Labelled]) -> tuple[list[Node], list[str]]:
    """The nodes with the labels of a file, which come before those that they carry already.

    Returns:
        The nodes, and in sentences what of the file fits no node: a list may name nodes that are
        down, or left out of this run.

    Raises:
        ConfigError: a node gets two values of one label, or nothing of the file fits any node.
    """
    if not items:
        return list(nodes), []
    given: list[dict[str, Labelled]] = [{} for _ in nodes]
    called: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in _names(node):
            called.setdefault(name, []).append(index)
    idle = []
    for item in items:
        fitting = sorted({index for name in item.names for index in _fitting(name, called)})
        if not fitting:
            idle.append(item)
        for index in fitting:
            before = given[index].setdefault(item.label, item)
            if before.value != item.value:
                raise ConfigError(
                    f"node {nodes[index].name} is of {item.label} {item.value} here and of "
                    f"{before.value} at {before.where}",
                    where=item.where,
                    hint="a node has one value of a label",
                )
    if len(idle) == len(items):
        raise ConfigError(
            f"labels none of the {len(nodes)} node(s) here",
            where=items[0].where.rpartition(":")[0],
            hint=f"nodes: {', '.join(sorted(node.name for node in nodes)[:8])}",
        )
    notes = [f"{one.where}: {one.label} {one.value}: no node here is {one.written}" for one in idle]
    labelled = [
        msgspec.structs.replace(
            node, labels={**node.labels, **{key: one.value for key, one in mine.items()}}
        )
        for node, mine in zip(nodes, given, strict=True)
    ]
    return labelled, notes


def _mapping(
    document: Document, value: Any, place: Place, wanted: str
) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise wrong(document, value, wanted, place)
    return iter(value.items())


def _text(document: Document, written: Any, place: Place) -> str:
    if isinstance(written, str) and all(map(str.strip, written.split(","))):
        return written
    raise wrong(document, written, "a node's name, or a list of nodes", place)


def expanded(document: Document, text: str, place: Place) -> tuple[str, ...]:
    """`hostlists.expand`. Raises `ConfigError` with ``file:line``."""
    try:
        return tuple(expand(text))
    except ValueError as error:
        raise document.error(place, str(error), "write node-[001-016,020]") from None


def _names(node: Node) -> set[str]:
    """What a node is called: by name, short name, address and id."""
    short, _, domain = node.name.partition(".")
    host = node.address.rpartition(":")[0]
    known = {node.name, node.id, host, "" if short.isdigit() and domain else short}
    return known - {""}


def _fitting(name: str, called: dict[str, list[int]]) -> Iterator[int]:
    if "*" not in name and "?" not in name:
        yield from called.get(name, ())
        return
    for known, indices in called.items():
        if fnmatchcase(known, name):
            yield from indices
