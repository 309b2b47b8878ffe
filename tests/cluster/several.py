"""Several agents in one process, as if each had a machine of its own: nodes without Ray."""

from __future__ import annotations

import threading

import msgspec

from bench.cluster.agent import Agent, AgentSpec, new_token
from bench.cluster.hub import Arrived, Hub


class Several(Hub):
    """Agents in this process, each with one device and, it seems, a machine of its own.

    Of ``dead`` ones nobody answers from the first stage on. If they are ``frozen``, the kernel
    still takes connections for them. ``bare`` ones have no device, as one that is away.
    """

    name = "several"

    def __init__(self, count=3, dead=(), frozen=False, bare=()):
        token = new_token()
        self.agents = [Agent(AgentSpec(token=token, backend="cpu")) for _ in range(count)]
        self.dead = dead
        self.bare = bare
        self.frozen = frozen
        self.thaw = threading.Event()

    def nodes(self):
        for number, agent in enumerate(self.agents):
            node = agent.describe()
            agent.node = msgspec.structs.replace(
                node,
                id=str(number),
                name=f"n{number}",
                machine=f"m{number}",
                devices=(node.devices[number % len(node.devices)],),
            )
            if number in self.bare:
                agent.node = msgspec.structs.replace(
                    agent.node, devices=(), problem="its driver is broken"
                )
        return [agent.node for agent in self.agents]

    def start(self, node, order):
        if node in self.dead and self.frozen:
            agent = self.agents[node]
            agent._loop.call_soon_threadsafe(self.thaw.wait)
        elif node in self.dead:
            self.agents[node].close()
        else:
            self.agents[node].start(order)

    def poll(self, timeout):
        found = [Arrived(node, lost="does not answer") for node in self.dead]
        for node in self.alive():
            page, ended = self.agents[node].page(timeout / len(self.agents))
            found.append(Arrived(node, page, ended))
        return found

    def alive(self):
        return [node for node in range(len(self.agents)) if node not in self.dead]

    def drop(self, node):
        if node in self.alive():
            self.agents[node].cancel()

    def cancel(self):
        for node in self.alive():
            self.agents[node].cancel()

    def close(self):
        self.thaw.set()
        for node in range(len(self.agents)) if self.frozen else self.alive():
            self.agents[node].close()
