"""Fresh processes that train a model over gloo and say by how much their memory grew."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from pathlib import Path

import torch.multiprocessing as mp

STEPS = 3


def growth(shape, layout, ranks, *, batch, dtype="fp32", again="none"):
    """Bytes by rank: the peak resident set of `STEPS` steps, less what the process had before.

    Before, it has trained a tiny model in the same layout: libraries have loaded what they load.
    Blocks of 128 KiB and more go back to the system when they are freed, so that the resident set
    is what tensors take, not what the C library keeps for the next ones (with its own, moving
    threshold: 13 % more).
    """
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(128 << 10)  # read when a process starts
    try:
        return _growth((shape, layout, ranks, batch, dtype, again), ranks)
    finally:
        del os.environ["MALLOC_MMAP_THRESHOLD_"]


def _growth(case, ranks):
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(*case, folder), nprocs=ranks)
        return [json.loads(Path(folder, str(rank)).read_text()) for rank in range(ranks)]


def _rank(rank, shape, layout, ranks, batch, dtype, again, folder):
    from dataclasses import replace

    import torch
    import torch.distributed as dist

    from bench.backends.registry import get

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks
    )
    backend, device = get("cpu"), torch.device("cpu")
    small = replace(shape, dim=64, heads=8, kv_heads=8, head_dim=8, ffn=64, vocab=256, seq=32)
    how = (layout.over(ranks), rank, device, batch, getattr(torch, _TYPES[dtype]), again)
    _train(small, *how)
    gc.collect()
    dist.barrier()
    before = backend.memory_peak(device, reset=True)
    _train(shape, *how)
    after = backend.memory_peak(device)
    Path(folder, str(rank)).write_text(json.dumps(after - before))
    dist.barrier()
    dist.destroy_process_group()


_TYPES = {"fp32": "float32", "bf16": "bfloat16"}


def _train(shape, spread, rank, device, batch, dtype, again):
    from bench.workloads.parallel.trainer import Trainer
    from bench.workloads.text import text

    trainer = Trainer(shape, spread, rank, device, batch=batch, dtype=dtype, again=again, seed=1)
    for step in range(STEPS):
        trainer.gradients(text(shape.vocab, shape.seq, batch, step))
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
    trainer.close()
