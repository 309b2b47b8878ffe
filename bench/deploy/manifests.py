"""Fills the templates: what a scheduler must be told, and what it must not be made to believe.

A resource name that the backend does not declare stays a comment that says so.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from importlib.resources import files
from typing import Any

import msgspec

from ..backends.base import Backend
from ..cluster.ray_environment import QUIET

PORT = 6379
"""Ray's default port of the head."""
FIRST_RAY = "2.52.0"
"""The first version of Ray that knows token authentication."""
_PLACE = re.compile(r"@\{(\w+)\}")
_WAIT = """
import sys, time, ray
address, wanted = sys.argv[1], int(sys.argv[2])
until = time.monotonic() + 300
while True:
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        alive = sum(node["Alive"] for node in ray.nodes())
    except Exception as error:
        alive = 0
    if alive >= wanted:
        break
    if time.monotonic() > until:
        sys.exit(f"error: {alive} of {wanted} nodes are in the cluster after 300 s")
    time.sleep(1)
"""
"""Waits for all nodes: whoever comes late would not be measured."""


class Deployment(msgspec.Struct, kw_only=True, frozen=True):
    """What is deployed: how many nodes, which suite, and on whose devices.

    ``devices`` is how many of the backend's devices a node has; None leaves counting to Ray.
    ``prepare`` is a line of shell that makes python3, ray and hengsuan known.
    """

    nodes: int
    suite: str
    backend: Backend | None = None
    devices: int | None = None
    image: str | None = None
    prepare: str = ""
    port: int = PORT


def slurm(
    made: Deployment, *, partition: str | None = None, account: str | None = None, time: str
) -> str:
    """A batch script for ``sbatch``."""
    container = "CONTAINER=()  # --image NAME runs everything in a container (pyxis)"
    if made.image:
        image = shlex.quote(made.image)
        mounts = '--container-mounts="$PWD:$PWD" --container-workdir="$PWD"'
        container = f"CONTAINER=(--container-image={image} {mounts})"
    return _fill(
        "slurm.sh",
        {
            **_common(made),
            "time": time,
            "partition": f"#SBATCH --partition={partition}"
            if partition
            else "# --partition names no partition: Slurm's default is used",
            "account": f"#SBATCH --account={account}" if account else "#",
            "gres": _gres(made),
            "container": container,
            "prepare": made.prepare or ":",
            "environment": _exports(),
        },
    )


def ssh(made: Deployment, *, hosts: list[str], runner: str) -> str:
    """A script that starts Ray on a list of hosts through ``runner HOST COMMAND``."""
    return _fill(
        "ssh.sh",
        {
            **_common(made),
            "hosts": " ".join(shlex.quote(host) for host in hosts),
            "runner": runner,
            "prepare": made.prepare or ":",
            "environment": _exports(),
        },
    )


def kubernetes(made: Deployment, *, namespace: str) -> str:
    """A RayJob for KubeRay."""
    indent = " " * 16
    environment = [
        f"{indent}- {{name: {key}, value: {json.dumps(value)}}}" for key, value in QUIET.items()
    ]
    resource = made.backend.ray_resource if made.backend else None
    start = {}
    if resource and made.devices:
        # KubeRay passes the value to a shell, in which the JSON must stay one word.
        counted = f'"{json.dumps({resource: made.devices}).replace(chr(34), chr(92) + chr(34))}"'
        start = {"num-gpus": str(made.devices)} if resource == "GPU" else {"resources": counted}
    return _fill(
        "kubernetes.yaml",
        {
            **_common(made),
            "namespace": namespace,
            "ray_version": _ray_version(),
            "image": made.image or "",
            "environment": "\n".join(environment),
            "start_params": json.dumps(start),
            "resources": _limits(made, " " * 18),
        },
    )


def systemd(
    *, command: str, suite: str, every: str, idle_only: bool, user: str, options: str
) -> str:
    """A service that certifies this host again and again; ``command`` is hengsuan's path."""
    said = " ".join(filter(None, ["--idle-only" if idle_only else "", options]))
    return _fill(
        "hengsuan.service",
        {
            "command": _of_systemd(command),
            "suite": suite,
            "every": every,
            "options": f" {said}" if said else "",
            "user": user,
        },
    )


def cronjob(made: Deployment, *, namespace: str, schedule: str) -> str:
    """A CronJob that certifies each of so many hosts by itself, one pod a host."""
    return _fill(
        "cronjob.yaml",
        {
            **_common(made),
            "namespace": namespace,
            "schedule": json.dumps(schedule),
            "image": made.image or "",
            "backend_argument": f', --backend, "{made.backend.name}"' if made.backend else "",
            "resources": _limits(made, " " * 16),
        },
    )


def _of_systemd(path: str) -> str:
    """A path as one word of an ExecStart line."""
    quoted = path.replace("%", "%%").replace("$", "$$")
    return json.dumps(quoted, ensure_ascii=False) if re.search(r"[\s\"'\\]", path) else quoted


def _common(made: Deployment) -> dict[str, Any]:
    # Room for every node several times over, for it may have several networks; at least the
    # kernel's own default.
    most = max(1024, 1 << (4 * made.nodes - 1).bit_length())
    option, said = _ray_resource(made)
    return {
        "nodes": made.nodes,
        "port": made.port,
        "suite": shlex.quote(made.suite),
        "suite_name": made.suite,
        "backend_option": f" --backend {made.backend.name}" if made.backend else "",
        "arp1": most // 4,
        "arp2": most // 2,
        "arp3": most,
        "start": f"--disable-usage-stats {option}".strip(),
        "ray_resource": said,
        "wait": shlex.quote(_WAIT),
    }


def _ray_resource(made: Deployment) -> tuple[str, str]:
    """The option by which Ray counts the devices, and a comment on it."""
    backend = made.backend
    if backend is None:
        return "", "# No --backend: Ray counts the devices that it knows."
    if backend.ray_resource is None:
        return "", f"# Backend {backend.name} names no resource of Ray: nodes are claimed whole."
    if made.devices is None:
        return "", f"# No --devices: Ray counts {backend.ray_resource} itself, if it knows them."
    said = f"# Ray counts a node's devices as {backend.ray_resource}."
    if backend.ray_resource == "GPU":
        return f"--num-gpus={made.devices}", said
    counted = json.dumps({backend.ray_resource: made.devices}, separators=(",", ":"))
    return f"--resources={shlex.quote(counted)}", said


def _gres(made: Deployment) -> str:
    backend = made.backend
    if backend is None:
        return "# No --backend: add the nodes' devices yourself, #SBATCH --gres=NAME:COUNT"
    if backend.slurm_gres is None:
        return (
            f"# Backend {backend.name} names no GRES of Slurm: add --gres=NAME:COUNT if it has one"
        )
    if made.devices is None:
        return f"# No --devices: add their count a node, #SBATCH --gres={backend.slurm_gres}:COUNT"
    return f"#SBATCH --gres={backend.slurm_gres}:{made.devices}"


def _limits(made: Deployment, indent: str) -> str:
    """Resources of a worker; what nobody declares is a comment and no entry."""
    backend = made.backend
    name = backend.kubernetes_resource if backend else None
    if name and made.devices:
        entry = f"{{{json.dumps(name)}: {made.devices}}}"
        return f"{indent}requests: {entry}\n{indent}limits: {entry}"
    if backend is None:
        why = "No --backend: add what its device plugin is called"
    elif name is None:
        why = f"Backend {backend.name} names no resource of Kubernetes: add its device plugin's"
    else:
        why = f"No --devices: how many of {name} has a node"
    rest = f"{indent}# as limits: {{NAME: COUNT}}, and the cores and memory of a host."
    return f"{indent}# {why},\n{rest}\n{indent}requests: {{}}"


def _exports() -> str:
    return "\n".join(f"export {key}={shlex.quote(value)}" for key, value in QUIET.items())


def _ray_version() -> str:
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return FIRST_RAY


def _fill(name: str, values: dict[str, Any]) -> str:
    """The template with every ``@{name}`` replaced; `KeyError` for one that nobody gave."""
    text = (files(__package__) / "templates" / name).read_text(encoding="utf-8")
    return _PLACE.sub(lambda place: str(values[place[1]]), text)
