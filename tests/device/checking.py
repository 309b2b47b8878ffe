"""Doing the tasks: side by side what takes a compiler's time, one by one what is timed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from book import Book
from cases import Task
from order import Step
from records import Record, short_of_memory
from report import line
from workers import OutOfTimeError, Worker, WorkerError

from bench.kernels.costs import cost

GRACE = 15.0
"""Seconds past the budget that the task which is being done may still take."""
COMPILING = 1 / 3
"""Share of what is left of the budget that compiling for tasks with a bound may take before any of
them is timed: what is not ready then is compiled when its turn comes."""
OPERANDS, CONTEXT = 4, 1 << 30
"""Memory that a task is given: so many times the bytes that it moves (operands, copies of them,
results of rivals and in wide numbers), and so many bytes of a process itself."""


def need(task: Task) -> int:
    """Bytes of the device's memory that a task is given."""
    return OPERANDS * cost(task.op, task.shape, task.variant, task.dtype).bytes + CONTEXT


class Room:
    """So many bytes, which tasks that run side by side share. One that needs more gets all."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    def take(self, wanted: int) -> int:
        """Wait until there is so much; how much it is."""
        wanted = min(wanted, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        return wanted

    def give(self, taken: int) -> None:
        """Give it back."""
        with self._changed:
            self._free += taken
            self._changed.notify_all()


@dataclass(frozen=True)
class Terms:
    """Who works, on how much memory (bytes), and until when (`time.monotonic`)."""

    worker: Callable[[], Worker]
    jobs: int
    memory: int
    start: float
    end: float
    say: Callable[[str], None]


class Checking:
    """The tasks of one run."""

    def __init__(self, book: Book, terms: Terms) -> None:
        self.book, self.terms = book, terms
        self.count = 0

    def all(self, steps: Sequence[Step], worker: Worker) -> None:
        """Do steps in order; ends early where the budget does. Raises `WorkerError`."""
        total = sum(len(step) for step in steps)
        for step in steps:
            crowded = self._side_by_side(step, worker, total)
            for task in (*crowded, *step.timed):
                self._one(task, worker, total)

    def _side_by_side(self, step: Step, worker: Worker, total: int) -> list[Task]:
        """Verify, and compile for what is timed next; tasks for which memory was too short."""
        end = now = time.monotonic()
        if not step.verified:
            end = now + COMPILING * max(0.0, self.terms.end - now)
        jobs = [(task, False) for task in step.verified]
        jobs += [(task, True) for task in distinct(step.timed)]
        left: queue.SimpleQueue[tuple[Task, bool]] = queue.SimpleQueue()
        for job in jobs:
            left.put(job)
        count = min(self.terms.jobs, len(jobs))
        if (
            count <= 1
        ):  # who works alone is the one that times, and gains nothing by compiling ahead
            for task in step.verified:
                self._one(task, worker, total)
            return []
        pool = [self.terms.worker() for _ in range(count)]
        room = Room(self.terms.memory)
        problems: list[WorkerError | OSError] = []
        crowded: list[Task] = []

        def serve(worker: Worker) -> None:
            try:
                while True:
                    task, only_compiled = left.get_nowait()
                    taken = room.take(need(task))
                    try:
                        if only_compiled:
                            self._compile(task, worker, end if not step.verified else None)
                        elif self._one(task, worker, total, crowd=True) is False:
                            crowded.append(task)
                    finally:
                        room.give(taken)
            except queue.Empty:
                pass
            except (WorkerError, OSError) as error:  # no worker, or no room for the report
                problems.append(error)
            finally:
                worker.close()

        threads = [threading.Thread(target=serve, args=(one,), daemon=True) for one in pool]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            for worker in pool:
                worker.stop()
            raise
        if not step.verified:
            spent = time.monotonic() - now
            self.terms.say(f"compiled for {len(jobs) - left.qsize()} tasks, {spent:.0f} s")
        if problems and not left.empty():  # else the others did its work
            raise problems[0]
        return crowded

    def _compile(self, task: Task, worker: Worker, end: float | None) -> None:
        end = self.terms.end if end is None else end
        if time.monotonic() < end:
            try:
                worker.compile(task, end)
            except OutOfTimeError:
                return

    def _one(self, task: Task, worker: Worker, total: int, crowd: bool = False) -> bool | None:
        """Do a task if there is time. False where in the crowd memory was too short for it."""
        if time.monotonic() >= self.terms.end:
            return None
        try:
            record: Record = worker.do(task, self.terms.end + GRACE, self.book.add)
        except OutOfTimeError:
            return None
        if crowd and record.status in ("failed", "skipped") and short_of_memory(record.reason):
            return False
        self.book.add(record)
        self.count += 1
        spent = time.monotonic() - self.terms.start
        self.terms.say(f"[{self.count}/{total} {spent:.0f} s] {line(record)}")
        return True


def distinct(tasks: Collection[Task]) -> list[Task]:
    """Tasks for compiling, those first that differ in more than their shape.

    Kernels of several shapes are often the same; who compiles one does so for all.
    """
    found: dict[tuple[str, str, str], list[Task]] = {}
    for task in tasks:
        found.setdefault((task.op, task.variant, task.dtype), []).append(task)
    columns = [list(column) for column in found.values()]
    return [column[i] for i in range(max(map(len, columns), default=0)) for column in columns
            if i < len(column)]  # fmt: skip
