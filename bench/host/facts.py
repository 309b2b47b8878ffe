"""All facts of this host that a run keeps, for comparison with its neighbours.

What is unknown is left out: a reader must not take it for a value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import kernel_log, network, pcie, rdma
from .cores import expand, governor, memory_total
from .files import ROOT, entries, read
from .identity import boot_id
from .processors import cpu_model


def host_facts(root: Path = ROOT) -> dict[str, Any]:
    """Facts by name, some of them nested; bytes, bit/s, lanes.

    ``boot``, ``kernel``, ``cpu``, ``microcode``, ``cpus`` (that this process may use),
    ``governor``, ``smt``, ``huge_pages``, ``memory``, ``numa`` (cpus and memory by node),
    ``interfaces`` (`network.interfaces`), ``rdma`` (`rdma.devices`), ``pcie`` (`pcie.links`),
    ``drivers`` (versions of their kernel modules) and ``kernel_log`` (``readable`` or why not).
    """
    numa = _numa(root)
    links, interfaces, remote = pcie.links(root), network.interfaces(root), rdma.devices(root)
    held = (one.get("driver", "") for kind in (links, interfaces, remote) for one in kind.values())
    cpus = [cpu for node in numa.values() for cpu in expand(node["cpus"])]
    facts = {
        "boot": boot_id(root),
        "kernel": read(root / "proc/sys/kernel/osrelease") or os.uname().release,
        "cpu": cpu_model(root),
        "microcode": _microcode(root),
        "cpus": len(os.sched_getaffinity(0)),
        "governor": governor(cpus or os.sched_getaffinity(0), root),
        "smt": read(root / "sys/devices/system/cpu/smt/control"),
        "huge_pages": _chosen(read(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        "memory": memory_total(root),
        "numa": numa,
        "interfaces": interfaces,
        "rdma": remote,
        "pcie": links,
        "drivers": {
            name: version
            for name in sorted(set(held) - {""})
            if (version := read(root / "sys/module" / name / "version"))
        },
        "kernel_log": kernel_log.problem(root) or "readable",
    }
    if not (root / "sys/class").is_dir():
        # An empty part says that there is none of it; here nobody can tell.
        facts = {key: value for key, value in facts.items() if value != {}}
    return {key: value for key, value in facts.items() if value != ""}


def affinity(devices: dict[int, str], facts: dict[str, Any], root: Path = ROOT) -> dict[str, Any]:
    """The nearest network cards of each device, and how near they are (`pcie.RELATIONS`).

    Args:
        devices: PCI address by index; devices without one are left out.
        facts: What `host_facts` gave: RDMA devices count, and where there is none, interfaces.
        root: Below which ``/sys`` is read.
    """
    cards = facts.get("rdma") or facts.get("interfaces") or {}
    places = {name: card["pci"] for name, card in cards.items() if "pci" in card}
    found = {}
    for index, address in devices.items():
        names, how = pcie.nearest(address.lower(), places, root)
        if names:
            found[str(index)] = {"nearest": names, "relation": how}
    return found


def _numa(root: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for folder in entries(root / "sys/devices/system/node", "node[0-9]*"):
        facts: dict[str, Any] = {"cpus": read(folder / "cpulist")}
        words = read(folder / "meminfo").split()
        if "MemTotal:" in words:
            facts["memory"] = int(words[words.index("MemTotal:") + 1]) * 1024
        found[folder.name.removeprefix("node")] = facts
    return found


def _microcode(root: Path) -> str:
    for line in read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "microcode":
            return value.strip()
    return ""


def _chosen(text: str) -> str:
    """``always [madvise] never`` → ``madvise``."""
    return text.partition("[")[2].partition("]")[0]
