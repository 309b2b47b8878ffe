"""Processes of this host: trees, names, memory, and dying with a parent."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from pathlib import Path

from .files import read

_MEANS = {int(signal.SIGBUS): " (a mapped file became shorter or memory failed)"}
"""What a signal says that its name does not."""


def ended_by(code: int) -> str:
    """How a process ended, in words, by its exit code as `subprocess` has it."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # the signals between the first and the last of real time have no names
        name = f"signal {-code}"
    return f"crashed with {name}{_MEANS.get(-code, '')}"


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def process_tree(pid: int) -> list[int]:
    """The process and all that it started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = read(entry / "stat")
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
    return read(f"/proc/{pid}/comm")


def stopped(pid: int) -> bool:
    """Whether a signal holds a process (SIGSTOP, Ctrl-Z); one that a debugger holds is not told."""
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] == ["T"]


def threads_working() -> bool:
    """Whether any other thread of this process runs, or could if it had a core."""
    mine = str(threading.get_native_id())
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            state = read(task / "stat").rpartition(")")[2].split()[:1]
            if state == ["R"] and task.name != mine:
                return True
    return False


def pss_tree(pid: int) -> int:
    """Bytes of memory of a process tree: the sum of proportional set sizes."""
    total = 0
    for one in process_tree(pid):
        for text in read(f"/proc/{one}/smaps_rollup").splitlines():
            if text.startswith("Pss:"):
                total += int(text.split()[1]) * 1024
    return total
