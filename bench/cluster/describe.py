"""What this node is and carries: identity, devices of the chosen backend, host facts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import msgspec

from .. import host
from ..backends.base import Backend
from ..backends.probe import Probe, discover, memory_limit
from ..backends.registry import get, match_chip
from ..configs import Chip, load_chip, load_chips
from ..errors import BackendError
from ..host.facts import affinity, host_facts
from ..records import Device, Node
from ..units import format_value
from . import interfaces


def describe(
    backend: str | None,
    share: bool,
    address: str,
    *,
    stands_for: str = "",
    impose_memory: bool = False,
) -> Node:
    """Probe this node.

    Args:
        backend: Only this backend; None takes the first accelerator that answers, else the CPU.
        share: Keep devices that other processes use (their records say so).
        address: The agent's control address, for the inventory.
        stands_for: The chip that the devices stand in for; empty: they stand for themselves.
        impose_memory: Leave them as much memory as that chip has.

    Returns:
        The node; without devices its ``problem`` says why. Where it has some, a stack that could
        not say what it has is the fact ``broken``, by backend.
    """
    found = _discovered(backend)
    chosen = next((probe for probe in found if probe.devices), None)
    problems = [f"{probe.name}: {probe.problem}" for probe in found if probe.problem]
    devices: list[Device] = []
    busy: list[str] = []
    if chosen is not None:
        try:
            driver = get(chosen.name)
            devices, busy = _devices(chosen, driver, share, stands_for)
            if impose_memory and devices:
                devices = _limited(devices, load_chip(stands_for))
        except BackendError as error:
            problems, devices = [f"{chosen.name}: {error.message}"], []
    if wrong := interfaces.problem():
        # No group of more than one rank would form: said now, not after the first stage.
        problems, devices = [wrong], []
    facts = host_facts()
    if chosen is not None:
        places = {place: str(d.facts["pci"]) for place, d in enumerate(devices) if "pci" in d.facts}
        facts |= {"affinity": affinity(places, facts), "versions": _versions(chosen.name)}
        facts |= _links(chosen.name)
    facts["packages"] = _packages()
    if broken := {probe.name: probe.problem for probe in found if probe.broken}:
        facts["broken"] = broken
    return Node(
        id=host.machine_id(),
        name=host.hostname(),
        machine=host.machine_id(),
        address=address,
        backend=chosen.name if chosen is not None else "",
        collectives=get(chosen.name).collectives if chosen is not None else "",
        devices=tuple(devices),
        facts=facts,
        problem="; ".join([*problems, *busy]) if not devices else "",
        busy=tuple(busy),
    )


def passed_over(nodes: Iterable[Node]) -> list[str]:
    """Where something else is measured because a stack that is there is broken, in sentences."""
    return [
        f"node {node.name}: {name} {problem}; {node.backend} is measured in its place"
        for node in nodes
        for name, problem in node.facts.get("broken", {}).items()
        if node.devices
    ]


def _discovered(backend: str | None) -> list[Probe]:
    """What the backends find; where two quarrel over this node, that is its problem."""
    try:
        return discover(backend)
    except BackendError as error:
        if backend is not None:
            raise
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        return [Probe("devices", problem=text)]


def _devices(
    chosen: Probe, driver: Backend, share: bool, stands_for: str
) -> tuple[list[Device], list[str]]:
    """The devices to measure, with their datasheets, and who uses others."""
    chips = list(load_chips().values())
    devices, busy = [], []
    for device in chosen.devices:
        user = "" if share else driver.busy(device.index)
        if user:
            busy.append(f"device {device.index} is in use by {user} (--share measures it)")
            continue
        chip = match_chip(device.name, chips)
        devices.append(
            msgspec.structs.replace(
                device,
                chip=chip.name if chip else None,
                dies=device.dies if device.dies > 1 else driver.dies_per_card,
                stand_in=driver.stand_in or bool(stands_for),
                stands_for=stands_for,
                weak=driver.stand_in,
            )
        )
    return devices, busy


def _limited(devices: list[Device], chip: Chip) -> list[Device]:
    """The devices with as little memory as a chip has. Raises `BackendError` if that cannot be."""
    if chip.memory is None:
        raise BackendError(f"the datasheet of {chip.name} does not say how much memory it has")
    limit = int(chip.memory.value)
    for device in devices:
        if device.memory <= limit:
            raise BackendError(
                f"device {device.index} has {format_value(device.memory, 'B')} of memory, and "
                f"{chip.name} {format_value(limit, 'B')}: there is nothing to limit"
            )
    if why := memory_limit(devices[0].backend, limit):
        raise BackendError(f"the memory of {chip.name} cannot be imposed: {why}")
    return [msgspec.structs.replace(device, memory=limit) for device in devices]


def _links(backend: str) -> dict[str, Any]:
    """The links between this node's devices as a fact, by the pair's indices (``0-1``)."""
    try:
        found = get(backend).links()
    except BackendError as error:
        return {"links_problem": error.message}
    said = {
        f"{one.a}-{one.b}": {"kind": one.kind}
        | ({"bandwidth": one.bandwidth} if one.bandwidth is not None else {})
        for one in found
    }
    return {"links": said} if said else {}


def _packages() -> dict[str, str]:
    """Versions of what computes, as the ranks of this node will import it."""
    found = {}
    for name in ("torch", "triton", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _versions(backend: str) -> dict[str, str]:
    try:
        return dict(get(backend).versions())
    except BackendError as error:
        return {"problem": error.message}
