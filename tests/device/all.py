"""All that waits for an accelerator, in one command, within a budget: what `make device` does.

    python tests/device/all.py [--budget SECONDS] [--out FOLDER] [--only STAGE,...] [--again]
                               [--backend NAME] [-- ARGUMENTS OF check.py]

Stages come in the order of their importance (`stages`) and share the budget: each gets its part of
what is left, and what it does not use goes to those behind it. A stage whose time is over is ended
as by Ctrl-C, and keeps what it has. The same command, given again, goes on: it repeats nothing that
is done, unless code or device have changed since or ``--again`` is said. At the end it says what it
did not get to.

Exit code: the worst of the stages' (130, 2, 4, 1, 3, 0), 3 where a stage was not finished, and 3
without an accelerator that kernels can be compiled for: nothing is measured in its place.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from book import replace
from report import table
from stages import ROOT, STAGES, Command, Later, Place, Stage, report_of, shares, state_of

from bench.backends.probe import architecture, discover
from bench.errors import Exit, HengsuanError

RESERVE = 0.03
"""Share of the budget that is kept for ending stages that do not end in time."""
PATIENCE = 30.0
"""Seconds that a stage which was told to end may take to do so."""


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
    """

    def __init__(self, stages: Sequence[Stage], place: Place, state: State, budget: float) -> None:
        self.stages, self.place, self.state = list(stages), place, state
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
        before = _digest([self.place.table])
        known = {one.name for one in self.place.out.glob("*") if one.is_dir()}
        try:
            for name, command in commands.items():
                left = begin + seconds - time.monotonic()
                if left <= 0:
                    late = True
                    break
                code, ended = self._run(command, left)
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
        report = report_of(self.place) if stage.name in ("kernels", "retime") else None
        if told.state == "done" and report is not None and report.missing:
            told.state, told.why = "cut short", f"{len(report.missing)} tasks are not measured"
        return told

    def _run(self, command: Command, seconds: float) -> tuple[int, bool]:
        """A command's exit code, and whether it ended by itself in time."""
        environment = {**os.environ, "PYTHONPATH": _path()}
        # In a session of its own: a Ctrl-C is told to it once, by us.
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        try:
            return process.wait(seconds), True
        except subprocess.TimeoutExpired:
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
        if table != _digest([self.place.table]):
            self.place.runs["table"] = str(self.place.table)
            # Beside the results, too: these may be all that comes back from the machine.
            folder = self.place.out / "tuned"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.place.table, folder)

    def _keep(self, stage: Stage, done: Done) -> None:
        self.state.stages[stage.name] = done
        path = self.place.out / "device.json"
        replace(path, msgspec.json.format(msgspec.json.encode(self.state), indent=1) + b"\n")

    def _tell(self) -> None:
        rows = []
        for stage in self.stages:
            done = self.state.stages.get(stage.name, Done(state="not begun"))
            rows.append((stage.name, done.state, f"{done.seconds:.0f} s", str(done.code), done.why))
        say("\n" + "\n".join(table(("stage", "", "took", "code", "why"), rows)))
        if changed := self.place.runs.get("table"):
            copy = self.place.out / "tuned"
            say(f"the search wrote {changed}, and a copy into {copy}: look at it and commit it")
        if any(not self._finished(stage) for stage in self.stages):
            say("the same command goes on from there")


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


def _digest(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def sources() -> str:
    """A digest of all that a stage measures with, tables left out: a search changes those."""
    folders = [ROOT / name for name in ("bench", "kernels", "configs", "tests/device")]
    found = (path for folder in folders for path in folder.rglob("*"))
    return _digest(
        sorted(
            path
            for path in found
            if path.suffix in (".py", ".yaml") and path.parent.name != "tuned"
        )
    )


def seed(out: Path) -> None:
    """Let a folder of its own begin with the reports that the project has, to go on with them."""
    for path in (ROOT / "results" / "reference").glob("*/*.json"):
        mine = out / "reference" / path.parent.name / path.name
        if not mine.exists():
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, mine)


def opened(path: Path, device: str, again: bool) -> State:
    """What earlier calls did, if it was with these sources on this device."""
    now = State(sources=sources(), device=device)
    try:
        before = msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return now
    return before if (before.sources, before.device) == (now.sources, device) and not again else now


def say(text: str) -> None:
    """A line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse, look for a device, drive."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    take = parser.add_argument
    take("--budget", type=float, default=3600.0, help="seconds for all stages together")
    take("--out", type=Path, default=ROOT / "results", help="folder of runs and reports")
    take("--only", default="", help="stages, with commas between them")
    take("--again", action="store_true", help="also what was done before")
    take("--backend", help="by default the first that has a device")
    take("check", nargs="*", help="behind --: further arguments of check.py")
    arguments = parser.parse_args()
    wanted = [word for word in arguments.only.split(",") if word]
    strange = [word for word in wanted if word not in {one.name for one in STAGES}]
    if strange:
        names = ", ".join(one.name for one in STAGES)
        parser.error(f"--only: {', '.join(strange)}: takes some of {names}")
    try:
        found = next((one for one in discover(arguments.backend) if one.devices), None)
        arch = architecture(found.name) if found is not None else None
    except HengsuanError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(int(error.exit))
    if found is None or arch is None:
        sys.stderr.write("no accelerator here that kernels can be compiled for: nothing is done\n")
        sys.exit(int(Exit.INCONCLUSIVE))
    out = arguments.out.resolve()
    device = found.devices[0]
    seed(out)
    state = opened(out / "device.json", f"{device.name}, {device.firmware}", arguments.again)
    check = tuple(arguments.check)
    place = Place(out=out, device=device.name, backend=found.name, arch=arch, check=check)
    stages = [one for one in STAGES if not wanted or one.name in wanted]
    sys.exit(Driver(stages, place, state, arguments.budget).all())


if __name__ == "__main__":
    main()
