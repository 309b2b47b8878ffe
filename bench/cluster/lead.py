"""Leading a visit: form the group, run its jobs one by one, turn reports into rows."""

from __future__ import annotations

import asyncio

import msgspec

from ..ledger import Ledger, suspicion
from ..records import Conditions, Row, Samples, Status
from ..workloads.runner import ELSEWHERE, Outcome
from .coordinator import Coordinator
from .orders import Order, Visit
from .party import Home, culprit, until_explained
from .plan import Job
from .turn import Turn
from .wire import Command, LinkLost, Report, Result

ABSENT = "what it is computed from is unknown here"
"""Why a good measurement has no value of a metric that does not say it itself."""

GIVE_UP = 3
"""Groups whose ranks are lost this often in a row are not tried again in the same visit."""


class _NodeLost(Exception):
    """A member's node is gone; nothing more can be measured on this group."""


class Lead:
    """One visit, led by this node's agent."""

    def __init__(self, home: Home, meeting: Coordinator, order: Order, visit: Visit) -> None:
        self._home = home
        self._meeting = meeting
        self._order = order
        self._visit = visit
        self._party = home.party(visit)
        self._members = [node for node, _ in visit.members[1:]]
        self._number = 0
        self._open = False
        self._places = [
            (node, place) for node, places in visit.members for place in places
        ]  # by rank

    async def run(self) -> None:
        """Run all jobs of the visit; every job ends in rows, whatever happens."""
        jobs = [self._order.jobs[self._visit.block][index] for index in self._visit.jobs]
        gone = ""
        losses = 0
        try:
            await asyncio.gather(*(self._arrival(node) for node in self._members))
        except _NodeLost as error:
            gone = str(error)
        for index, job in zip(self._visit.jobs, jobs, strict=True):
            self._home.progress(0, job.benchmark)
            if gone:
                self._empty(job, "missing", gone)
            elif losses >= GIVE_UP:
                reason = f"not tried: ranks of this group were lost {losses} times in a row"
                self._empty(job, "failed", reason)
            else:
                try:
                    lost = await self._job(index, job)
                    losses = losses + 1 if lost else 0
                except _NodeLost as error:
                    gone = str(error)
                    self._abort()
                    self._empty(job, "missing", gone)
            self._home.progress(1, "")
        self._tell("close")
        self._meeting.over(self._visit.id)
        await self._party.close()

    async def _arrival(self, node: int) -> None:
        try:
            await self._meeting.arrival(node, self._visit.id)
        except LinkLost as error:
            raise _NodeLost(f"node {self._order.names[node]} was lost: {error}") from None

    async def _job(self, index: int, job: Job) -> bool:
        """Run one job; whether a rank was lost by it."""
        turn = Turn()
        if not self._open:
            formed = await self._form()
            turn.formed(formed)
            fault = culprit(formed)
            if fault is not None:
                self._fault(job, fault, turn)
                return True
            self._open = True
        before = ""
        for left in reversed(range(job.rule.again + 1)):
            reports = await self._everyone("run", job=index)
            turn.ran(reports)
            fault = culprit(reports)
            if fault is not None:
                self._fault(job, fault, turn)
                return fault.fault != "raised"
            results = [report.result for report in reports if report.result is not None]
            noise = self._noise(results)
            if not noise or not left:
                self._measured(job, results, noise, before, turn)
                break
            before = before or noise
        return False

    async def _form(self) -> list[Report]:
        """Rendezvous: rank 0 hosts the store, everyone joins it."""
        hosted = await self._party.host_store()
        if hosted.fault:
            return [hosted]
        return await self._everyone("open", store=hosted.store)

    async def _everyone(self, do: str, *, job: int = -1, store: str = "") -> list[Report]:
        """All ranks' reports, in rank order. Once a fault is explained, the others are stopped."""
        command = self._tell(do, job=job, store=store)
        if do == "open":
            own = asyncio.create_task(self._party.open(store))
        else:
            work = self._order.jobs[self._visit.block][job]
            own = asyncio.create_task(self._party.run(work, self._order.seed, self._home.clock))
        answers = [asyncio.create_task(self._answer(node, command)) for node in self._members]
        tasks = [own, *answers]
        if await until_explained(tasks, lambda task: task.result()):
            self._abort()
        reports = [report for part in await asyncio.gather(*tasks) for report in part]
        lost = next((report for report in reports if report.fault == "gone"), None)
        if lost is not None:
            raise _NodeLost(lost.reason)
        return sorted(reports, key=lambda report: report.rank)

    async def _answer(self, node: int, command: Command) -> list[Report]:
        try:
            return (await self._meeting.reply(node, command)).reports
        except LinkLost as error:
            reason = f"node {self._order.names[node]} was lost: {error}"
            return [Report(rank=-1, fault="gone", reason=reason)]

    def _abort(self) -> None:
        """End the group on every node, also where all was well: ranks of it are used no more."""
        self._open = False
        self._tell("abort")
        self._party.abort()

    def _tell(self, do: str, *, job: int = -1, store: str = "") -> Command:
        self._number += 1
        command = Command(self._visit.id, self._number, do, job, store)
        for node in self._members:
            self._meeting.command(node, command)
        return command

    # ---- rows ----

    def _noise(self, results: list[Result]) -> str:
        """Which rank's cores other work used meanwhile, and how much; empty if nobody's."""
        noisy = ((rank, one.contention) for rank, one in enumerate(results) if one.contention)
        return next((f"{self._rank_name(rank)}: {why}" for rank, why in noisy), "")

    def _measured(
        self, job: Job, results: list[Result], noise: str, before: str, turn: Turn
    ) -> None:
        """Turn results into rows. ``before``: the noise for which they were measured again."""
        outcome = results[0].outcome
        rank, told = _judge([result.outcome for result in results])
        status, reason = told.status, told.reason
        if status == "invalid":
            reason = f"{self._rank_name(rank)}: {reason}"
        if status == "ok" and noise:
            status, reason = "contended", noise
        elif status == "ok" and before:
            reason = "; ".join(filter(None, (reason, f"measured again; at first {before}")))
        spent = [result.spent for result in results]
        # Beside other work ranks come late because they wait for a core.
        doubt = suspicion(spent, turn.measuring) if status == "ok" else ""
        if doubt:
            reason = "; ".join(filter(None, (reason, doubt)))
            self._home.event("warning", f"{job.benchmark}: {doubt}")
        if status in ("failed", "invalid"):
            self._home.event("warning", f"{job.benchmark}: {reason}")
        own_conditions = [result.conditions for result in results] if job.each else []
        rows = []
        # In the order of `Job.rows`. What a rank says of itself counts where the group's figures
        # do; other work on its cores is its own affair.
        for case, metric in enumerate(job.each, job.case + len(job.metrics)):
            for place, number in enumerate(self._visit.ranks):
                result = results[place]
                own: tuple[Status, str] = status, reason
                if status in ("ok", "contended"):
                    own = "contended" if result.contention else "ok", result.contention
                row = self._row(case, number, *own, 1 + place)
                rows.append(_told(row, metric, result.outcome, job))
        for case, metric in enumerate(job.metrics, job.case):
            row = self._row(case, self._visit.group, status, reason, 0)
            rows.append(_told(row, metric, outcome, job))
        conditions = [_merged(results), *own_conditions]
        ledger = turn.ledger(job.case, self._visit, spent)
        ledger = msgspec.structs.replace(ledger, said=doubt)
        self._home.record(rows, conditions, self._samples(job, outcome), ledger)

    def _samples(self, job: Job, outcome: Outcome) -> Samples | None:
        if not outcome.seconds:
            return None
        visit = self._visit
        return Samples(job.case, visit.group, visit.repeat, outcome.calls, outcome.seconds)

    def _fault(self, job: Job, fault: Report, turn: Turn) -> None:
        """A rank failed: the group is given up, the job has no figures."""
        self._abort()
        reason = f"{self._rank_name(fault.rank)}: {fault.reason}"
        kind = "warning" if fault.fault == "raised" else "rank-lost"
        node = self._order.names[self._places[fault.rank][0]]
        self._home.event(kind, f"{job.benchmark}: {reason}", node)
        spent = [fault.spent] if fault.spent is not None else []
        ledger = turn.ledger(job.case, self._visit, spent, fault.rank)
        self._empty(job, "failed", reason, ledger)

    def _empty(self, job: Job, status: Status, reason: str, ledger: Ledger | None = None) -> None:
        visit = self._visit
        places = job.rows(visit.group, visit.ranks)
        rows = [self._row(case, group, status, reason) for case, group in places]
        self._home.record(rows, [], None, ledger)

    def _row(self, case: int, group: int, status: Status, reason: str, conditions: int = -1) -> Row:
        return Row(
            case=case,
            group=group,
            repeat=self._visit.repeat,
            time=self._home.clock.now(),
            value=None,
            low=None,
            high=None,
            n=0,
            status=status,
            conditions=conditions,
            provenance=self._order.provenance,
            reason=reason,
        )

    def _rank_name(self, rank: int) -> str:
        node, place = self._places[rank]
        return f"rank {rank} ({self._order.names[node]}/{place})"


def _told(row: Row, metric: str, outcome: Outcome, job: Job) -> Row:
    """The row of one metric of an outcome, of which status and reason are decided."""
    change = msgspec.structs.replace
    value = next((one for one in outcome.values if one.metric == metric), None)
    if value is not None and value.value is not None:
        return change(row, value=value.value, low=value.low, high=value.high, n=value.n)
    if row.status in ("ok", "contended"):
        row = change(row, status="skipped", reason=job.absent.get(metric, ABSENT))
    # What throttled a device, say, is known where it leaves no value.
    return row if row.status == "invalid" else change(row, conditions=-1)


def _merged(results: list[Result]) -> Conditions:
    """Rank 0's conditions, with what throttled any rank of the group: none where all say so."""
    said = [result.conditions.throttled for result in results]
    throttled: str | None = "; ".join(f"rank {rank}: {one}" for rank, one in enumerate(said) if one)
    if not throttled and None in said:
        throttled = None
    return msgspec.structs.replace(results[0].conditions, throttled=throttled)


def _judge(outcomes: list[Outcome]) -> tuple[int, Outcome]:
    """The rank whose outcome is the most telling one, and that: it stands for the group's."""
    order: list[Status] = ["invalid", "skipped", "ok"]

    def telling(pair: tuple[int, Outcome]) -> tuple[int, bool]:
        return order.index(pair[1].status), ELSEWHERE in pair[1].reason

    return min(enumerate(outcomes), key=telling)
