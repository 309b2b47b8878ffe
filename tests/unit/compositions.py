"""Ways to spread a model over four ranks, and the losses that they give in real processes."""

import contextlib
import dataclasses
import json
from pathlib import Path
from unittest import mock

import torch
from gloo_ranks import ranks

from bench.configs import load_model
from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape
from bench.workloads.ops import TORCH
from bench.workloads.parallel.trainer import Trainer
from bench.workloads.text import text

RANKS, STEPS, SEQUENCES = 4, 5, 8
DENSE = dataclasses.replace(ModelShape.of(load_model("tiny")), layers=4)
MIXTURE = ModelShape.of(load_model("tiny-moe"))
COMPOSITIONS = {
    "ddp": (DENSE, Layout()),
    "ddp, accumulated": (DENSE, Layout(microbatches=2)),
    "fsdp": (DENSE, Layout("fsdp")),
    "hsdp, accumulated": (DENSE, Layout("hsdp", 2, microbatches=2)),
    "tp": (DENSE, Layout(tp=2)),
    "fsdp + tp": (DENSE, Layout("fsdp", tp=2)),
    "hsdp + tp": (DENSE, Layout("hsdp", 2, tp=2)),
    "fsdp + cp": (DENSE, Layout("fsdp", cp=2)),
    "cp + tp": (DENSE, Layout(cp=2, tp=2)),
    "gpipe": (DENSE, Layout(pp=4, schedule="gpipe", microbatches=4)),
    "interleaved + ddp": (DENSE, Layout(pp=2, schedule="interleaved", microbatches=2)),
    "1f1b + fsdp": (DENSE, Layout("fsdp", pp=2, microbatches=2)),
    "interleaved + fsdp": (
        DENSE,
        Layout("fsdp", pp=2, schedule="interleaved", microbatches=2),
    ),
    "1f1b + tp": (DENSE, Layout(pp=2, tp=2, microbatches=2)),
    "mixture, ep": (MIXTURE, Layout("fsdp", ep=4)),
    "mixture, fsdp + ep": (MIXTURE, Layout("fsdp", ep=2)),
    "mixture, hsdp + ep": (MIXTURE, Layout("hsdp", 2, ep=2)),
    "mixture, 1f1b + ep": (MIXTURE, Layout("fsdp", pp=2, ep=2, microbatches=2)),
    "mixture, cp + ep": (MIXTURE, Layout("fsdp", cp=2, ep=4)),
}
AGAIN = {
    "fsdp + tp, recompute": ("fsdp + tp", "full"),
    "1f1b + fsdp, recompute": ("1f1b + fsdp", "selective"),
    "mixture, ep, recompute": ("mixture, fsdp + ep", "full"),
}


def descend(weights, gradients, firsts, seconds, **settings):
    """Plain gradient descent: AdamW's steps would be as long for gradients of any scale."""
    torch._foreach_add_(weights, gradients, alpha=-0.1)


def losses(shape, layout, rank=0, ranks=1, again="none", adamw=descend):
    """Of every step on the sequences that all ranks see together; None where a rank has none."""
    spread, ops = layout.over(ranks), dataclasses.replace(TORCH, adamw=adamw)
    batch = SEQUENCES // spread.data
    trainer = Trainer(
        shape, spread, rank, torch.device("cpu"), batch=batch, ops=ops, again=again, seed=5
    )
    mine = slice(spread.sequences(rank) * batch, (spread.sequences(rank) + 1) * batch)
    found = []
    for step in range(STEPS):
        tokens = text(shape.vocab, shape.seq, SEQUENCES, step)[mine]
        loss = trainer.gradients(tokens)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        found.append(None if loss is None else float(loss))
    trainer.close()
    return found


def cases():
    """(name, model, layout, recompute, optimizer) of each."""
    for name, (shape, layout) in COMPOSITIONS.items():
        yield name, shape, layout, "none", descend
    for name, (base, again) in AGAIN.items():
        yield name, *COMPOSITIONS[base], again, TORCH.adamw
    for name, base in SUMMED.items():
        yield name, *COMPOSITIONS[base], "none", descend


SUMMED = {f"{name}, summed": name for name in ("fsdp", "hsdp + tp", "mixture, hsdp + ep")}


def scatter_name():
    """Torch 2.13 renamed it."""
    import torch.distributed as dist

    both = ("reduce_scatter_single", "reduce_scatter_tensor")
    return next(name for name in both if hasattr(dist, name))


@contextlib.contextmanager
def summing():
    """Means are sums, as host memory's library takes them in PyTorch 2.7 and 2.8."""
    import torch.distributed as dist

    kind, mean = type(dist.ReduceOp.AVG), dist.ReduceOp.AVG

    def other(one):
        return dist.ReduceOp.SUM if isinstance(one, kind) and one == mean else one

    def summed(call):
        def called(*given, **settings):
            named = {name: other(one) for name, one in settings.items()}
            return call(*map(other, given), **named)

        return called

    with contextlib.ExitStack() as stack:
        for name in ("all_reduce", scatter_name()):
            stack.enter_context(mock.patch.object(dist, name, summed(getattr(dist, name))))
        yield


def ranked(rank, folder):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS
    )
    found = {}
    for name, shape, layout, again, adamw in cases():
        with summing() if name in SUMMED else contextlib.nullcontext():
            found[name] = losses(shape, layout, rank, RANKS, again, adamw)
    Path(folder, str(rank)).write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def measure(folder):
    """Write the losses of every rank into a folder."""
    ranks(ranked, (str(folder),), RANKS)


def spread_losses(folder):
    """By composition, of every step: the mean over the ranks that have a loss."""
    by_rank = [json.loads(Path(folder, str(rank)).read_text()) for rank in range(RANKS)]
    means = {}
    for name in by_rank[0]:
        had = [one[name] for one in by_rank if one[name][0] is not None]
        means[name] = [sum(step) / len(step) for step in zip(*had, strict=True)]
    return means
