"""Plain data to typed structs; every error names the value, its line and what would be right."""

from __future__ import annotations

import functools
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from ..errors import UsageError, unknown
from .document import Document, Place, dotted

T = TypeVar("T")

WANTED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
"""How sentences call what a value must be."""


def convert(document: Document, kind: type[T]) -> T:
    """The whole document as ``kind``, a msgspec struct.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing key, or a value of
            the wrong type; ``where`` is ``file:line``.
    """
    value: T = convert_value(document, document.data, kind, ())
    return value


def convert_value(document: Document, value: Any, kind: Any, place: Place) -> Any:
    """One value of a document as ``kind``: struct, list, dict, Literal, scalar or a union of such.

    Of a union the member counts that takes a list where one is written, as of ``X | list[X]``.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        kinds = [one for one in arguments if one is not types.NoneType]
        fitting = [one for one in kinds if (get_origin(one) is list) == isinstance(value, list)]
        return convert_value(document, value, (fitting or kinds)[0], place)
    if origin is Literal:
        if value not in arguments:
            raise unknown_key(document, str(place[-1]), str(value), arguments, place)
        return value
    if origin is list:
        if not isinstance(value, list):
            raise wrong(document, value, "a list", place)
        return [
            convert_value(document, item, arguments[0], (*place, index))
            for index, item in enumerate(value)
        ]
    if origin is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        if not isinstance(value, dict):
            raise wrong(document, value, "keys with values", place)
        if origin is dict:
            return {
                key: convert_value(document, item, arguments[1], (*place, key))
                for key, item in value.items()
            }
        return _struct(document, value, kind, place)
    return _scalar(document, value, kind, place)


def unknown_key(document: Document, kind: str, name: str, known: Any, place: Place) -> UsageError:
    """The error for a name that nothing answers to, at its line, nearest names first."""
    return unknown(kind, name, map(str, known), where=document.where(place))


def wrong(document: Document, value: Any, wanted: str, place: Place) -> UsageError:
    """The error for a value of another type than ``wanted``."""
    said, hint = mistaken(value, wanted)
    return document.error(place, said, hint)


def mistaken(value: Any, wanted: str) -> tuple[str, str]:
    """What is to be said of a value of another type than ``wanted``, and a hint or none."""
    hint = ""
    if wanted == WANTED[bool] and str(value).lower() in ("yes", "no", "on", "off"):
        hint = "write true or false"
    elif wanted == WANTED[str] and isinstance(value, (int, float)):
        hint = f'put it in quotes: "{value}"'
    return f"must be {wanted}, not {_describe(value)}", hint


def _struct(document: Document, value: dict[str, Any], kind: Any, place: Place) -> Any:
    fields = _fields(kind)
    for key in value:
        if key not in fields:
            inside = f"key in {dotted(place)}" if place else "key"
            raise unknown_key(document, inside, key, fields, (*place, key))
    for name, field in fields.items():
        if field.required and name not in value:
            needed = ", ".join(n for n, f in fields.items() if f.required)
            raise document.error(place, f"the key {name!r} is missing", f"needed here: {needed}")
    return kind(
        **{
            key: convert_value(document, item, fields[key].type, (*place, key))
            for key, item in value.items()
        }
    )


@functools.cache
def _fields(kind: Any) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a struct by name. Types written as text are evaluated anew at every asking."""
    return {field.name: field for field in msgspec.structs.fields(kind)}


def _scalar(document: Document, value: Any, kind: type, place: Place) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not kind:
        raise wrong(document, value, WANTED[kind], place)
    return value


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "keys with values"
    return f"the number {value}"
