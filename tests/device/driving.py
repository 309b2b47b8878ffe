"""Stages, one after the other, within a budget: what is done of them, and what is kept of that."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from archive import STATE, TABLES, pack
from book import replace
from report import table
from stages import RESULTS, ROOT, Command, Later, Place, Stage, shares, state_of

from bench.errors import Exit
from bench.host import die_with_parent

RESERVE = 0.03
"""Share of the budget that is kept for ending stages that do not end in time."""
PATIENCE = 30.0
"""Seconds that a stage which was told to end may take to do so."""
BEAT = 30.0
"""Seconds after which it is written down what a stage has begun: this process may be killed."""


class Done(msgspec.Struct, kw_only=True):
    """What came of a stage. ``state``: done, cut short, failed, nothing to do or not begun."""

    state: str
    code: int = 0
    seconds: float = 0.0
    why: str = ""


class State(msgspec.Struct, kw_only=True):
    """What earlier calls have done, with these sources on this device: ``device.json``."""

    sources: str
    device: str
    stages: dict[str, Done] = {}
    runs: dict[str, str] = {}
    ended: list[str] = []


class Driver:
    """Does stages within a budget.

    Args:
        stages: In order.
        place: Where.
        state: What was done before; kept in the folder of results after every stage.
        budget: Seconds for all.
        archive: A file that holds all results, too.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        place: Place,
        state: State,
        budget: float,
        archive: Path | None = None,
    ) -> None:
        self.stages, self.place, self.state = list(stages), place, state
        self.archive = archive
        self.end = time.monotonic() + budget * (1 - RESERVE)
        self.place.runs, self.place.ended = state.runs, state.ended

    def all(self) -> int:
        """Do what is left, say what came of it; the exit code."""
        known = self.state.stages
        waiting = [
            one
            for one in self.stages
            if one.again or one.name not in known or known[one.name].state != "done"
        ]
        codes: list[int] = []
        try:
            for number, stage in enumerate(waiting):
                given = shares(waiting[number:], self.end - time.monotonic())
                if stage.name not in given:
                    if stage.name not in known:  # else that stands
                        self._keep(stage, Done(state="not begun", why="no time was left"))
                    continue
                say(f"\n=== {stage.name}: {stage.about}, {given[stage.name]:.0f} s")
                done = self._do(stage, given[stage.name])
                codes.append(done.code)
                self._keep(stage, done)
        except KeyboardInterrupt:
            codes.append(Exit.INTERRUPTED)
            self._keep(stage, Done(state="cut short", code=130, why="interrupted"))
        left = [one for one in self.stages if not self._finished(one)]
        self._tell()
        return int(Exit.worst([*codes, Exit.INCONCLUSIVE if left else Exit.OK]))

    def _finished(self, stage: Stage) -> bool:
        known = self.state.stages.get(stage.name)
        return known is not None and known.state in ("done", "nothing to do")

    def _do(self, stage: Stage, seconds: float) -> Done:
        begin = time.monotonic()
        commands = stage.commands(self.place, seconds)
        if isinstance(commands, str):
            say(commands)
            later = isinstance(commands, Later)
            return Done(state="not begun" if later else "nothing to do", why=str(commands))
        codes, late = [], False
        before = digest([self.place.table])
        known = {one.name for one in self.place.out.glob("*") if one.is_dir()}

        def remember() -> None:
            self._note(stage, known, before)
            self._save()

        # What stands there if this process is killed.
        self._keep(stage, Done(state="cut short", why="it was ended from outside"))
        try:
            for name, command in commands.items():
                left = begin + seconds - time.monotonic()
                if left <= 0:
                    late = True
                    break
                code, ended = self._run(command, left, remember)
                codes.append(code)
                if code == Exit.OK and name not in self.place.ended:
                    self.place.ended.append(name)
                late = late or not ended
        finally:
            self._note(stage, known, before)
        codes += [self._run(command, PATIENCE)[0] for command in stage.after(self.place)]
        spent = time.monotonic() - begin
        return self._judged(stage, codes, late, spent)

    def _judged(self, stage: Stage, codes: list[int], late: bool, spent: float) -> Done:
        # Who was told to end says 130, which was not the person's wish.
        worst = Exit.worst([3 if late and code == 130 else code for code in codes])
        told = Done(state="done", code=int(worst), seconds=spent)
        if worst in (Exit.USAGE, Exit.INFRASTRUCTURE, Exit.INTERRUPTED):
            told.state, told.why = "failed", f"exit code {int(worst)}"
        elif late:
            told.state, told.why = "cut short", "its time was over"
        if told.state == "done" and (left := stage.left(self.place)):
            told.state, told.why = "cut short", f"{left} tasks are not measured"
        return told

    def _run(
        self, command: Command, seconds: float, remember: Callable[[], None] = lambda: None
    ) -> tuple[int, bool]:
        """A command's exit code, and whether it ended by itself in time."""
        end = time.monotonic() + seconds
        environment = {**os.environ, "PYTHONPATH": _path()}
        # In a session of its own: a Ctrl-C is told to it once, by us. It must not go on measuring
        # when we are killed: whoever gives the command again would measure beside it.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            while (left := end - time.monotonic()) > 0:
                try:
                    return process.wait(min(left, BEAT)), True
                except subprocess.TimeoutExpired:
                    remember()
            return _ended(process), False
        except BaseException:
            say("ending; a second Ctrl-C does not wait")
            with _killed_at_last(process):
                _ended(process)
            raise

    def _note(self, stage: Stage, known: set[str], table: str) -> None:
        """Remember the run that was begun, and whether a table has changed."""
        if stage.suite:
            new = [
                one
                for one in self.place.out.glob("*/run.json")
                if one.parent.name not in known and state_of(one.parent)
            ]
            for one in sorted(new, key=lambda path: path.stat().st_mtime)[-1:]:
                self.place.runs[stage.suite] = one.parent.name
        if table != digest([self.place.table]):
            self.place.runs["table"] = str(self.place.table)
            # Beside the results, too: these may be all that comes back from the machine.
            folder = self.place.out / TABLES
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.place.table, folder)

    def _keep(self, stage: Stage, done: Done) -> None:
        self.state.stages[stage.name] = done
        self._save()

    def _save(self) -> None:
        path = self.place.out / STATE
        replace(path, msgspec.json.format(msgspec.json.encode(self.state), indent=1) + b"\n")
        if self.archive is not None:
            try:
                pack(self.place.out, self.archive, RESULTS)
            except OSError as error:
                say(f"{self.archive} cannot be written: {error}")

    def _tell(self) -> None:
        say("\n" + "\n".join(told(self.state, [one.name for one in self.stages])))
        if changed := self.place.runs.get("table"):
            copy = self.place.out / TABLES
            say(f"the search wrote {changed}, and a copy into {copy}: look at it and commit it")
        if any(not self._finished(stage) for stage in self.stages):
            say("the same command goes on from there")


def told(state: State, names: Sequence[str]) -> list[str]:
    """What came of stages, a line each, as a table."""
    rows = []
    for name in names:
        done = state.stages.get(name, Done(state="not begun"))
        rows.append((name, done.state, f"{done.seconds:.0f} s", str(done.code), done.why))
    return table(("stage", "", "took", "code", "why"), rows)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Tell a process to end as by Ctrl-C; end it where it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        with _killed_at_last(process):
            return int(Exit.INFRASTRUCTURE)


@contextlib.contextmanager
def _killed_at_last(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def digest(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def say(text: str) -> None:
    """A line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
