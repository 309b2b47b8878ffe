"""Two gloo ranks: the harness's timed collective and a bare one, alternating call by call.

The order is drawn at random from a seed that both ranks know. Both sides are timed with the
same clock around one call; the harness side goes through `HostTimer.run` and the benchmark's
own ``step``. Block-wise alternation cannot see a difference of 3 % on shared cores. Both use the
same tensors: where pages happen to lie makes a copy faster or slower by 40 %, whoever asks for it.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from bench.stats import student_quantile

FEWEST, MOST = 8, 48
PIECE = 6.0


class Compared(NamedTuple):
    """Harness over bare: the ratio, its 95 % limits, and what others did meanwhile."""

    ratio: float
    low: float
    high: float
    contended: str


def median(seconds: Any) -> float:
    """What a call takes."""
    return float(np.median(seconds))


def geometric_mean(seconds: Any) -> float:
    """What a call takes where half of them wait: a rank's threads share a core.

    Those that get it at once and those that wait for a tick of the scheduler are two heaps, and a
    median in the gap between them jumps by a factor.
    """
    return float(np.exp(np.log(seconds).mean()))


def compare(
    op: str, size: str, low: float, high: float, middle: Callable[[Any], float] = median
) -> Compared:
    """Pieces of six seconds until the limits of their mean say on which side of a bound it is.

    One call varies by half, so that one piece varies by 3 %. Each piece has its own processes and
    buffers: what depends on where they happen to lie is part of the interval. The ratio is the
    geometric mean of the pieces' ratios of ``middle``, its limits are Student's.
    """
    logs: list[float] = []
    contended = ""
    while True:
        ratio, noise = piece(op, size, PIECE, len(logs), middle)
        logs.append(math.log(ratio))
        contended = contended or noise
        if len(logs) < FEWEST:
            continue
        half = student_quantile(0.025, len(logs) - 1) * stdev(logs) / len(logs) ** 0.5
        below, above = math.exp(fmean(logs) - half), math.exp(fmean(logs) + half)
        decided = (low <= below and above <= high) or above < low or high < below
        if decided or len(logs) == MOST:
            return Compared(math.exp(fmean(logs)), below, above, contended)


def piece(
    op: str, size: str, seconds: float, seed: int, middle: Callable[[Any], float]
) -> tuple[float, str]:
    """Ratio harness / bare in two new processes, and why it does not count ("" if the cores were
    quiet).
    """
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(op, size, seconds, seed, folder), nprocs=2)
        harness, alone = np.load(f"{folder}/harness.npy"), np.load(f"{folder}/bare.npy")
        noise = [Path(folder, f"noise{rank}").read_text() for rank in range(2)]
    return middle(harness) / middle(alone), next(filter(None, noise), "")


def bare(op: str, given: Any, taken: Any, rank: int, ranks: int) -> Callable[[], Any]:
    """A call as somebody without a harness writes it: what this rank gives, and what it takes."""
    import torch.distributed as dist

    root = rank == 0
    if op == "all_reduce":
        return lambda: dist.all_reduce(given)
    if op == "all_gather":
        single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        return lambda: single(taken, given)
    if op == "reduce_scatter":
        single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
        return lambda: single(taken, given)
    if op == "all_to_all":
        return lambda: dist.all_to_all_single(taken, given)
    if op == "all_to_all_skewed":
        # To each rank in proportion to its number, counted from one.
        count = given.numel()
        edges = [count * q * (q + 1) // (ranks * (ranks + 1)) for q in range(ranks + 1)]
        out = [end - begin for begin, end in itertools.pairwise(edges)]
        into = [out[rank]] * ranks
        return lambda: dist.all_to_all_single(taken, given, into, out)
    if op == "broadcast":
        return lambda: dist.broadcast(given, 0)
    if op == "reduce":
        return lambda: dist.reduce(given, 0)
    if op == "scatter":
        pieces = list(given.chunk(ranks)) if root else None
        return lambda: dist.scatter(taken, pieces, 0)
    if op == "gather":
        places = list(taken.chunk(ranks)) if root else None
        return lambda: dist.gather(given, places, 0)
    if op == "barrier":
        return dist.barrier

    def exchange() -> None:
        both = [
            dist.P2POp(dist.isend, given, (rank + 1) % ranks),
            dist.P2POp(dist.irecv, taken, (rank - 1) % ranks),
        ]
        for work in dist.batch_isend_irecv(both):
            work.wait()

    return exchange


def _rank(rank: int, op: str, size: str, seconds: float, seed: int, folder: str) -> None:
    import torch
    import torch.distributed as dist

    from bench import host
    from bench.backends.registry import get
    from bench.timing import HostTimer
    from bench.workloads.base import Context, make

    # As the harness binds its ranks: each to its own cores.
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
    bench = make("collectives", {"op": op, "size": size})
    bench.setup(
        Context(
            backend=backend,
            device=torch.device("cpu"),
            rank=rank,
            size=2,
            group=group,
            library="gloo",
            agree=agree,
            gather=gather,
            seed=1,
        )
    )
    check = bench.check()
    assert check.ok, check.detail
    buffers = bench.flight[0]
    call = bare(op, buffers.given, buffers.taken, rank, 2)
    timer, clock = HostTimer(), time.perf_counter_ns

    def idle():
        """Nothing."""

    draw = random.Random(seed)
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
                call()
                spans[False].append((clock() - start) * 1e-9)
            calls += 1
        bench.refresh()
        going = bool(agree((int(time.monotonic() < stop),))[0])
    Path(folder, f"noise{rank}").write_text(watch.end().contended())
    if rank == 0:
        np.save(f"{folder}/harness.npy", spans[True])
        np.save(f"{folder}/bare.npy", spans[False])
    bench.teardown()
    dist.destroy_process_group()
