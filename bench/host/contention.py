"""Who else uses the cores while something is measured, and whether the host is quiet."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cores import governor
from .files import read
from .processes import process_tree

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
"""Seconds of one tick, the resolution of ``/proc/stat`` (usually 10 ms)."""
Schedule = Mapping[str, tuple[float, float]]
"""By thread: seconds it ran, seconds it was ready and had to wait."""


def _cpu_seconds(cpus: set[int]) -> tuple[float, float, float]:
    """Seconds of these cores since boot: (processes ran, none did, stolen).

    Interrupts are in none of them: those of a collective's own traffic are nobody else's work.
    """
    busy = idle = stolen = 0.0
    for text in read("/proc/stat").splitlines():
        words = text.split()
        if not words[0].startswith("cpu") or not words[0][3:].isdigit():
            continue
        if int(words[0][3:]) in cpus:
            user, nice, system, rest, waiting, _, _, steal = (int(word) for word in words[1:9])
            busy += user + nice + system
            idle += rest + waiting
            stolen += steal
    return busy * TICK, idle * TICK, stolen * TICK


def _own_cpu_seconds() -> float:
    """Of this process and of all that it has started (compilers, say), whether it runs or not."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ended = sum(usage.ru_utime + usage.ru_stime for usage in used)
    told = list(Path("/proc/self/task").glob("*/children"))  # not every kernel has them
    if told and not any(map(read, told)):
        return ended
    running = 0
    for pid in process_tree(os.getpid())[1:]:
        words = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        running += sum(map(int, words[11:15]))  # its own, and of those that it has waited for
    return ended + running * TICK


def _schedule() -> Schedule:
    """Per thread of this process: seconds it ran, seconds it was ready and had to wait.

    The kernel adds to the first at its timer's ticks: of the thread that asks, it is asked itself.
    """
    found = {}
    own = str(threading.get_native_id())
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            words = read(f"/proc/self/task/{task}/schedstat").split()
            if len(words) >= 2:
                ran = time.thread_time() if task == own else int(words[0]) * 1e-9
                found[task] = ran, int(words[1]) * 1e-9
    return found


def waits() -> Callable[[], float]:
    """Begin to watch the threads of this process.

    Returns:
        Says for how many seconds since then one of them was ready and had no core, the most of
        all of them, while none of its siblings had it either.
    """
    own, ran, began = time.process_time(), time.thread_time(), time.perf_counter()
    begun = _schedule()

    def waited() -> float:
        now = _schedule()
        found = _longest(begun, now, time.process_time() - own)
        # A wait that began before counts as a whole when it ends: none lay where this thread ran.
        rest = time.perf_counter() - began - (time.thread_time() - ran)
        return max(0.0, min(found, rest))

    return waited


def _longest(begun: Schedule, now: Schedule, own: float) -> float:
    """Seconds that a thread waited for others than its siblings, the most of all threads.

    Args:
        begun: What `_schedule` said at the beginning.
        now: What it says now.
        own: Seconds that this process, with what it has started, ran meanwhile.
    """
    waits = []
    for task, (ran, waited) in now.items():
        before = begun.get(task, (0.0, 0.0))
        # While a sibling thread ran, waiting was this process's own doing.
        siblings = max(0.0, own - (ran - before[0]))
        waits.append(waited - before[1] - siblings)
    return max(waits, default=0.0)


@dataclass(frozen=True)
class Usage:
    """What else happened on a process's cores while it measured.

    Seconds: ``interval`` of wall time; ``waited``, the longest that one thread of this process
    was ready and had to wait for others than its own siblings; ``stolen`` by the hypervisor and
    ``foreign``, used by other processes, both summed over ``cores`` cores; ``idle``, likewise, when
    nobody used them.
    """

    interval: float
    cores: int
    waited: float
    stolen: float
    foreign: float
    idle: float = 0.0

    def contended(self, limit: float = 0.02) -> str:
        """Why the measurement is contended, with the figure; empty if it is not.

        Each share is of the measured interval, however many cores there are: threads that work
        together wait for the one whose core was taken. Where several cores were idle, as beside a
        rank that gives work to an accelerator, it is of those: others find one of them first.
        ``/proc/stat`` counts ticks, and what rounding leaves of them grows with the square root of
        the cores.
        """
        if self.interval <= 0:
            return ""
        blur = 2 * TICK * math.sqrt(self.cores)
        found = (
            ("its threads waited for a core", self.waited, 0.0, self.interval),
            ("the hypervisor took", self.stolen, blur, self.interval),
            ("other processes used", self.foreign, blur, max(self.interval, self.idle)),
        )
        for what, seconds, rounding, whole in found:
            if (seconds - rounding) / whole > limit:
                return f"{what} {seconds / self.interval:.1%} of the measured time"
        return ""


class Contention:
    """Accounts for the cores of this process between `begin` and `end`."""

    def __init__(self, cpus: Iterable[int]) -> None:
        self._cpus = set(cpus)
        self._start = time.monotonic()
        self._own = _own_cpu_seconds()
        self._threads = _schedule()
        self._busy, self._idle, self._stolen = _cpu_seconds(self._cpus)

    @classmethod
    def begin(cls, cpus: Iterable[int] = ()) -> Contention:
        """Start accounting on these cores (default: all that this process may use)."""
        return cls(list(cpus) or os.sched_getaffinity(0))

    def end(self) -> Usage:
        """What has happened since."""
        interval = time.monotonic() - self._start
        busy, idle, stolen = _cpu_seconds(self._cpus)
        own = _own_cpu_seconds() - self._own
        longest = _longest(self._threads, _schedule(), own)
        steal, rest = stolen - self._stolen, idle - self._idle
        whole = interval * len(self._cpus) - steal
        return Usage(
            interval=interval,
            cores=len(self._cpus),
            # Where siblings take turns, switching between them is waiting as well: nobody waited
            # for others longer than those can have run.
            waited=max(0.0, min(longest, whole - rest - own)),
            stolen=steal,
            foreign=foreign(whole, busy - self._busy, rest, own),
            idle=rest,
        )


def foreign(whole: float, busy: float, idle: float, own: float) -> float:
    """Seconds that other processes used of cores, of what is known of all that ran on them.

    A kernel that accounts by its timer's ticks asks at each who runs: of cores that are idle part
    of the time, as a rank that waits for another leaves them, ``busy`` is a sample, off by several
    percent of a second. How long they were idle it knows exactly, and no more than the rest can
    have been used.

    Args:
        whole: Seconds of all cores, without what the hypervisor took.
        busy: Seconds that processes ran, as sampled.
        idle: Seconds that none did.
        own: Seconds that one's own process ran.
    """
    return max(0.0, min(busy, whole - idle) - own)


@dataclass(frozen=True)
class Quietness:
    """Whether this host is quiet enough to measure on, and if not, why."""

    quiet: bool
    reasons: list[str]


def quietness(seconds: float = 1.0) -> Quietness:
    """Watch all usable cores for a while."""
    watch = Contention.begin()
    time.sleep(seconds)
    usage = watch.end()
    reasons = []
    whole = usage.interval * usage.cores
    if usage.foreign / whole > 0.02:
        reasons.append(f"other processes use {usage.foreign / whole:.1%} of its cores")
    if usage.stolen / whole > 0.02:
        reasons.append(f"the hypervisor takes {usage.stolen / whole:.1%} of its cores")
    slow = governor(os.sched_getaffinity(0))
    if "powersave" in slow or "conservative" in slow:
        reasons.append(f"the frequency governor is {slow}; `performance` gives steadier figures")
    return Quietness(not reasons, reasons)
