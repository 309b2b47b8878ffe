"""What Linux says about this host: identity, cores, memory, clocks, and who else uses them.

Standard library only. Every reader returns None or an empty value where the host does not say
(containers hide much of ``/sys``).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import os
import resource
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
"""Seconds of one tick, the resolution of ``/proc/stat`` (usually 10 ms)."""


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


# ---- identity ----


def machine_id() -> str:
    """The machine's own id: systemd's, else the board's, else a hash of the host name."""
    for path in ("/etc/machine-id", "/sys/class/dmi/id/product_uuid"):
        found = _read(path)
        if found:
            return found
    return hashlib.sha256(hostname().encode()).hexdigest()[:32]


def boot_id() -> str:
    """Changes with every boot; empty where unknown."""
    return _read("/proc/sys/kernel/random/boot_id")


def hostname() -> str:
    """The host's name."""
    return socket.gethostname()


# ---- cores and memory ----


def cpu_model() -> str:
    """The processor's name."""
    for text in _read("/proc/cpuinfo").splitlines():
        key, _, value = text.partition(":")
        if key.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return os.uname().machine


def expand(text: str) -> list[int]:
    """``"0-2,5"`` → [0, 1, 2, 5], the kernel's way of listing cores."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def compact(cpus: Iterable[int]) -> str:
    """[0, 1, 2, 5] → ``"0-2,5"``."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def numa_nodes() -> dict[int, list[int]]:
    """Usable cores by NUMA node; a host that does not say is one node."""
    allowed = os.sched_getaffinity(0)
    nodes = {}
    for folder in sorted(Path("/sys/devices/system/node").glob("node[0-9]*")):
        cpus = [cpu for cpu in expand(_read(folder / "cpulist")) if cpu in allowed]
        if cpus:
            nodes[int(folder.name[4:])] = cpus
    return nodes or {0: sorted(allowed)}


def last_level_cache() -> int | None:
    """Bytes of last-level cache that the usable cores reach together.

    A processor of several chiplets has a last level in each of them.
    """
    levels: dict[int, dict[str, int]] = {}
    for cpu in os.sched_getaffinity(0):
        for folder in Path(f"/sys/devices/system/cpu/cpu{cpu}/cache").glob("index*"):
            text = _read(folder / "size")
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
            digits, level = text.rstrip("KMG"), _read(folder / "level")
            if digits.isdigit() and level.isdigit():
                shared = _read(folder / "shared_cpu_list") or str(cpu)
                levels.setdefault(int(level), {})[shared] = int(digits) * unit
    return sum(levels[max(levels)].values()) if levels else None


def memory_total() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's limit."""
    total = _meminfo().get("MemTotal", 0)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(path)
        if text.isdigit():
            total = min(total, int(text))
    return total


def memory_available() -> int:
    """Bytes that can still be allocated without swapping."""
    return _meminfo().get("MemAvailable", 0)


def _meminfo() -> dict[str, int]:
    found = {}
    for text in _read("/proc/meminfo").splitlines():
        key, _, value = text.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[key] = int(words[0]) * 1024
    return found


# ---- clocks ----


def frequency(cpus: Iterable[int]) -> float | None:
    """Mean current frequency of these cores in MHz."""
    wanted = set(cpus)
    values = []
    for cpu in wanted:
        text = _read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")
        if text.isdigit():
            values.append(int(text) / 1000)
    if not values:
        current = -1
        for text in _read("/proc/cpuinfo").splitlines():
            key, _, value = text.partition(":")
            if key.strip() == "processor":
                current = int(value)
            elif key.strip() == "cpu MHz" and current in wanted:
                values.append(float(value))
    return sum(values) / len(values) if values else None


def governor(cpus: Iterable[int]) -> str:
    """The frequency governors of these cores, empty where the host does not say."""
    found = {_read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus}
    return ",".join(sorted(found - {""}))


def threads() -> int | None:
    """Threads that numerical libraries were told to use, None if they choose."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else None


# ---- who else is here ----


def _cpu_seconds(cpus: set[int]) -> tuple[float, float]:
    """(busy, stolen) seconds of processes on these cores since boot.

    Interrupts are left out: those of a collective's own traffic are nobody else's work.
    """
    busy = stolen = 0.0
    for text in _read("/proc/stat").splitlines():
        words = text.split()
        if not words[0].startswith("cpu") or not words[0][3:].isdigit():
            continue
        if int(words[0][3:]) in cpus:
            user, nice, system, _, _, _, _, steal = (int(word) for word in words[1:9])
            busy += user + nice + system
            stolen += steal
    return busy * TICK, stolen * TICK


def _own_cpu_seconds() -> float:
    """Of this process and of the children that it has waited for (compilers, say)."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _schedule() -> dict[str, tuple[float, float]]:
    """Per thread of this process: seconds it ran, seconds it was ready and had to wait."""
    found = {}
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            words = _read(f"/proc/self/task/{task}/schedstat").split()
            if len(words) >= 2:
                found[task] = int(words[0]) * 1e-9, int(words[1]) * 1e-9
    return found


@dataclass(frozen=True)
class Usage:
    """What else happened on a process's cores while it measured.

    Seconds: ``interval`` of wall time; ``waited``, the longest that one thread of this process
    was ready and had to wait for others than its own siblings; ``stolen`` by the hypervisor and
    ``foreign``, used by other processes, both summed over ``cores`` cores.
    """

    interval: float
    cores: int
    waited: float
    stolen: float
    foreign: float

    def contended(self, limit: float = 0.02) -> str:
        """Why the measurement is contended, with the figure; empty if it is not.

        Each share is of the measured interval, however many cores there are: threads that work
        together wait for the one whose core was taken. ``/proc/stat`` counts ticks, and what
        rounding leaves of them grows with the square root of the cores.
        """
        if self.interval <= 0:
            return ""
        blur = 2 * TICK * math.sqrt(self.cores)
        found = (
            ("its threads waited for a core", self.waited, 0.0),
            ("the hypervisor took", self.stolen, blur),
            ("other processes used", self.foreign, blur),
        )
        for what, seconds, rounding in found:
            if (seconds - rounding) / self.interval > limit:
                return f"{what} {seconds / self.interval:.1%} of the measured time"
        return ""


class Contention:
    """Accounts for the cores of this process between `begin` and `end`."""

    def __init__(self, cpus: Iterable[int]) -> None:
        self._cpus = set(cpus)
        self._start = time.monotonic()
        self._own = _own_cpu_seconds()
        self._threads = _schedule()
        self._busy, self._stolen = _cpu_seconds(self._cpus)

    @classmethod
    def begin(cls, cpus: Iterable[int] = ()) -> Contention:
        """Start accounting on these cores (default: all that this process may use)."""
        return cls(list(cpus) or os.sched_getaffinity(0))

    def end(self) -> Usage:
        """What has happened since."""
        interval = time.monotonic() - self._start
        busy, stolen = _cpu_seconds(self._cpus)
        own = _own_cpu_seconds() - self._own
        waits = []
        for task, (ran, waited) in _schedule().items():
            before = self._threads.get(task, (0.0, 0.0))
            # While a sibling thread ran, waiting was this process's own doing.
            siblings = max(0.0, own - (ran - before[0]))
            waits.append(waited - before[1] - siblings)
        steal = stolen - self._stolen
        return Usage(
            interval=interval,
            cores=len(self._cpus),
            waited=max([0.0, *waits]),
            stolen=steal,
            foreign=max(0.0, busy - self._busy - own),
        )


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


# ---- processes ----


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def process_tree(pid: int) -> list[int]:
    """The process and all that it started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _read(entry / "stat")
            words = stat.rpartition(")")[2].split()
            if len(words) > 1:
                children.setdefault(int(words[1]), []).append(int(entry.name))
    found, new = [pid], [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found.extend(new)
    return found


def process_name(pid: int) -> str:
    """The name of a process; empty where there is none, or it is hidden."""
    return _read(f"/proc/{pid}/comm")


def process_names() -> set[str]:
    """Names of all processes that this one can see."""
    found = {_read(entry / "comm") for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return found - {""}


def pss_tree(pid: int) -> int:
    """Bytes of memory of a process tree: the sum of proportional set sizes."""
    total = 0
    for one in process_tree(pid):
        for text in _read(f"/proc/{one}/smaps_rollup").splitlines():
            if text.startswith("Pss:"):
                total += int(text.split()[1]) * 1024
    return total
