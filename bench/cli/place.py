"""Where a run is measured: which executor the options of ``hengsuan run`` ask for."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError, unknown
from .json_output import tell

if TYPE_CHECKING:
    from ..cluster.executor import Executor
    from ..cluster.hub import Hub
    from ..configs import Chip
    from ..records import Header

_OPTIONS_OF = {
    "ray": {"address", "nodes", "labels", "backend", "share", "samples", "stand_in", "impose"}
    | {"telemetry"},
    "local": {"labels", "backend", "share", "samples", "stand_in", "impose", "telemetry"},
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
    stand_in: str | None,
    impose: str | None,
    telemetry: float = 0.0,
) -> Executor:
    """The executor for these options of ``hengsuan run``. Nothing is started yet but Ray.

    ``telemetry``: seconds between two looks at each node beside the run; 0: none.

    Raises:
        UsageError: options that contradict each other, or a name that nothing answers to.
        InfraError: the cluster cannot be reached.
    """
    kind = executor_name or ("sim" if cluster or backend == "sim" else "ray")
    if kind == "ray" and executor_name is None and importlib.util.find_spec("ray") is None:
        if address != "local":
            raise UsageError("--address needs Ray", hint="pip install 'hengsuan[run]'")
        tell("note: Ray is not installed; measuring this machine without it")
        kind = "local"
    _check_options(kind, backend)
    check_stand_in(chips, stand_in, impose)
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
    spec = AgentSpec(
        token=new_token(),
        backend=backend,
        share=share,
        samples=samples,
        stands_for=stand_in or "",
        impose_memory=impose is not None,
        telemetry=telemetry,
    )
    hub: Hub
    if kind == "local":
        from ..cluster.local import LocalHub

        hub = LocalHub(spec)
    else:
        from ..cluster.ray_hub import RayHub

        wanted = [name.strip() for name in nodes.split(",") if name.strip()] if nodes else None
        hub = RayHub(spec, address, wanted)
    return AgentExecutor(hub, chips, labels=items, telemetry=telemetry)


_NOT_IMPOSED = {
    "link": "no software makes a link between devices slower by a given amount",
    "network": "shape the interface itself (tc, or the switch): a run measures what is there",
    "bandwidth": "no allocator or driver makes memory slower by a given amount",
    "power": "a power cap is the driver's, is root's to set and outlasts the run",
}
"""Limits of the chip that is stood in for which a run cannot honestly impose, and why."""


def check_stand_in(chips: dict[str, Chip], stand_in: str | None, impose: str | None) -> None:
    """Raise `UsageError` for a chip that cannot be stood in for, or a limit nobody can impose."""
    if impose is not None and stand_in is None:
        raise UsageError(
            "--impose is about the chip that is stood in for", hint="add --stand-in CHIP"
        )
    for limit in impose.split(",") if impose is not None else ():
        if limit in _NOT_IMPOSED:
            raise UsageError(
                f"--impose {limit}: cannot be imposed: {_NOT_IMPOSED[limit]}",
                hint="--impose memory can, through the allocator's own limit",
            )
        if limit != "memory":
            raise unknown("limit to impose", limit, ("memory", *_NOT_IMPOSED))
    if stand_in is None:
        return
    if stand_in not in chips:
        raise unknown("chip", stand_in, chips)
    if chips[stand_in].simulated:
        raise UsageError(
            f"{stand_in} exists in simulations only", hint="--sim simulates it; see `show chips`"
        )


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


def stood_in_for(header: Header, where: dict[str, Any]) -> dict[str, Any]:
    """The options of what the run's devices stand in for, as it began; others would mix records."""
    from .begun import begun

    before = begun(header)
    found = {name: before.get(name) for name in ("stand_in", "impose")}
    for name, value in found.items():
        if where[name] not in (None, value):
            raise UsageError(
                f"run {header.id} was begun "
                f"{f'with {spelled(name)} {value}' if value else f'without {spelled(name)}'}"
            )
    return found


def given(name: str) -> bool:
    """Whether an option stands on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def spelled(name: str) -> str:
    """A parameter as it stands on the command line."""
    params = click.get_current_context().command.params
    one = next(param for param in params if param.name == name)
    return one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
