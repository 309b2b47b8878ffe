"""SYSTEM.yaml of a score: what is declared of a whole system, and no benchmark can measure.

::

    name: Lingang phase one
    dtype: bf16
    pue: {value: 1.22, source: meters of 2026, by month}
    it_power: {value: 640000, devices: 1024, source: rack meters while training}
    device_hours: {allocated: 610000, available: 745000, source: scheduler, October 2026}
    storage: {value: 2e16, source: delivery note}
    chips: [{name: acme-9, count: 1024, origin: self-reliant, source: procurement}]
    frameworks: [{name: PyTorch, count: 96, origin: imported, carries: {acme-9: 1024}}]
    switches: [{name: Acme 64x400G, count: 40, origin: self-reliant}]
    thresholds: {compute_scale: 1e17}

It stands beside what was measured, under the provenance ``declared``, and never in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from .document import Document, Place, read_document
from .typed import convert, unknown_key
from .types import Chip

Origin = Literal["self-reliant", "imported", "unknown"]
"""``self-reliant``: 自主可控, as whoever declares it can show."""
PARTS = ("chips", "frameworks", "switches")


class Stated(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A declared figure, and what it rests on."""

    value: float
    """The figure."""
    source: str
    """What it rests on."""


class ItPower(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Power of all IT equipment while devices trained."""

    value: float
    """Watts."""
    devices: int
    """That trained meanwhile."""
    source: str
    """What it rests on."""


class DeviceHours(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Hours of devices that were allocated to jobs, of those that were available."""

    allocated: float
    """Hours."""
    available: float
    """Hours."""
    source: str
    """What it rests on."""


class Item(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One product of a system."""

    name: str
    """The product; of a chip, its datasheet."""
    count: int
    """How many."""
    origin: Origin
    """Whose it is."""
    source: str = ""
    """What that rests on; a self-reliant one needs it."""
    carries: dict[str, int] = {}
    """By chip, the devices that run on it (a framework) or meet over it (a switch); of a chip it is
    its own count."""


class Facility(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is declared of a system."""

    name: str
    """Of the system."""
    dtype: str = "bf16"
    """The format that its scale is counted in."""
    pue: Stated | None = None
    """Facility energy over IT energy (ISO/IEC 30134-2)."""
    it_power: ItPower | None = None
    """Of all IT equipment."""
    device_hours: DeviceHours | None = None
    """From the scheduler."""
    storage: Stated | None = None
    """Bytes."""
    chips: list[Item] = []
    """Kinds of chip."""
    frameworks: list[Item] = []
    """What trains on them."""
    switches: list[Item] = []
    """What nodes meet over."""
    thresholds: dict[str, float] = {}
    """By the name that a profile gives them, in that metric's unit."""
    note: str = ""
    """What a reader must know."""


def load_facility(path: Path, chips: Mapping[str, Chip], thresholds: Collection[str]) -> Facility:
    """What is declared of a system.

    Args:
        path: The file.
        chips: Datasheets by name.
        thresholds: The names that the profile asks for.

    Raises:
        ConfigError: a figure that cannot be, a chip or a dtype that no datasheet knows, or a
            threshold that the profile does not ask for; ``where`` is ``file:line``.
    """
    document = read_document(path)
    found = convert(document, Facility)
    if not found.name.strip():
        raise document.error(("name",), "must not be empty")
    dtypes = {dtype for chip in chips.values() for dtype in chip.flops}
    if found.dtype not in dtypes:
        raise unknown_key(document, "dtype", found.dtype, dtypes, ("dtype",))
    for place, problem, hint in _impossible(found):
        raise document.error(place, problem, hint)
    for key in PARTS:
        _check_parts(document, key, getattr(found, key), chips)
    for name, value in found.thresholds.items():
        if name not in thresholds:
            raise unknown_key(document, "threshold", name, thresholds, ("thresholds", name))
        if value <= 0:
            raise document.error(("thresholds", name), "must be positive")
    return found


def _impossible(found: Facility) -> Iterator[tuple[Place, str, str]]:
    if found.pue is not None and found.pue.value < 1:
        yield ("pue", "value"), "must be at least 1: a facility takes no less than its IT", ""
    if found.it_power is not None and found.it_power.value <= 0:
        yield ("it_power", "value"), "must be positive, in watts", "1e6 is 1 MW"
    if found.it_power is not None and found.it_power.devices < 1:
        yield ("it_power", "devices"), "must be at least 1", ""
    if found.storage is not None and found.storage.value <= 0:
        yield ("storage", "value"), "must be positive, in bytes", "1e15 is 1 PB"
    hours = found.device_hours
    if hours is not None and hours.available <= 0:
        yield ("device_hours", "available"), "must be positive", ""
    if hours is not None and not 0 <= hours.allocated <= hours.available:
        yield ("device_hours", "allocated"), "must be from 0 to available", ""


def _check_parts(
    document: Document, key: str, items: list[Item], chips: Mapping[str, Chip]
) -> None:
    for index, item in enumerate(items):
        place = (key, index)
        if item.count < 1:
            raise document.error((*place, "count"), "must be at least 1")
        if item.origin == "self-reliant" and not item.source.strip():
            raise document.error(
                place, f"{item.name} is declared self-reliant without a source", "add source: ..."
            )
        if key == "chips" and item.name not in chips:
            raise unknown_key(document, "chip", item.name, chips, (*place, "name"))
        for chip, devices in item.carries.items():
            if chip not in chips:
                raise unknown_key(document, "chip", chip, chips, (*place, "carries", chip))
            if devices < 0:
                raise document.error((*place, "carries", chip), "must not be negative")
