"""Which devices there are, what they are called, and what the plugin says of itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from ..backends.registry import match_chip
from ..configs import broken_chips, load_chips
from ..records import Device
from .checks import Subject, check
from .outcome import Fail, NotSupported

_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@check("light-import", ranks=0)
def light_import(subject: Subject) -> str:
    """The plugin is loaded, and asked what is cheap to know, without importing torch."""
    backend = subject.backend
    for what, ask in (
        ("importing the plugin", lambda: None),
        ("present()", backend.present),
        ("versions()", backend.versions),
        ("links()", backend.links),
    ):
        ask()
        if "torch" in sys.modules:
            raise Fail(
                f"{what} imported torch",
                "import torch inside load() and the methods that need it: whoever lists backends "
                "waits for it",
            )
    return "no torch"


@check("discovery", ranks=0)
def discovery(subject: Subject) -> str:
    """The devices of this node are found, twice the same, with what the harness must know."""
    backend = subject.backend
    absent = backend.present()
    if absent:
        raise Fail(f"present() says: {absent}", "return an empty string where devices are")
    first, second = backend.devices(), backend.devices()
    if not first:
        raise Fail("devices() is empty though present() says nothing is amiss")
    # A link that saves power while idle may be another fact for another process.
    lasting, elsewhere = ([replace(one, facts={}) for one in d] for d in (first, subject.devices))
    for one, again, whose in (
        (first, second, "a second call"),
        (lasting, elsewhere, "another process"),
    ):
        if again != one:
            raise Fail(
                f"devices() is not the same in {whose}: {_difference(one, again)}",
                "return only what does not change: no clocks, no free memory",
            )
    return f"{len(first)} device(s)"


def _difference(first: list[Device], second: list[Device]) -> str:
    if len(first) != len(second):
        return f"{len(first)} devices, then {len(second)}"
    one, other = next(pair for pair in zip(first, second, strict=True) if pair[0] != pair[1])
    for name in one.__struct_fields__:
        mine, its = getattr(one, name), getattr(other, name)
        if mine != its:
            return f"{name} of device {one.index} was {mine!r}, then {its!r}"
    return f"device {one.index}"


@check("count")
def count(subject: Subject) -> str:
    """PyTorch counts as many devices as devices() lists."""
    _ = subject.device
    if subject.backend.device_type == "cpu":
        raise NotSupported("PyTorch counts one cpu, however a backend divides its cores")
    counted = _device_count(subject)
    if counted != len(subject.claimed):
        raise Fail(
            f"torch.{subject.backend.device_type}.device_count() is {counted}, devices() lists "
            f"{len(subject.claimed)}",
            "list every device that PyTorch counts, and no other",
        )
    return f"{counted} device(s)"


def _device_count(subject: Subject) -> int:
    ask = getattr(subject.module(), "device_count", None)
    if ask is None:
        raise Fail(
            f"torch.{subject.backend.device_type} has no device_count()",
            "name the module that adds it as `module`, or add it there",
        )
    return int(ask())


@check("identity", ranks=0)
def identity(subject: Subject) -> str:
    """Every device has a name and memory, and serials tell cards apart; a datasheet may fit."""
    devices = subject.devices
    for device in devices:
        if not device.name.strip():
            raise Fail(f"device {device.index} has no name", "give the product's name")
        if not 1 << 26 <= device.memory < 1 << 46:
            raise Fail(
                f"memory of device {device.index} is {device.memory}",
                "give bytes (Device(memory=...)), as the driver reports them",
            )
        if not device.lane:
            raise Fail(
                f"device {device.index} names no lane",
                "give Device(lane=...): devices that share hardware share a lane",
            )
    for problem in broken_chips():
        raise Fail(problem, "figures are SI base units, each with source, date and status")
    serials = [device.serial for device in devices]
    if not all(serials):
        raise NotSupported("no serial: a swapped card will not be noticed")
    if len(set(serials)) < len(serials):
        raise Fail(f"two devices have one serial: {serials}", "give each its own")
    chip = match_chip(devices[0].name, load_chips().values())
    return f"{devices[0].name}: {f'datasheet {chip.name}' if chip else 'no datasheet fits'}"


@check("contract")
def contract(subject: Subject) -> str:
    """Every member that has not a check of its own can be asked, and says what it should."""
    backend, device, index = subject.backend, subject.device, subject.mine.index
    # Types are looked at whenever a member is called (`bench.backends.contract`).
    backend.versions()
    backend.busy(index)
    backend.arch(device)
    if backend.cache(device) < 0:
        raise Fail(f"cache() is {backend.cache(device)}", "give bytes, 0 where it is unknown")
    place = backend.place(device)
    if place and not _PCI.fullmatch(place):
        raise Fail(f"place() is {place!r}", "write a PCI address so: 0000:3b:00.0")
    brought = backend.implementations()
    if not isinstance(brought, Mapping):
        raise Fail(f"implementations() is {brought!r}", "return callables by operation")
    _known_operations(brought)
    _known_functions(backend.functions())
    return "all members"


def _known_functions(brought: Any) -> None:
    from ..workloads.ops import NAMES

    if not isinstance(brought, Mapping):
        raise Fail(f"functions() is {brought!r}", "return callables by operation")
    for name, call in brought.items():
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise Fail(f"functions() brings {name!r}", f"a model has {known}")
        if not callable(call):
            raise Fail(f"functions()[{name!r}] is {call!r}", "give a callable")


def _known_operations(brought: Mapping[str, Any]) -> None:
    from ..kernels.costs import SPECS

    for name, call in brought.items():
        if name not in SPECS:
            known = ", ".join(SPECS)
            raise Fail(f"implementations() brings {name!r}", f"operations are {known}")
        if not callable(call):
            raise Fail(f"implementations()[{name!r}] is {call!r}", "give a callable")
