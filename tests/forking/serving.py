"""The template of `forked`: it has PyTorch, and forks a process for each that it is told of."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
from pathlib import Path

from forked import COMMANDS, MARK, MORE, MOST, NAME, RANK, SCRIPTED


class Serving:
    """The template's side: it forks a process for each message, and says who ended how."""

    def __init__(self, listener, owner):
        self._listener, self._owner = listener, os.pidfd_open(owner)
        self._asked = {}  # by socket: the processes that were asked for there and run
        self._awake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken)

    def next(self):
        """In a new process: what it was told, with its descriptors. None: all is over."""
        while True:
            waited = [self._listener, self._owner, self._awake, *self._asked]
            ready = select.select(waited, [], [])[0]
            if self._owner in ready:
                return None
            if self._awake in ready:
                os.read(self._awake, 100)
                self._reap()
            if self._listener in ready:
                self._asked[self._listener.accept()[0]] = set()
            for one in [asked for asked in ready if asked in self._asked]:
                if told := self._told(one):
                    return told

    def _reap(self):
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, code = found[0], os.waitstatus_to_exitcode(found[1])
                for asked, pids in self._asked.items():
                    if pid in pids:
                        pids.remove(pid)
                        with contextlib.suppress(OSError):
                            asked.send(json.dumps({"pid": pid, "code": code}).encode())

    def _told(self, asked):
        try:
            message, given, _, _ = socket.recv_fds(asked, MOST, 3)
        except OSError:
            message = b""
        if not message:  # whoever asked is gone: nobody is left to end them
            for pid in self._asked.pop(asked):
                os.kill(pid, signal.SIGKILL)
            asked.close()
            return None
        begun, begins = os.pipe()
        pid = os.fork()
        if not pid:
            told = json.loads(message)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            who = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            Path("/proc/self/comm").write_text(f"{NAME}{int.from_bytes(who[:4], sys.byteorder)}")
            marked(told["environment"].get(MARK))
            os.close(begins)  # whoever kills it from now on finds its session
            for one in (begun, self._awake, self._woken, self._owner):
                os.close(one)
            for one in (self._listener, *self._asked):
                one.close()
            return told, given
        os.close(begins)
        os.read(begun, 1)
        os.close(begun)
        for one in given:
            os.close(one)
        self._asked[asked].add(pid)
        asked.send(json.dumps({"pid": pid}).encode())
        return None

    def end(self):
        """Nothing is left of what was forked here."""
        for pids in self._asked.values():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)


def marked(value):
    """Let the kernel show who asked for this process: what it shows of its environment is that
    with which the template was started, by whoever was first."""
    if value is None:
        return
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[47:49])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        at = (b"\0" + memory.read(end - begin)).index(f"\0{MARK}=".encode())
        memory.seek(begin + at + len(MARK) + 1)
        memory.write(value.encode())


def become(told, given):
    """As `subprocess` starts one: outputs, a directory and an environment of its own."""
    out, err, *channel = given
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.sched_setaffinity(0, told["cores"])
    os.chdir(told["directory"])
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(told["environment"])
    tempfile.tempdir = None  # whoever has asked for it already
    if channel and told["channel"] is None:
        os.dup2(channel[0], 0)
        os.close(channel[0])
    elif channel:
        os.environ[told["channel"]] = str(channel[0])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # As with -m.
    sys.path[:] = [os.getcwd(), *paths, *(one for one in sys.path[1:] if one not in before)]
    importlib.invalidate_caches()


def main(name, owner, module):
    """Be the template of this name until its owner ends."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(f"\0{name}")
    except OSError:
        return  # somebody else was quicker
    listener.listen(64)
    if os.fork():
        os._exit(0)  # whoever has started it may end, and it stays
    if module != COMMANDS:
        import torch
        import torch.distributed  # noqa: F401

    importlib.import_module(module)
    more = os.environ.get(MORE, "").split()
    if module == RANK:
        every = importlib.import_module("bench.workloads").BUILT_IN
        # A script's own module is not found any more where its process looks in other folders.
        more += [SCRIPTED, *(f"bench.workloads.{one}" for one in every)]
    for name in more:
        importlib.import_module(name)
    # What is there is there for good: else each process would look through all of it as it ends,
    # and copy the pages on which that is noted.
    gc.collect()
    gc.freeze()
    serving = Serving(listener, int(owner))
    told = serving.next()
    if told is None:
        serving.end()
        return
    become(*told)
    found = importlib.import_module(told[0]["module"])
    sys.argv = [found.__file__, *told[0]["words"]]
    found.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
