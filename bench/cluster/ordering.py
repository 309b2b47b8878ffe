"""Who takes part in what: visits by node, and the order that tells each node of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..configs import Chip
from ..inventory import Inventory
from ..records import Provenance
from .orders import Blow, Order, Visit
from .plan import Job, Strike


class Ordering(msgspec.Struct, kw_only=True, frozen=True):
    """What all orders of a stage have in common. ``in_step``: its groups are measured together, or
    alone, for which nodes must pass rounds together. ``moved``: where agents are that were started
    anew since the inventory was made."""

    inventory: Inventory
    stage: str
    jobs: list[list[Job]]
    in_step: bool
    seed: int
    provenance: Provenance
    chips: dict[str, Chip]
    moved: dict[int, str] = {}

    def members(self, ranks: Sequence[int]) -> list[tuple[int, list[int]]]:
        """(node, places of its devices) of these ranks, the lowest node first."""
        found: dict[int, list[int]] = {}
        nodes = self.inventory.node_of(ranks).tolist()
        for rank, node in zip(ranks, nodes, strict=True):
            found.setdefault(node, []).append(rank - int(self.inventory.starts[node]))
        return sorted(found.items())

    def orders(
        self,
        visits: Sequence[Visit],
        steps: tuple[int, int],
        offset: float,
        strikes: Sequence[Strike] = (),
    ) -> Iterator[Order]:
        """An order for every node that has a part in these visits.

        Args:
            visits: In the order of their steps.
            steps: The range of step numbers that they lie in.
            offset: Seconds since the run began.
            strikes: Failures that are asked for; each node is told of its own.
        """
        by_node = _by_node(visits)
        addresses = {n: one.address for n, one in enumerate(self.inventory.nodes)} | self.moved
        for node, mine in by_node.items():
            beside = self._beside(node, by_node)
            met = {n for visit in mine for n, _ in visit.members} | set(beside)
            yield Order(
                node=node,
                stage=self.stage,
                jobs=self.jobs,
                visits=mine,
                steps=steps,
                names={n: self.inventory.name(n) for n in met},
                addresses={n: addresses[n] for n in met},
                beside=beside,
                in_step=self.in_step,
                offset=offset,
                seed=self.seed,
                provenance=self.provenance,
                chips=self.chips,
                blows=self._blows(node, strikes),
            )

    def _blows(self, node: int, strikes: Sequence[Strike]) -> list[Blow]:
        mine = self.inventory.ranks_of(node)
        return [
            Blow(one.after, None if one.whole_node else one.rank - mine.start)
            for one in strikes
            if one.rank in mine
        ]

    def _beside(self, node: int, by_node: Mapping[int, object]) -> list[int]:
        """The nodes that keep step with one."""
        if self.in_step:
            # The first leads all; to the others it alone matters.
            leader = min(by_node)
            return sorted(by_node) if node == leader else [leader, node]
        machines = self.inventory.machines
        return [int(i) for i in (machines == machines[node]).nonzero()[0] if int(i) in by_node]


def _by_node(visits: Sequence[Visit]) -> dict[int, list[Visit]]:
    """The visits of every node; the leader's alone say which ranks they are of."""
    found: dict[int, list[Visit]] = {}
    for visit in visits:
        others = msgspec.structs.replace(visit, ranks=[])
        for place, (node, _) in enumerate(visit.members):
            found.setdefault(node, []).append(others if place else visit)
    return found
