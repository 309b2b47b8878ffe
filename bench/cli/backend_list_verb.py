"""``hengsuan backend list``: every backend, whether it can be used here, and what it finds."""

from __future__ import annotations

from typing import Any

import click

from .json_output import JSON, print_json
from .scoring import SPEAKING
from .verbs import Verb


@click.command(cls=Verb, name="list")
@SPEAKING
@JSON
def command(as_json: bool) -> int:
    """List every backend: from where, usable or why not, its devices, on what it was tested.

    In the order in which they are asked for devices: the first that has some is used, where no
    --backend is given. HENGSUAN_BACKENDS=a,b leaves only those.
    """
    from ..backends.registry import listing
    from ..report.language import spoken
    from ..report.terminal import console, print_list

    found = [_entry(one) for one in listing()]
    if as_json:
        print_json(found)
        return 0
    rows = [
        (
            one["backend"],
            one["origin"],
            spoken(one["state"]),
            _counted(one["devices"]) or one["problem"],
            "" if one["state"] == "unusable" else one["tested"] or "untested on hardware",
            "" if one["state"] == "unusable" else str(one["priority"]),
        )
        for one in found
    ]
    columns = (
        "backend",
        "from",
        "state",
        "devices, or why there are none",
        "tested on",
        "priority",
    )
    print_list(console(), columns, rows)
    return 0


def _entry(listed: Any) -> dict[str, Any]:
    """A backend in plain values. ``state``: unusable, absent (no such devices) or present."""
    from ..backends.probe import probe

    problem, devices = listed.problem, []
    if not problem:
        seen = probe(listed.name)
        problem, devices = seen.problem, [device.name for device in seen.devices]
    return {
        "backend": listed.name,
        "origin": listed.origin,
        "state": "unusable" if listed.problem else "present" if devices else "absent",
        "problem": problem,
        "devices": devices,
        "tested": listed.tested,
        "priority": listed.priority,
    }


def _counted(names: list[str]) -> str:
    """``2 x Acme One``."""
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
