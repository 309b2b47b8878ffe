"""Whether a submission's labels fit its devices, datasheets and plugins: rules P1 to P4."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from .. import __version__
from ..backends.registry import BUILT_IN, get, match_chip, ours
from ..configs import Chip
from ..headers import RUN, UNDECODABLE
from ..records import PROVENANCES, Device, Header
from ..results import Columns
from .archive import MANIFEST
from .findings import Finding, Level
from .manifest import Manifest, Plugin, version_of
from .plugins import installed_otherwise, measured_by, used
from .prepared import Run


def check_labels(manifest: Manifest, run: Run, known: Mapping[str, Chip]) -> Iterator[Finding]:
    """Labels that are mixed, or do not fit the devices; ``known``: datasheets that are here."""
    where = f"{run.where}/{RUN}"
    if run.header.provenance != manifest.provenance:
        text = f"the run is {run.header.provenance}, the manifest says {manifest.provenance}"
        yield _finding("P1", text, where)
    others = _others(run.columns, run.header.provenance)
    if others:
        text = f"rows are {', '.join(others)}, the run is {run.header.provenance}"
        yield _finding("P1", text, f"{run.where}/measurements.jsonl")
    devices = [device for node in run.header.nodes for device in node.devices]
    stand_in = any(device.stand_in for device in devices)
    if stand_in != (run.header.provenance == "stand-in"):
        said = "stand in for accelerators" if stand_in else "are called no stand-ins"
        yield _finding("P2", f"the run is {run.header.provenance}, its devices {said}", where)
    if any(one.backend != node.backend for node in run.header.nodes for one in node.devices):
        yield _finding("P2", "its devices are of other backends than their nodes", where)
    for text in dict.fromkeys(filter(None, map(_mislabelled, devices))):
        yield _finding("P2", text, where)
    for text in dict.fromkeys(filter(None, (_another_chip(one, known) for one in devices))):
        yield _finding("P3", text, where, level="undecided")


def _others(columns: Columns, provenance: str) -> list[str]:
    found = {PROVENANCES[index] for index in set(columns.provenance.tolist())}
    return sorted(found - {provenance})


def _mislabelled(device: Device) -> str:
    """What a device says of itself that cannot be so; empty if all can."""
    if device.dies < 1:
        return f"{device.name!r} is called one of {device.dies} dies of its card"
    if device.stands_for and not device.stand_in:
        return f"{device.name!r} stands for {device.stands_for} and is called no stand-in"
    if device.weak and not device.stand_in:
        return f"{device.name!r} is called far slower than an accelerator, and no stand-in"
    if device.backend in BUILT_IN and ours(device.backend):
        weak = get(device.backend).stand_in
        if weak and not device.stand_in:
            return f"devices of {device.backend} stand in for accelerators, and are called none"
        if weak != device.weak:
            slow = "far slower than accelerators" if device.weak else "as fast as accelerators"
            return f"devices of {device.backend} are called {slow}, and are not"
    return ""


def _another_chip(device: Device, known: Mapping[str, Chip]) -> str:
    """That a device's name is that of another chip than it says; empty if it is not."""
    here = match_chip(device.name, known.values())
    if here is None or here.name == device.chip:
        return ""
    said = f"of {device.chip}" if device.chip else "of none"
    return f"{device.name!r} has the datasheet {here.name} here, and is judged by that {said}"


def read_chips(
    manifest: Manifest, members: Mapping[str, bytes], known: Mapping[str, Chip]
) -> tuple[dict[str, Chip], list[Finding]]:
    """The datasheets of the archive, and what is wrong with them."""
    chips: dict[str, Chip] = {}
    findings = []
    names = {name.split("/")[1].removesuffix(".json") for name in members if name[:6] == "chips/"}
    for name in sorted(set(manifest.chip_names) | names):
        where = f"chips/{name}.json"
        if where not in members:
            findings.append(_finding("P3", "the datasheet of a device is not there", where))
            continue
        try:
            chip = msgspec.json.decode(members[where], type=Chip)
        except UNDECODABLE as error:
            findings.append(_finding("P3", f"it is no datasheet: {error}", where))
            continue
        if problem := _impossible(chip, name, manifest):
            findings.append(_finding("P3", problem, where))
            continue
        chips[name] = chip
        if name not in known:
            text = "its figures are the submitter's: no datasheet of this chip is here"
            findings.append(_finding("P3", text, where, level="note"))
        elif known[name] != chip:
            text = f"it is not the datasheet of {name} that is here"
            findings.append(_finding("P3", text, where, level="undecided"))
    return chips, findings


def _impossible(chip: Chip, name: str, manifest: Manifest) -> str:
    """Why this is the datasheet of no device of the runs; empty if it may be."""
    figures = [*chip.flops.values(), chip.memory, chip.memory_bandwidth, chip.link]
    figures += [chip.host_link, chip.network, chip.tdp]
    if any(one and not 0 < one.value < math.inf for one in figures):
        return "its figures are not positive"
    if chip.name != name or name not in manifest.chip_names:
        return f"it is of {chip.name}, of no device"
    if chip.simulated:
        return "this chip exists in simulations only"
    return ""


def check_plugins(manifest: Manifest, runs: Sequence[Run]) -> Iterator[Finding]:
    """Code of others that took part and is not named, or is not what it says."""
    provided = {one for plugin in manifest.plugins for one in plugin.provides}
    backends, benchmarks = used(run.header for run in runs)
    needed = [f"backend {name}" for name in sorted(backends - BUILT_IN.keys())]
    needed += [f"benchmark {name}" for name in sorted(benchmarks)]
    for what in needed:
        if what not in provided:
            yield _finding("P4", f"the {what} took part, and no plugin is named for it", MANIFEST)
    for plugin in manifest.plugins:
        if installed_otherwise(plugin):
            yield _finding("P4", f"{_named(plugin)} is installed here with other files", MANIFEST)
        for run in runs:
            if problem := _not_measured_by(plugin, run.header):
                yield _finding("P4", f"{_named(plugin)} {problem}", f"{run.where}/{RUN}")


def _not_measured_by(plugin: Plugin, header: Header) -> str:
    """Why a plugin is not the one that this run was measured with; empty if it may be."""
    if plugin.provides == ["package"]:
        return ""  # runs note backends and benchmarks alone
    was = measured_by(plugin, header)
    if was:
        return "" if was == plugin.sha256 else "had other files when this was measured"
    return "is not in what was installed" if version_of(header) == __version__ else ""


def _named(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}"


def _finding(rule: str, text: str, where: str = "", *, level: Level = "finding") -> Finding:
    return Finding(rule=rule, level=level, text=text, where=where)
