"""Which backends there are: built-in ones, and those of other distributions.

A plugin names its class in the entry-point group ``hengsuan.backends``. One that cannot be
imported is listed with its error and breaks nothing. A plugin may replace a built-in backend by
taking its name. ``HENGSUAN_BACKENDS=a,b`` limits the list.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

import msgspec

from ..configs import Chip
from ..errors import BackendError, unknown
from .base import ACCEPTED, Backend

BUILT_IN = {"cuda": "bench.backends.cuda:Cuda", "cpu": "bench.backends.cpu:Cpu"}


class Listed(msgspec.Struct, frozen=True):
    """A backend by name: where it comes from, and why it cannot be used (empty: it can)."""

    name: str
    origin: str
    problem: str = ""


@functools.cache
def _origins() -> dict[str, tuple[str, str]]:
    """Name → (``module:Class``, distribution)."""
    found = {name: (path, "built in") for name, path in BUILT_IN.items()}
    for entry in entry_points(group="hengsuan.backends"):
        origin = entry.dist.name if entry.dist is not None else entry.value
        found[entry.name] = (entry.value, origin)
    allowed = [name for name in os.environ.get("HENGSUAN_BACKENDS", "").split(",") if name]
    return {name: found[name] for name in found if not allowed or name in allowed}


@functools.cache
def _load(name: str) -> Backend | str:
    """The backend, or in a sentence why it cannot be used."""
    path, _ = _origins()[name]
    module, _, attribute = path.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
        version = getattr(cls, "api_version", None)
        if version not in ACCEPTED:
            spoken = " and ".join(map(str, ACCEPTED))
            return f"speaks version {version} of the backend contract, this harness {spoken}"
        backend = cls()
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"import of {path} failed: {type(error).__name__}: {error}"
    if not isinstance(backend, Backend):
        return f"{path} is no subclass of bench.backends.base.Backend"
    if backend.name != name:
        return f"{path} calls itself {backend.name!r}; its entry point calls it {name!r}"
    problem = _bad_tolerance(backend.tolerances) or _bad_pattern(backend.kernel_patterns)
    return problem or backend


def _bad_tolerance(declared: object) -> str:
    """Why these are no tolerances. At 1 a result of noise or of zeros would be right."""
    if not isinstance(declared, Mapping):
        return f"tolerances: got {declared!r}, takes relative errors by dtype"
    for dtype, limit in declared.items():
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 <= limit < 1:
            return f"tolerances: got {limit!r} for {dtype}, takes a number from 0 up to 1"
    return ""


def _bad_pattern(declared: object) -> str:
    """Why these are no patterns for the kernel's log."""
    if not isinstance(declared, Mapping):
        return (
            f"kernel_patterns: got {declared!r}, takes regular expressions by what they are about"
        )
    for about, pattern in declared.items():
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            return f"kernel_patterns: {about}: {pattern!r} is no regular expression: {error}"
    return ""


def get(name: str) -> Backend:
    """The backend of that name.

    Raises:
        UsageError: nothing answers to the name (lists what there is).
        BackendError: it is there and cannot be used.
    """
    if name not in _origins():
        raise unknown("backend", name, _origins())
    found = _load(name)
    if isinstance(found, str):
        raise BackendError(found, where=f"backend {name}")
    return found


def listing() -> list[Listed]:
    """Every backend, usable or not, in the order in which they are probed."""
    loaded = {name: _load(name) for name in _origins()}

    def order(name: str) -> tuple[int, str]:
        found = loaded[name]
        return (found.priority if isinstance(found, Backend) else 0, name)

    return [
        Listed(name, _origins()[name][1], found if isinstance(found := loaded[name], str) else "")
        for name in sorted(loaded, key=order)
    ]


def match_chip(device_name: str, chips: Iterable[Chip]) -> Chip | None:
    """The datasheet whose ``match`` fits the device's name best (longest); None if none does."""
    name = device_name.lower()
    fitting = [(len(word), chip) for chip in chips for word in chip.match if word.lower() in name]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None
