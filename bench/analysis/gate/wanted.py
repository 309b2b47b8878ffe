"""Which series of many runs are asked for: of a metric, of a node, of a chip.

A node is known by its machine wherever it says one: it keeps its past when it is renamed, and
that its devices were exchanged is said. Of a simulated node, and of one without a machine id, the
name is all that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import numpy as np

from ...errors import InfraError, UsageError, unknown
from ...headers import read_header
from ...identity import identity_of
from ...inventory import Inventory
from ...records import Header
from ...rounds import schedule_for
from ..graph import Ints


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """What is asked for; an empty field asks nothing.

    ``metric`` is a label (``gemm 512x512x512 bf16 flops``), one with ``*`` for any text, or words
    that a label has (``gemm flops``). ``node`` and ``chip`` are names.
    """

    metric: str = ""
    node: str = ""
    chip: str = ""

    def fits(self, label: str) -> bool:
        """Whether a label is asked for."""
        if self.metric == label or fnmatchcase(label, self.metric):
            return True
        return "*" not in self.metric and set(self.metric.split()) <= set(label.split())

    def is_on(self, chips: Sequence[str]) -> bool:
        """Whether a series of these chips is asked for."""
        return not self.chip or self.chip in chips


class Part:
    """Of one run, the nodes that are asked for, and the groups in them.

    Attributes:
        nodes: Their places in the run's inventory.
    """

    def __init__(self, header: Header, nodes: list[int]) -> None:
        self.nodes = nodes
        self._header = header
        self._inventory = Inventory(header.nodes, header.fleet)
        self._known: dict[int, Ints] = {}

    def groups(self, schedule: int) -> Ints:
        """Ids of a schedule's groups that lie in these nodes, or are pairs with one in them."""
        if schedule not in self._known:
            spec = self._header.schedules[schedule]
            found = [np.empty(0, dtype=np.int64)]
            for batches in schedule_for(spec, self._inventory).rounds():
                for ids, ranks in batches:
                    here = np.isin(self._inventory.node_of(ranks), self.nodes)
                    some = here.any(axis=1) if spec.scope == "pair" else here.all(axis=1)
                    found.append(ids[some])
            self._known[schedule] = np.concatenate(found)
        return self._known[schedule]


class Where:
    """Finds the node that is asked for in run after run, the oldest first.

    Attributes:
        notes: What the reader must know of it, in sentences.

    Raises:
        UsageError: no run has a node of that name.
    """

    def __init__(self, wanted: Wanted, runs: Sequence[Path]) -> None:
        self.notes: list[str] = []
        self._name = wanted.node
        self._machine = self._newest(runs) if wanted.node else ""
        self._called, self._key = wanted.node, ""

    def of(self, header: Header) -> Part | None:
        """The node in a run; None where no node is asked for."""
        if not self._name:
            return None
        if header.fleet is not None:
            return Part(header, Inventory(fleet=header.fleet).named(self._name))
        found = []
        for index, node in enumerate(header.nodes):
            known = identity_of(node)
            same = known.machine == self._machine if self._machine else node.name == self._name
            if not same:
                continue
            found.append(index)
            if node.name != self._called:
                self.notes.append(f"{self._name} is called {node.name} from run {header.id} on")
            if self._key not in ("", known.key()):
                self.notes.append(f"other devices are in {self._name} from run {header.id} on")
            self._called, self._key = node.name, known.key()
        return Part(header, found)

    def _newest(self, runs: Sequence[Path]) -> str:
        """The machine of the newest node of that name; empty where it says none."""
        names: set[str] = set()
        for path in reversed(runs):
            try:
                header = read_header(path)
            except (UsageError, InfraError):
                continue  # who reads its rows says so
            if header.fleet is not None:
                if Inventory(fleet=header.fleet).named(self._name):
                    return ""
                names.update(map(header.fleet.name, range(min(header.fleet.count, 3))))
            for node in header.nodes:
                if node.name == self._name:
                    return identity_of(node).machine
                names.add(node.name)
        raise unknown("node", self._name, names)
