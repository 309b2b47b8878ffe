"""Rank processes forked from one that has PyTorch already: importing it takes each a second and a
half of a core, and runs of these tests start hundreds.

`Templates` is what `bench.cluster.ranks` has for the module `subprocess` where agents live in the
test's own process. The rank does all that one does which is started anew, but for the import: it
has its own session, channel, log and cores. Ranks of a command line (``hengsuan run``) are started
as always.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

CHANNEL = "HENGSUAN_CHANNEL"
OWN = (CHANNEL, "PYTEST_CURRENT_TEST")
"""Variables that differ from rank to rank, or from test to test, and say nothing to PyTorch."""
NAME = "forked-rank"
"""What the kernel calls a rank that was forked: its command line is the template's."""
KEPT = 2
"""Templates that wait for the next rank: one for each environment of ranks, the latest ones."""


class Template:
    """A process that has imported PyTorch in an environment, and forks ranks when asked."""

    def __init__(self, command, environment, directory):
        ours, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        with theirs:
            self._process = subprocess.Popen(
                # Its words tell those who break ranks as they start (`corrupting`) what it will be.
                [command[0], __file__, str(theirs.fileno()), *command[1:]],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket, self._lines = ours, ours.makefile("rb")

    def fork(self, channel, log):
        """The process id of a new rank with this channel and log."""
        with self._lock:
            socket.send_fds(self._socket, [b"."], [channel, log])
            while not (pid := self._read()):
                pass
        return pid

    def ended(self, pid):
        """The exit code of a rank as `subprocess` gives it; None while it runs."""
        with self._lock:
            while pid not in self._ended and select.select([self._socket], [], [], 0)[0]:
                self._read()
            return self._ended.get(pid)

    def _read(self):
        """What it says next: the process id of a rank that has begun, or None of one that ended."""
        said = json.loads(self._lines.readline() or b'{"gone": true}')
        if "gone" in said:
            raise RuntimeError(f"the template of ranks ended with {self._process.wait()}")
        if "code" in said:
            self._ended[said["pid"]] = said["code"]
            return None
        return said["pid"]

    def close(self):
        """End it, and with it every rank that is left."""
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()


class Forked:
    """A rank process as `subprocess.Popen` shows one, as far as `RankProcess` asks."""

    def __init__(self, template, command, channel, log):
        self._template, self._command = template, command
        self.pid = template.fork(channel, log)

    def poll(self):
        """Its exit code, if it has ended."""
        return self._template.ended(self.pid)

    def wait(self, timeout=None):
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        stop = time.monotonic() + (timeout or float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > stop:
                raise subprocess.TimeoutExpired(self._command, timeout)
            time.sleep(0.005)
        return code


class Templates:
    """The module `subprocess` for one that starts ranks only, whose ``Popen`` forks them.

    There is a template for each environment that ranks were asked for in.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._made = {}

    def __getattr__(self, name):
        return getattr(subprocess, name)

    def Popen(self, command, *, env, cwd, stdout, pass_fds, **_):
        """A rank; the rest of what `subprocess.Popen` is told is what a template does anyway."""
        named = {name: value for name, value in env.items() if name not in OWN}
        key = json.dumps([command, named, str(cwd)], sort_keys=True)
        with self._lock:
            template = self._made.pop(key, None) or Template(command, named, cwd)
            self._made[key] = template
        (channel,) = pass_fds
        return Forked(template, command, channel, stdout.fileno())

    def trim(self, keep=KEPT):
        """End all but the latest; of the others every rank must be gone."""
        while len(self._made) > keep:
            self._made.pop(next(iter(self._made))).close()


def serve(number):
    """Fork a rank for each message; say who has begun, and who has ended how."""
    import torch
    import torch.distributed  # noqa: F401

    from bench.cluster import rank_main

    control = socket.socket(fileno=number)
    awake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)

    def say(**words):
        control.sendall(json.dumps(words).encode() + b"\n")

    while True:
        ready, _, _ = select.select([control, awake], [], [])
        if awake in ready:
            os.read(awake, 100)
            with contextlib.suppress(ChildProcessError):
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    say(pid=found[0], code=os.waitstatus_to_exitcode(found[1]))
        if control not in ready:
            continue
        message, given, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        begun, begins = os.pipe()
        pid = os.fork()
        if not pid:
            # As `subprocess` starts one: a session, an input, a log and a channel of its own.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            channel, log = given
            os.dup2(log, 1)
            os.dup2(log, 2)
            for one in (log, awake, woken, begun, number):
                os.close(one)
            control.detach()
            os.close(begins)  # whoever kills it from now on finds its session
            os.environ[CHANNEL] = str(channel)
            Path("/proc/self/comm").write_text(NAME)
            code = 0
            try:
                rank_main.main()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                code = 1
            sys.stdout.flush()
            os._exit(code)
        os.close(begins)
        os.read(begun, 1)
        os.close(begun)
        for one in given:
            os.close(one)
        say(pid=pid)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # as with -m
    serve(int(sys.argv[1]))
