"""The executor over agents, wherever they live: gives them their orders, collects their pages.

How they are reached a `Hub` knows; everything else, above all what happens when one of them is
lost, is the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..configs import Chip, Labelled, label_nodes
from ..errors import InfraError
from ..inventory import Inventory
from ..records import Node, Provenance, Row
from .describe import passed_over
from .executor import Done, Event, Executor, Page
from .hub import Arrived, Hub
from .listening import Listening
from .ordering import Ordering
from .orders import Visit
from .plan import Job, Plan, Stage, Strike, schedules_of, steps
from .wire import Clock

DRAIN = 10.0
"""Seconds without a row, behind an interrupt, after which agents that hold pages are left."""

TURNS = 4
"""How often a stage is asked for at most, where who kept its nodes in step was lost."""

Key = tuple[int, int, int]
"""(first case of a job, group, repeat)."""


class AgentExecutor(Executor):
    """Runs stages on agents. A dead node costs its own measurements and nothing else."""

    def __init__(
        self,
        hub: Hub,
        chips: Mapping[str, Chip],
        *,
        seed: int = 0,
        labels: Sequence[Labelled] = (),
        telemetry: float = 0.0,
    ) -> None:
        self.hub = hub
        self.telemetry = telemetry
        self._labels = labels
        self.name = hub.name
        self.provenance: Provenance = "measured"
        self.clock = Clock(0.0)
        self._chips = dict(chips)
        self._seed = seed
        self._inventory: Inventory | None = None
        self._lost: dict[int, str] = {}
        self._moved: dict[int, str] = {}
        self._pending: dict[Key, tuple[Visit, Job]] = {}
        self._ordering: Ordering | None = None
        self._running: set[int] = set()
        self._arrived: deque[Arrived] = deque()
        self._rows: list[Row] = []
        self._limit = 0.0
        self._step = 0
        self._visit = 0

    def inventory(self) -> Inventory:
        """Start agents and ask them; nodes without a usable device stay in the list, empty."""
        nodes = self.hub.nodes()
        if not any(node.devices for node in nodes):
            problems = "; ".join(f"{n.name}: {n.problem or 'no device'}" for n in nodes)
            raise InfraError(
                f"no node has a device to measure ({problems})",
                hint="see `hengsuan doctor`; --share measures devices that others use too",
            )
        self._lost = {i: node.problem for i, node in enumerate(nodes) if not node.devices}
        labelled, notes = label_nodes(nodes, self._labels)
        notes = [*notes, *passed_over(nodes)]
        self._inventory = Inventory(labelled, notes=notes)
        self.provenance = _provenance(self._inventory)
        return self._inventory

    def start(self, plan: Plan, stage: Stage, done: Done) -> None:
        """Walk the stage once, give every node the visits that it has a part in."""
        inventory = self._inventory
        assert inventory is not None
        kinds = [plan.schedules[block.schedule] for block in stage.blocks]
        self._ordering = Ordering(
            inventory=inventory,
            stage=stage.name,
            jobs=[block.jobs for block in stage.blocks],
            in_step=any(kind.arguments.get("together") is not None for kind in kinds),
            seed=self._seed,
            provenance=self.provenance,
            chips=self._chips,
            moved=dict(self._moved),
        )
        visits: list[Visit] = []
        first_step, limit = self._step, 0.0
        self._pending, self._rows = {}, []
        for step in steps(stage, schedules_of(plan, inventory)):
            jobs = stage.blocks[step.block].jobs
            limit += sum(job.longest for job in jobs) + 120.0
            for batch in step.groups:
                for group, ranks in zip(batch.ids.tolist(), batch.ranks.tolist(), strict=True):
                    wanted = [
                        index
                        for index, job in enumerate(jobs)
                        if not _complete(job, group, ranks, step.repeat, done)
                    ]
                    if wanted:
                        self._visit += 1
                        visit = Visit(
                            id=self._visit,
                            step=self._step,
                            block=step.block,
                            repeat=step.repeat,
                            group=group,
                            members=self._ordering.members(ranks),
                            jobs=wanted,
                            library=kinds[step.block].library,
                            ranks=ranks,
                        )
                        if self._noted(visit, jobs):
                            visits.append(visit)
            self._step += 1
        self._limit = limit
        self._running = set()
        self._send(visits, first_step, stage.strikes)

    def _noted(self, visit: Visit, jobs: list[Job]) -> bool:
        """Note what a visit will give, or what is missing; whether it can be asked for."""
        gone = self._gone(visit)
        for index in visit.jobs:
            if gone is not None:
                self._missing(visit, jobs[index], gone)
            else:
                self._pending[jobs[index].case, visit.group, visit.repeat] = visit, jobs[index]
        return gone is None

    def _gone(self, visit: Visit) -> int | None:
        """A member that is lost; None if there is none."""
        return next((node for node, _ in visit.members if node in self._lost), None)

    def _send(self, visits: list[Visit], first_step: int, strikes: Sequence[Strike] = ()) -> None:
        assert self._ordering is not None
        span = first_step, self._step
        for order in self._ordering.orders(visits, span, self.clock.now(), strikes):
            self._running.add(order.node)
            self.hub.start(order.node, order)

    def _send_again(self) -> bool:
        """Ask once more for what nodes gave up when who kept them in step was lost; whether any.

        In steps and visits of new numbers: nobody takes a late word of the old ones for these.
        """
        assert self._ordering is not None
        given_up = [visit for visit, _ in self._pending.values() if self._gone(visit) is None]
        if not self._ordering.in_step or not given_up:
            return False
        first_step, before = self._step, -1
        visits = []
        for _, visit in sorted({visit.id: visit for visit in given_up}.items()):
            jobs = self._ordering.jobs[visit.block]
            left = [
                i for i in visit.jobs if (jobs[i].case, visit.group, visit.repeat) in self._pending
            ]
            self._step += visit.step != before
            before = visit.step
            self._visit += 1
            visits.append(
                msgspec.structs.replace(visit, id=self._visit, step=self._step - 1, jobs=left)
            )
        for visit in visits:
            self._noted(visit, self._ordering.jobs[visit.block])
        self._send(visits, first_step)
        return True

    def pages(self) -> Iterator[Page]:
        """Pages until every node has ended its stage or is lost; last, what is missing."""
        yield from self._pages_of_running()
        turns = 1
        while turns < TURNS and self._send_again():
            turns += 1
            yield from self._pages_of_running()
        for visit, job in self._pending.values():
            self._missing(visit, job, self._gone(visit))
        self._pending = {}
        if self._rows:
            yield Page(rows=self._rows)
            self._rows = []

    def _pages_of_running(self) -> Iterator[Page]:
        decoder = msgspec.json.Decoder(Page)
        failed: dict[int, str] = {}
        listening = Listening()
        while self._running:
            self._arrived.extend(self.hub.poll(1.0))
            while self._arrived:
                arrived = self._arrived.popleft()
                if arrived.node in self._lost:
                    continue  # its rows are noted as missing already
                if arrived.lost:
                    yield self._lose(arrived.node, arrived.lost)
                    continue
                page = decoder.decode(arrived.page)
                for row in page.rows:
                    self._pending.pop((row.case, row.group, row.repeat), None)
                for number, event in enumerate(page.events):
                    if event.kind == "agent-lost":  # it says so itself, and holds more pages
                        failed.setdefault(arrived.node, event.text)
                        page.events[number] = msgspec.structs.replace(event, place=arrived.node)
                if arrived.ended:
                    self._running.discard(arrived.node)
                    if arrived.node in failed:
                        self._lost[arrived.node] = failed[arrived.node]
                yield page
            if listening.look() > self._limit:
                for node in sorted(self._running):
                    yield self._lose(node, "did not end the stage in time")
            yield Page(events=[self._joined(name) for name in self.hub.joined()])

    def revive(self) -> Page:
        """Take back every lost node that can be reached again and carries what it did before."""
        assert self._inventory is not None
        events = []
        for node in sorted(self._lost):
            before = self._inventory.nodes[node]
            found = self.hub.revive(node) if before.devices else None
            if found is None or _what(found) != _what(before):
                continue
            del self._lost[node]
            self._moved[node] = found.address
            text, now = "its agent was started anew", self.clock.now()
            name = before.name
            events.append(Event(time=now, kind="agent-back", text=text, node=name, place=node))
        return Page(events=events)

    def cancel(self) -> None:
        """End the running stage everywhere."""
        self.hub.cancel()

    def drain(self) -> Iterator[Page]:
        """Rows and samples that agents still held, as long as some come."""
        decoder = msgspec.json.Decoder(Page)
        stop = time.monotonic() + DRAIN
        while (self._running or self._arrived) and time.monotonic() < stop:
            # Some may have arrived when the run was interrupted: they come first.
            if not self._arrived:
                self._arrived.extend(self.hub.poll(0.5))
            while self._arrived:
                arrived = self._arrived.popleft()
                if arrived.lost or arrived.ended:
                    self._running.discard(arrived.node)
                if arrived.page:
                    page = decoder.decode(arrived.page)
                    if page.rows or page.samples:
                        stop = time.monotonic() + DRAIN
                    yield page

    def close(self) -> None:
        """End the agents."""
        self.hub.close()

    def _lose(self, node: int, reason: str) -> Page:
        assert self._inventory is not None
        self._running.discard(node)
        self._lost.setdefault(node, reason)
        self.hub.drop(node)  # one that was only away works on, beside the others
        name = self._inventory.name(node)
        now = self.clock.now()
        event = Event(time=now, kind="agent-lost", text=reason, node=name, place=node)
        return Page(events=[event])

    def _joined(self, name: str) -> Event:
        text = f"node {name} joined after the run had begun and has no part in it"
        hint = "give it a run of its own with --nodes"
        return Event(time=self.clock.now(), kind="warning", text=f"{text}: {hint}")

    def _missing(self, visit: Visit, job: Job, gone: int | None) -> None:
        assert self._inventory is not None
        if gone is None:
            leader = self._inventory.name(visit.members[0][0])
            reason = f"node {leader} ended the stage without reporting"
        else:
            reason = f"node {self._inventory.name(gone)}: {self._lost[gone]}"
        self._rows.extend(
            Row(
                case=case,
                group=group,
                repeat=visit.repeat,
                time=self.clock.now(),
                value=None,
                low=None,
                high=None,
                n=0,
                status="missing",
                conditions=-1,
                provenance=self.provenance,
                reason=reason,
            )
            for case, group in job.rows(visit.group, visit.ranks)
        )


def _complete(job: Job, group: int, ranks: list[int], repeat: int, done: Done) -> bool:
    """Whether every metric of the job has its rows."""
    if not len(done):
        return False
    return all((case, one, repeat) in done for case, one in job.rows(group, ranks))


def _what(node: Node) -> tuple[str, list[tuple[int, str]]]:
    """What a node must be to go on as the same one."""
    return node.machine, [(device.index, device.serial) for device in node.devices]


def _provenance(inventory: Inventory) -> Provenance:
    """``stand-in`` where the devices only stand in for accelerators. Mixed fleets are refused."""
    kinds: dict[bool, Node] = {}
    for node in inventory.nodes:
        for device in node.devices:
            kinds.setdefault(device.stand_in, node)
    if len(kinds) > 1:
        real, other = kinds[False], kinds[True]
        apart = f"node {other.name} has {other.backend} only, node {real.name} {real.backend}"
        why = "; ".join(passed_over([other])) or apart
        raise InfraError(
            f"stand-in and real devices in one run would mix their records: {why}",
            hint=f"measure one kind: --backend {real.backend}",
        )
    return "stand-in" if True in kinds else "measured"
