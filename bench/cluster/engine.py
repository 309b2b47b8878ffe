"""One run from plan to finished folder: stages in order, pages into the journal, losses counted."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from ..configs import Chip, Suite
from ..declared import incoherent
from ..errors import Exit, InfraError, UsageError
from ..headers import absent
from ..inventory import Inventory
from ..records import STATUSES, Header, RunState, Status
from .executor import Done, Executor, Page
from .further import Campaign, Following
from .interrupts import Interrupts
from .journal import Journal
from .observer import Observer, Several
from .plan import Plan, Stage, schedules_of
from .planning import plan
from .resuming import continues, same_run
from .wire import Clock


class Finished(msgspec.Struct, kw_only=True):
    """How a run ended: where it lies, rows by status, nodes and ranks that were lost.

    ``lost`` begins with nodes that never answered (`headers.absent`): they have no rows.
    """

    folder: Path
    header: Header
    counts: dict[Status, int]
    lost: list[str]

    @property
    def exit(self) -> Exit:
        """The exit code that the way it went asks for; what values make of it, the scorecard says.

        Lost nodes, crashed ranks and raised exceptions are infrastructure (4), a sanity check
        that did not hold is a finding (1).
        """
        held: list[int] = []
        if self.header.state == "interrupted":
            held.append(Exit.INTERRUPTED)
        if self.lost or self.counts.get("failed") or self.counts.get("missing"):
            held.append(Exit.INFRASTRUCTURE)
        if self.counts.get("invalid"):
            held.append(Exit.FINDING)
        return Exit.worst(held)


def execute(
    suite: Suite,
    executor: Executor,
    results: Path,
    run_id: str,
    *,
    chips: Mapping[str, Chip],
    command: list[str],
    environment: Mapping[str, Any],
    observer: Observer | None = None,
    resume: tuple[Header, Done, float] | None = None,
    campaign: Campaign | None = None,
    revive: bool = False,
) -> Finished:
    """Run a suite to its end. Closes the executor.

    Args:
        suite: What to measure.
        executor: Where.
        results: Folder that holds runs.
        run_id: Name of the run's folder; a new run gets a number behind it where one is there.
        chips: Datasheets by name.
        command: The command line, for the record.
        environment: Versions and variables, for the record.
        observer: Told of everything that happens.
        resume: The header of a run to continue, which rows it has, and the time of its last one.
        campaign: Asked for every stage when its turn comes. The suite is what it draws on: it is
            planned as a whole first, so that a mistake in a later stage is told at once.
        revive: Before the campaign is asked, take back nodes that were lost and are there again:
            of one that loses them on purpose, and is begun anew where it could not end.

    Raises:
        InfraError: nothing can be measured or written. What was measured before is in the run's
            folder, as far as that can be written.
        UsageError: the suite does not fit, or the run to resume was made on other nodes.
    """
    watcher = observer or Several()
    with Interrupts() as interrupts, contextlib.ExitStack() as stack:
        stack.callback(executor.close)
        inventory = executor.inventory()
        whole = plan(suite, inventory, chips)
        made = (
            whole if campaign is None else Plan(suite=suite.name, stages=[], cases=[], schedules=[])
        )
        if resume is not None:
            header, done, offset = resume
            same_run(header, made, inventory)
            header.state, header.finished = "running", None
            journal = Journal.resume(results / run_id, header)
        else:
            done, offset = Done(), 0.0
            header = _header(suite, executor, inventory, made, run_id, command, environment)
            _check_readable(header, whole)
            journal = Journal.create(results, header, rows=row_count(whole, inventory))
        stack.callback(journal.close)
        journal.sampled(executor.telemetry)
        run = _Run(executor, journal, watcher, made, inventory, done, interrupts)
        watcher.begin(header, whole, inventory, journal.folder)
        following = Following(campaign, suite, chips) if campaign is not None else None
        try:
            run.go(offset, following, revive)
        except InfraError as error:
            if revive:  # of a training under failures, its end alone is the measurement
                raise
            verb = "certify" if campaign is not None else "run"
            then = f"then go on with `hengsuan {verb} --resume {journal.folder}`"
            error.hint = f"{error.hint}; {then}" if error.hint else then
            raise
        return Finished(
            folder=journal.folder,
            header=header,
            counts=dict(run.counts),
            lost=[*absent(header), *run.lost],
        )


class _Run:
    def __init__(
        self,
        executor: Executor,
        journal: Journal,
        observer: Observer,
        made: Plan,
        inventory: Inventory,
        done: Done,
        interrupts: Interrupts,
    ) -> None:
        self.executor = executor
        self.journal = journal
        self.observer = observer
        self.plan = made
        self.inventory = inventory
        self.done = done
        self.interrupts = interrupts
        self.counts: Counter[Status] = Counter()
        self.lost: list[str] = []

    def go(self, offset: float, following: Following | None, revive: bool) -> None:
        header = self.journal.header
        self.executor.clock = Clock(offset)
        state: RunState = "failed"
        try:
            for stage in self.plan.stages:
                self._stage(stage)
            while following is not None:
                if revive:
                    self._revive()
                grown = following.grown(self.plan, self.inventory, self.journal.folder)
                if grown is None:
                    break
                self._grow(grown)
                self._stage(grown.stages[-1])
            state = "complete"
        except KeyboardInterrupt:
            state = "interrupted"
            self._collect()
        except InfraError:
            with contextlib.suppress(InfraError):  # the first reason is the one to tell
                self._collect()
            raise
        finally:
            header.state = state
            header.finished = _now()
            with contextlib.suppress(InfraError):  # a full disk has been said already
                self.journal.save()
            self.observer.end(state, self.counts)

    def _revive(self) -> None:
        """The campaign reads from the header which nodes are there."""
        page = self.executor.revive()
        if page.events:
            self.journal.write(page)
            self.observer.page(page)
            self.journal.save()

    def _grow(self, grown: Plan) -> None:
        """Rows of a new stage need its cases in the header first."""
        header = self.journal.header
        continues(header, grown)
        if len(header.cases) < len(grown.cases):
            header.cases, header.schedules = grown.cases, grown.schedules
        new = grown.notes[len(self.plan.notes) :]
        now = self.executor.clock.now()
        header.events += [
            {"time": now, "kind": "warning", "text": note, "node": ""} for note in new
        ]
        self.plan = grown
        self.journal.save()

    def _collect(self) -> None:
        """End the stage, and keep what its agents still hold; the run ends then."""
        self.interrupts.ignore()
        self.executor.cancel()
        for page in self.executor.drain():
            self.journal.write(page)
            self._count(page)

    def _stage(self, stage: Stage) -> None:
        began = self.executor.clock.now()
        before = self.counts.copy()
        self.observer.stage(stage, job_count(self.plan, stage, self.inventory))
        self.executor.start(self.plan, stage, self.done)
        # A page that has left its agent is nowhere else until it is written.
        with self.interrupts.held():
            for page in self.executor.pages():
                self.journal.write(page)
                self._count(page)
                self.observer.page(page)
                self.interrupts.check()
        self.journal.header.stages.append(
            {
                "name": stage.name,
                "began": began,
                "seconds": round(self.executor.clock.now() - began, 3),
                "rows": dict(self.counts - before),
            }
        )
        self.journal.save()

    def _count(self, page: Page) -> None:
        for row in page.rows:
            self.counts[row.status] += 1
        if page.columns is not None:
            import numpy as np

            found = np.bincount(page.columns.status, minlength=len(STATUSES))
            for status, count in zip(STATUSES, found.tolist(), strict=True):
                if count:
                    self.counts[status] += count
        for event in page.events:
            if event.kind in ("agent-lost", "rank-lost"):
                self.lost.append(f"{event.node}: {event.text}")


def job_count(made: Plan, stage: Stage, inventory: Inventory) -> int:
    """How many jobs (a benchmark on one group, once) a stage has."""
    schedules = schedules_of(made, inventory)
    return sum(
        block.repeats * len(block.jobs) * schedules[block.schedule].count for block in stage.blocks
    )


def row_count(made: Plan, inventory: Inventory) -> int:
    """How many rows the plan gives."""
    schedules = schedules_of(made, inventory)
    return sum(
        block.repeats * schedules[case.schedule].count
        for stage in made.stages
        for block in stage.blocks
        for job in block.jobs
        for case in made.cases[job.case : job.case + len(job.metrics) + len(job.each)]
    )


def _header(
    suite: Suite,
    executor: Executor,
    inventory: Inventory,
    made: Plan,
    run_id: str,
    command: list[str],
    environment: Mapping[str, Any],
) -> Header:
    return Header(
        id=run_id,
        suite=suite.name,
        suite_text=suite.text,
        started=_now(),
        executor=executor.name,
        command=command,
        provenance=executor.provenance,
        environment=dict(environment),
        nodes=inventory.nodes,
        fleet=inventory.fleet,
        cases=made.cases,
        schedules=made.schedules,
        events=[{"time": 0.0, "kind": "warning", "text": note, "node": ""} for note in made.notes],
    )


def _check_readable(header: Header, whole: Plan) -> None:
    """Raise `UsageError` for a run that nobody could read when all of its plan is measured."""
    planned = msgspec.structs.replace(header, cases=whole.cases, schedules=whole.schedules)
    if why := incoherent(msgspec.json.encode(planned), planned):
        raise UsageError(
            f"a run of suite {header.suite} could not be read again: {why}",
            hint="ask for less at a time; where a plugin says it of its device, mend the plugin",
        )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def new_run_id(suite: str) -> str:
    """``20261124-101530-quick``."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{suite}"
