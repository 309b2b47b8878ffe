"""Two real processes over gloo that run one benchmark with `runner.run`."""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path

import msgspec
import torch.multiprocessing as mp

from bench.timing import Rule
from bench.workloads import BUILT_IN
from bench.workloads.runner import Outcome

# Ranks are forked from a process that has torch already, and what a training has of it: importing
# both takes each of them seconds.
multiprocessing.set_forkserver_preload(
    [
        "torch",
        "torch.distributed.checkpoint",
        "bench.backends.cpu",
        "bench.workloads.parallel.trainer",
        *(f"bench.workloads.{name}" for name in BUILT_IN),
        __name__,
    ]
)

RULE = Rule(budget=0.1, warmup=0.02, min_samples=3)


def outcomes(name, axes, *, size=2, rule=RULE, spoil=None) -> list[Outcome]:
    """Outcomes by rank. ``spoil(bench, rank)`` may break the benchmark after its set-up."""
    return several([(name, axes, spoil)], size=size, rule=rule)[0]


def ranks(function, arguments, size):
    """Call ``function(rank, *arguments)`` in new processes; raises what one of them does."""
    mp.start_processes(function, arguments, nprocs=size, start_method="forkserver")


def several(jobs, *, size=2, rule=RULE, device="cpu") -> list[list[Outcome]]:
    """Outcomes by job and rank of (name, axes, spoil), in turn in the same processes.

    ``device``: another than the CPU is one that gloo does not know, as between kinds of chip.
    """
    with tempfile.TemporaryDirectory() as folder:
        ranks(_rank, (jobs, size, rule, folder, device), size)
        by_rank = [
            msgspec.json.decode(Path(folder, str(rank)).read_bytes(), type=list[Outcome])
            for rank in range(size)
        ]
    return [list(ranks) for ranks in zip(*by_rank, strict=True)]


def context(rank, size, group=None, agree=None, gather=None, control=None):
    """A context on this process's CPU cores."""
    import torch

    from bench.backends.registry import get
    from bench.workloads.base import Context

    backend = get("cpu")
    backend.load()
    return Context(
        backend=backend,
        device=torch.device("cpu"),
        rank=rank,
        size=size,
        group=group,
        control=control,
        library="gloo",
        agree=agree,
        gather=gather,
        seed=3,
        memory=1 << 30,
    )


def _rank(rank, jobs, size, rule, folder, device):
    import torch
    import torch.distributed as dist

    from bench.workloads.base import make
    from bench.workloads.runner import run

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size
    )
    control = dist.new_group(backend="gloo")

    def agree(mine):
        tensor = torch.tensor(mine)
        dist.broadcast(tensor, 0, group=control)
        return tuple(tensor.tolist())

    def gather(mine):
        every = [torch.zeros(len(mine), dtype=torch.float64) for _ in range(size)]
        dist.all_gather(every, torch.tensor(mine, dtype=torch.float64), group=control)
        return [one.tolist() for one in every]

    given = context(rank, size, dist.group.WORLD, agree, gather, control)
    given.device, given.through_host = torch.device(device), device != "cpu"
    found = []
    for name, axes, spoil in jobs:
        bench = make(name, axes)
        if spoil is not None:
            bench.setup = _spoiled(bench, rank, spoil)
        found.append(run(bench, given, rule))
    Path(folder, str(rank)).write_bytes(msgspec.json.encode(found))
    dist.barrier(group=control)
    dist.destroy_process_group()


def _spoiled(bench, rank, spoil):
    setup = bench.setup

    def spoiled(given):
        setup(given)
        spoil(bench, rank)

    return spoiled
