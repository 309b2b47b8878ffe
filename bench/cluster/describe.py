"""What this node is and carries: identity, devices of the chosen backend, host facts."""

from __future__ import annotations

import contextlib
from importlib import metadata

import msgspec

from .. import host
from ..backends.probe import discover
from ..backends.registry import get, match_chip
from ..configs import load_chips
from ..host.facts import affinity, host_facts
from ..records import Device, Node
from . import interfaces


def describe(backend: str | None, share: bool, address: str) -> Node:
    """Probe this node.

    Args:
        backend: Only this backend; None takes the first accelerator that answers, else the CPU.
        share: Keep devices that other processes use (their records say so).
        address: The agent's control address, for the inventory.

    Returns:
        The node; without devices its ``problem`` says why.
    """
    found = discover(backend)
    chosen = next((probe for probe in found if probe.devices), None)
    problems = [f"{probe.name}: {probe.problem}" for probe in found if probe.problem]
    devices: list[Device] = []
    busy: list[str] = []
    if chosen is not None:
        chips = list(load_chips().values())
        driver = get(chosen.name)
        for device in chosen.devices:
            user = "" if share else driver.busy(device.index)
            if user:
                busy.append(f"device {device.index} is in use by {user} (--share measures it)")
                continue
            chip = match_chip(device.name, chips)
            devices.append(
                msgspec.structs.replace(
                    device, chip=chip.name if chip else None, stand_in=driver.stand_in
                )
            )
    if wrong := interfaces.problem():
        # No group of more than one rank would form: said now, not after the first stage.
        problems, devices = [wrong], []
    facts = host_facts()
    if chosen is not None:
        places = {place: str(d.facts["pci"]) for place, d in enumerate(devices) if "pci" in d.facts}
        facts |= {"affinity": affinity(places, facts), "versions": _versions(chosen.name)}
    facts["packages"] = _packages()
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
    except Exception as error:  # a plugin may raise anything
        return {"problem": f"versions() raised {type(error).__name__}: {error}"}
