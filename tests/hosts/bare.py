"""Hosts measured without Ray: the agents themselves, reached over the hosts' own network.

Four raylets and what belongs to them take some percent of a core, all the time. Where hosts share
few cores that is more than a quiet one may lose while it measures. Here nothing runs beside the
measurement but the agents and the driver, the same as under Ray.

    python bare.py serve ADDRESS                     on every host: starts agents, until it ends
    python bare.py certify ... --address A,B,C       `hengsuan certify` of the hosts that serve
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench.cluster.agent import Agent, AgentSpec
from bench.cluster.hub import Arrived, Hub
from bench.cluster.orders import Order
from bench.records import Node

if TYPE_CHECKING:
    from hosts import Host

PORT = 7700
KEY = b"hosts"
"""Nobody outside reaches these hosts: no secret is needed."""


class Served(BaseManager):
    """What starts agents in a process of their host, and carries calls to them."""


Served.register("Agent", Agent, exposed=("describe", "start", "page", "cancel", "close"))


class BareHub(Hub):
    """Agents on hosts that `serve`; takes what `bench.cluster.ray_hub.RayHub` takes."""

    name = "bare"

    def __init__(self, spec: AgentSpec, address: str, nodes: list[str] | None = None) -> None:
        self._spec = spec
        self._addresses = address.split(",")
        self._agents: list[Any] = []
        self._news: queue.Queue[Arrived] = queue.Queue()

    def nodes(self) -> list[Node]:
        with ThreadPoolExecutor(len(self._addresses)) as threads:
            self._agents = list(threads.map(self._agent, self._addresses))
            described = threads.map(lambda agent: agent.describe(), self._agents)
            # Hosts that share cores are of one machine, and not one node.
            return [
                msgspec.structs.replace(node, id=address)
                for node, address in zip(described, self._addresses, strict=True)
            ]

    def _agent(self, address: str) -> Any:
        served = Served((address, PORT), KEY)
        served.connect()
        return served.Agent(msgspec.structs.replace(self._spec, address=address))

    def start(self, node: int, order: Order) -> None:
        threading.Thread(target=self._follow, args=(node, order), daemon=True).start()

    def _follow(self, node: int, order: Order) -> None:
        """Start a stage on a node and pass its pages on, until the stage ends."""
        agent, ended = self._agents[node], False
        try:
            agent.start(order)
            while not ended:
                page, ended = agent.page(1.0)
                self._news.put(Arrived(node, page, ended))
        except Exception as error:  # by cause; a death is a result
            self._news.put(Arrived(node, lost=f"its agent was lost ({error!r})"))

    def poll(self, timeout: float) -> list[Arrived]:
        try:
            return [self._news.get(timeout=timeout)]
        except queue.Empty:
            return []

    def drop(self, node: int) -> None:
        self._agents[node].cancel()

    def cancel(self) -> None:
        for agent in self._agents:
            agent.cancel()

    def close(self) -> None:
        for agent in self._agents:
            agent.close()


def serve(host: Host) -> subprocess.Popen[str]:
    """Let agents be started on a host, until it ends."""
    words = [sys.executable, Path(__file__), "serve", host.address]
    process = host.start(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == "ready\n", f"{host.name} does not serve"
    return process


def main() -> None:
    """What the command line asks for."""
    if sys.argv[1:2] == ["serve"]:
        server = Served((sys.argv[2], PORT), KEY).get_server()
        print("ready", flush=True)
        server.serve_forever()
    from bench.cli import main as hengsuan
    from bench.cluster import ray_hub

    ray_hub.RayHub = BareHub  # type: ignore[misc]  # all else is the program as it is
    hengsuan()


if __name__ == "__main__":
    main()
