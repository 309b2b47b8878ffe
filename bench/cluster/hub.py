"""How agents are reached, in this process or as Ray actors: what the executor asks of either."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..records import Node
from .orders import Order


class Arrived(msgspec.Struct, frozen=True):
    """What a poll brought from one node: a page, or the news that its agent is lost."""

    node: int
    page: bytes = b""
    ended: bool = False
    lost: str = ""


class Hub(Protocol):
    """How agents are reached. Nodes are counted in the order of `nodes`."""

    name: str

    def nodes(self) -> list[Node]:
        """Start the agents and ask every node what it carries."""
        ...

    def start(self, node: int, order: Order) -> None:
        """Give a node its stage; a failure shows at the next `poll`."""
        ...

    def poll(self, timeout: float) -> list[Arrived]:
        """Pages and losses of nodes whose stage runs, waiting at most ``timeout`` seconds."""
        ...

    def revive(self, node: int) -> Node | None:
        """Start the agent of a lost node anew, and ask it what it carries; None: it is away."""
        return None

    def joined(self) -> list[str]:
        """Names of nodes that came after `nodes` was asked, each told once."""
        return []

    def drop(self, node: int) -> None:
        """End the stage on a node that is given up; its pages are asked for no more."""
        ...

    def cancel(self) -> None:
        """End the stage on every node; what they hold can still be polled."""
        ...

    def close(self) -> None:
        """End the agents, and a cluster that was started for them."""
        ...
