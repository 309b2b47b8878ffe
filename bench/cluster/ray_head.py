"""Whether the head of a Ray cluster still answers, and which nodes it lists.

Ray ends a driver by force, with no word to anybody, a minute after it lost the head. A run notices
earlier, while agents still answer and what they hold can be kept.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from ..errors import InfraError
from .listening import Listening

LOOK = 5.0
"""Seconds between questions to the head: an answer lists every node of the cluster."""
HEAD_LIMIT = 25.0
"""Seconds of listening without an answer after which the head is lost."""


class HeadWatch:
    """Asks the head for its nodes, in a thread of its own: a question may never be answered.

    Args:
        ray: The module, connected.
        address: The cluster's, for errors.
        known: Ray's ids of the nodes that were there before.
    """

    def __init__(self, ray: Any, address: str, known: set[str]) -> None:
        self._ray = ray
        self._address = address
        self._known = known
        self._joined: deque[str] = deque()
        self._listening = Listening()
        self._answered = 0.0
        self._told = False
        self._closed = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._closed.wait(LOOK):
            try:
                listed = self._ray.nodes()
            except Exception:  # by cause; that it does not answer is all that counts
                continue
            self._answered = self._listening.seconds
            for node in listed:
                if node["Alive"] and node["NodeID"] not in self._known:
                    self._known.add(node["NodeID"])
                    self._joined.append(f"{node['NodeManagerHostname']} (Ray id {node['NodeID']})")

    def check(self) -> None:
        """Raise `InfraError` if the head is lost; once, so that the rest can be collected.

        Called while the run listens, about once a second.
        """
        silent = self._listening.look() - self._answered
        if silent > HEAD_LIMIT and not self._told:
            self._told = True
            raise InfraError(
                f"the head of the Ray cluster has not answered for {HEAD_LIMIT:g} s",
                where=f"address {self._address}",
                hint="bring the cluster up again",
            )

    def joined(self) -> list[str]:
        """Nodes that came since the last call."""
        return [self._joined.popleft() for _ in range(len(self._joined))]

    def admit(self, node: str) -> None:
        """Tell nobody that the node of this Ray id has joined: it has a part in the run."""
        self._known.add(node)
        for told in [one for one in self._joined if node in one]:
            self._joined.remove(told)

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()
