"""Which stored runs a run may be compared with: of the same chips, under the same driver.

A baseline is keyed by what it was measured on: the kinds of chip, the versions of their drivers and
whether it was measured, simulated or on stand-ins. A folder of runs is searched by that key; a run
that was named and has another key is refused, with what differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ...errors import InfraError, UsageError
from ...headers import RUN, read_header, uid_of
from ...inventory import Inventory
from ...records import Header
from ...runs import list_runs

MOST = 10
"""Runs of a folder that are compared with, the newest: older ones say little of today."""
_SHOWN = 3


class Key(msgspec.Struct, frozen=True):
    """What runs must have in common: kinds of chip, drivers, and the provenance as reports say it.

    A driver of which nobody says the version is one of its own.
    """

    chips: tuple[str, ...]
    drivers: tuple[str, ...]
    label: str

    def said(self) -> str:
        """``acme-1, driver 550.2 (measured)``."""
        return f"{', '.join(self.chips) or 'no device'}, {self.driver} ({self.label})"

    @property
    def driver(self) -> str:
        """``driver 550.2``."""
        known = [one or "unknown" for one in self.drivers]
        return f"driver{'s'[: len(known) > 1]} {' and '.join(known) or 'unknown'}"


class Chosen(msgspec.Struct, kw_only=True, frozen=True):
    """Runs to compare with, the oldest first, and what the reader must know of the choice."""

    paths: list[Path]
    notes: list[str]


def key_of(header: Header) -> Key:
    """By what a run is found."""
    kinds = Inventory(header.nodes, header.fleet).kinds()[1]
    facts = [node.facts for node in header.nodes]
    if header.fleet is not None:
        facts.append(header.fleet.facts)
    drivers = {str(one.get("versions", {}).get("driver", "")) for one in facts}
    return Key(tuple(sorted(kinds)), tuple(sorted(drivers)), header.label)


def choose(given: Sequence[Path], run: Path, *, any_driver: bool = False) -> Chosen:
    """The baselines that are meant by runs and folders of runs.

    Args:
        given: Runs, which must fit, and folders of runs, whose newest that fit are taken.
        run: What is judged; it is never its own baseline.
        any_driver: Runs under other drivers fit as well: the driver is what is judged.

    Raises:
        UsageError: a named run that does not fit, or that is the one which is judged.
    """
    header = read_header(run)
    wanted = key_of(header)
    found: list[Path] = []
    notes: list[str] = []
    for path in dict.fromkeys(given):
        if not path.is_dir() or (path / RUN).exists():
            found.append(_named(path, run, header, wanted, any_driver))
        else:
            chosen = _searched(path, header, wanted, any_driver)
            found += chosen.paths
            notes += chosen.notes
    # A run that was given twice says no more of how much runs differ.
    headers = {uid_of(one): (one, path) for path in found for one in [read_header(path)]}
    known = sorted(headers.values(), key=lambda each: each[0].started)
    found = [path for _, path in known]
    of = {key_of(one).driver for one, _ in known} - {wanted.driver}
    if of:
        notes.append(f"baselines under {', '.join(sorted(of))}, the run under {wanted.driver}")
    return Chosen(paths=found, notes=notes)


def _named(path: Path, run: Path, header: Header, wanted: Key, any_driver: bool) -> Path:
    before = read_header(path)
    if uid_of(before) == uid_of(header):
        raise UsageError(f"{path} is the run that is judged: it cannot be its own baseline")
    key = key_of(before)
    if not _fits(key, wanted, any_driver):
        alike = msgspec.structs.replace(key, drivers=wanted.drivers) == wanted
        raise UsageError(
            f"{path} is of {key.said()}, {run} of {wanted.said()}",
            hint="if the driver is what is judged, say --any-driver"
            if alike
            else "a baseline is of the same kind of chip, and measured or simulated alike",
        )
    return path


def _searched(folder: Path, header: Header, wanted: Key, any_driver: bool) -> Chosen:
    fitting: list[Path] = []
    judged = uid_of(header)
    others: Counter[str] = Counter()
    notes = []
    for info in list_runs(folder):
        if info.started and info.started > header.started:
            continue
        try:
            before = read_header(Path(info.path))
        except (UsageError, InfraError) as error:
            notes.append(f"{info.path} is left out: {error.message}")
            continue
        if uid_of(before) == judged:
            continue
        if before.suite != header.suite:
            others[f"suite {before.suite}"] += 1
        elif before.state != "complete":
            others[f"runs that are {before.state}"] += 1
        elif _fits(key := key_of(before), wanted, any_driver):
            fitting.append(Path(info.path))
        else:
            others[key.said()] += 1
    if not fitting:
        held = "; ".join(f"{count} of {name}" for name, count in others.most_common(_SHOWN))
        notes.append(
            f"{folder} has no earlier run of suite {header.suite} on {wanted.said()}"
            + (f": it has {held}" if held else "")
        )
    return Chosen(paths=fitting[-MOST:], notes=notes)


def _fits(key: Key, wanted: Key, any_driver: bool) -> bool:
    if any_driver:
        key = msgspec.structs.replace(key, drivers=wanted.drivers)
    return key == wanted
