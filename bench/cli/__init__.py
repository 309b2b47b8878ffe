"""The command line. Verbs are loaded when they are used: help must come at once."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import click

from .. import __version__

VERBS = {
    "run": ("Operations", "Measure this machine or a cluster with a suite."),
    "goodput": ("Operations", "Train while ranks and nodes fail; say where the time went."),
    "certify": ("Operations", "Say which nodes may join the cluster, and what ails the others."),
    "doctor": ("Operations", "Say what is here, what is missing, and whether it is quiet."),
    "gate": ("Continuous integration", "Say whether something became slower, beyond doubt."),
    "results": ("Operations", "List and show runs."),
    "report": ("Operations", "Write a run as one HTML page, or for another system."),
    "certificate": (
        "Operations",
        "Sign what was found about nodes, verify it, say whose key counts.",
    ),
    "deploy": ("Operations", "Print what starts Ray on Slurm, Kubernetes or a list of hosts."),
    "backend": ("Chip vendors", "List how chips are reached, and why one is not."),
    "tune": ("Chip vendors", "Search kernel configurations on a device, write its table."),
    "submission": ("Chip vendors", "Pack runs into one signed archive; check such an archive."),
    "score": ("Planners", "Score a system's runs by category, against datasheets and targets."),
    "expect": ("Planners", "Say of each measurement what was to be expected, and why."),
    "compare": ("Planners", "Put systems side by side; rank them where intervals allow it."),
    "project": ("Planners", "Say what a model would take on a cluster, and what limits it."),
    "tokens": ("Everyone", "Write and verify the token sets that benchmarks read."),
    "show": ("Everyone", "Show benchmarks, suites, chips, profiles, configuration, schema."),
}
"""Verb → (who asks, what it does); the module of the same name in this package has `command`."""


class Verbs(click.Group):
    """A group whose commands live in modules of this package that are imported on use.

    Args:
        verbs: Name → (who asks, what it does).
        inside: The group's own name in those of its modules: ``backend_`` of `backend_list_verb`.
    """

    def __init__(
        self, *args: Any, verbs: Mapping[str, tuple[str, str]], inside: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.verbs, self.inside = verbs, inside

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the table."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in self.verbs:
            return None
        from importlib import import_module

        module = import_module(f"{__name__}.{self.inside}{cmd_name}_verb")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by who asks, without importing any."""
        width = max(map(len, self.verbs))
        for who in dict.fromkeys(who for who, _ in self.verbs.values()):
            with formatter.section(who):
                rows = [(v.ljust(width), text) for v, (w, text) in self.verbs.items() if w == who]
                formatter.write_dl(rows)


@click.group(cls=Verbs, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hengsuan")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors (or HENGSUAN_DEBUG=1).")
def cli(debug: bool) -> None:
    """Weigh an AI accelerator cluster before you trust it.

    Try: hengsuan run quick
    """
    if debug:
        os.environ["HENGSUAN_DEBUG"] = "1"
    # A vendor's module that torch loads by itself, and that fails, would fail `import torch` here.
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"


def main() -> NoReturn:
    """The console script: runs a verb and turns every error into a sentence and an exit code."""
    sys.exit(_run())


def _run() -> int:
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        # A character that the locale does not have must not end a run.
        getattr(stream, "reconfigure", lambda **_: None)(errors="plain")
    done: Any = 0
    try:
        with reader_may_leave():
            done = cli.main(prog_name="hengsuan", standalone_mode=False)
        return done if isinstance(done, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, SystemExit, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except Exception as error:
        return _failed(error)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the locale does not have: a unit must stay readable."""
    assert isinstance(error, UnicodeEncodeError)
    wanted = error.object[error.start : error.end]
    known = {"µ": "u", "–": "-", "→": "->", "×": "x", "°": "deg ", "…": "~"}
    return "".join(known.get(character, "?") for character in wanted), error.end


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
        # Keeps Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nobody_reads() -> bool:
    asked = select.poll()
    asked.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in asked.poll(0))


def _failed(error: Exception) -> int:
    from ..errors import Exit, HengsuanError

    if os.environ.get("HENGSUAN_DEBUG"):
        import traceback

        traceback.print_exc()
    if isinstance(error, HengsuanError):
        click.echo(f"error: {error}", err=True)
        return int(error.exit)
    if isinstance(error, OSError) and error.strerror:
        # A full disk, a folder without permission: the host's state, not our defect.
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror}", err=True)
        return int(Exit.INFRASTRUCTURE)
    text = " ".join(str(error).split())
    click.echo(f"error: {type(error).__name__}: {text}", err=True)
    click.echo("hint: a defect of ours; `hengsuan --debug ...` shows where", err=True)
    return int(Exit.INFRASTRUCTURE)
