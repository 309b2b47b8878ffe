"""Runs one check in processes of its own, with a deadline: a crash or a hang is a result."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .. import host
from ..cluster.ranks import rank_environment
from ..conformity import WORST, Result
from ..host.files import read
from ..records import Device
from .checks import Check, Task
from .child import outcome_file

MARK = "HENGSUAN_CONFORMANCE"
"""Environment variable by which every process that a check started is found, whoever owns it."""
LEAVING = 15.0
"""Seconds that processes have to end once the check's outcome is there."""
PARTING = 2.0
"""Seconds that what a rank started may outlive it: a tool that was asked a moment ago."""
_SHARED = Path("/dev/shm")


def run_check(check: Check, backend: str, devices: list[Device]) -> Result:
    """Run a check on the first of ``devices``, one rank on each of the first ones.

    Never raises for what the plugin does.
    """
    start = time.monotonic()
    if check.ranks > len(devices):
        reason = f"needs {check.ranks} devices, this node has {len(devices)}"
        return Result(check=check.name, verdict="skipped", reason=reason)
    with tempfile.TemporaryDirectory(prefix="hengsuan-check-") as name:
        job = _Job(check, backend, devices, Path(name))
        shared = set(_SHARED.iterdir()) if _SHARED.is_dir() else set()
        try:
            job.start()
            results = job.wait()
        finally:
            strays = job.strays()
            job.kill()
        if check.tidy:
            results.append(_tidied(check, job, shared))
        if strays:
            reason = f"left processes running: {', '.join(strays)}"
            hint = "end what the plugin starts when the process that loaded it ends"
            results.append(Result(check=check.name, verdict="fail", reason=reason, hint=hint))
    found = min(results, key=lambda one: (WORST.index(one.verdict), not one.reason))
    found.seconds = round(time.monotonic() - start, 3)
    return found


class _Job:
    """The processes of a check, one a rank."""

    def __init__(self, check: Check, backend: str, devices: list[Device], folder: Path) -> None:
        self.check, self.folder = check, folder
        self.token = secrets.token_hex(8)
        self.work, self.scratch = folder / "work", folder / "tmp"
        meeting = folder / "meeting"
        for one in (self.work, self.scratch, meeting):
            one.mkdir()
        every = list(range(len(devices)))
        ranks, last = max(1, check.ranks), check.claims == "last"
        self.tasks = [
            Task(
                check=check.name,
                backend=backend,
                devices=devices,
                # The last rank of such a check has the last device, and that alone.
                claimed=every[-1:] if last and rank == ranks - 1 else every,
                place=every[-1] if last and rank == ranks - 1 else rank,
                rank=rank,
                size=ranks,
                folder=str(meeting),
            )
            for rank in range(ranks)
        ]
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        environment = rank_environment({MARK: self.token, "TMPDIR": str(self.scratch)})
        for task in self.tasks:
            told = self.folder / f"task.{task.rank}.json"
            told.write_bytes(msgspec.json.encode(task))
            with open(self._log(task), "wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "bench.conformance.child", str(told)],
                        env=environment,
                        cwd=self.work,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def wait(self) -> list[Result]:
        """What every rank says, or what became of it; the first that fails speaks for all."""
        until = time.monotonic() + self.check.limit
        open_ = list(self.tasks)
        found = []
        while open_ and time.monotonic() < until:
            time.sleep(0.02)
            for task in [one for one in open_ if self._settled(one)]:
                open_.remove(task)
                self._await_end(task)
                found.append(self._result(task))
                if found[-1].verdict == "fail":  # the others may wait for it in vain
                    return found
        return found + [self._result(task) for task in open_]

    def _settled(self, task: Task) -> bool:
        return self.processes[task.rank].poll() is not None or outcome_file(task).exists()

    def _await_end(self, task: Task) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[task.rank].wait(LEAVING)

    def _result(self, task: Task) -> Result:
        code, name = self.processes[task.rank].poll(), self.check.name
        who = f"rank {task.rank}: " if task.size > 1 else ""
        said = outcome_file(task)
        if not said.exists():
            if code is None:
                reason = f"{who}hung: nothing after {self.check.limit:g} s"
                hint = "find out where: py-spy dump, or a debugger on the process"
                return Result(check=name, verdict="fail", reason=reason, hint=hint)
            if self.check.dies == task.rank and code == -signal.SIGSEGV:
                return Result(check=name, verdict="pass")
            return Result(check=name, verdict="fail", reason=f"{who}{self._death(task, code)}")
        result = msgspec.json.decode(said.read_bytes(), type=Result)
        if result.verdict == "fail":
            result.reason = who + result.reason
        elif code is None:
            result.verdict, result.reason = "fail", f"{who}does not end when its work is done"
            result.hint = "threads of the plugin must end, or be daemons, when Python exits"
        elif code:
            result.verdict = "fail"
            result.reason = f"{who}did its work, then {self._death(task, code)}"
            result.hint = "freeing the device at exit must not crash"
        return result

    def _death(self, task: Task, code: int) -> str:
        """How a process ended, with the innermost frame or the last line that it printed."""
        text = self._log(task).read_text(errors="replace")[-(1 << 16) :]
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        words = f"; it said: {lines[-1][:300]}" if lines else ""
        for number, line in enumerate(lines[:-1]):
            if line.startswith(("Current thread", "Thread ")) and "most recent" in line:
                words = f"; in {lines[number + 1]}"
                break
        return f"{host.ended_by(code)}{words}"

    def _log(self, task: Task) -> Path:
        return self.folder / f"log.{task.rank}"

    def strays(self) -> list[str]:
        """Processes of this check that go on running, besides its ranks: ``name (pid)``."""
        own = {process.pid for process in self.processes}
        until = time.monotonic() + PARTING
        while (left := set(self._marked()) - own) and time.monotonic() < until:
            time.sleep(0.05)
        return [f"{host.process_name(pid)} ({pid})" for pid in sorted(left)]

    def kill(self) -> None:
        """Kill the ranks and all that they started."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for pid in self._marked():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)  # a stuck driver may hold it longer

    def _marked(self) -> Iterator[int]:
        mark = f"{MARK}={self.token}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        yield int(entry.name)


def _tidied(check: Check, job: _Job, shared: set[Path]) -> Result:
    """Whether nothing is left in shared memory and in the folders that the check had."""
    left = [f"working directory: {one.name}" for one in job.work.iterdir()]
    left += [f"temporary folder: {one.name}" for one in job.scratch.iterdir()]
    if _SHARED.is_dir():
        mine = {one for one in set(_SHARED.iterdir()) - shared if _owned(one)}
        left += [f"shared memory: {one.name}" for one in mine if not _in_use(one)]
    if not left:
        return Result(check=check.name, verdict="pass", reason="nothing left")
    reason = f"left behind in {'; in '.join(sorted(left)[:5])}"
    if len(left) > 5:
        reason += f" and {len(left) - 5} more"
    hint = "remove at exit what the stack writes, or set (in environment()) where it writes"
    return Result(check=check.name, verdict="fail", reason=reason, hint=hint)


def _owned(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except OSError:  # gone already
        return False


def _in_use(path: Path) -> bool:
    """Whether a living process has it mapped: then it belongs to somebody beside us."""
    return any(
        str(path) in read(entry / "maps")
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
    )
