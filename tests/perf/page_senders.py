"""Agents that have measured already: they speak `wire` and give their pages to one driver.

``python page_senders.py serve BYTES COUNT`` is COUNT agents in one process, and prints its address;
``python page_senders.py collect FOLDER COUNT ADDRESS...`` is the driver of COUNT agents in all: the
engine, its journal and a hub over sockets. It prints what that cost it, as JSON. Ray carries the
pages of a real run; here the sockets are our own, for a thousand raylets fit no machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import random
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Union

import msgspec

from bench.cluster.agents import AgentExecutor
from bench.cluster.executor import Page
from bench.cluster.hub import Arrived, Hub
from bench.cluster.observer import Several
from bench.cluster.orders import Order
from bench.cluster.outbox import Outbox
from bench.cluster.wire import LIMIT, Link, LinkLost, Message
from bench.host import Contention
from bench.records import Conditions, Device, Node, Row, Samples

TOKEN = "perf"
DEVICES = 8
SECONDS = [float(f"{random.uniform(1e-3, 2e-3):.6e}") for _ in range(10_000)]
"""What samples are drawn from."""


class Start(msgspec.Struct, tag=True):
    """Driver → agent: a stage."""

    order: Order


class Pull(msgspec.Struct, tag=True):
    """Driver → agent: give a page."""


class Pulled(msgspec.Struct, tag=True):
    """Agent → driver: a page, and whether it is the stage's last."""

    page: msgspec.Raw
    ended: bool


class PageLink(Link):
    """A link between a driver and an agent."""

    def __init__(self, reader, writer):
        super().__init__(reader, writer)
        self._decoder = msgspec.json.Decoder(Union[Message, Start, Pull, Pulled])


# ---- agents ----


def measured(order: Order, size: int) -> Outbox:
    """What an agent holds when its stage has ended: rows, and samples up to ``size`` bytes."""
    drawn = random.Random(order.node)
    outbox = Outbox("all")
    jobs = [(visit, order.jobs[visit.block][job]) for visit in order.visits for job in visit.jobs]
    outbox.begin(order.names[order.node], len(jobs))
    rows = sum(len(job.metrics) for _, job in jobs)
    count = max(1, (size - 100 * rows) // (14 * len(jobs)))
    for visit, job in jobs:
        value = drawn.uniform(1e-3, 2e-3)
        # Cards that do the same have clocks, temperatures and watts in a band.
        conditions = Conditions(
            nice=0,
            affinity=f"{visit.group % DEVICES}",
            threads=1,
            governor="performance",
            frequency=(drawn.randrange(1700, 2000, 50), drawn.randrange(1700, 2000, 50)),
            temperature=(drawn.randrange(40, 60, 5), drawn.randrange(50, 70, 5)),
            power=(drawn.randrange(200, 260, 20), drawn.randrange(600, 700, 20)),
        )
        outbox.add(
            [
                Row(job.case + i, visit.group, visit.repeat, 1.5, value, value, value, count, "ok",
                    0, order.provenance, "")
                for i in range(len(job.metrics))
            ],
            [conditions],
            Samples(job.case, visit.group, visit.repeat, 1, drawn.sample(SECONDS, count)),
        )  # fmt: skip
        outbox.progress(1, job.benchmark)
    outbox.finish()
    return outbox


EMPTY = Pulled(msgspec.Raw(msgspec.json.encode(Page())), False)


def fill(pages: asyncio.Queue[Pulled], outbox: Outbox) -> None:
    """All pages of an outbox, as its agent would give them."""
    while outbox.waiting:
        page = msgspec.Raw(msgspec.json.encode(outbox.take()))
        pages.put_nowait(Pulled(page, not outbox.waiting))


async def serve(size: int, count: int) -> None:
    """Every connection is an agent. None gives a page with rows before all of them have theirs.

    On a thousand nodes a thousand processors make the pages; here the driver's share is measured.
    """
    ready = asyncio.Event()
    orders: list[tuple[asyncio.Queue[Pulled], Order]] = []

    async def agent(reader, writer):
        link = PageLink(reader, writer)
        pages: asyncio.Queue[Pulled] = asyncio.Queue()
        with contextlib.suppress(LinkLost):
            await link.welcome(TOKEN)
            while True:
                message = await link.receive()
                if isinstance(message, Start):
                    orders.append((pages, message.order))
                    if len(orders) == count:
                        for mine, order in orders:
                            fill(mine, measured(order, size))
                            await asyncio.sleep(0)  # heartbeats must go on
                        ready.set()
                    continue
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(ready.wait(), 1.0)
                link.send(pages.get_nowait() if ready.is_set() else EMPTY)
        link.close()

    server = await asyncio.start_server(agent, "127.0.0.1", 0, limit=LIMIT, backlog=2048)
    print(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


# ---- the driver ----


class SocketHub(Hub):
    """Agents behind sockets; as `RayHub` does, it asks for a page when it has taken the last."""

    name = "sockets"

    def __init__(self, addresses: list[str], count: int) -> None:
        self._addresses = [addresses[node % len(addresses)] for node in range(count)]
        self._links: list[PageLink] = []
        self._arrived: queue.SimpleQueue[Arrived] = queue.SimpleQueue()
        self.starts = [0] * count
        self.bytes = 0
        self.largest = 0
        self.first = self.worked = 0.0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def nodes(self) -> list[Node]:
        async def dial():
            for node, address in enumerate(self._addresses):
                self._links.append(await PageLink.dial(address, node, TOKEN, 30))
            self._readers = [
                asyncio.create_task(self._read(node)) for node in range(len(self._links))
            ]

        self._call(dial())
        return [
            Node(
                id=str(node), name=f"n{node}", machine=f"m{node}", address=address, backend="cpu",
                devices=tuple(
                    Device(index=i, backend="cpu", name="core", lane=str(i), stand_in=True)
                    for i in range(DEVICES)
                ),
            )
            for node, address in enumerate(self._addresses)
        ]  # fmt: skip

    async def _read(self, node: int) -> None:
        try:
            while True:
                message = await self._links[node].receive()
                page = bytes(message.page)
                size = len(page)
                if not self.first and size > 1000:
                    self.first, self.worked = time.perf_counter(), time.process_time()
                    self.others = Contention.begin(sorted(os.sched_getaffinity(0)))
                self.bytes += size
                self.largest = max(self.largest, size)
                self._arrived.put(Arrived(node, page, message.ended))
        except LinkLost as error:
            self._arrived.put(Arrived(node, lost=str(error)))

    def _send(self, node: int, message) -> None:
        self._loop.call_soon_threadsafe(self._links[node].send, message)

    def start(self, node: int, order: Order) -> None:
        self.starts[node] += 1
        self._send(node, Start(order))
        self._send(node, Pull())

    def poll(self, timeout: float) -> list[Arrived]:
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._arrived.get(timeout=timeout))
            while True:
                found.append(self._arrived.get_nowait())
        for arrived in found:
            if not arrived.ended and not arrived.lost:
                self._send(arrived.node, Pull())
        return found

    def drop(self, node: int) -> None:
        self._links[node].close()

    def cancel(self) -> None:
        return

    def close(self) -> None:
        async def end():
            for task in self._readers:
                task.cancel()
            for link in self._links:
                link.close()
            await asyncio.wait(self._readers)

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)


class Stopwatch(Several):
    """When the last page was in the journal, and what else ran since the first came."""

    def __init__(self, hub):
        super().__init__()
        self.hub = hub

    def end(self, state, counts):
        self.ended, self.worked = time.perf_counter(), time.process_time()
        self.others = self.hub.others.end()


def collect(folder: Path, count: int, addresses: list[str]) -> None:
    """Run a stage on ``count`` agents and print what it cost."""
    from bench.cluster.engine import execute
    from bench.configs import Entry, StageConfig, Suite

    shapes = ["512x512x512", "1024x1024x1024", "2048x2048x2048", "4096x4096x4096", "64x64x64"]
    axes = {"shape": shapes, "dtype": ["fp32", "bf16"], "impl": ["torch", "triton"]}
    suite = Suite(
        name="pages",
        stages=[StageConfig(name="device", entries=[Entry(benchmark="gemm", axes=axes)])],
    )
    hub = SocketHub(addresses, count)
    watch = Stopwatch(hub)
    finished = execute(
        suite,
        AgentExecutor(hub, {}),
        folder,
        "run",
        chips={},
        command=[],
        environment={},
        observer=watch,
    )
    print(
        json.dumps(
            {
                "seconds": watch.ended - hub.first,
                "processor": watch.worked - hub.worked,
                # The senders need a processor too, but not a whole one all the time.
                "contended": watch.others.contended(1.0),
                "whole": finished.header.stages[0]["seconds"],
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "bytes": hub.bytes,
                "largest": hub.largest,
                "starts": max(hub.starts),
                "rows": finished.counts,
                "lost": len(finished.lost),
                "conditions": len(finished.header.conditions),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3])))
    else:
        collect(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
