"""What two runs say differently of the software and hardware that they ran on.

Of a last good and a first bad run this is where to look first. Only what a header declares can be
told: versions, kernels, drivers, firmware, variables, plugins, the suite, the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...records import Header

_STATED = ("versions", "drivers", "packages", "kernel", "microcode", "governor", "smt")
"""Facts of a node that decide how fast it is and that somebody changes."""
_MOST = 60
"""Characters of a value that are shown."""


def differences(good: Header, bad: Header) -> list[str]:
    """What changed, a phrase each: ``driver 535.1 → 550.2``; nodes last."""
    before, after = _said(good), _said(bad)
    found = [
        f"{name} {_short(before.get(name))} → {_short(after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    if good.suite != bad.suite:
        found.append(f"suite {good.suite} → {bad.suite}")
    elif good.suite_text != bad.suite_text:
        found.append(f"the text of suite {bad.suite}")
    return found + _nodes(good, bad)


def _said(header: Header) -> dict[str, str]:
    """By name what all of it says; what nodes say differently is told together."""
    found = dict(_leaves(header.environment, ""))
    on: dict[str, set[str]] = {}
    facts = [node.facts for node in header.nodes]
    if header.fleet is not None:
        facts.append(header.fleet.facts)
    for one in facts:
        stated = {name: one[name] for name in _STATED if name in one}
        for name, value in _leaves(stated, "node "):
            on.setdefault(name, set()).add(value)
    for node in header.nodes:
        for device in node.devices:
            if device.firmware:
                on.setdefault("firmware", set()).add(device.firmware)
    return found | {name: ", ".join(sorted(values)) for name, values in on.items()}


def _leaves(value: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """(name, value): the names of parts are said, but ``versions``, which says nothing."""
    for key, inside in value.items():
        if isinstance(inside, Mapping):
            plain = key in ("versions", "drivers", "packages", "variables")
            yield from _leaves(inside, above if plain else f"{above}{key} ")
        else:
            yield f"{above}{key}", str(inside)


def _nodes(good: Header, bad: Header) -> list[str]:
    before, after = ({node.name for node in one.nodes} for one in (good, bad))
    found = []
    if gone := sorted(before - after):
        found.append(_short(f"nodes that are gone: {', '.join(gone)}"))
    if come := sorted(after - before):
        found.append(_short(f"nodes that are new: {', '.join(come)}"))
    counts = [one.fleet.count if one.fleet is not None else 0 for one in (good, bad)]
    if counts[0] != counts[1]:
        found.append(f"{counts[0]} → {counts[1]} simulated nodes")
    return found


def _short(text: str | None) -> str:
    if text is None:
        return "none"
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"
