"""Benchmarks that fail in every way that real ones do, installed as a plugin would be."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from bench.records import Measure
from bench.timing import Timing
from bench.workloads.base import Benchmark, Check, Context, Metric, benchmark

TIME = (Measure("time", "s", "lower"),)


class _Timed(Benchmark):
    timed = False  # what they find does not depend on who else uses the cores

    def check(self) -> Check:
        return Check(True)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        yield Metric("time", samples=timing.seconds)


@benchmark(scope="device")
class Fixed(_Timed):
    """Sleeps for a fixed time; ``tag`` makes distinct cases."""

    measures = TIME
    seconds: float = 0.001
    tag: int = 0

    def step(self) -> None:
        time.sleep(self.seconds)


@benchmark(scope="device")
class Spin(_Timed):
    """A hash's loop over a mebibyte; the variable ``SPIN_WORK`` makes it longer.

    Not a loop of Python's own: that takes 5 to 20 % more or less in one process from one set-up to
    the next, by where the interpreter's objects happen to lie, while this one moves by 0.5 %.
    """

    measures = TIME

    def setup(self, context: Context) -> None:
        self.bytes = bytes(round(2**20 * float(os.environ.get("SPIN_WORK", "1"))))

    def step(self) -> None:
        hashlib.sha256(self.bytes)


@benchmark(scope="device")
class Beside(Benchmark):
    """Somebody uses the core the first time; ``folder`` counts how often it is set up."""

    measures = TIME
    folder: str = ""

    def setup(self, context: Context) -> None:
        times = Path(self.folder, str(context.index))
        with times.open("a") as file:
            file.write("again\n")
        # Nobody's child: what a rank has started is its own work.
        spin = ["sh", "-c", '"$0" -c "while True: pass" >/dev/null & echo $!', sys.executable]
        alone = times.read_text().count("\n") > 1
        self.other = None if alone else int(subprocess.check_output(spin))

    def step(self) -> None:
        sum(range(20_000))

    def check(self) -> Check:
        return Check(True)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        yield Metric("time", samples=timing.seconds)

    def teardown(self) -> None:
        if self.other is not None:
            os.kill(self.other, signal.SIGKILL)


@benchmark(scope="device")
class Patient(_Timed):
    """Waits until ``file`` is there; the job's limit ends it otherwise."""

    measures = TIME
    file: str = ""

    def setup(self, context: Context) -> None:
        while not os.path.exists(self.file):
            time.sleep(0.05)

    def step(self) -> None:
        time.sleep(0.001)


@benchmark(scope="device")
class Faulty(_Timed):
    """Fails in ``kind``'s way; on ``device`` only where it is not negative."""

    measures = TIME
    kind: Literal["segv", "hang", "stuck", "stop", "oom", "raise", "wrong", "exit", "kill"] = (
        "raise"
    )
    device: int = -1

    def setup(self, context: Context) -> None:
        self.hit = self.device in (-1, context.index)

    def check(self) -> Check:
        return Check(not (self.hit and self.kind == "wrong"), "1 + 1 = 3")

    def step(self) -> None:
        if self.hit:
            fail(self.kind)


@benchmark(scope="group")
class FaultyGroup(_Timed):
    """An all-reduce in which rank ``victim`` fails; ``late``, when all calls are done."""

    measures = TIME
    kind: Literal[
        "segv", "hang", "stuck", "stop", "oom", "raise", "wrong", "exit", "kill", "late", "none"
    ] = "none"
    victim: int = 1

    def setup(self, context: Context) -> None:
        import torch

        self.context = context
        self.tensor = torch.ones(1024)
        self.calls = 0

    def check(self) -> Check:
        return Check(not (self.kind == "wrong" and self.context.rank == self.victim), "2 != 3")

    def lifetime(self) -> int:
        return 50

    def refresh(self) -> None:
        self.tensor.fill_(1.0)

    def step(self) -> None:
        import torch.distributed as dist

        self.calls += 1
        if self.calls > 3 and self.context.rank == self.victim:
            fail(self.kind)
        dist.all_reduce(self.tensor, group=self.context.group)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        if self.kind == "late" and self.context.rank == self.victim:
            fail("raise")
        yield from super().metrics(timing)


@benchmark(scope="group")
class Inside(_Timed):
    """All ranks but ``late`` are held inside an all-reduce, in its third call.

    ``file.RANK`` then holds the rank's process id. ``late`` joins after ``seconds``; all ranks
    are in all-reduces all the time where it is -1.
    """

    measures = TIME
    file: str = ""
    late: int = -1
    seconds: float = 3600.0

    def setup(self, context: Context) -> None:
        import torch

        self.context = context
        self.tensor = torch.ones(1024)
        self.calls = 0

    def refresh(self) -> None:
        self.tensor.fill_(1.0)

    def step(self) -> None:
        import torch.distributed as dist

        self.calls += 1
        if self.calls == 3 and self.file:
            with open(f"{self.file}.{self.context.rank}", "w") as stream:
                stream.write(str(os.getpid()))
            if self.context.rank == self.late:
                time.sleep(self.seconds)
        dist.all_reduce(self.tensor, group=self.context.group)


@benchmark(scope="group")
class Behind(Benchmark):
    """An all-reduce, behind which rank ``victim`` works on by itself; nobody where it is -1."""

    measures = TIME
    per_sample = True
    victim: int = -1

    def setup(self, context: Context) -> None:
        import torch

        self.context = context
        self.tensor = torch.ones(1024)

    def refresh(self) -> None:
        self.tensor.fill_(1.0)

    def step(self) -> None:
        import torch.distributed as dist

        time.sleep(0.02)
        dist.all_reduce(self.tensor, group=self.context.group)
        if self.context.rank == self.victim:
            time.sleep(0.04)

    def check(self) -> Check:
        return Check(True)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        yield Metric("time", samples=timing.seconds)

    def cores(self) -> tuple[int, ...]:
        return ()  # it is told of whoever else uses them


@benchmark(scope="device")
class Queued(Benchmark):
    """Hashes a mebibyte: ``waits`` for it, or only asks a thread to, as a device's stream would."""

    measures = TIME
    waits: bool = False

    def setup(self, context: Context) -> None:
        self.bytes = bytes(2**20)
        self.thread = ThreadPoolExecutor(1)

    def step(self) -> None:
        work = self.thread.submit(hashlib.sha256, self.bytes)
        if self.waits:
            work.result()

    def check(self) -> Check:
        return Check(True)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        yield Metric("time", samples=timing.seconds)

    def cores(self) -> tuple[int, ...]:
        return ()

    def teardown(self) -> None:
        self.thread.shutdown(cancel_futures=True)


@benchmark(scope="group")
class Witness(_Timed):
    """Writes down when it was measured: ``file`` gets a line, begin and end of CLOCK_MONOTONIC."""

    measures = TIME
    file: str = ""

    def setup(self, context: Context) -> None:
        self.begun = time.monotonic()

    def step(self) -> None:
        time.sleep(0.01)

    def teardown(self) -> None:
        with open(self.file, "a") as stream:
            stream.write(f"{self.begun} {time.monotonic()}\n")
        super().teardown()


def fail(kind: str) -> None:
    if kind == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "stuck":
        ctypes.PyDLL(None).sleep(3600)  # in native code that lets no other thread run
    elif kind == "oom":
        import torch

        torch.empty(1 << 50)
    elif kind == "exit":
        os._exit(7)
    elif kind == "raise":
        raise ValueError("the driver returned error 719")
