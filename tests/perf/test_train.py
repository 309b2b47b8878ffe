"""What measuring adds to a training step, and what of a step no phase names."""

import gc
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

ROUNDS, STEPS = 60, 10
LAYOUTS = {
    "ddp": {},
    "ddp, 2 microbatches": {"microbatches": 2},
    "fsdp": {"dp": "fsdp"},
    "tp": {"tp": 2},
    "1f1b": {"pp": 2, "microbatches": 4, "batch": 4},
}
RULE = Rule(budget=3.0, warmup=0.3, precision=0)


def test_train_overhead(figure):
    """The benchmark's step under its timer over a bare loop of the same model, in turn."""
    bench = make("train", {"model": "tiny"})
    bench.setup(context(0, 1))
    timer = HostTimer()
    batches = [bench.feed.next() for _ in range(8)]

    def bare():
        start = time.perf_counter()
        for turn in range(STEPS):
            tokens = batches[turn % 8]
            bench.net(tokens[:, :-1], tokens[:, 1:]).mean().backward()
            bench.optimizer.step()
            bench.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    def measured():
        return STEPS * float(timer.run(bench.step, 1, STEPS, None).mean())

    gc.disable()
    try:
        for side in (bare, measured, bare, measured):
            side()
        logs = []
        for turn in range(ROUNDS):
            first, second = (bare, measured) if turn % 2 else (measured, bare)
            took = {first: first(), second: second()}
            logs.append(np.log(took[measured] / took[bare]))
            gc.collect()
    finally:
        gc.enable()
        bench.teardown()
    half = student_quantile(0.025, ROUNDS - 1) * stdev(logs) / ROUNDS**0.5
    limits = tuple(100 * np.expm1([fmean(logs) - half, fmean(logs) + half]))
    over = 100 * np.expm1(fmean(logs))
    figure("a training step measured, over a bare one", over, "%", high=1.0, limits=limits)


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
