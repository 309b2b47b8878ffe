"""Cores, their clocks and governors, NUMA nodes, caches and memory of this host."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .files import ROOT, read


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
        cpus = [cpu for cpu in expand(read(folder / "cpulist")) if cpu in allowed]
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
            text = read(folder / "size")
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
            digits, level = text.rstrip("KMG"), read(folder / "level")
            if digits.isdigit() and level.isdigit():
                shared = read(folder / "shared_cpu_list") or str(cpu)
                levels.setdefault(int(level), {})[shared] = int(digits) * unit
    return sum(levels[max(levels)].values()) if levels else None


def memory_total(root: Path = ROOT) -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's limit."""
    total = _meminfo(root).get("MemTotal", 0)
    for path in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = read(root / path)
        if text.isdigit():
            total = min(total, int(text))
    return total


def memory_used(root: Path = ROOT) -> int | None:
    """Bytes of the machine's memory that cannot be had without swapping."""
    found = _meminfo(root)
    total, available = found.get("MemTotal"), found.get("MemAvailable")
    return None if total is None or available is None else total - available


def memory_available() -> int:
    """Bytes that can still be allocated without swapping."""
    return _meminfo().get("MemAvailable", 0)


def _meminfo(root: Path = ROOT) -> dict[str, int]:
    found = {}
    for text in read(root / "proc/meminfo").splitlines():
        key, _, value = text.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[key] = int(words[0]) * 1024
    return found


def frequency(cpus: Iterable[int]) -> float | None:
    """Mean current frequency of these cores in MHz."""
    wanted = set(cpus)
    values = []
    for cpu in wanted:
        text = read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")
        if text.isdigit():
            values.append(int(text) / 1000)
    if not values:
        current = -1
        for text in read("/proc/cpuinfo").splitlines():
            key, _, value = text.partition(":")
            if key.strip() == "processor":
                current = int(value)
            elif key.strip().lower() == "cpu mhz" and current in wanted:
                values.append(float(value))
    return sum(values) / len(values) if values else None


def governor(cpus: Iterable[int], root: Path = ROOT) -> str:
    """The frequency governors of these cores, empty where the host does not say."""
    folder = root / "sys/devices/system/cpu"
    found = {read(folder / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus}
    return ",".join(sorted(found - {""}))


def threads() -> int | None:
    """Threads that numerical libraries were told to use, None if they choose."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else None
