"""YAML with line numbers: every value knows the line that a person would look at.

The language is YAML 1.2's core schema, which is what people expect: ``1e12`` is a number, ``on``
and ``2025-03-01`` are text. Duplicate keys are errors (PyYAML keeps the last and says nothing);
tags and aliases are not used, so a small file cannot grow into a large one.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import yaml

from ..errors import ConfigError

Place: TypeAlias = "tuple[str | int, ...]"
"""Where a value is inside a document: keys and list indices from the top."""

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# The C scanner is five times as fast; builds of PyYAML without it read the same language.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document(msgspec.Struct, frozen=True):
    """A parsed file: plain ``data``, the ``text`` it came from, and the line of every value."""

    path: str
    text: str
    data: Any
    lines: dict[Place, int]

    def where(self, place: Place) -> str:
        """``file:line`` of a value; of the nearest enclosing one where it is not there."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"

    def error(self, place: Place, message: str, hint: str = "") -> ConfigError:
        """The error to raise about a value: says which one, and where it is written."""
        name = dotted(place)
        return ConfigError(
            f"{name}: {message}" if name else message, where=self.where(place), hint=hint
        )


def dotted(place: Place) -> str:
    """``("stages", 0, "name")`` → ``stages[0].name``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        ConfigError: it is not a file of UTF-8 text below 1 MiB that holds one YAML document
            without tags, aliases and duplicate keys; ``where`` is ``file:line``.
    """
    return parse_document(_text(path), str(path))


def parse_document(text: str, path: str) -> Document:
    """Parse YAML text; ``path`` is what errors call it. Raises `ConfigError`."""
    reader = _Reader(text, path)
    try:
        data = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise reader.error(f"not valid YAML: {problem}", mark) from None
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise ConfigError(f"not valid YAML: {problem}", where=path) from None
    return Document(path, text, data, reader.lines)


def _text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ConfigError(f"this is {kind}, not a YAML file", where=str(path))
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise ConfigError("no such file", where=str(path)) from None
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read: {reason}", where=str(path)) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError("longer than 1 MiB: this is no configuration", where=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "not UTF-8 text", where=f"{path}:{line}", hint="save the file as UTF-8"
        ) from None


class _Reader:
    """Builds plain data from YAML events, whose nesting it limits before it can do harm."""

    def __init__(self, text: str, path: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._path = path
        self.lines: dict[Place, int] = {}

    def error(self, message: str, mark: Any, hint: str = "") -> ConfigError:
        where = self._path if mark is None else f"{self._path}:{mark.line + 1}"
        return ConfigError(message, where=where, hint=hint)

    def document(self) -> Any:
        events = self._events
        next(events)  # the stream starts
        if isinstance(next(events), yaml.StreamEndEvent):
            raise ConfigError("the file is empty", where=self._path)
        first = next(events)
        data = self._value(first, ())
        next(events)  # the document ends
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self.error("a second YAML document begins here", after.start_mark, "keep one")
        if data is None:
            raise ConfigError("the file is empty", where=self._path)
        return data

    def _value(self, event: Any, place: Place) -> Any:
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise self.error(
                f"the alias *{event.anchor} is not followed here", mark, "write the value out"
            )
        if event.tag is not None:
            raise self.error(f"the tag {event.tag} is not known here", mark, "leave it away")
        if len(place) > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH} levels", mark)
        # Of a mapping's entry, the line of its key is the one to look at.
        self.lines.setdefault(place, mark.line + 1)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self._items(place))
        return self._mapping(place)

    def _items(self, place: Place) -> Iterator[Any]:
        index = 0
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._value(event, (*place, index))
            index += 1

    def _mapping(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mark = event.start_mark
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise self.error("a key must be plain text", mark)
            key: str = event.value
            inner = (*place, key)
            if key in found:
                raise self.error(
                    f"the key {key!r} is given twice", mark, f"first on line {self.lines[inner]}"
                )
            self.lines[inner] = mark.line + 1
            found[key] = self._value(next(self._events), inner)
        return found

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INTEGER.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
            if len(text) > 19:
                raise self.error(f"{text[:40]} is too large", event.start_mark, "quote it if text")
            return int(text, 16 if "x" in text else 10)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if math.isinf(value):
                raise self.error(f"{text[:40]} is too large", event.start_mark, "quote it if text")
            return value
        return text
