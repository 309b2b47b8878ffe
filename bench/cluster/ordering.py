"""Who takes part in what: visits by node, and the order that tells each node of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..configs import Chip
from ..inventory import Inventory
from ..records import Provenance
from .orders import Order, Visit
from .plan import Job


class Ordering(msgspec.Struct, kw_only=True, frozen=True):
    """What all orders of a stage have in common. ``in_step``: its groups are measured together, or
    alone, for which nodes must pass rounds together."""

    inventory: Inventory
    stage: str
    jobs: list[list[Job]]
    in_step: bool
    seed: int
    provenance: Provenance
    chips: dict[str, Chip]

    def members(self, ranks: Sequence[int]) -> list[tuple[int, list[int]]]:
        """(node, places of its devices) of these ranks, the lowest node first."""
        found: dict[int, list[int]] = {}
        nodes = self.inventory.node_of(ranks).tolist()
        for rank, node in zip(ranks, nodes, strict=True):
            found.setdefault(node, []).append(rank - int(self.inventory.starts[node]))
        return sorted(found.items())

    def orders(
        self, visits: Sequence[Visit], steps: tuple[int, int], offset: float
    ) -> Iterator[Order]:
        """An order for every node that has a part in these visits.

        Args:
            visits: In the order of their steps.
            steps: The range of step numbers that they lie in.
            offset: Seconds since the run began.
        """
        by_node = _by_node(visits)
        nodes = self.inventory.nodes
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
                addresses={n: nodes[n].address for n in met},
                beside=beside,
                in_step=self.in_step,
                offset=offset,
                seed=self.seed,
                provenance=self.provenance,
                chips=self.chips,
            )

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
