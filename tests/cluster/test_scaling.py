"""Scaling on the cores of this host: real groups that grow."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import local_executor, run, suite

from bench.analysis.scaling import scaling
from bench.records import STATUSES
from bench.results import RunReader

SHARED = {"model": "tiny", "batch": 8, "batch_of": "group"}


def test_real_devices_share_out_a_batch(tmp_path):
    train = ("train", SHARED, {"over": "growing"})
    # Of an odd number of samples the median of a rate is the rate of the median.
    made = suite([train], budget=15.0, min_samples=5, max_samples=5)
    finished, rows = run(made, local_executor(), tmp_path)
    # Another's work on the cores costs a row its word, not its value.
    assert {row.status for row in rows["train", "step_p50"]} <= {"ok", "contended"}
    reader = RunReader(finished.folder)
    columns = reader.columns()
    columns.status[:] = STATUSES.index("ok")
    (one,) = scaling(reader.header, columns)
    devices = len(reader.header.nodes[0].devices)
    assert (one.kind, one.base, one.provenance) == ("strong", 1, "stand-in")
    assert [size.devices for size in one.sizes][-1] == devices
    for size in one.sizes:
        assert size.rate == pytest.approx(8 * 64 / size.step, rel=1e-6)
        lost = size.slower + size.spread + size.communication
        assert lost == pytest.approx(1 - size.efficiency)
