"""The command line. Verbs are loaded when they are used: help must come at once."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import click

from .. import __version__
from ..leaving import leave
from .completing import VARIABLE, completed
from .json_output import tell
from .verbs import Root

VERBS = {
    "run": ("Operations", "Measure this machine or a cluster with a suite."),
    "certify": ("Operations", "Say which nodes may join, and what ails the others."),
    "watch": ("Operations", "Look at a run in progress, from any terminal."),
    "goodput": ("Operations", "Train while ranks and nodes fail; say where time went."),
    "doctor": ("Operations", "Say what is here and missing, and whether it is quiet."),
    "certificate": ("Operations", "Sign what was found about nodes; say whose key counts."),
    "deploy": ("Operations", "Print what starts Ray on Slurm, Kubernetes or hosts."),
    "gate": ("CI", "Say whether something became slower, beyond doubt."),
    "backend": ("Vendors", "List how chips are reached, and why one is not."),
    "tune": ("Vendors", "Search kernel configurations on a device."),
    "submission": ("Vendors", "Pack runs into one signed archive; check such a one."),
    "score": ("Planners", "Score a system's runs by category, against datasheets."),
    "expect": ("Planners", "Say what was to be expected of each value, and why."),
    "compare": ("Planners", "Put systems side by side; rank where intervals allow."),
    "project": ("Planners", "Say what a model takes on a cluster; what limits it."),
    "results": ("Everyone", "List, show, compare, prune and share runs."),
    "report": ("Everyone", "Write a run as one page, or for another system."),
    "import": ("Everyone", "Make runs of what other tools have measured."),
    "show": ("Everyone", "Show benchmarks, suites, chips, profiles, schemas."),
    "tokens": ("Everyone", "Write and verify the token sets that benchmarks read."),
    "completion": ("Everyone", "Print what completes commands in bash, zsh or fish."),
}
"""Verb → (who asks, what it does); the module of the same name in this package has `command`."""


@click.group(cls=Root, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hengsuan")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors (or HENGSUAN_DEBUG=1).")
def cli(debug: bool) -> None:
    """Weigh an AI accelerator cluster before you trust it."""
    if debug:
        os.environ["HENGSUAN_DEBUG"] = "1"
    # A vendor's module that torch loads by itself, and that fails, would fail `import torch` here.
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"


def main() -> NoReturn:
    """The console script: runs a verb and turns every error into a sentence and an exit code."""
    code = _run()
    try:
        sys.stdout.flush()
    except OSError:
        # It was told. Python would write what is held once more at exit, and end with 120.
        from ..files import silence

        silence(sys.stdout)
    leave(code)


def _run() -> int:
    if instruction := os.environ.get(VARIABLE):
        return completed(cli, instruction)
    codecs.register_error("plain", _plain)
    # A stream that was closed (`>&-`) is None, and what it gets goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A character that the locale does not have must not end a run.
        getattr(stream, "reconfigure", lambda **_: None)(errors="plain")
    _name_in_errors(sys.stdout, "standard output")
    from ..cluster.interrupts import Interrupts

    done: Any = 0
    try:
        # SIGTERM as well: a job that is cancelled leaves no process and no folder of its own.
        with Interrupts(), reader_may_leave():
            done = cli.main(prog_name="hengsuan", standalone_mode=False)
        return done if isinstance(done, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return _told_as_json(2, error.format_message())
    except (KeyboardInterrupt, SystemExit, click.Abort):
        return _interrupted()
    except Exception as error:
        # Before Python 3.12, what strikes while a class is made is wrapped in a RuntimeError.
        if isinstance(error.__cause__, KeyboardInterrupt):
            return _interrupted()
        return _failed(error)


def _interrupted() -> int:
    tell("interrupted")
    return _told_as_json(130, "interrupted")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the locale does not have: a unit must stay readable."""
    assert isinstance(error, UnicodeEncodeError)
    wanted = error.object[error.start : error.end]
    known = {"µ": "u", "–": "-", "→": "->", "×": "x", "°": "deg ", "…": "~"}
    return "".join(known.get(character, "?") for character in wanted), error.end


def _name_in_errors(stream: Any, name: str) -> None:
    """Have errors of writing to a stream say which it was, as those of files do."""

    def named(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*given: Any) -> Any:
            try:
                return call(*given)
            except OSError as error:
                error.filename = error.filename or name
                raise

        return calling

    for method in ("write", "flush"):
        setattr(stream, method, named(getattr(stream, method)))


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print inside: a reader of our pipe that has enough (``| head``) is no error.

    click and rich end the process with 1 there, which means a finding here.
    """
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # rich ends while it handles the broken pipe, click after that: there the pipe is asked.
        broken = isinstance(error, BrokenPipeError) or isinstance(error.__context__, OSError)
        if not broken and not _nobody_reads():
            raise  # somebody's own handler of a signal, while Ray starts
        from ..files import silence

        silence(sys.stdout)


def _nobody_reads() -> bool:
    asked = select.poll()
    asked.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in asked.poll(0))


def _failed(error: Exception) -> int:
    from ..errors import Exit, HengsuanError

    if os.environ.get("HENGSUAN_DEBUG"):
        import traceback

        traceback.print_exc()
    from ..report.plain import plain, plain_lines

    if isinstance(error, HengsuanError):
        # What programs of others said last may be in it.
        where = f"{plain(error.where)}: " if error.where else ""
        tell(f"error: {where}{plain_lines(error.message)}")
        if error.hint:
            tell(f"hint: {plain_lines(error.hint)}")
        return _told_as_json(int(error.exit), error.message, error.where, error.hint)
    if isinstance(error, OSError) and error.strerror:
        # A full disk, a folder without permission: the host's state, not our defect.
        where = f"{plain(str(error.filename))}: " if error.filename else ""
        tell(f"error: {where}{error.strerror}")
        return _told_as_json(int(Exit.INFRASTRUCTURE), error.strerror, str(error.filename or ""))
    text = plain(" ".join(str(error).split()))
    tell(f"error: {type(error).__name__}: {text}")
    hint = "a defect of ours; `hengsuan --debug ...` shows where"
    tell(f"hint: {hint}")
    return _told_as_json(int(Exit.INFRASTRUCTURE), f"{type(error).__name__}: {text}", "", hint)


def _told_as_json(code: int, text: str, where: str | None = "", hint: str | None = "") -> int:
    """The code; with ``--json`` a program that reads stdout finds the error there as well.

    Not where something was printed before: two documents are none.
    """
    words = sys.argv[1:]
    if "--json" in words[: words.index("--")] if "--" in words else "--json" in words:
        from .json_output import PRINTED, print_json

        if not PRINTED:
            with contextlib.suppress(OSError):
                print_json({"error": text, "where": where or "", "hint": hint or "", "exit": code})
                sys.stdout.flush()
    return code
