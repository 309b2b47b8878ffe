"""``--every`` and ``--idle-only``: the same command again and again, and only where nobody works.

Each round is a process of its own, as if somebody had typed the command: what one leaves behind or
dies of is no matter to the next. A round gives way by the signal that a person would send, so that
what it has measured is kept, and is continued with ``--resume``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..cluster.interrupts import NUMBERS
from ..errors import Exit, HengsuanError, UsageError
from .json_output import tell
from .parameters import Duration
from .place import given, spelled

if TYPE_CHECKING:
    from ..cluster.idle import Idle

F = TypeVar("F", bound=Callable[..., Any])
LOOK = 1.0
"""Seconds between two looks at a round, and at whether others work beside it."""
GRACE = 60.0
"""Seconds that a round has to end when it is asked to."""
_OWN = ("every", "idle_only")
_PLANNED = ("suite", "only", "axes")
"""Parameters that a run to be continued knows itself."""
_AGAINST = {
    "every": ("dry_run", "run", "resume"),
    "idle_only": ("dry_run", "run", "resume"),
    "metrics_file": ("dry_run", "run"),
    "metrics_port": ("dry_run", "run"),
}
"""Parameters that are about measuring, and those that ask for something else."""

_OPTIONS = (
    click.option(
        "--every",
        type=Duration(1.0),
        metavar="24h",
        help="Again and again, so long after the last began; until SIGTERM or Ctrl-C.",
    ),
    click.option(
        "--idle-only",
        is_flag=True,
        help="Only while nobody else works on this machine; give way at once, then go on.",
    ),
)


def scheduling(command: F) -> F:
    """The two options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_measures() -> None:
    """Raise `UsageError` where an option that is about measuring stands beside one that is not."""
    for name, others in _AGAINST.items():
        for other in others:
            if other in click.get_current_context().params and given(name) and given(other):
                raise UsageError(f"{spelled(name)} is about measuring; {spelled(other)} is not")


def scheduled(every: float | None, idle_only: bool, out: Path, where: Mapping[str, Any]) -> int:
    """Run this very command line, without its schedule, as the options say.

    Returns the exit code of the last round that ended by itself; 130 if none has.

    Raises:
        UsageError: options that contradict each other.
    """
    ctx = click.get_current_context()
    idle: Idle | None = None
    if idle_only:
        if where["cluster"] or where["executor_name"] == "sim" or where["backend"] == "sim":
            raise UsageError("--idle-only: a simulated fleet has nobody to give way to")
        if where["address"] != "local":
            raise UsageError(
                "--idle-only watches this machine, not those of a cluster",
                hint="there its scheduler knows; or start it on each node: `hengsuan deploy`",
            )
        from ..cluster.idle import Idle

        idle = Idle(where["backend"])
    verb = str(ctx.info_name)
    rounds = Rounds(
        [verb, *words(ctx, _OWN)],
        lambda folder: [verb, "--resume", str(folder), *words(ctx, (*_OWN, *_PLANNED))],
        out,
        every,
        idle,
        tell,
        environment_of(ctx),
    )
    return rounds.run()


def environment_of(ctx: click.Context) -> dict[str, str]:
    """What was typed of parameters that have a variable of their own, by that variable.

    Everybody on a host can read the arguments of its processes, and a URL may hold a password; a
    process's variables are read by who runs it.
    """
    return {
        str(param.envvar): str(ctx.params[str(param.name)])
        for param in ctx.command.params
        if param.envvar and _typed(ctx, param)
    }


def _typed(ctx: click.Context, param: click.Parameter) -> bool:
    source = ctx.get_parameter_source(str(param.name))
    return source is click.core.ParameterSource.COMMANDLINE


def words(ctx: click.Context, leave: tuple[str, ...]) -> list[str]:
    """What stands on a command line behind its verb, but for some parameters, and for those that go
    by `environment_of`."""
    options: list[str] = []
    arguments: list[str] = []
    for param in ctx.command.params:
        name = str(param.name)
        if name in leave or param.envvar or not _typed(ctx, param):
            continue
        value: Any = ctx.params.get(name)  # of some flags it is kept elsewhere
        if not isinstance(param, click.Option):
            arguments.append(str(value))
        elif param.is_flag:
            options.append(param.opts[0])
        else:
            for one in value if param.multiple else (value,):
                kind = param.type
                said = kind.written(one) if isinstance(kind, Duration) else str(one)
                options += [param.opts[0], said]
    return [*options, *(["--", *arguments] if arguments else [])]


class Rounds:
    """Rounds of one command, until a signal ends them.

    Args:
        command: The words behind ``hengsuan``.
        resuming: The words that continue the run in a folder.
        out: The folder that holds runs.
        every: Seconds from the beginning of one to that of the next; None: there is one.
        idle: Gives way to others; None: nobody is looked for.
        say: Told what happens, in lines.
        variables: Of the environment of every round, beside ours.
    """

    def __init__(
        self,
        command: list[str],
        resuming: Callable[[Path], list[str]],
        out: Path,
        every: float | None,
        idle: Idle | None,
        say: Callable[[str], None],
        variables: Mapping[str, str],
    ) -> None:
        self._command, self._resuming, self._out = command, resuming, out
        self._every, self._idle, self._say = every, idle, say
        self._environment = {**os.environ, **variables}
        self._stop = threading.Event()

    def run(self) -> int:
        """All rounds; the exit code of the last that ended."""
        last = int(Exit.INTERRUPTED)
        number = 0
        with self._stoppable():
            while not self._stop.is_set():
                began, number = _clock(), number + 1
                code = self._round()
                if code is None:
                    break
                last = code
                if self._every is None or (number == 1 and code == Exit.USAGE):
                    break  # what is wrong with the command line does not mend
                self._pause(began, number, code)
        return last

    def _pause(self, began: float, number: int, code: int) -> None:
        """Until the next round is due: a whole number of periods after the one that began."""
        assert self._every is not None
        took = _clock() - began
        due = began + self._every * (1 + int(took // self._every))
        if self._stop.is_set():
            return
        at = datetime.now().astimezone() + timedelta(seconds=due - _clock())
        self._say(f"round {number} ended with exit code {code}; the next is at {at:%F %T %z}")
        while not self._stop.is_set() and (left := due - _clock()) > 0:
            # In parts: a machine that was suspended has missed time that this clock knows.
            self._stop.wait(min(left, 60.0))

    def _round(self) -> int | None:
        """One round, however often it gives way; None if it was stopped before it ran."""
        command = self._command
        while True:
            if self._idle is not None and not self._idle.settle(self._stop.wait, self._say):
                return None
            before = set(_folders(self._out))
            code, why = self._measure(command)
            if not why:
                return code
            left = self._left(before, command)
            kept = f", and {left.name} is continued" if left is not None else ""
            self._say(f"gave way: {why}{kept} when this machine is idle")
            command = self._resuming(left) if left is not None else command

    def _measure(self, command: list[str]) -> tuple[int, str]:
        """(exit code, to whom it gave way; empty if it did not)."""
        from ..host import die_with_parent, ended_by

        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C is for us, who pass it on, once.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        why = ""
        if self._idle is not None:
            self._idle.begin()
        while process.poll() is None and not why and not self._stop.wait(LOOK):
            why = self._idle.work(measuring=True) if self._idle is not None else ""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        code = process.returncode
        if why and code not in (Exit.INTERRUPTED, -signal.SIGTERM):
            why = ""  # it had ended when it was asked to
        if code < 0:
            asked = why or self._stop.is_set()
            if not asked:
                self._say(f"error: the round {ended_by(code)}")
            code = int(Exit.INTERRUPTED if asked else Exit.INFRASTRUCTURE)
        return code, why

    def _left(self, before: set[str], command: list[str]) -> Path | None:
        """The folder of the run that was just interrupted, to be continued."""
        from ..headers import read_header
        from .environment import recorded

        if "--resume" in command:
            return Path(command[command.index("--resume") + 1])
        for name in sorted(set(_folders(self._out)) - before):
            with contextlib.suppress(HengsuanError):
                header = read_header(self._out / name)
                if header.state == "interrupted" and header.command[1:] == recorded(command):
                    return self._out / name
        return None

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """SIGTERM, Ctrl-C and a terminal that is gone end the round that runs, and all to come."""

        def stop(number: int, frame: object) -> None:
            self._stop.set()

        minded = [one for one in NUMBERS if signal.getsignal(one) != signal.SIG_IGN]
        old = {number: signal.signal(number, stop) for number in minded}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _clock() -> float:
    """Seconds that go on while the machine is suspended, whatever is done to its time of day."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _folders(out: Path) -> list[str]:
    try:
        return [path.name for path in out.iterdir()]
    except OSError:
        return []
