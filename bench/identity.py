"""Which hardware a node is: by its machine id, its devices' serials and firmware, never its name.

History and certificates survive a rename and notice a swapped card. A machine id is confidential
(``machine-id(5)``), so that only a hash of it, made for this purpose alone, goes into what is
handed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from .records import Header, Node

_PURPOSE = b"hengsuan identity\n"


class Card(msgspec.Struct, kw_only=True, frozen=True):
    """One device: its backend, its chip (or the name it gives itself), serial and firmware."""

    backend: str
    chip: str
    serial: str = ""
    firmware: str = ""

    def said(self) -> str:
        """``acme-1 GPU-52a3``."""
        return f"{self.chip} {self.serial or 'without a serial'}"


class Identity(msgspec.Struct, kw_only=True, frozen=True):
    """One node: a hash of its machine id, empty where it has none, and its devices in order."""

    machine: str = ""
    devices: tuple[Card, ...] = ()

    def key(self) -> str:
        """Equal for the same machine with the same devices; empty where nothing identifies it."""
        serials = sorted(card.serial for card in self.devices)
        if not self.machine and not any(serials):
            return ""
        return _hash("\0".join([self.machine, *serials]))

    def device_key(self, index: int) -> str:
        """Equal for the same device wherever it sits; without a serial, in the same place."""
        serial = self.devices[index].serial
        if serial:
            return _hash(serial)
        return _hash(f"{self.machine}\0{index}") if self.machine else ""


def identity_of(node: Node) -> Identity:
    """Which hardware a node is."""
    machine = _hash(node.machine) if node.machine else ""
    return Identity(
        machine=machine,
        devices=tuple(
            Card(
                backend=device.backend,
                chip=device.chip or device.name,
                # A processor that stands in for an accelerator has its machine's id for a serial.
                serial=device.serial.replace(node.machine, machine)
                if node.machine
                else device.serial,
                firmware=device.firmware,
            )
            for device in node.devices
        ),
    )


def identities(header: Header) -> list[Identity]:
    """The identity of every node of a run, in their order.

    Simulated ones are known by name, within fleets of one size and chip.
    """
    fleet = header.fleet
    if fleet is None:
        return [identity_of(node) for node in header.nodes]
    which = f"{fleet.prefix}-{fleet.count}x{fleet.devices}"
    return [
        Identity(
            machine=_hash(f"{which}-{fleet.chip}-{node:05d}"),
            devices=tuple(
                Card(backend=fleet.backend, chip=fleet.chip, serial=f"{which}-{node}/{index}")
                for index in range(fleet.devices)
            ),
        )
        for node in range(fleet.count)
    ]


def differences(before: Identity, now: Identity) -> list[str]:
    """What tells two identities apart, in sentences; empty where it is the same hardware.

    Firmware counts: another one may perform otherwise.
    """
    return list(_differences(before, now))


def _differences(before: Identity, now: Identity) -> Iterator[str]:
    if not before.machine and not any(card.serial for card in before.devices):
        yield "nothing identifies the hardware: it has no machine id and no serials"
    if before.machine != now.machine:
        ids = [one.machine[:12] or "without an id" for one in (now, before)]
        yield f"it is another machine ({ids[0]}, not {ids[1]})"
    if any(not card.serial for card in (*before.devices, *now.devices)):
        if len(before.devices) != len(now.devices):
            yield f"it has {len(now.devices)} device(s), not {len(before.devices)}"
        pairs = list(zip(before.devices, now.devices, strict=False))
    else:
        was = {card.serial: card for card in before.devices}
        has = {card.serial: card for card in now.devices}
        for serial in was.keys() - has.keys():
            yield f"the device {was[serial].said()} is not there any more"
        for serial in has.keys() - was.keys():
            yield f"the device {has[serial].said()} was not there before"
        pairs = [(was[serial], has[serial]) for serial in was if serial in has]
    for old, new in pairs:
        if (old.backend, old.chip) != (new.backend, new.chip):
            yield f"the device {old.said()} is now {new.said()} of backend {new.backend}"
        elif old.firmware != new.firmware:
            yield (
                f"the firmware of {old.said()} is {new.firmware or 'unknown'}, "
                f"not {old.firmware or 'unknown'}"
            )


def _hash(text: str) -> str:
    return hashlib.sha256(_PURPOSE + text.encode()).hexdigest()[:32]
