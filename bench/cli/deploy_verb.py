"""``hengsuan deploy``: prints what starts Ray on a cluster and runs a suite there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .json_output import JSON, print_json, print_text
from .parameters import Duration
from .verbs import Commands

if TYPE_CHECKING:
    from ..deploy.manifests import Deployment

F = TypeVar("F", bound=Callable[..., Any])
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
"""What names of suites, images, partitions and hosts consist of."""


def _word(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A value that is safe in a comment, in YAML and in a shell."""
    if value is not None and not _WORD.fullmatch(value):
        raise UsageError(f"{value!r} cannot stand in a manifest", where=parameter.opts[0])
    return value


def _cron(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Five fields as cron has them, or one of its names."""
    if not re.fullmatch(r"@[a-z]+|[\w*,/?#-]+( [\w*,/?#-]+){4}", value):
        raise UsageError(f"{value!r} is no schedule", where="--schedule", hint="as '0 3 * * *'")
    return value


def _line(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise UsageError("takes one line", where=parameter.opts[0])
    return value


def _path(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """An absolute path that can stand in a unit as one word."""
    if value is not None and not re.fullmatch(r"/[^\s\"'\\%$]*", value):
        raise UsageError(f"{value!r} is no absolute path without spaces", where=parameter.opts[0])
    return value


def _common(suite: str = "standard") -> Callable[[F], F]:
    """The options that every kind of deployment over several nodes has."""
    options = (
        click.option("--nodes", type=click.IntRange(1), required=True, help="How many nodes."),
        click.option("--suite", default=suite, show_default=True, callback=_word),
        click.option("--backend", metavar="NAME", help="Only devices of this backend."),
        click.option("--devices", type=click.IntRange(1), help="Devices of a node.  [Ray counts]"),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_PREPARE = click.option(
    "--prepare",
    default="",
    metavar="COMMAND",
    callback=_line,
    help="Shell line that makes python3, ray and hengsuan known on a node.",
)
_PORT = click.option(
    "--port", type=click.IntRange(1, 65535), default=6379, show_default=True, help="Of Ray's head."
)


@click.group(name="deploy", cls=Commands)
def command() -> None:
    """Print what runs Hengsuan elsewhere, or watches what it finds.

    slurm, kubernetes and ssh start Ray as a measurement wants it and run a suite; systemd and
    cronjob certify hosts again and again; dashboard and alerts are for Grafana and Prometheus.
    """


@command.command()
@_common()
@_PREPARE
@_PORT
@click.option("--partition", metavar="NAME", callback=_word)
@click.option("--account", metavar="NAME", callback=_word)
@click.option("--time", default="04:00:00", show_default=True, callback=_word, help="Limit.")
@click.option("--image", metavar="NAME", callback=_word, help="Container image (pyxis).")
@JSON
def slurm(partition: str | None, account: str | None, time: str, as_json: bool, **what: Any) -> int:
    """Print a batch script for sbatch."""
    from ..deploy import manifests

    made = _deployment(**what)
    return print_text(
        manifests.slurm(made, partition=partition, account=account, time=time), as_json
    )


@command.command()
@_common()
@click.option("--image", metavar="NAME", required=True, callback=_word, help="Container image.")
@click.option("--namespace", default="default", show_default=True, callback=_word)
@JSON
def kubernetes(namespace: str, as_json: bool, **what: Any) -> int:
    """Print a RayJob for KubeRay."""
    from ..deploy import manifests

    return _documents(manifests.kubernetes(_deployment(**what), namespace=namespace), as_json)


@command.command()
@_common()
@_PREPARE
@_PORT
@click.option("--hosts", default="", metavar="A,B", help="Where; else the script's arguments.")
@click.option(
    "--runner",
    default="ssh -o BatchMode=yes",
    show_default=True,
    metavar="COMMAND",
    callback=_line,
    help="What runs a command on a host: called as COMMAND HOST TEXT.",
)
@JSON
def ssh(hosts: str, runner: str, as_json: bool, **what: Any) -> int:
    """Print a script that starts Ray on a list of hosts."""
    from ..deploy import manifests

    named = [host.strip() for host in hosts.split(",") if host.strip()]
    for host in named:
        if not _WORD.fullmatch(host):
            raise UsageError(f"{host!r} is no host", where="--hosts")
    made = _deployment(**what)
    if named and len(named) != made.nodes:
        raise UsageError(f"--hosts names {len(named)} host(s), --nodes says {made.nodes}")
    return print_text(manifests.ssh(made, hosts=named, runner=runner), as_json)


@command.command()
@click.option("--suite", default="certify", show_default=True, callback=_word)
@click.option("--every", default="24h", show_default=True, type=Duration(1.0))
@click.option("--idle-only", is_flag=True, help="Only while nobody else works on the host.")
@click.option("--backend", metavar="NAME", help="Only devices of this backend.")
@click.option("--user", default="root", show_default=True, callback=_word, help="Who runs it.")
@click.option("--metrics-file", metavar="FILE.prom", callback=_path, help="For node_exporter.")
@click.option(
    "--command",
    "path",
    metavar="PATH",
    callback=_path,
    help="Where hengsuan is on the host.  [default: this one]",
)
@JSON
def systemd(
    suite: str,
    every: float,
    idle_only: bool,
    backend: str | None,
    user: str,
    metrics_file: str | None,
    path: str | None,
    as_json: bool,
) -> int:
    """Print a systemd service that certifies its host again and again."""
    from ..backends.registry import get
    from ..configs import load_suite
    from ..deploy import manifests

    load_suite(suite)
    if backend is not None:
        get(backend)
    options = [f"--backend {backend}"] if backend else []
    options += [f"--metrics-file {metrics_file}"] if metrics_file else []
    unit = manifests.systemd(
        command=path or _installed(),
        suite=suite,
        every=Duration().written(every),
        idle_only=idle_only,
        user=user,
        options=" ".join(options),
    )
    return print_text(unit, as_json)


@command.command()
@_common("certify")
@click.option("--image", metavar="NAME", required=True, callback=_word, help="Container image.")
@click.option("--namespace", default="default", show_default=True, callback=_word)
@click.option(
    "--schedule", default="0 3 * * *", show_default=True, callback=_cron, help="As cron has it."
)
@JSON
def cronjob(namespace: str, schedule: str, as_json: bool, **what: Any) -> int:
    """Print a Kubernetes CronJob that certifies each host by itself, a pod a host."""
    from ..deploy import manifests

    made = _deployment(**what)
    return _documents(manifests.cronjob(made, namespace=namespace, schedule=schedule), as_json)


@command.command()
@JSON
def dashboard(as_json: bool) -> int:
    """Print a Grafana dashboard of runs, nodes and devices (import it as JSON)."""
    return _print("dashboards/hengsuan.json", as_json)


@command.command()
@JSON
def alerts(as_json: bool) -> int:
    """Print Prometheus' alert rules (rule_files)."""
    return _print("alerts/hengsuan.yaml", as_json)


def _print(name: str, as_json: bool) -> int:
    """One of the files of ``configs/``."""
    from ..configs.search import BUILT_IN

    return _documents((BUILT_IN / name).read_text(encoding="utf-8"), as_json)


def _documents(text: str, as_json: bool) -> int:
    """What is YAML or JSON: with ``--json`` the same as JSON, which its reader takes as well."""
    import yaml

    if as_json:
        print_json(yaml.safe_load(text))
        return 0
    return print_text(text)


def _installed() -> str:
    """The command that runs this."""
    import shutil
    import sys
    from pathlib import Path

    beside = Path(sys.executable).with_name("hengsuan")
    return str(beside) if beside.exists() else shutil.which("hengsuan") or "/usr/bin/hengsuan"


def _deployment(*, backend: str | None, suite: str, **rest: Any) -> Deployment:
    from ..backends.registry import get
    from ..configs import load_suite
    from ..deploy.manifests import Deployment

    load_suite(suite)  # a name that nothing answers to is said here, not on the cluster
    chosen = get(backend) if backend is not None else None
    return Deployment(suite=suite, backend=chosen, **rest)
