"""Runs a program so that nothing of it outlives whoever asked for it.

Started as a script of its own: ``python -I -S guard.py FD``, in a session of its own, with one end
of a socket pair. The first line that it reads there is JSON: ``words`` (the argument list),
``environment``, ``directory`` and ``cores`` (an empty list: as they are). The program has the
guard's standard output and error. Then

- ``t`` on the socket asks the program to end (SIGTERM), and kills what is left after `GRACE`;
- the socket's end kills at once: whoever asked is gone, however it went.

What the program leaves behind when it ends is killed as well. All that it starts stays below the
guard in the tree of processes, also what makes a session of its own: the kernel gives orphans to
the nearest ancestor that asks for them. The last line that the guard writes is ``{"code": 0,
"left": 2}``: the program's exit status (negative: the signal) and how many processes it left.
Standard library only, and nothing of this package: it is started often.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

GRACE = 3.0
"""Seconds that a program has to end by itself once it was asked to."""
LIMIT = 5.0
"""Seconds in which killed processes must be gone; a driver that is stuck may hold them longer."""
_PDEATHSIG, _SUBREAPER = 1, 36  # linux/prctl.h


def main() -> None:
    """Run the program that the socket's first line describes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)  # a copy in the program would hide that we have ended
    text = b""
    while b"\n" not in text:
        more = channel.recv(1 << 16)
        if not more:
            return
        text += more
    text, _, early = text.partition(b"\n")
    if early:  # it must end already
        return
    order = json.loads(text)
    _prctl(_SUBREAPER, 1)
    if order["cores"]:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, order["cores"])
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    me = os.getpid()
    program = os.fork()
    if program == 0:
        _become(order, me)
    # Whoever reads the program's output must see its end, not ours.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(null, stream)
    code = _wait(program, channel, woken)
    left = sum(_children().values()) - (code is None)
    code, gone = _sweep(program, code)
    word = {"code": code, "left": left, "gone": gone}
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps(word).encode() + b"\n")


def _become(order: dict[str, Any], guard: int) -> None:
    """Turn into the program; never returns."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before it could be asked for that
            os._exit(127)
        os.chdir(order["directory"])
        os.execvpe(order["words"][0], order["words"], order["environment"])
    except BaseException as error:
        os.write(2, f"{error}\n".encode())
    os._exit(127)


def _wait(program: int, channel: socket.socket, woken: int) -> int | None:
    """Until the program has ended, or must; its exit status, None where it runs."""
    stop: float | None = None
    while True:
        left = None if stop is None else max(0.0, stop - time.monotonic())
        ready = select.select([channel.fileno(), woken], [], [], left)[0]
        if woken in ready:
            sent = os.read(woken, 4096)
            code = _reap(program)
            if code is not None:
                return code
            if signal.SIGTERM in sent or signal.SIGINT in sent:
                return None
        if channel.fileno() in ready:
            if channel.recv(1) != b"t":
                return None
            stop = time.monotonic() + GRACE
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program, signal.SIGTERM)
        if stop is not None and time.monotonic() >= stop:
            return None


def _sweep(program: int, code: int | None) -> tuple[int | None, bool]:
    """Kill what is below us until nothing is; the program's status, and whether all are gone.

    Whose parent was killed becomes our child: so every level is reached.
    """
    stop = time.monotonic() + LIMIT
    while children := _children():
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        found = _reap(program)
        code = found if code is None else code
        if time.monotonic() > stop:
            return code, False
        time.sleep(0.005)
    return code, True


def _reap(program: int) -> int | None:
    """Bury all children that have ended; the exit status of the program if it is one of them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            if child == program:
                code = os.waitstatus_to_exitcode(status)
    return code


def _children() -> dict[int, bool]:
    """Our children, by whether they live (others have ended and wait for burial)."""
    found, me = {}, str(os.getpid())
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/stat", errors="replace") as stat:
                    state, parent = stat.read().rpartition(")")[2].split()[:2]
                if parent == me:
                    found[int(name)] = state not in "ZX"
    return found


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    main()
