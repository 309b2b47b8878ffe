"""The datasheet that a device is held against: its card's, undisputed and divided by its dies."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..records import Device
from .types import Chip, Figure

_FIGURES = ("memory", "memory_bandwidth", "link", "host_link", "network", "tdp", "units")
_SHARED = ("memory", "memory_bandwidth", "link", "host_link", "tdp", "units")
"""Figures of a card that its dies share; ``network`` is a node's."""


def undisputed(chip: Chip) -> Chip:
    """A datasheet without its disputed figures, which are no reference of anything."""
    keep = {dtype: one for dtype, one in chip.flops.items() if one.status != "disputed"}
    gone = {key: None for key in _FIGURES if _disputed(getattr(chip, key))}
    return msgspec.structs.replace(chip, flops=keep, **gone)


def _disputed(figure: Figure | None) -> bool:
    return figure is not None and figure.status == "disputed"


def datasheet(device: Device, chips: Mapping[str, Chip]) -> Chip | None:
    """What is known of a device beyond dispute; None where no datasheet fits.

    Datasheets speak of cards. A card that shows itself as several devices (`Device.dies`) gives
    each an equal share; a device that stands in for another chip is held against the whole of it.
    """
    found = chips.get(device.judged_as or "")
    if found is None:
        return None
    chip = undisputed(found)
    if device.dies == 1 or device.stands_for:
        return chip
    shared = {key: figure for key in _SHARED if (figure := getattr(chip, key)) is not None}
    return msgspec.structs.replace(
        chip,
        flops={dtype: _share(figure, device.dies) for dtype, figure in chip.flops.items()},
        **{key: _share(figure, device.dies) for key, figure in shared.items()},
    )


def _share(figure: Figure, dies: int) -> Figure:
    return msgspec.structs.replace(
        figure,
        value=figure.value / dies,
        note="; ".join(filter(None, (figure.note, f"one of {dies} dies of the card"))),
        claims=[msgspec.structs.replace(one, value=one.value / dies) for one in figure.claims],
    )
