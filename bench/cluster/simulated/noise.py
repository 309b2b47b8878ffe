"""How metrics scatter: between devices, between stages, and from one repeat to the next."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, TypeVar

import msgspec
import numpy as np

from ...configs import Cluster
from ...records import Case
from .draws import Floats, Ints, key, normal, uniform

TAIL = 5.0
"""Times by which the noise of a measurement in the tails is larger."""
V = TypeVar("V")


class Scatter(msgspec.Struct, frozen=True):
    """The relative deviations of one metric, see `Cluster`."""

    between: float
    within: float
    tails: float
    sessions: float


def fitting(table: dict[str, V], case: Case) -> list[V]:
    """What a table by ``benchmark``, ``benchmark.metric`` or ``*.metric`` says of a case."""
    name = f"{case.benchmark}.{case.metric}"
    return [
        value
        for pattern, value in table.items()
        if fnmatchcase(name, pattern if "." in pattern else f"{pattern}.*")
    ]


def metric_of(case: Case) -> str:
    """What a case has in common with itself in another stage or on other groups."""
    return f"{case.label()}/{case.metric}"


def scatter(cluster: Cluster, case: Case) -> Scatter:
    """How a case's metric scatters in a cluster."""
    said: dict[str, Any] = {name: getattr(cluster, name) for name in Scatter.__struct_fields__}
    for other in fitting(cluster.noise, case):
        mine = msgspec.structs.asdict(other)
        said |= {name: value for name, value in mine.items() if value is not None}
    for name, value in said.items():
        if isinstance(value, list):
            low, high = value
            share = float(uniform(key(cluster.seed, name, metric_of(case)), [0])[0])
            said[name] = low * (high / low) ** share
    return Scatter(**said)


def own(cluster: Cluster, case: Case, made: Scatter, ranks: Ints) -> Floats:
    """What each device does of this metric relative to the chip's mean, in every stage."""
    found: Floats = np.exp(made.between * normal(key(cluster.seed, "own", metric_of(case)), ranks))
    return found


def measuring(
    cluster: Cluster, case: Case, made: Scatter, occasion: tuple[object, ...], groups: Ints
) -> Floats:
    """What one measurement of each group adds, by group ids of `draws.of_groups`.

    ``occasion`` names the schedule and the repeat within the case's stage.
    """
    about = (cluster.seed, metric_of(case), case.stage)
    noise = made.within * normal(key("noise", *about, *occasion), groups)
    if made.tails:
        noise[uniform(key("tails", *about, *occasion), groups) < made.tails] *= TAIL
    session = made.sessions * float(normal(key("session", *about), [0])[0])
    found: Floats = np.exp(noise + session)
    return found
