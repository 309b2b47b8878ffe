"""What measuring adds to a training step, and what of a step no phase names."""

import gc
import random
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from gloo_ranks import context, several

from bench.stats import median_interval
from bench.timing import HostTimer, Rule
from bench.workloads.base import make
from bench.workloads.train import PHASES

PAIRS, MOST = 600, 9600
"""Steps of either kind between two looks, and at most."""
BOUND = 1.0
"""Per cent."""
SURE = 0.99
"""Confidence of the limits: they are looked at several times."""
GATHERED = 60
"""Pairs between two collections of garbage, outside of what is timed."""
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

    Pairs of steps, in random order, until the limits of the median of their ratios say on which
    side of the bound it is: what else moves a machine moves both steps of a pair.
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

    def pairs():
        for turn in range(PAIRS):
            if not turn % GATHERED:
                gc.collect()
            took = {side: side(turn) for side in draw.sample((bare, measured), 2)}
            yield took[measured] / took[bare]

    ratios = []
    gc.disable()
    try:
        list(pairs())
        while True:
            ratios += pairs()
            over, *limits = (100 * (one - 1) for one in median_interval(ratios, SURE))
            if not limits[0] <= BOUND <= limits[1] or len(ratios) >= MOST:
                break
    finally:
        gc.enable()
        bench.teardown()
    figure("a training step measured, over a bare one", over, "%", high=BOUND, limits=tuple(limits))


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
