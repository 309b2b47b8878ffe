"""Rank processes as their agent sees them: start, ask, notice death, kill.

A rank is a process of its own, in its own session, so that a crashing or hanging vendor driver
takes nothing else down. It dies with its agent (parent-death signal and a closed socket).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ..host import ended_by, stopped
from ..ledger import PART_NAMES, Book
from .listening import Listening
from .plan import CEILING
from .wire import (
    LIMIT,
    PROTOCOL,
    Entered,
    Failed,
    FromRank,
    LaunchSpec,
    Ping,
    Pong,
    Ready,
    ToRank,
    line,
)

CHANNEL = "HENGSUAN_CHANNEL"
START_LIMIT = 120.0
"""Seconds that a rank may take to import its stack; a cold network file system is slow."""
LAST_WORDS = 1 << 16
"""Bytes of the log that are searched: every thread's frames, and some thousand modules' names."""
PING = 2.0
"""Seconds in which a process that can run shows a sign of life."""
LOOK = 1.0
"""Seconds between two looks at whether a process is stopped."""
LOOKS = 2
"""Looks in a row that find it stopped before it is lost."""
LATE = 0.1
"""Seconds by which a wait may end early."""
SLACK = 4.0
"""Times the seconds that a part of a job is likely to take, in which it may end."""


_REMARK = re.compile(r"\s*\[[IW]\d{4} \d{2}:\d{2}:\d{2}")
"""How glog begins what is information or a warning."""


class RankLost(Exception):
    """The process cannot be used any more; the text says why.

    ``hang``: it is there, stopped or without a sign of life. ``busy``: it lives, and is over its
    limit.
    """

    def __init__(self, reason: str, *, hang: bool = False, busy: bool = False) -> None:
        super().__init__(reason)
        self.hang = hang
        self.busy = busy


class RankProcess:
    """One rank process. Not safe for two commands at once; `ping` may come any time."""

    def __init__(self, spec: LaunchSpec) -> None:
        self.spec = spec
        self.versions: dict[str, str] = {}
        self.started = 0.0
        """Seconds that it took to start; whoever has told somebody of them takes them away."""
        self._listening = Listening()
        self.book = Book(clock=self._listening.look)
        """Of the command under way: where its time goes, by what the process says."""
        self._likely = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._decoder = msgspec.json.Decoder(FromRank)
        self._pongs: asyncio.Queue[None] = asyncio.Queue()
        self._replies: asyncio.Queue[object] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by kill)
        self._kills = _oom_kills()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    async def start(self) -> None:
        """Spawn and wait until it is ready. Raises `RankLost`."""
        began = time.monotonic()
        ours, theirs = socket.socketpair()
        with theirs:
            environment = rank_environment(self.spec.environment)
            environment[CHANNEL] = str(theirs.fileno())
            # Spawned from the agent's event-loop thread, which lives as long as the agent: the
            # parent-death signal fires when the *thread* that forked ends.
            self._process = subprocess.Popen(
                [self.spec.python, "-m", "bench.cluster.rank_main"],
                env=environment,
                cwd=self.spec.directory,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=LIMIT)
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))
        self._writer.write(line(self.spec))
        ready = await self.answer(START_LIMIT)
        if isinstance(ready, Failed):
            raise RankLost(ready.reason)
        if not isinstance(ready, Ready) or ready.protocol != PROTOCOL:
            raise RankLost(f"speaks another protocol than {PROTOCOL}")
        self.versions = ready.versions
        self.started = time.monotonic() - began

    async def ask(self, command: ToRank, limit: float, *, each: bool = False) -> object:
        """Send a command and await its reply. Raises `RankLost` as `answer` does."""
        self._listening = Listening()
        self.book, self._likely = Book(clock=self._listening.look), 0.0
        with contextlib.suppress(OSError):
            self._writer.write(line(command))
        return await self.answer(limit, each=each)

    async def answer(self, limit: float, *, each: bool = False) -> object:
        """The next reply.

        Raises `RankLost` if the process dies, is stopped, or has said nothing after ``limit``
        seconds of listening: a host that stands still does so with its ranks. Of a job with a limit
        of ``each`` part, the part under way may take so long, or `SLACK` times as long as the rank,
        which knows the size of its case by then, says that it is likely to.
        """
        reply = asyncio.create_task(self._next())
        until = self._listening.look() + limit

        def left() -> float:
            if not each:
                return until - self._listening.look()
            return self._most(limit) - self.book.since

        try:
            while True:
                # Pinged just before the limit, so that all ranks of a group know at the same time.
                await self._watch(reply, lambda: left() - PING)
                if reply.done():
                    return reply.result()
                alive = asyncio.create_task(self.ping(min(PING, limit)))
                await asyncio.wait([reply], timeout=min(PING, limit))
                if reply.done():
                    alive.cancel()
                    return reply.result()
                answered = await alive
                if each and left() > LATE:
                    continue  # another part has begun
                said = self._over(limit, each)
                if answered:
                    raise RankLost(f"not done at its limit of {said}", busy=True)
                raise RankLost(f"hangs: no sign of life after {said}", hang=True)
        finally:
            reply.cancel()

    def _during(self) -> str:
        """Which part of a job is under way, as words that follow others; empty where none is."""
        part = self.book.part
        return "" if part == "rest" else f", in its {PART_NAMES[part]}"

    def _over(self, limit: float, each: bool) -> str:
        """The limit that is over, in words: in which part, and which one before took longer."""
        if each:
            return f"{self._most(limit):.4g} s a part{self._during()}"
        spent = self.book.spent().parts
        longest = max(spent, key=lambda part: spent[part], default="rest")
        after = ""
        if self._during() and longest not in (self.book.part, "rest"):
            after = f", after {spent[longest]:.3g} s of {PART_NAMES[longest]}"
        return f"{limit:g} s{self._during()}{after}"

    def _most(self, limit: float) -> float:
        """Seconds that the part under way may take, of which ``limit`` is the usual limit."""
        return min(max(limit, SLACK * self._likely), CEILING * limit)

    async def _watch(self, reply: asyncio.Task[object], left: Callable[[], float]) -> None:
        """Wait for a reply; raises `RankLost` if the process is found stopped meanwhile.

        A stopped process answers nobody, and its peers would wait for it: the kernel says so at
        once. One look could fall into a moment in which somebody stops and continues it.
        """
        found = 0
        while not reply.done() and (rest := left()) > 0:
            await asyncio.wait([reply], timeout=min(LOOK, rest))
            found = found + 1 if self._process and stopped(self._process.pid) else 0
            if found >= LOOKS and not reply.done():
                raise RankLost(f"is stopped, as by SIGSTOP{self._during()}", hang=True)

    async def ping(self, timeout: float = PING) -> bool:
        """Whether the process still reacts (a thread of its own answers)."""
        while not self._pongs.empty():
            self._pongs.get_nowait()
        with contextlib.suppress(OSError):
            self._writer.write(line(Ping()))
        try:
            await asyncio.wait_for(self._pongs.get(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    def kill(self) -> None:
        """Kill the process and everything that it started; who waits for it learns of it."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)  # it would block the agent: a stuck driver may hold it longer
        if self._reading is not None:
            self._reading.cancel()
            self._writer.close()
        self._replies.put_nowait(RankLost("was killed"))
        self._log.close()

    async def _next(self) -> object:
        reply = await self._replies.get()
        if isinstance(reply, RankLost):
            raise reply
        return reply

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                text = await reader.readline()
                reply = self._decoder.decode(text) if text else None
            except OSError:  # reset: it ended before it had read all that was sent to it
                reply = None
            except ValueError as error:
                self._replies.put_nowait(RankLost(f"broke the protocol: {error}"))
                return
            if reply is None:
                reason = await asyncio.get_running_loop().run_in_executor(None, self._obituary)
                self._replies.put_nowait(RankLost(reason))
                return
            if isinstance(reply, Pong):
                self._pongs.put_nowait(None)
            elif isinstance(reply, Entered):
                self.book.to(reply.part)
                self._likely = reply.likely
            else:
                self._replies.put_nowait(reply)

    def _obituary(self) -> str:
        """How the process ended, with the last words of its log."""
        assert self._process is not None
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its channel"
        starved = code == -signal.SIGKILL and _oom_kills() > self._kills
        said = "killed by the kernel: out of memory" if starved else ended_by(code)
        return f"{said}{self._during()}{self._last_words()}"

    def _last_words(self) -> str:
        try:
            end = self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, end - LAST_WORDS))
            lines = self._log.read().decode(errors="replace").strip().splitlines()
        except (OSError, ValueError):
            return ""
        # Warnings of PyTorch's C++ (a peer's address has no name, say) end nobody.
        said = [text.strip() for text in lines if text.strip() and not _REMARK.match(text)]
        # The fault handler ends with a list of modules; the innermost frame explains more.
        for number, text in enumerate(said[:-1]):
            if text.startswith("Current thread"):
                return f"; in {said[number + 1]}"
        return f"; it said: {said[-1][:300]}" if said else ""


def rank_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, made fit for a rank.

    No vendor plugin loads itself into torch; the package is importable wherever it lies.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if root not in paths:
        paths.append(root)
    return {
        **os.environ,
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


def _oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory since it started."""
    for path, key in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for text in Path(path).read_text().splitlines():
                name, _, value = text.partition(" ")
                if name == key:
                    return int(value)
    return 0


def cpus_of(facts: Mapping[str, object], place: int, devices: int) -> list[int]:
    """The cores of one rank: those of its device if it names them, else an equal share."""
    named = facts.get("cpus")
    if isinstance(named, (list, tuple)) and named:
        return [int(cpu) for cpu in named]
    allowed = sorted(os.sched_getaffinity(0))
    share = max(1, len(allowed) // max(1, devices))
    start = (place * share) % len(allowed)
    return allowed[start : start + share]
