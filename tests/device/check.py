"""On a machine with an accelerator: verify every kernel against fp64 and time it against rivals.

    python tests/device/check.py [--budget SECONDS] [--resume [--apart]] [--only OP,...]
                                 [--no-time | --no-verify] [--bounds]
    python tests/device/check.py --review FOLDER

Verifies every operation, variant and dtype, times the kernels and all rivals that there are call by
call in random order, and prints the project's table of bounds last. Writes
``<out>/<chip>/kernels.json``, whole after every task, and ``kernels.md``. What has a bound and no
figure comes first, then what missed its bound by less than is known of it, then all else. The work
is done by processes of their own: a kernel that crashes, hangs or faults the device costs its own
task alone.

When the budget ends the rest is listed as not measured; ``--resume`` goes on from there. It keeps
the records of kernels that are what they were (sources and entries of tables, `digests`), and does
all others again. Device, driver and compilers must be the same; with ``--apart`` a report beside
that one, named after what is different, is begun or continued where they are not. ``--review``
measures nothing: it sorts a report by the kernels as they are now, and writes it again.

Exit code 1 if a kernel is wrong or failed, 2 for bad arguments or a folder into which another call
measures, 3 without an accelerator that the kernels can be compiled for, 4 if the device's process
does not start or the report cannot be written, 130 if interrupted: what was done is kept. A missed
bound is printed, and is no exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from book import Book, Report, beside, claimed, load, other, replace, unwritable
from cases import Task, plan
from checking import Checking, Terms
from figures import FURTHER, bounded
from order import order
from report import bounds, line, markdown
from workers import Worker, WorkerError

from bench.backends.probe import Probe, discover
from bench.backends.registry import get, match_chip
from bench.cli.environment import versions
from bench.configs import load_chips
from bench.errors import Exit, HengsuanError
from bench.kernels.costs import ITEMSIZE, SPECS
from bench.workloads.configured import use_tables

ROOT = Path(__file__).parents[2]
FREE = 0.8
"""Share of the device's memory that tasks may take side by side."""
EACH = 4 << 30
"""Bytes of the device's memory for every process that works side by side."""
LIBRARIES = ("liger-kernel", "flag-gems")
"""Packages of rivals."""


def main() -> None:
    """Parse, check, report."""
    arguments = _arguments()
    try:
        sys.exit(_reviewed(arguments.review) if arguments.review else _checked(arguments))
    except (HengsuanError, ValueError) as error:
        sys.exit(_told(str(error), int(getattr(error, "exit", Exit.USAGE))))
    except OSError as error:
        sys.exit(_told(str(unwritable(error, arguments.review or arguments.out)), 4))
    except WorkerError as error:
        sys.exit(_told(str(error), 4))
    except KeyboardInterrupt:
        sys.exit(_told("interrupted", 130))


def _reviewed(folder: Path) -> int:
    """Sort a report by the kernels as they are, and write it again; the exit code."""
    report = load(folder / "kernels.json")
    if report is None:
        raise ValueError(f"{folder} holds no kernels.json")
    aside = report.sort()
    planned = plan()
    book = Book(folder, report)
    with claimed(folder):
        book.close([] if report.environment.get("shapes") == "small" else planned)
        _write(book, planned)
    _say(f"{len(report.records)} records hold, {aside} are of kernels that have changed since")
    return 0


def _checked(arguments: argparse.Namespace) -> int:
    start = time.monotonic()
    found = next((one for one in discover(arguments.backend) if one.devices), None)
    if found is None:
        return _told("no accelerator here: nothing to check", 3)
    use_tables()
    worker = _worker(found, arguments)
    try:
        hello = worker.hello()
        if hello["arch"] is None:
            name = found.devices[0].name
            return _told(f"no Triton target on {name}: there is no kernel to check", 3)
        with _book(found, hello, arguments) as book:
            return _check(book, found, arguments, worker, start)
    finally:
        worker.close()


def _check(
    book: Book, found: Probe, arguments: argparse.Namespace, worker: Worker, start: float
) -> int:
    """Do what is left of the tasks, write and print what came of it; the exit code."""
    whole = plan(arguments.dtype, small=arguments.small)
    asked = [
        task
        for task in whole
        if (not arguments.only or task.op in arguments.only)
        and task.kind not in arguments.without
        and (not arguments.bounds or (task.kind == "time" and bounded(task.figure)))
    ]
    most = FURTHER * arguments.seconds
    report = book.report
    steps = order(
        asked, report.records, most, arguments.rivals, report.former, report.environment.get("arch")
    )
    count = sum(map(len, steps))
    _say(f"{found.devices[0].name}: {count} tasks to do, {len(asked)} asked for")
    if book.report.former:
        _say(f"{len(book.report.former)} records are of kernels that have changed since")
    memory = found.devices[0].memory or 0
    terms = Terms(
        worker=lambda: _worker(found, arguments),
        jobs=max(1, min(arguments.jobs, memory // EACH) if memory else arguments.jobs),
        memory=int(FREE * memory) or EACH,
        start=start,
        end=start + arguments.budget,
        say=_say,
    )
    code = 0
    try:
        Checking(book, terms).all(steps, worker)
    except WorkerError as error:
        code = _told(str(error), 4)
    except KeyboardInterrupt:
        code = _told("interrupted", 130)
    book.close(asked)
    text = _write(book, whole)
    bad = [one for one in book.report.records if one.status in ("wrong", "failed")]
    for one in bad:
        _say(line(one))
    if book.report.missing:
        _say(f"not measured: {len(book.report.missing)} tasks, listed in kernels.md")
    if arguments.small:
        _say("small shapes: these are not the figures that the bounds are for")
    _say(f"\n{text}\n\nwritten to {book.folder}")
    return code or (1 if bad else 0 if book.report.records else 3)


def _write(book: Book, planned: list[Task]) -> str:
    """``kernels.md``; the table of bounds as text."""
    replace(book.folder / "kernels.md", markdown(book.report, planned).encode())
    return "\n".join(bounds(book.report, planned))


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


@contextlib.contextmanager
def _book(found: Probe, hello: dict[str, Any], arguments: argparse.Namespace) -> Iterator[Book]:
    """A new report, or the one that is to be continued; nobody else writes it meanwhile.

    Raises ValueError if that does not fit, and as `claimed`.
    """
    device = found.devices[0]
    chip = match_chip(device.name, load_chips().values())
    folder = arguments.out / (chip.name if chip else "-".join(device.name.lower().split()))
    known = versions()
    environment: dict[str, Any] = {
        "device": device.name,
        "memory": device.memory,
        "firmware": device.firmware,
        **{key: hello[key] for key in ("arch", "cache", "cuda", "hip") if key in hello},
        **{key: known[key] for key in ("torch", "triton")},
        "shapes": "small" if arguments.small else "typical",
    }
    folder = _place(folder, environment, arguments)
    with claimed(folder):
        book = _opened(folder, environment, arguments)
        book.begin(
            command=sys.argv[1:],
            versions={**known, **_libraries()},
            tables=hello["tables"],
            processors=hello["processors"],
        )
        yield book


def _place(folder: Path, environment: dict[str, Any], arguments: argparse.Namespace) -> Path:
    """The folder of the report: that one, or one beside it where it was measured elsewhere."""
    before = load(folder / "kernels.json") if arguments.resume and arguments.apart else None
    differs = other(before.environment, environment) if before is not None else {}
    if not differs:
        return folder
    _say(f"{folder} was measured elsewhere ({', '.join(differs)} differ): this goes beside it")
    return beside(folder, differs)


def _opened(folder: Path, environment: dict[str, Any], arguments: argparse.Namespace) -> Book:
    before = load(folder / "kernels.json") if arguments.resume else None
    if before is None:
        return Book(folder, Report(environment=environment))
    differs = other(before.environment, environment)
    for key, (then, now) in differs.items():
        raise ValueError(
            f"{folder / 'kernels.json'} was measured with {key} {then!r}, here it is {now!r}: "
            "leave --resume out, name another folder with --out, or let --apart make one"
        )
    before.sort()
    return Book(folder, before)


def _libraries() -> dict[str, str]:
    """Versions of the rivals' packages that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    take = parser.add_argument
    take("--out", type=Path, default=ROOT / "results" / "reference", help="folder of the reports")
    take("--backend", help="by default the first that has a device")
    take("--budget", type=float, default=480.0, help="seconds after which nothing is begun")
    take("--resume", action="store_true", help="go on with the report that is there")
    take("--apart", action="store_true", help="beside it where it was measured elsewhere")
    take("--review", type=Path, metavar="FOLDER", help="measure nothing: sort the report there")
    take("--only", type=_words(SPECS), default=[], help="operations, with commas between them")
    take("--dtype", type=_words(ITEMSIZE), default=[], help="number formats, likewise")
    take(
        "--rivals",
        type=_words(()),
        default=[],
        help="first words of rivals' names; -word: all but it",
    )
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
    take("--bounds", action="store_true", help="time what has a bound, and nothing else")
    take("--small", action="store_true", help="every operation at its small shape")
    take("--seconds", type=float, default=2.0, help="of timing a task")
    jobs = max(1, len(os.sched_getaffinity(0)) - 1)
    take("--jobs", type=int, default=jobs, help="processes that verify and compile side by side")
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
