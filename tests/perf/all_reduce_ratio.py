"""Two gloo ranks: the harness's timed all_reduce and a bare one, alternating call by call.

The order is drawn at random from a seed that both ranks know. Both sides are timed with the
same clock around one call; the harness side goes through `HostTimer.run` and the benchmark's
own ``step``. Block-wise alternation cannot see a difference of 3 % on shared cores.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch.multiprocessing as mp


def measure(size: str, seconds: float) -> dict[str, Any]:
    """Ratio of medians harness / bare over ``seconds`` seconds, the number of calls, and why
    the figure does not count (empty if the cores were quiet).
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(size, seconds, folder), nprocs=2)
        harness, bare = np.load(f"{folder}/harness.npy"), np.load(f"{folder}/bare.npy")
        noise = [Path(folder, f"noise{rank}").read_text() for rank in range(2)]
    return {
        "ratio": float(np.median(harness) / np.median(bare)),
        "calls": harness.size + bare.size,
        "contended": next(filter(None, noise), ""),
    }


def _rank(rank: int, size: str, seconds: float, folder: str) -> None:
    import torch
    import torch.distributed as dist

    from bench import host
    from bench.backends.registry import get
    from bench.timing import HostTimer
    from bench.workloads.base import Context, make

    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[rank % os.cpu_count()]])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    group = dist.group.WORLD

    def agree(mine):
        tensor = torch.tensor(mine)
        dist.broadcast(tensor, 0)
        return tuple(tensor.tolist())

    def gather(mine):
        every = [torch.zeros(len(mine), dtype=torch.float64) for _ in range(2)]
        dist.all_gather(every, torch.tensor(mine, dtype=torch.float64))
        return [one.tolist() for one in every]

    backend = get("cpu")
    backend.load()
    bench = make("collectives", {"op": "all_reduce", "size": size})
    bench.setup(
        Context(
            backend=backend,
            device=torch.device("cpu"),
            rank=rank,
            size=2,
            group=group,
            agree=agree,
            gather=gather,
            seed=1,
        )
    )
    check = bench.check()
    assert check.ok, check.detail
    own = torch.randn(int(make("collectives", {"op": "all_reduce", "size": size}).size) // 4)
    fresh = own.clone()
    timer, clock = HostTimer(), time.perf_counter_ns

    def idle():
        """Nothing."""

    draw = random.Random(7)
    spans: dict[bool, list[float]] = {True: [], False: []}
    lifetime = min(bench.lifetime() or 50, 50)
    watch = host.Contention.begin()
    stop, calls, going = time.monotonic() + seconds, 0, True
    while going:
        for _ in range(lifetime):
            harness = draw.random() < 0.5
            if harness:
                spans[True].append(float(timer.run(bench.step, 1, 1, None)[0]))
            else:
                # As long between two calls as on the harness's side: ranks that come apart
                # there wait for each other inside the next call.
                timer.run(idle, 1, 1, None)
                start = clock()
                dist.all_reduce(own, group=group)
                spans[False].append((clock() - start) * 1e-9)
            calls += 1
        bench.refresh()
        own.copy_(fresh)
        going = bool(agree((int(time.monotonic() < stop),))[0])
    Path(folder, f"noise{rank}").write_text(watch.end().contended())
    if rank == 0:
        np.save(f"{folder}/harness.npy", spans[True])
        np.save(f"{folder}/bare.npy", spans[False])
    bench.teardown()
    dist.destroy_process_group()
