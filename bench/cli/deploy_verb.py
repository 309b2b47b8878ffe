"""``hengsuan deploy``: prints what starts Ray on a cluster and runs a suite there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .verbs import Commands

if TYPE_CHECKING:
    from ..deploy.manifests import Deployment

F = TypeVar("F", bound=Callable[..., Any])
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
"""What names of suites, images, partitions and hosts consist of."""


def _word(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A value that is safe in a comment, in YAML and in a shell."""
    if value is not None and not _WORD.fullmatch(value):
        raise UsageError(f"{value!r} cannot stand in a manifest", where=f"--{parameter.name}")
    return value


def _line(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise UsageError("takes one line", where=f"--{parameter.name}")
    return value


def _common(function: F) -> F:
    """The options that every kind of deployment has."""
    options = (
        click.option("--nodes", type=click.IntRange(1), required=True, help="How many nodes."),
        click.option("--suite", default="standard", show_default=True, callback=_word),
        click.option("--backend", metavar="NAME", help="Only devices of this backend."),
        click.option("--devices", type=click.IntRange(1), help="Devices of a node.  [Ray counts]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


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
    """Print a commented manifest that starts Ray as a measurement wants it and runs a suite."""


@command.command()
@_common
@_PREPARE
@_PORT
@click.option("--partition", metavar="NAME", callback=_word)
@click.option("--account", metavar="NAME", callback=_word)
@click.option("--time", default="04:00:00", show_default=True, callback=_word, help="Limit.")
@click.option("--image", metavar="NAME", callback=_word, help="Container image (pyxis).")
def slurm(partition: str | None, account: str | None, time: str, **what: Any) -> int:
    """Print a batch script for sbatch."""
    from ..deploy import manifests

    made = _deployment(**what)
    click.echo(manifests.slurm(made, partition=partition, account=account, time=time), nl=False)
    return 0


@command.command()
@_common
@click.option("--image", metavar="NAME", required=True, callback=_word, help="Container image.")
@click.option("--namespace", default="default", show_default=True, callback=_word)
def kubernetes(namespace: str, **what: Any) -> int:
    """Print a RayJob for KubeRay."""
    from ..deploy import manifests

    click.echo(manifests.kubernetes(_deployment(**what), namespace=namespace), nl=False)
    return 0


@command.command()
@_common
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
def ssh(hosts: str, runner: str, **what: Any) -> int:
    """Print a script that starts Ray on a list of hosts."""
    from ..deploy import manifests

    named = [host.strip() for host in hosts.split(",") if host.strip()]
    for host in named:
        if not _WORD.fullmatch(host):
            raise UsageError(f"{host!r} is no host", where="--hosts")
    made = _deployment(**what)
    if named and len(named) != made.nodes:
        raise UsageError(f"--hosts names {len(named)} host(s), --nodes says {made.nodes}")
    click.echo(manifests.ssh(made, hosts=named, runner=runner), nl=False)
    return 0


def _deployment(*, backend: str | None, suite: str, **rest: Any) -> Deployment:
    from ..backends.registry import get
    from ..configs import load_suite
    from ..deploy.manifests import Deployment

    load_suite(suite)  # a name that nothing answers to is said here, not on the cluster
    chosen = get(backend) if backend is not None else None
    return Deployment(suite=suite, backend=chosen, **rest)
