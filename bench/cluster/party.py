"""One node's part of a group: the local ranks that open, run and close together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from ..ledger import Ledger
from ..records import Conditions, Row, Samples
from .orders import Visit
from .plan import Job
from .ranks import RankLost, RankProcess
from .wire import Clock, Close, Failed, Open, Opened, Report, Result, Run

GRACE = 3.0
"""Seconds that other ranks get, after the first fault, to say what they know of its cause.

A rank that died or shows no sign of life is the cause: nobody is waited for then.
"""
OPEN_LIMIT = 60.0
"""Seconds in which a group must form."""
_JOINING = "joining the group: "

T = TypeVar("T")
Supply = Callable[[int], Awaitable[RankProcess]]
"""Gives the running process of a device, starting it if need be. Raises `RankLost`."""
Replace = Callable[[int], None]
"""Kills the process of a device, whose state cannot be trusted any more, and starts another."""


class Party:
    """The ranks of one node in one group.

    Args:
        devices: Places of this node's devices (index into the node's devices), in rank order.
        first: Rank of the first of them within the group.
        size: Ranks of the whole group.
        node: This node, by index.
        host: Address under which this node's ranks are reachable by the others.
        library: The ``torch.distributed`` backend in which they meet.
        longest: Seconds that one of the group's jobs may take.
    """

    def __init__(
        self,
        devices: list[int],
        first: int,
        size: int,
        node: int,
        host: str,
        library: str,
        longest: float,
        supply: Supply,
        replace: Replace,
    ) -> None:
        self.devices = devices
        self.first = first
        self.size = size
        self.is_open = False
        self._node = node
        self._host = host
        self._library = library
        # Beyond the limit of every job: a library that lost patience first would blame a rank that
        # waits, and end a job that may take longer.
        self._timeout = longest + OPEN_LIMIT
        self._supply = supply
        self._replace = replace
        self._running: list[asyncio.Task[Report]] = []

    async def host_store(self) -> Report:
        """Rank 0 opens the group's store; the report carries its address."""
        if self.size == 1:
            return Report(rank=0, store="alone")
        return (await self._all(lambda place: self._host_store(), [0], _JOINING))[0]

    async def open(self, store: str) -> list[Report]:
        """Join the group; rank 0, which hosts the store, completes its own opening."""
        reports = await self._all(lambda place: self._open(place, store), doing=_JOINING)
        self.is_open = not any(report.fault for report in reports)
        return reports

    async def run(self, job: Job, seed: int, clock: Clock) -> list[Report]:
        """Run a job on every rank; ends at the first fault, if need be a grace later."""
        return await self._all(lambda place: self._run(place, job, seed, clock))

    async def close(self) -> None:
        """Leave the group."""
        if self.is_open and self.size > 1:
            await self._all(self._close)
        self.is_open = False

    def abort(self) -> None:
        """Give the group up. What runs ends, and its reports say *aborted*.

        A group that is broken elsewhere cannot be used here, whatever its ranks here have done.
        """
        running = [task for task in self._running if not task.done()]
        for task in running:
            task.cancel()
        if self.is_open and not running:
            self._restart()

    async def _host_store(self) -> Report:
        process = await self._supply(self.devices[0])
        return _opened(0, await process.ask(self._opening(0, ""), OPEN_LIMIT))

    async def _open(self, place: int, store: str) -> Report:
        rank = self.first + place
        process, waited = await self._supplied(place)
        if self.size == 1:
            report = Report(rank=rank)
        elif rank == 0:
            report = _opened(rank, await process.answer(OPEN_LIMIT))
        else:
            report = _opened(rank, await process.ask(self._opening(rank, store), OPEN_LIMIT + 5))
        report.waited = waited
        return report

    def _opening(self, rank: int, store: str) -> Open:
        limits = OPEN_LIMIT, self._timeout
        return Open(rank, self.size, self._node, self._host, store, *limits, self._library)

    async def _supplied(self, place: int) -> tuple[RankProcess, float]:
        """The process of a place, and the seconds for which this had to wait."""
        began = time.monotonic()
        process = await self._supply(self.devices[place])
        return process, time.monotonic() - began

    async def _run(self, place: int, job: Job, seed: int, clock: Clock) -> Report:
        process, waited = await self._supplied(place)
        rank = self.first + place
        reply: object
        try:
            command = Run(job.benchmark, job.axes, job.rule, seed, clock.zero)
            reply = await process.ask(command, job.limit, each=job.each_part)
            report = Report(rank=rank, fault="" if isinstance(reply, Result) else "raised")
        except RankLost as error:
            report, reply = _lost(rank, error), None
        if isinstance(reply, Result):
            report.result = reply
        elif reply is not None:
            report.reason = _reason(reply)
        if report.fault:
            report.spent = process.book.spent()
        report.started, process.started = process.started, 0.0
        report.waited = waited
        return report

    async def _close(self, place: int) -> Report:
        process = await self._supply(self.devices[place])
        reply = await process.ask(Close(), OPEN_LIMIT)
        fault = "raised" if isinstance(reply, Failed) else ""
        return Report(rank=self.first + place, fault=fault)

    async def _all(
        self,
        work: Callable[[int], Coroutine[Any, Any, Report]],
        places: list[int] | None = None,
        doing: str = "",
    ) -> list[Report]:
        chosen = places if places is not None else list(range(len(self.devices)))
        tasks = [asyncio.create_task(self._guarded(work, place, doing)) for place in chosen]
        self._running = tasks
        for task in await until_explained(tasks, lambda task: [task.result()]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        reports = []
        for place, task in zip(chosen, tasks, strict=True):
            rank = self.first + place
            reports.append(
                Report(rank=rank, fault="aborted", reason="ended because another rank failed")
                if task.cancelled()
                else task.result()
            )
        if any(report.fault for report in reports):
            self._restart()
        return reports

    def _restart(self) -> None:
        """Whoever was in a broken group may be stuck in its library: start afresh."""
        self.is_open = False
        for device in self.devices:
            self._replace(device)

    async def _guarded(
        self, work: Callable[[int], Coroutine[Any, Any, Report]], place: int, doing: str
    ) -> Report:
        try:
            return await work(place)
        except RankLost as error:
            return _lost(self.first + place, error, doing)


async def until_explained(
    tasks: Sequence[asyncio.Task[T]], reports: Callable[[asyncio.Task[T]], list[Report]]
) -> set[asyncio.Task[T]]:
    """Wait for all tasks; after a first fault only until its cause is known, or a `GRACE`.

    Args:
        tasks: Each the part of a rank, or of a node, in what the group does.
        reports: What a task that is done and was not cancelled has to say.

    Returns:
        The tasks that still run: they wait for a rank that will not come.
    """
    pending = set(tasks)
    known: list[Report] = []
    faulty = False
    stop: float | None = None
    clock = asyncio.get_running_loop().time
    while pending:
        left = None if stop is None else max(0.0, stop - clock())
        done, pending = await asyncio.wait(
            pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
        for task in done:
            known.extend([] if task.cancelled() else reports(task))
            faulty = faulty or task.cancelled()
        fault = culprit(known)
        if fault is not None and _SEVERITY[fault.fault] < _SEVERITY["raised"]:
            break
        if stop is None and (faulty or fault is not None):
            stop = clock() + GRACE
    return pending


def _lost(rank: int, error: RankLost, doing: str = "") -> Report:
    fault = "hang" if error.hang else ("limit" if error.busy else "lost")
    return Report(rank=rank, fault=fault, reason=f"{doing}{error}")


def _opened(rank: int, reply: object) -> Report:
    if isinstance(reply, Opened):
        return Report(rank=rank, store=reply.store)
    return Report(rank=rank, fault="raised", reason=f"{_JOINING}{_reason(reply)}")


def _reason(reply: object) -> str:
    return reply.reason if isinstance(reply, Failed) else f"unexpected reply {reply!r:.100}"


_SEVERITY = {"lost": 0, "hang": 1, "gone": 0, "raised": 2, "limit": 3, "aborted": 4}


def culprit(reports: list[Report]) -> Report | None:
    """The report that explains best why a group failed; None if no rank failed.

    A process that died explains exceptions in its peers; a silent one explains their waiting.
    Among exceptions, one that is not about a broken connection comes first.
    """
    faulty = [report for report in reports if report.fault]
    if not faulty:
        return None
    return min(faulty, key=lambda r: (_SEVERITY[r.fault], _is_echo(r.reason), r.rank))


def _is_echo(reason: str) -> bool:
    words = ("onnection", "peer", "Timed out", "timed out", "Broken pipe", "aborted")
    return any(word in reason for word in words)


class Home(Protocol):
    """What a visit finds on its own node: ranks that take part, and who reports what came of it."""

    clock: Clock

    def party(self, visit: Visit) -> Party:
        """This node's part in the visit's group."""
        ...

    def record(
        self,
        rows: list[Row],
        conditions: list[Conditions],
        samples: Samples | None,
        ledger: Ledger | None,
    ) -> None:
        """Report rows, which index the conditions (-1: none), and what goes with them."""
        ...

    def progress(self, done: int, current: str) -> None:
        """Report finished jobs and what runs now."""
        ...

    def event(self, kind: str, text: str, node: str = "") -> None:
        """Report that something happened here."""
        ...
