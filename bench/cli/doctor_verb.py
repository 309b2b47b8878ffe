"""``hengsuan doctor``: what is here, what is missing and why, and whether the host is quiet."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ..errors import BackendError, Exit, UsageError
from .json_output import JSON, print_json
from .scoring import SPEAKING
from .verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..backends.base import Link
    from ..configs import Labelled
    from ..records import Node


@click.command(cls=Verb, name="doctor")
@click.option("--address", metavar="HOST:PORT", help="Also ask every node of this Ray cluster.")
@click.option("--labels", metavar="FILE", help="Labels of that cluster's nodes, beside Ray's.")
@SPEAKING
@JSON
def command(address: str | None, labels: str | None, as_json: bool) -> int:
    """Say what this node carries and whether it is fit to be measured.

    Exit code: 0 some backend has a device; 4 none has. A host that is not quiet is said, not
    failed.
    """

    from .. import host
    from ..backends.probe import probe
    from ..backends.registry import get, listing, match_chip
    from ..configs import load_chips, load_labels
    from .environment import versions

    if labels and not address:
        raise UsageError("--labels is about the nodes of a cluster", hint="add --address HOST:PORT")
    items = load_labels(labels) if labels else []
    chips = list(load_chips().values())
    backends: list[dict[str, Any]] = []
    for listed in listing():
        found = None if listed.problem else probe(listed.name)
        problem = listed.problem or (found.problem if found else "")
        devices = []
        links: list[Link] = []
        try:
            for device in found.devices if found else []:
                chip = match_chip(device.name, chips)
                backend = get(listed.name)
                devices.append(
                    {
                        "index": device.index,
                        "name": device.name,
                        "memory": device.memory,
                        "chip": chip.name if chip else None,
                        "serial": device.serial,
                        "in_use_by": backend.busy(device.index),
                        "telemetry": backend.telemetry(device.index),
                        "health": backend.health(device.index),
                    }
                )
            if devices:
                links = get(listed.name).links()
        except BackendError as error:  # it breaks the contract: that is its problem, not doctor's
            problem, devices = error.message, []
        backends.append(
            {
                "backend": listed.name,
                "origin": listed.origin,
                "problem": problem,
                "devices": devices,
                "links": links,
            }
        )
    cpus = sorted(os.sched_getaffinity(0))
    quiet = host.quietness()
    # First: where nobody answers, it says so, and nothing else is asked there.
    cluster, unfit = _cluster(address, items) if address else ([], [])
    report = {
        "node": {
            "name": host.hostname(),
            "machine": host.machine_id(),
            "cpu": host.cpu_model(),
            "cores": host.compact(cpus),
            "memory": host.memory_total(),
            "frequency": host.frequency(cpus),
            "governor": host.governor(cpus) or None,
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
        },
        "versions": versions(),
        "backends": backends,
        "quiet": quiet.quiet,
        "reasons": quiet.reasons,
        "warnings": _warnings(address) + unfit,
        "cluster": cluster,
    }
    if as_json:
        print_json(report)
    else:
        _print(report)
    return int(Exit.OK if any(one["devices"] for one in backends) else Exit.INFRASTRUCTURE)


def _cluster(address: str, items: Sequence[Labelled]) -> tuple[list[Node], list[str]]:
    """Every node of a Ray cluster, with its devices or what is wrong with it; idle labels."""
    from ..cluster.agent import AgentSpec, new_token
    from ..cluster.ray_hub import RayHub
    from ..configs import label_nodes

    hub = RayHub(AgentSpec(token=new_token()), address)
    try:
        return label_nodes(hub.nodes(), items)
    finally:
        hub.close()


def _warnings(address: str | None) -> list[str]:
    from ..cluster import exposure
    from ..configs import broken_chips

    found = broken_chips()
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice > 0:
        found.append(f"this process runs at nice {nice}: others come before what it measures")
    return found + exposure.warnings(address)


def _print(report: dict[str, Any]) -> None:
    from ..report.terminal import console, line, print_table, verdict
    from ..units import format_value

    screen = console()
    node = report["node"]
    clock = f"{node['frequency']:.0f} MHz" if node["frequency"] else "clock unknown"
    governor = f"governor {node['governor'] or 'unknown'}"
    line(
        screen,
        f"node {node['name']}: {node['cpu']}, cores {node['cores']}, "
        f"{format_value(node['memory'], 'B')}, {clock}, {governor}, nice {node['nice']}",
    )
    said = ", ".join(f"{name} {text}" for name, text in report["versions"].items())
    screen.print(said, soft_wrap=True)
    rows = []
    for one in report["backends"]:
        if not one["devices"]:
            rows.append((one["backend"], one["origin"], "", one["problem"] or "no device"))
        for device in one["devices"]:
            state = f"in use by {device['in_use_by']}" if device["in_use_by"] else "free"
            chip = device["chip"] or "no datasheet"
            rows.append(
                (
                    one["backend"],
                    one["origin"],
                    f"{device['index']}: {device['name']}",
                    f"{chip}, {format_value(device['memory'], 'B')}, {state}",
                )
            )
    print_table(screen, ("backend", "from", "device", "state"), rows)
    for one in report["backends"]:
        kinds = Counter(link.kind for link in one["links"])
        if kinds:
            said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            line(screen, f"links of {one['backend']}: {said}")
        for device in one["devices"]:
            if device["health"].problem:
                line(screen, f"{one['backend']} {device['index']}: {device['health'].problem}")
    if report["cluster"]:
        print_table(
            screen,
            ("cluster node", "labels", "backend", "devices", "problem"),
            [
                (
                    one.name,
                    ", ".join(f"{key} {value}" for key, value in sorted(one.labels.items())),
                    one.backend,
                    ", ".join(device.name for device in one.devices),
                    one.problem,
                )
                for one in report["cluster"]
            ],
        )
    quiet = report["quiet"]
    verdict(
        screen, "this host is quiet enough to measure" if quiet else "this host is not quiet", ""
    )
    for text in (*report["reasons"], *report["warnings"]):
        line(screen, f"  {text}")
