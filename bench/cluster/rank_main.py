"""The rank process: one device, commands from its agent, results back.

Started as ``python -m bench.cluster.rank_main`` by `bench.cluster.ranks`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from .. import host
from ..backends.base import Backend, Telemetry
from ..backends.registry import get
from ..configs import Chip
from ..errors import BackendError, HengsuanError
from ..ledger import Book
from ..records import Conditions
from ..workloads.base import Context, make
from ..workloads.lacking import exhausted
from ..workloads.runner import ELSEWHERE, Outcome, run
from .joining import join
from .ranks import CHANNEL
from .wire import (
    PROTOCOL,
    Close,
    Closed,
    Entered,
    Failed,
    LaunchSpec,
    Open,
    Opened,
    Ping,
    Pong,
    Ready,
    Result,
    Run,
    ToRank,
    line,
)


class Rank:
    """This process's device and, while it is in one, its group."""

    def __init__(self, spec: LaunchSpec, backend: Backend) -> None:
        self.spec = spec
        self.backend = backend
        self.device: Any = backend.open(spec.local)
        if spec.memory_limit and (why := backend.limit_memory(self.device, spec.memory_limit)):
            raise BackendError(f"its memory cannot be limited: {why}")
        self.chip = msgspec.convert(spec.chip, Chip) if spec.chip is not None else None
        self.rank, self.size, self.library = 0, 1, ""
        self._node, self._address = 0, "127.0.0.1"
        self._through_host = False
        self._group: Any = None
        self._control: Any = None
        self._store: Any = None

    def open(self, command: Open) -> Opened:
        """Join a group: the library that was planned for data, gloo for control."""
        import torch.distributed as dist
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        self.rank, self.size, self.library = command.rank, command.size, command.library
        self._node, self._address = command.node, command.host
        if command.size == 1:
            return Opened("")
        limit, timeout = timedelta(seconds=command.limit), timedelta(seconds=command.timeout)
        address, _, port = (command.store or f"{command.host}:0").rpartition(":")
        master = not command.store
        store = TCPStore(
            address,
            int(port),
            command.size,
            is_master=master,
            timeout=limit,
            wait_for_workers=False,
        )
        self._store = store
        if master:
            # The others need the port before the group can form.
            _channel.send(Opened(f"{address}:{store.port}"))
        device = None if self.device.type == "cpu" or self._abroad() else self.device
        join(command.library, store, command.rank, command.size, timeout, device)
        self._group = dist.group.WORLD
        self._control = dist.new_group(backend="gloo", timeout=timeout)
        # One rank whose device the library does not know, and all meet in host memory.
        mine = self._abroad() and self.device.type != "cpu"
        self._through_host = any(flag for (flag,) in self._gather([float(mine)]))
        return Opened(command.store or "ready")

    def close(self) -> Closed:
        """Leave the group."""
        import torch.distributed as dist

        if self._group is not None:
            dist.destroy_process_group()
        self._group = self._control = self._store = None
        self.rank, self.size, self.library = 0, 1, ""
        self._through_host = False
        return Closed()

    def _abroad(self) -> bool:
        """Whether the group's library is not this device's own, as across kinds of chip."""
        return self.size > 1 and self.library != self.backend.collectives

    def measure(self, command: Run) -> Result:
        """Run one benchmark; say under which conditions, and meanwhile which part of it begins."""
        book = Book(lambda part, likely: _channel.send(Entered(part, likely)))
        book.enter("setup")  # what the benchmark imports is part of it
        grouped = self.size > 1
        context = Context(
            backend=self.backend,
            device=self.device,
            index=self.spec.index,
            rank=self.rank,
            size=self.size,
            group=self._group,
            control=self._control,
            library=self.library,
            agree=self._agree if grouped else None,
            gather=self._gather if grouped else None,
            through_host=self._through_host,
            node=self._node,
            address=self._address,
            cache=self.backend.cache(self.device),
            memory=self.spec.memory,
            arch=None if self.backend.triton else self.backend.arch(self.device),
            chip=self.chip,
            seed=command.seed,
            zero=command.zero,
        )
        before = self._now()
        bench = make(command.benchmark, command.axes)

        def throttled() -> str:
            mine = self._telemetry().throttled or ""
            if not grouped:
                return mine
            # One slow card slows the group: its samples do not count on any rank.
            slowed = any(flag for (flag,) in self._gather([float(bool(mine))]))
            return mine or (ELSEWHERE if slowed else "")

        def watch(cores: Sequence[int] | None) -> Callable[[], str]:
            begun = host.Contention.begin(cores or self.spec.cpus)
            return lambda: begun.end().contended()

        outcome = run(bench, context, command.rule, throttled=throttled, watch=watch, book=book)
        conditions = self._conditions(outcome, before, self._now())
        return Result(outcome, conditions, book.spent(), outcome.contention)

    def _telemetry(self) -> Telemetry:
        """What the device says of itself; nothing where a vendor's library raises."""
        try:
            return self.backend.telemetry(self.spec.index)
        except Exception:  # no reason to lose a measurement: the device answers for that itself
            return Telemetry()

    def _now(self) -> Telemetry:
        """The device's telemetry; the clock of this rank's cores where it has none."""
        now = self._telemetry()
        if now.clock is not None:
            return now
        return msgspec.structs.replace(now, clock=host.frequency(self.spec.cpus))

    def _conditions(self, outcome: Outcome, before: Telemetry, after: Telemetry) -> Conditions:
        looks = [one.throttled for one in (before, after) if one.throttled is not None]
        said = ", ".join((*looks[:1], outcome.throttled, *looks[1:])).split(", ")
        reasons = dict.fromkeys(one for one in said if one not in ("", ELSEWHERE))
        capped = [one.capped for one in (before, after) if one.capped is not None]
        return Conditions(
            nice=os.getpriority(os.PRIO_PROCESS, 0),
            affinity=host.compact(os.sched_getaffinity(0)),
            threads=host.threads(),
            governor=host.governor(self.spec.cpus) or "",
            # Rounded, so that equal conditions are stored once.
            frequency=(_rounded(before.clock, 50), _rounded(after.clock, 50)),
            temperature=(_rounded(before.temperature, 5), _rounded(after.temperature, 5)),
            power=(_rounded(before.power, 20), _rounded(after.power, 20)),
            throttled=", ".join(reasons) if reasons or looks else None,
            capped=any(capped) if capped else None,
            timer=outcome.timer,
            tables=outcome.tables,
            library=self.library if self.size > 1 else "",
            shared=self.spec.shared,
        )

    def _agree(self, mine: tuple[int, ...]) -> tuple[int, ...]:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(mine, dtype=torch.int64)
        dist.broadcast(tensor, 0, group=self._control)
        return tuple(tensor.tolist())

    def _gather(self, mine: list[float]) -> list[list[float]]:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(mine, dtype=torch.float64)
        every = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(every, tensor, group=self._control)
        return [one.tolist() for one in every]


def _rounded(value: float | None, step: float) -> float | None:
    return None if value is None else round(value / step) * step


class _Channel:
    """Lines to and from the agent; a thread reads, so that pings are answered while we work."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=int(os.environ[CHANNEL]))
        self._file = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self.commands: queue.Queue[Any] = queue.Queue()

    def spec(self) -> LaunchSpec:
        return msgspec.json.decode(self._file.readline(), type=LaunchSpec)

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        decoder = msgspec.json.Decoder(ToRank)
        for text in self._file:
            command = decoder.decode(text)
            if isinstance(command, Ping):
                self.send(Pong())
            else:
                self.commands.put(command)
        os._exit(0)  # the agent is gone

    def send(self, message: Any) -> None:
        with self._lock:
            self._socket.sendall(line(message))


_channel: _Channel


def main() -> None:
    """Serve commands until the agent hangs up."""
    global _channel
    host.die_with_parent()
    faulthandler.enable()
    _channel = _Channel()
    spec = _channel.spec()
    _channel.listen()
    if spec.version != PROTOCOL:
        _channel.send(Failed(f"launch spec version {spec.version}; this code speaks {PROTOCOL}"))
        return
    if spec.cpus:
        # Before torch is imported: thread pools are sized by what the process may use.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, spec.cpus)
    try:
        clocks = _clocks()
        backend = get(spec.backend, isolated=True)
        backend.load()
        if other := [name for name, clock in _clocks().items() if clock is not clocks[name]]:
            raise BackendError(
                f"loading it replaced {other[0]}, by which everything is timed",
                where=f"backend {spec.backend}",
                hint="leave Python's clocks as they are",
            )
        rank = Rank(spec, backend)
    except BaseException as error:  # a vendor's stack may raise anything, SystemExit included
        _channel.send(Failed(_sentence(error)))
        return
    _channel.send(Ready(PROTOCOL, os.getpid(), _versions()))
    while True:
        command = _channel.commands.get()
        try:
            reply: Any
            if isinstance(command, Open):
                reply = rank.open(command)
            elif isinstance(command, Close):
                reply = rank.close()
            else:
                reply = rank.measure(command)
        except BaseException as error:
            import traceback

            traceback.print_exc()
            reply = Failed(_sentence(error))
        _channel.send(reply)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())[:400]
    kind = type(error).__name__
    if exhausted(error):
        return f"out of memory: {text}"
    if isinstance(error, HengsuanError):  # a sentence of ours
        return text
    return f"{kind}: {text}" if text else kind


def _clocks() -> dict[str, Callable[[], object]]:
    """Python's clocks by name, as whoever asks for one now would get them."""
    names = ("perf_counter", "perf_counter_ns", "monotonic", "process_time", "thread_time")
    return {f"time.{name}": getattr(time, name) for name in names}


def _versions() -> dict[str, str]:
    modules = ("torch", "triton", "numpy")
    found = {"python": sys.version.split()[0]}
    for name in modules:
        module = sys.modules.get(name)
        if module is not None:
            found[name] = str(getattr(module, "__version__", "?"))
    return found


if __name__ == "__main__":
    main()
