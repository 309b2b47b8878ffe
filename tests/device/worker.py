"""The process that holds the device: does the tasks that the device check sends it, one by one.

    python worker.py BACKEND INDEX SECONDS RIVALS

Speaks JSON lines on what was its standard output. First it says what the device is; then, for
every task, whom it is at, what the record says already where it is timed on, and the record (of one
that was only to be compiled: its name). It ends itself when the device no longer answers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec


class Order(msgspec.Struct):
    """What the worker is sent: a task, and the contenders that must not take part, with why.

    ``compile``: only compile what it takes, and keep no record.
    """

    task: dict[str, Any]
    excluded: dict[str, str] = {}
    compile: bool = False


def main() -> None:
    """Serve until the input ends."""
    from bench import host

    name, index, seconds, rivals = sys.argv[1:]
    host.die_with_parent()  # a parent that was killed must not leave the device busy
    # Compilers and libraries may print; the pipe is for records alone.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(what: dict[str, Any]) -> None:
        pipe.write(msgspec.json.encode(what) + b"\n")
        pipe.flush()

    import torch._functorch.config
    from cases import Task
    from machine import DeviceLostError, Machine, forget
    from measuring import compiled, examine

    from bench.backends.registry import get
    from bench.workloads.configured import use_tables

    use_tables()
    backend = get(name, isolated=True)
    backend.load()
    # Backward passes are timed again and again on one graph.
    torch._functorch.config.donated_buffer = False
    device = backend.open(0)
    machine = Machine(backend, device, int(index), float(seconds))
    machine.said = lambda stage: say({"stage": stage})
    machine.so_far = lambda record: say({"so far": msgspec.to_builtins(record)})
    say({"hello": described(backend, device)})
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        task = msgspec.convert(order.task, Task)
        wanted = [one for one in rivals.split(",") if one]
        try:
            if order.compile:
                keep_no_choice()
                compiled(task, machine, wanted)
                forget(device)
                say({"compiled": task.name})
                continue
            record = examine(task, machine, wanted, order.excluded)
            machine.probe()
            forget(device)  # others may need the memory before this worker is asked again
        except DeviceLostError as error:
            say({"fault": str(error)})
            os._exit(1)
        say({"record": msgspec.to_builtins(record)})


def keep_no_choice() -> None:
    """Let torch.compile leave what it compiled on disk, but nothing that it chose by timing.

    It times its candidates where several processes share the device; who is compared with them
    later must meet the choice of a quiet one.
    """
    import torch._inductor.config as inductor

    for name, value in (
        ("fx_graph_cache", False),
        ("autotune_local_cache", False),
        ("compile_threads", 1),
    ):
        if hasattr(inductor, name):
            setattr(inductor, name, value)


def described(backend: Any, device: Any) -> dict[str, Any]:
    """What a reader must know of the device and its software, besides the packages' versions."""
    import torch

    from bench.kernels import tuning

    arch = backend.arch(device)
    told = {
        "arch": arch,
        "tables": tuning.source(arch) if arch else "",
        "cache": backend.cache(device),
        "processors": os.cpu_count(),
    }
    for key in ("cuda", "hip"):
        if getattr(torch.version, key, None):
            told[key] = getattr(torch.version, key)
    return told


if __name__ == "__main__":
    main()
