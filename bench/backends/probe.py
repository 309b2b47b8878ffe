"""Which devices this node has, by which backend: each is asked in a process of its own."""

from __future__ import annotations

import itertools

import msgspec

from ..errors import BackendError
from ..records import Device
from . import isolated
from .registry import examined, get, listing, ours


class Probe(msgspec.Struct, frozen=True):
    """What a backend found on this node: devices, or why there are none."""

    name: str
    devices: list[Device] = []
    problem: str = ""


def discover(wanted: str | None = None) -> list[Probe]:
    """Probe this node's backends in order of priority.

    Without ``wanted`` the search ends at the first that has devices. With it, only that backend
    is asked.

    Raises:
        UsageError: nothing answers to the name.
        BackendError: two backends of one priority both have devices: somebody must choose.
    """
    if wanted is not None:
        get(wanted)
        return [probe(wanted)]
    found: list[Probe] = []
    usable = []
    for listed in listing():
        if listed.problem:
            found.append(Probe(listed.name, problem=listed.problem))
        else:
            usable.append(listed)
    for priority, equals in itertools.groupby(usable, key=lambda listed: listed.priority):
        probes = [probe(listed.name) for listed in equals]
        claims = [one.name for one in probes if one.devices]
        if len(claims) > 1:
            raise BackendError(
                f"backends {' and '.join(claims)} both find devices here and have one priority "
                f"({priority})",
                hint=f"choose one (--backend {claims[0]}), or allow one "
                f"(HENGSUAN_BACKENDS={claims[0]})",
            )
        found += probes
        if claims:
            break
    return found


def probe(name: str, limit: float | None = None) -> Probe:
    """Devices of one backend on this node, asked for at most ``limit`` seconds.

    Never raises for what the backend does.
    """
    said = examined(name)
    if problem := said.problem or said.absent:
        return Probe(name, problem=problem)
    if ours(name):  # a plugin was asked already, elsewhere
        backend = get(name)
        if absent := backend.present():
            return Probe(name, problem=absent)
        if backend.device_type == "cpu":
            # Nothing is imported to count cores, so nothing can crash: no process is needed.
            return Probe(name, devices=backend.devices())
    wanted = limit or isolated.limit()
    devices, problem = isolated.ask(name, "devices", kind=list[Device], limit=wanted)
    if problem:
        return Probe(name, problem=problem)
    return Probe(name, devices=devices, problem="" if devices else "has no device")


def architecture(name: str) -> str | None:
    """Triton's architecture of a backend's first device; None where it has no Triton target.

    Raises `BackendError` if it cannot be asked.
    """
    found: str | None
    found, problem = isolated.ask(name, "arch", kind=str | None, limit=isolated.limit())
    if problem:
        text = f"its architecture cannot be asked: it {problem}"
        raise BackendError(text, where=f"backend {name}")
    return found


def memory_limit(name: str, limit: int) -> str:
    """Why ``limit`` bytes cannot be imposed on a device of a backend; empty if they can."""
    why: str
    why, problem = isolated.ask(name, "memory", str(limit), kind=str, limit=isolated.limit())
    return f"it {problem}" if problem else why
