"""What agents are told to do: a stage is an order for every node, made of visits."""

from __future__ import annotations

import msgspec

from ..configs import Chip
from ..records import Provenance
from .plan import Job


class Visit(msgspec.Struct, kw_only=True, frozen=True):
    """One group's turn in a stage.

    ``members`` are (node, places of its devices) in rank order, the leader first; ``jobs`` are
    indices into the block's jobs. ``id`` is unique in a run, ``step`` orders visits in a stage.
    ``library`` is the ``torch.distributed`` backend of the group. ``ranks`` are the members in the
    inventory: the leader alone is told of them.
    """

    id: int
    step: int
    block: int
    repeat: int
    group: int
    members: list[tuple[int, list[int]]]
    jobs: list[int]
    library: str
    ranks: list[int] = []


class Blow(msgspec.Struct, frozen=True):
    """A `Strike` as its node is told of it: ``device`` is a place; None: the whole node."""

    after: float
    device: int | None = None


class Order(msgspec.Struct, kw_only=True):
    """A stage for one agent: its name, its visits, and how to reach those it meets there.

    ``steps`` is the range of the stage's step numbers, which are unique in a run;
    ``beside`` are the nodes that keep step with each other, this one included and their leader
    first: those on the same physical machine, or all where the suite asks for rounds together
    (``in_step``; then only the leader is told of all); ``offset`` is seconds since the run began
    when the order was sent; ``blows`` are the failures that are asked for on this node.
    """

    node: int
    stage: str
    jobs: list[list[Job]]
    visits: list[Visit]
    steps: tuple[int, int]
    names: dict[int, str]
    addresses: dict[int, str]
    beside: list[int]
    in_step: bool = False
    offset: float
    seed: int
    provenance: Provenance
    chips: dict[str, Chip] = {}
    blows: list[Blow] = []
