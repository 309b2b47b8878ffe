"""The local executor's hub: one agent inside this process. For laptops and tests, without Ray."""

from __future__ import annotations

from ..records import Node
from .agent import Agent, AgentSpec
from .hub import Arrived, Hub
from .orders import Order


class LocalHub(Hub):
    """This machine as the only node."""

    name = "local"

    def __init__(self, spec: AgentSpec) -> None:
        self._agent = Agent(spec)

    def nodes(self) -> list[Node]:
        return [self._agent.describe()]

    def start(self, node: int, order: Order) -> None:
        self._agent.start(order)

    def poll(self, timeout: float) -> list[Arrived]:
        page, ended = self._agent.page(timeout)
        return [Arrived(0, page, ended)]

    def drop(self, node: int) -> None:
        self._agent.cancel()

    def cancel(self) -> None:
        self._agent.cancel()

    def close(self) -> None:
        self._agent.close()
