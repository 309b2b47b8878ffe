"""On a machine with an accelerator: verify every kernel against fp64 and time it against rivals.

    python tests/device/check.py [--budget SECONDS] [--resume] [--only OP,...]
                                 [--no-time | --no-verify]

Verifies every operation, variant and dtype, times the kernels and all rivals that there are call by
call in random order, and prints the project's table of bounds last. Writes
``<out>/<chip>/kernels.json``, whole after every task, and ``kernels.md``. When the budget ends the
rest is listed as not measured; ``--resume`` goes on from there. The work is done by processes of
their own: a kernel that crashes, hangs or faults the device costs its own task alone.

Exit code 1 if a kernel is wrong or failed, 2 for bad arguments, 3 without an accelerator that the
kernels can be compiled for. A missed bound is printed, and is no exit code.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from cases import Task, plan
from records import Record
from report import Book, Report, line, load
from workers import OutOfTimeError, Worker, WorkerError

from bench.backends.probe import Probe, discover
from bench.backends.registry import get, match_chip
from bench.cli.environment import versions
from bench.configs import load_chips
from bench.errors import HengsuanError
from bench.kernels.costs import ITEMSIZE, SPECS

ROOT = Path(__file__).parents[2]
GRACE = 60.0
"""Seconds past the budget that the task which is being done may still take."""
JOBS = 6
"""Processes that verify side by side, at most: most of their time goes into compiling."""


def main() -> None:
    """Parse, check, report."""
    arguments = _arguments()
    start = time.monotonic()
    try:
        found = next((one for one in discover(arguments.backend) if one.devices), None)
    except HengsuanError as error:
        sys.exit(_told(str(error), 2))
    if found is None:
        sys.exit(_told("no accelerator here: nothing to check", 3))
    worker = _worker(found, arguments)
    try:
        hello = worker.hello()
        if hello["arch"] is None:
            name = found.devices[0].name
            sys.exit(_told(f"no Triton target on {name}: there is no kernel to check", 3))
        book = _book(found, hello, arguments)
        code = _check(book, found, arguments, worker, start)
    except ValueError as error:
        sys.exit(_told(str(error), 2))
    except WorkerError as error:
        sys.exit(_told(str(error), 4))
    finally:
        worker.close()
    sys.exit(code)


def _check(
    book: Book, found: Probe, arguments: argparse.Namespace, worker: Worker, start: float
) -> int:
    """Do what is left of the tasks, write and print what came of it; the exit code."""
    whole = plan(arguments.dtype, small=arguments.small)
    asked = [
        task
        for task in whole
        if (not arguments.only or task.op in arguments.only) and task.kind not in arguments.without
    ]
    done = {one.name for one in book.report.records}
    left = [task for task in asked if task.name not in done]
    _say(f"{found.devices[0].name}: {len(left)} tasks to do, {len(asked) - len(left)} done")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    book.report.runs.append({"started": now, "command": sys.argv[1:]})
    code = 0
    try:
        Checking(book, arguments, found, start).all(left, worker)
    except WorkerError as error:
        code = _told(str(error), 4)
    except KeyboardInterrupt:
        code = _told("interrupted", 130)
    text = book.close(whole, asked)
    bad = [one for one in book.report.records if one.status in ("wrong", "failed")]
    for one in bad:
        _say(line(one))
    if book.report.missing:
        _say(f"not measured: {len(book.report.missing)} tasks, listed in kernels.md")
    if arguments.small:
        _say("small shapes: these are not the figures that the bounds are for")
    _say(f"\n{text}\n\nwritten to {book.folder}")
    return code or (1 if bad else 0 if book.report.records else 3)


class Checking:
    """The tasks of one run, done one after the other, or verified side by side."""

    def __init__(
        self, book: Book, arguments: argparse.Namespace, found: Probe, start: float
    ) -> None:
        self.book, self.arguments, self.found, self.start = book, arguments, found, start
        self.count = 0

    def all(self, tasks: Sequence[Task], worker: Worker) -> None:
        """Do them in order; neighbours that are only verified share the device."""
        at = 0
        while at < len(tasks):
            end = at
            while end < len(tasks) and tasks[end].kind == tasks[at].kind:
                end += 1
            mine = tasks[at:end]
            if tasks[at].kind == "verify":
                self._verify(mine, len(tasks))
            else:
                for task in mine:
                    self._one(task, worker, len(tasks))
            at = end

    def _verify(self, tasks: Sequence[Task], total: int) -> None:
        left: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            left.put(task)
        problems: list[WorkerError] = []

        def serve() -> None:
            worker = _worker(self.found, self.arguments)
            try:
                while True:
                    self._one(left.get_nowait(), worker, total)
            except queue.Empty:
                pass
            except WorkerError as error:
                problems.append(error)
            finally:
                worker.close()

        threads = [
            threading.Thread(target=serve, daemon=True)
            for _ in range(min(self.arguments.jobs, len(tasks)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]

    def _one(self, task: Task, worker: Worker, total: int) -> None:
        end = self.start + self.arguments.budget
        if time.monotonic() >= end:
            return
        try:
            record: Record = worker.do(task, end + GRACE)
        except OutOfTimeError:
            return
        self.book.add(record)
        self.count += 1
        spent = time.monotonic() - self.start
        _say(f"[{self.count}/{total} {spent:.0f} s] {line(record)}")


def _worker(found: Probe, arguments: argparse.Namespace) -> Worker:
    """A worker for the first device that was found."""
    index = found.devices[0].index
    environment = {
        **os.environ,
        **get(found.name).environment([index], index),
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    }
    rivals = ",".join(arguments.rivals)
    return Worker(found.name, index, environment, arguments.seconds, rivals)


def _book(found: Probe, hello: dict[str, Any], arguments: argparse.Namespace) -> Book:
    """A new report, or the one that is to be continued. Raises ValueError if that does not fit."""
    device = found.devices[0]
    chip = match_chip(device.name, load_chips().values())
    name = chip.name if chip else "-".join(device.name.lower().split())
    folder = arguments.out / name
    environment = {
        "device": device.name,
        "memory": device.memory,
        "firmware": device.firmware,
        **hello,
        "versions": versions(),
        "kernels": _digest(),
        "shapes": "small" if arguments.small else "typical",
    }
    before = load(folder / "kernels.json") if arguments.resume else None
    if before is None:
        return Book(folder, Report(environment=environment))
    for key, now in environment.items():
        if before.environment.get(key) != now:
            raise ValueError(
                f"{folder / 'kernels.json'} was measured with {key} "
                f"{before.environment.get(key)!r}, here it is {now!r}: "
                "leave --resume out, or name another folder with --out"
            )
    return Book(folder, before)


def _digest() -> str:
    """Of everything that makes the kernels what they are."""
    whole = hashlib.sha256()
    for path in sorted((ROOT / "kernels").rglob("*")):
        if path.suffix in (".py", ".yaml"):
            whole.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    take = parser.add_argument
    take("--out", type=Path, default=ROOT / "results" / "reference", help="folder of the reports")
    take("--backend", help="by default the first that has a device")
    take("--budget", type=float, default=480.0, help="seconds after which nothing is begun")
    take("--resume", action="store_true", help="go on with the report that is there")
    take("--only", type=_words(SPECS), default=[], help="operations, with commas between them")
    take("--dtype", type=_words(ITEMSIZE), default=[], help="number formats, likewise")
    take("--rivals", type=_words(()), default=[], help="first words of rivals' names, likewise")
    less = parser.add_mutually_exclusive_group()
    for option, kind in (("--no-time", "time"), ("--no-verify", "verify")):
        less.add_argument(
            option,
            dest="without",
            action="append_const",
            const=kind,
            default=[],
            help=f"do not {kind}",
        )
    take("--small", action="store_true", help="every operation at its small shape")
    take("--seconds", type=float, default=2.0, help="of timing a task")
    jobs = max(1, min(JOBS, (os.cpu_count() or 1) // 2))
    take("--jobs", type=int, default=jobs, help="processes that verify side by side")
    return parser.parse_args()


def _words(known: Any) -> Any:
    """A parser of words with commas between them, of which only these are known (none: all)."""

    def parse(text: str) -> list[str]:
        words = [word for word in text.split(",") if word]
        strange = [word for word in words if known and word not in known]
        if strange:
            raise argparse.ArgumentTypeError(
                f"{', '.join(strange)}: takes some of {', '.join(known)}"
            )
        return words

    return parse


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _told(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


if __name__ == "__main__":
    main()
