"""What a ledger of a job's time costs, beside a training step."""

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from gloo_ranks import context

from bench.ledger import Book
from bench.timing import HostTimer
from bench.workloads.base import make
from bench.workloads.runner import drained

STEPS, BLOCKS = 60, 2_000


def test_ledger(figure):
    """The stamps of a block of one sample, as long steps have them, over a step of model tiny."""
    torch.set_num_threads(1)  # as a rank of one core
    bench = make("train", {"model": "tiny"})
    bench.setup(context(0, 1))
    try:
        step = float(np.median(HostTimer().run(bench.step, 1, STEPS, None)))
    finally:
        bench.teardown()
    book = Book()
    book.enter("samples")
    took = []
    for _ in range(BLOCKS):
        began = time.perf_counter()
        book.to("meeting")
        book.to("between")
        book.to("rest")
        book.sampled("samples", 0.0, 0.0, 1)
        book.to("meeting")
        book.to("between")
        book.to("meeting")
        book.to("between")
        book.prolonged(0.0, 0.0)
        took.append(time.perf_counter() - began)
    share = 100 * float(np.median(took)) / step
    figure("a ledger's stamps of a block, over a training step", share, "%", high=1.0)
    quiet = float(np.median([drained(lambda: None) for _ in range(20)]))
    figure("looking for work behind the last sample, a job", 1e3 * quiet, "ms", high=20.0)
