"""Where a run is measured: which executor the options of ``hengsuan run`` ask for."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from ..cluster.agents import Hub
    from ..cluster.executor import Executor
    from ..configs import Chip
    from ..records import Header

_OPTIONS_OF = {
    "ray": {"address", "nodes", "labels", "backend", "share", "samples"},
    "local": {"labels", "backend", "share", "samples"},
    "sim": {"cluster"},
}
"""Which of the options that say where to measure mean something to which executor."""


def make_executor(
    chips: dict[str, Chip],
    *,
    address: str,
    executor_name: str | None,
    nodes: str | None,
    labels: str | None,
    backend: str | None,
    cluster: str | None,
    samples: str,
    share: bool,
) -> Executor:
    """The executor for these options of ``hengsuan run``. Nothing is started yet but Ray.

    Raises:
        UsageError: options that contradict each other, or a name that nothing answers to.
        InfraError: the cluster cannot be reached.
    """
    kind = executor_name or ("sim" if cluster or backend == "sim" else "ray")
    if kind == "ray" and executor_name is None and importlib.util.find_spec("ray") is None:
        if address != "local":
            raise UsageError("--address needs Ray", hint="pip install 'hengsuan[run]'")
        click.echo("note: Ray is not installed; measuring this machine without it", err=True)
        kind = "local"
    _check_options(kind, backend)
    if kind == "sim":
        from ..cluster.simulated import SimulatedExecutor
        from ..configs import load_cluster

        return SimulatedExecutor(load_cluster(cluster or "small"), chips)
    from ..backends.registry import get
    from ..cluster.agent import AgentSpec, new_token
    from ..cluster.agents import AgentExecutor
    from ..configs import load_labels

    # What is wrong with the file is said before anything is started.
    items = load_labels(labels) if labels else []
    if backend is not None:
        get(backend)  # an unknown name is said before anything is started
    spec = AgentSpec(token=new_token(), backend=backend, share=share, samples=samples)
    hub: Hub
    if kind == "local":
        from ..cluster.local import LocalHub

        hub = LocalHub(spec)
    else:
        from ..cluster.ray_hub import RayHub

        wanted = [name.strip() for name in nodes.split(",") if name.strip()] if nodes else None
        hub = RayHub(spec, address, wanted)
    return AgentExecutor(hub, chips, labels=items)


def _check_options(kind: str, backend: str | None) -> None:
    """Nothing that was asked for is silently left out."""
    for name in sorted(set().union(*_OPTIONS_OF.values()) - _OPTIONS_OF[kind]):
        if given(name) and not (kind == "sim" and name == "backend" and backend == "sim"):
            raise UsageError(
                f"{spelled(name)} does not go with executor {kind}",
                hint=f"it goes with {' or '.join(k for k, v in _OPTIONS_OF.items() if name in v)}",
            )


def executor_of(header: Header, where: dict[str, Any]) -> str:
    """The executor that the run began with; rows of several never stand in one run."""
    before = "sim" if header.fleet is not None else header.executor
    named = where["executor_name"] or ("sim" if where["cluster"] else None)
    if named not in (None, before):
        raise UsageError(f"run {header.id} was made with executor {before}, not {named}")
    if before == "sim" and not where["cluster"]:
        raise UsageError(
            f"run {header.id} is of a simulated fleet", hint="name it again: --cluster NAME"
        )
    return before


def given(name: str) -> bool:
    """Whether an option stands on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def spelled(name: str) -> str:
    """A parameter as it stands on the command line."""
    params = click.get_current_context().command.params
    one = next(param for param in params if param.name == name)
    return one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
