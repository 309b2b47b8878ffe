"""What measuring adds to a training step, and what of a step no phase names."""

import gc
import random
import sys
import time
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from gloo_ranks import context, several

from bench.stats import student_quantile
from bench.timing import HostTimer, Rule
from bench.workloads.base import make
from bench.workloads.train import PHASES

PAIRS = 60
FEWEST, MOST = 8, 60
BOUND = 1.0
"""Per cent."""
LAYOUTS = {
    "ddp": {},
    "ddp, 2 microbatches": {"microbatches": 2},
    "fsdp": {"dp": "fsdp"},
    "tp": {"tp": 2},
    "1f1b": {"pp": 2, "microbatches": 4, "batch": 4},
}
RULE = Rule(budget=3.0, warmup=0.3, precision=0)


def test_train_overhead(figure):
    """The benchmark's step under its timer over a bare one of the same model, in turn.

    Pieces of ``PAIRS`` steps each, in random order, until the limits of the mean of their medians'
    ratios say on which side of the bound it is.
    """
    bench = make("train", {"model": "tiny"})
    bench.setup(context(0, 1))
    timer, draw = HostTimer(), random.Random(5)
    batches = [bench.feed.next() for _ in range(8)]

    def bare(turn):
        start = time.perf_counter()
        tokens = batches[turn % 8]
        bench.net(tokens[:, :-1], tokens[:, 1:]).mean().backward()
        bench.optimizer.step()
        bench.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    def measured(turn):
        return float(timer.run(bench.step, 1, 1, None)[0])

    def piece():
        took = {bare: [], measured: []}
        for turn in range(PAIRS):
            for side in draw.sample((bare, measured), 2):
                took[side].append(side(turn))
        gc.collect()
        return float(np.log(np.median(took[measured]) / np.median(took[bare])))

    gc.disable()
    try:
        piece()
        logs = [piece() for _ in range(FEWEST)]
        while True:
            half = student_quantile(0.025, len(logs) - 1) * stdev(logs) / len(logs) ** 0.5
            limits = tuple(100 * np.expm1([fmean(logs) - half, fmean(logs) + half]))
            if not limits[0] <= BOUND <= limits[1] or len(logs) == MOST:
                break
            logs.append(piece())
    finally:
        gc.enable()
        bench.teardown()
    over = 100 * float(np.expm1(fmean(logs)))
    figure("a training step measured, over a bare one", over, "%", high=BOUND, limits=limits)


def _told(bench, rank, folder):
    """Have the share of its steps that no phase names written down."""
    metrics = bench.metrics

    def told(timing):
        parts = sum(bench.phases.seconds(timing, (*PHASES, "wait")).values())
        rest = float(1 - parts.sum() / timing.seconds.sum())
        Path(folder, f"{rank}").write_text(repr(rest))
        return metrics(timing)

    bench.metrics = told


def test_train_phases(figure, tmp_path):
    for name, axes in LAYOUTS.items():
        job = ("train", {"model": "tiny", **axes}, partial(_told, folder=str(tmp_path)))
        ((outcome, _),) = several([job], rule=RULE)
        assert outcome.status == "ok", outcome.reason
        rest = max(abs(float((tmp_path / str(rank)).read_text())) for rank in range(2))
        figure(f"of a step in no phase: {name}", 100 * rest, "%", high=3.0)
