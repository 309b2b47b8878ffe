"""How long the stages of a suite took in earlier runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from ..errors import HengsuanError
from ..headers import UNDECODABLE, checked
from ..records import Header, Node

_RUNS = 5
"""Runs that are taken, the newest."""
_LOOKED = 50
"""Folders that are looked into for them at most."""


class Durations(msgspec.Struct, frozen=True):
    """``seconds`` by stage, medians over ``runs`` runs."""

    seconds: dict[str, float]
    runs: int


class _Node(msgspec.Struct):
    """What makes a node's stages long; all that it states of itself is passed over."""

    backend: str = ""
    devices: list[msgspec.Raw] = []


class _Told(msgspec.Struct):
    """What is asked of a header: the rest of ``run.json`` is passed over."""

    id: str
    suite: str
    suite_text: str
    state: str
    executor: str
    nodes: list[_Node] = []
    stages: list[dict[str, Any]] = []


def durations(folder: Path, header: Header) -> Durations:
    """Wall time of stages in complete runs of the same suite in a folder, as far as there are some.

    Only runs on as many nodes with as many devices of each backend count: a folder that a rack and
    a laptop share has stages of both.

    A simulated fleet has none: its time is not ours. Neither have runs that were resumed, whose
    stages are there in parts.
    """
    found: dict[str, list[float]] = {}
    runs = 0
    if header.fleet is None:
        for path in _newest(folder, header):
            told = _read(path)
            if told is None or not _alike(told, header):
                continue
            for stage in told.stages:
                found.setdefault(stage["name"], []).append(float(stage["seconds"]))
            runs += 1
            if runs == _RUNS:
                break
    return Durations({name: median(each) for name, each in found.items()}, runs)


def _newest(folder: Path, header: Header) -> list[Path]:
    """Folders that may hold such runs: their names are the time and the suite."""
    try:
        names = sorted(os.listdir(folder), reverse=True)
    except OSError:
        return []
    return [folder / name for name in names if header.suite in name and name != header.id][:_LOOKED]


def _read(path: Path) -> _Told | None:
    """None for what is no run, or none that can be read: then nothing is known of it."""
    try:
        return msgspec.json.decode(checked(path), type=_Told)
    except (HengsuanError, *UNDECODABLE):
        return None


def _sizes(nodes: Iterable[_Node | Node]) -> Counter[tuple[str, int]]:
    """How many nodes have how many devices of which backend."""
    return Counter((node.backend, len(node.devices)) for node in nodes)


def _alike(told: _Told, header: Header) -> bool:
    names = [stage.get("name") for stage in told.stages]
    return (
        told.state == "complete"
        and all(isinstance(name, str) for name in names)
        and all(isinstance(stage.get("seconds"), int | float) for stage in told.stages)
        and (told.suite, told.executor) == (header.suite, header.executor)
        and told.suite_text == header.suite_text
        and _sizes(told.nodes) == _sizes(header.nodes)
        and len(set(names)) == len(names)
    )
