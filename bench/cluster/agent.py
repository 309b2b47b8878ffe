"""The agent of one node: owns its ranks, meets other agents, gives pages to the driver.

Runs its own event loop in a thread of its own, inside a Ray actor or inside the driver's
process (local executor): the same code in both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..configs import datasheet
from ..errors import BackendError
from ..ledger import Ledger
from ..records import Conditions, Node, Row, Samples
from . import interfaces
from .blows import fall
from .coordinator import Coordinator
from .executor import Event
from .follow import follow
from .in_thread import in_thread
from .lead import Lead
from .orders import Order, Visit
from .outbox import Outbox
from .party import Party
from .ranks import RankLost, RankProcess, cpus_of
from .sampler import Sampler
from .watch import Watch
from .wire import Clock, LaunchSpec

T = TypeVar("T")

LOOK = 10.0
"""Seconds that reading the host's counters may take: a driver that hangs must not hold a stage."""


class AgentSpec(msgspec.Struct, kw_only=True, frozen=True):
    """What an agent is started with. ``samples``: which raw samples travel to the driver.

    ``stands_for``: the chip that the devices stand in for; ``impose_memory``: with its memory.
    ``telemetry``: seconds between two looks at the node and its devices; 0: none. ``apart``: the
    agent has a process of its own, which may be killed.
    """

    token: str
    backend: str | None = None
    share: bool = False
    samples: str = "all"
    address: str = "127.0.0.1"
    stands_for: str = ""
    impose_memory: bool = False
    telemetry: float = 0.0
    apart: bool = False


class Agent:
    """Everything that happens on one node. Public methods may be called from any thread."""

    def __init__(self, spec: AgentSpec) -> None:
        self.spec = spec
        self.node: Node | None = None
        self._ranks: dict[int, RankProcess] = {}
        self._starting: dict[int, asyncio.Lock] = {}
        self._warming: set[asyncio.Task[None]] = set()
        self._outbox = Outbox(spec.samples)
        self._stage: asyncio.Task[None] | None = None
        self._order: Order | None = None
        self._watch: Watch | None = None
        self._sampler: Sampler | None = None
        self.clock = Clock(0.0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._meeting: Coordinator = self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C while waiting for a page: that page must not be taken for nobody.
            future.cancel()
            raise

    async def _listen(self) -> Coordinator:
        meeting = Coordinator(self.spec.token)
        await meeting.listen(self.spec.address)
        return meeting

    # ---- what the driver calls ----

    def describe(self) -> Node:
        """What this node is and carries; devices in use by others are left out unless shared."""
        from .describe import describe

        self.node = describe(
            self.spec.backend,
            self.spec.share,
            self._meeting.address,
            stands_for=self.spec.stands_for,
            impose_memory=self.spec.impose_memory,
        )
        return self.node

    def start(self, order: Order) -> None:
        """Begin a stage."""
        self._order = order
        self.clock = Clock(order.offset)
        self._outbox.begin(order.names[order.node], sum(len(v.jobs) for v in order.visits))
        self._sample(order.node)

        async def begin() -> None:
            self._stage = asyncio.create_task(self._run(order))
            for blow in order.blows:
                falling = asyncio.create_task(fall(blow, self._ranks, self.spec.apart))
                # What was asked for in a stage does not strike behind it.
                self._stage.add_done_callback(partial(_end, falling))

        self._call(begin())

    def _sample(self, place: int) -> None:
        """Look at the node from its first stage on, until it is closed."""
        if self._sampler is None and self.spec.telemetry and self.node is not None:
            give, now = self._outbox.telemetry.append, lambda: self.clock.now()
            self._sampler = Sampler(self.node, place, self.spec.telemetry, now, give)
            self._sampler.start()

    def page(self, timeout: float = 1.0, started: None = None) -> tuple[bytes, bool]:
        """(an encoded `Page`, whether the stage has ended and this is its last page).

        ``started`` is what `start` returned, where only that tells that it has.
        """

        async def wait() -> tuple[bytes, bool]:
            stage = self._stage
            if stage is not None and not stage.done() and not self._outbox.waiting:
                await asyncio.wait([stage], timeout=timeout)
            ended = stage is None or stage.done()
            text = msgspec.json.encode(self._outbox.take())
            return text, ended and self._outbox.empty

        return self._call(wait())

    def cancel(self) -> None:
        """End the stage; ranks are killed, for they may be stuck."""

        async def end() -> None:
            if self._stage is not None and not self._stage.done():
                self._stage.cancel()
                await asyncio.wait([self._stage], timeout=5)
            for task in self._warming:
                task.cancel()
            for device in list(self._ranks):
                self.discard(device)

        self._call(end())

    def close(self) -> None:
        """Kill all ranks, hang up and end the event loop."""
        self.cancel()
        if self._watch is not None:
            self._watch.close()
        if self._sampler is not None:
            self._sampler.stop()
        self._call(self._meeting.close())
        self._call(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _settle(self) -> None:
        """End what still runs in the loop, so that nothing is torn down half-way."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=2) if rest else None

    def rank_pids(self) -> list[int]:
        """Process ids of the running ranks (to find them in a process list)."""
        return [rank.pid for rank in self._ranks.values() if rank.pid is not None]

    # ---- the stage ----

    async def _run(self, order: Order) -> None:
        wanted = {d for v in order.visits for n, ds in v.members if n == order.node for d in ds}
        try:
            await self._look()
            await self._meeting.begin(order)
            warm = [asyncio.create_task(self._warm(device)) for device in sorted(wanted)]
            by_step: dict[int, list[Visit]] = {}
            for visit in order.visits:
                by_step.setdefault(visit.step, []).append(visit)
            await asyncio.gather(*warm)
            # Nodes that share a machine pass every step together; others only have their own.
            every = range(*order.steps) if len(order.beside) > 1 else sorted(by_step)
            for step in every:
                lost = await self._meeting.barrier(step)
                if lost and order.in_step:
                    self._fall_out(order, lost)
                    break
                await asyncio.gather(*(self._visit(order, v) for v in by_step.get(step, [])))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            import traceback

            traceback.print_exc()
            self.event("agent-lost", f"the agent failed: {type(error).__name__}: {error}")
            self._meeting.hang_up()  # nobody must wait for this node's visits
        finally:
            await self._look_again(order.stage, wanted)
            self._outbox.finish()

    def _fall_out(self, order: Order, lost: str) -> None:
        """Measure no more of a stage whose rounds nobody keeps apart: the driver asks again."""
        keeper = order.names[order.beside[0]]
        said = f"node {keeper} was lost: {lost}"
        self.event("warning", f"it fell out of step and waits for another turn: {said}")
        self._meeting.hang_up()  # nobody must wait for this node's visits

    async def _visit(self, order: Order, visit: Visit) -> None:
        """Take part in a visit: the agent of its first node leads."""
        if visit.members[0][0] == order.node:
            await Lead(self, self._meeting, order, visit).run()
        else:
            await follow(self, self._meeting, order, visit)

    async def _look(self) -> None:
        """Note what the host has counted and logged before the stage."""
        assert self.node is not None
        if self._watch is None:
            self._watch = Watch(self.node)
        await self._bounded(self._watch.begin)

    async def _look_again(self, stage: str, places: set[int]) -> None:
        """Tell the driver what the host has counted and logged during the stage.

        The ranks still stand by then, so that their devices' links are as they were at work.
        """
        if self._watch is None:
            return
        for event in await self._bounded(partial(self._watch.end, stage, places)) or []:
            self._outbox.events.append(msgspec.structs.replace(event, time=self.clock.now()))

    async def _bounded(self, look: Callable[[], T]) -> T | None:
        """What ``look`` gives, called in a thread; None, and an event, if it fails or hangs."""
        try:
            return await asyncio.wait_for(in_thread(look), LOOK)
        except Exception as error:  # a driver's file or a vendor's telemetry; no reason to stop
            why = f"for {LOOK:g} s" if isinstance(error, asyncio.TimeoutError) else f": {error}"
            self.event("warning", f"the host's counters could not be read{why}")
            return None

    async def _warm(self, device: int) -> None:
        """Start a rank ahead of need; if that fails, the first visit reports it."""
        with contextlib.suppress(RankLost):
            await self.supply(device)

    async def supply(self, device: int) -> RankProcess:
        """The running rank process of a device. Raises `RankLost` if it does not start."""
        async with self._starting.setdefault(device, asyncio.Lock()):
            running = self._ranks.get(device)
            if running is not None:
                return running
            try:
                process = RankProcess(self._launch_spec(device))
                self._ranks[device] = process
                await process.start()
            except RankLost as error:
                self.discard(device)
                raise RankLost(f"did not start: {error}", hang=error.hang) from None
            except BackendError as error:
                self.discard(device)
                raise RankLost(f"cannot be started: {error.message}") from None
            except OSError as error:  # no working directory, no descriptor, no process to be had
                self.discard(device)
                raise RankLost(f"cannot be started: {error}") from None
            return process

    def discard(self, device: int) -> None:
        """Kill the rank process of a device; the next `supply` starts another."""
        process = self._ranks.pop(device, None)
        if process is not None:
            process.kill()

    def replace(self, device: int) -> None:
        """Kill the rank process of a device and start another at once, if it had started itself.

        All ranks of a broken group are replaced, on every node: they start beside each other.
        """
        if device not in self._ranks:
            return
        self.discard(device)
        task = asyncio.get_running_loop().create_task(self._warm(device))
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    def party(self, visit: Visit) -> Party:
        """This node's part in a visit's group."""
        assert self._order is not None
        first = 0
        size = sum(len(devices) for _, devices in visit.members)
        jobs = self._order.jobs[visit.block]
        for node, devices in visit.members:
            if node == self._order.node:
                return Party(
                    devices,
                    first,
                    size,
                    node,
                    self.host,
                    visit.library,
                    max(jobs[index].longest for index in visit.jobs),
                    self.supply,
                    self.replace,
                )
            first += len(devices)
        raise AssertionError("a visit that this node has no part in")

    @property
    def host(self) -> str:
        """The address under which this node's ranks are reachable."""
        return self._meeting.address.rpartition(":")[0]

    def _launch_spec(self, place: int) -> LaunchSpec:
        assert self.node is not None
        assert self._order is not None
        device = self.node.devices[place]
        claimed = [d.index for d in self.node.devices]
        backend = get_backend(device.backend)
        cpus = cpus_of(device.facts, place, len(claimed))
        environment = {
            "OMP_NUM_THREADS": str(len(cpus)),
            **interfaces.environment(self.host),
            **backend.environment(claimed, device.index),
        }
        chip = datasheet(device, self._order.chips)
        return LaunchSpec(
            python=sys.executable,
            environment=environment,
            directory=os.getcwd(),
            backend=device.backend,
            index=device.index,
            local=claimed.index(device.index),
            devices=claimed,
            cpus=cpus,
            memory=device.memory,
            memory_limit=device.memory if self.spec.impose_memory else 0,
            chip=msgspec.to_builtins(chip) if chip is not None else None,
            shared=self.spec.share,
        )

    # ---- what the coordinator reports ----

    def record(
        self,
        rows: list[Row],
        conditions: list[Conditions],
        samples: Samples | None,
        ledger: Ledger | None,
    ) -> None:
        """Put rows, which index the conditions (-1: none), and what goes with them into the outbox.

        ``ledger``: where the job's time went; None where it was not begun.
        """
        self._outbox.add(rows, conditions, samples, ledger)

    def progress(self, done: int, current: str) -> None:
        """Note finished jobs and what runs now."""
        self._outbox.progress(done, current)

    def event(self, kind: str, text: str, node: str = "") -> None:
        """Tell the driver that something happened, on this node where no other is named."""
        node = node or (self.node.name if self.node is not None else "")
        self._outbox.events.append(Event(time=self.clock.now(), kind=kind, text=text, node=node))


def _end(task: asyncio.Task[None], stage: asyncio.Task[None]) -> None:
    task.cancel()


def get_backend(name: str) -> Any:
    """The backend object of a device of this node."""
    from ..backends.registry import get

    return get(name)


def new_token() -> str:
    """A secret that agents of one run share."""
    return secrets.token_hex(16)
