"""Ranks whose products flip a bit now and then: found in the rows, and told by the analysis."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import local_executor, run, suite

from bench.analysis.corruption import corruption
from bench.errors import Exit
from bench.inventory import Inventory
from bench.results import RunReader

CORRUPTING = str(Path(__file__).parent / "corrupting")
SUITE = suite(
    [
        ("corruption", {"op": "gemm", "shape": "64x64x64", "dtype": "fp32"}),
        ("corruption", {"op": "softmax", "shape": "16x64", "dtype": "fp32"}),
    ],
    [("collective_corruption", {"op": "all_gather", "size": "16KiB"}, {"over": "node"})],
    budget=0.3,
)


@pytest.fixture
def corrupting(monkeypatch):
    """Every rank that starts now is of a node whose chips are defective."""
    paths = [CORRUPTING, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def analysed(finished):
    reader = RunReader(finished.folder)
    return corruption(reader.header, reader.columns(), Inventory(reader.header.nodes))


def test_good_devices_compute_the_same_bits(tmp_path):
    finished, rows = run(SUITE, local_executor(), tmp_path)
    assert finished.exit is Exit.OK
    for key in (("corruption", "wrong_elements"), ("collective_corruption", "wrong_elements")):
        assert {(row.status, row.value) for row in rows[key]} == {("ok", 0.0)}
    digests = {}
    for row in rows["corruption", "digest"]:
        digests.setdefault(row.case, set()).add(row.value)
    gemm, softmax = digests.values()
    assert len(gemm) == len(softmax) == 1
    assert gemm != softmax
    judged = analysed(finished)
    assert (judged.evidence, judged.notes) == ([], [])  # two devices, of one kind and software


def test_a_device_that_flips_bits_is_invalid_and_its_count_is_kept(tmp_path, corrupting):
    finished, rows = run(SUITE, local_executor(), tmp_path)
    assert finished.exit is Exit.FINDING
    cases = RunReader(finished.folder).header.cases
    node = finished.header.nodes[0].name
    for row in rows["corruption", "wrong_elements"]:
        if cases[row.case].axes["op"] == "softmax":
            assert (row.status, row.value) == ("ok", 0.0)
            continue
        assert row.status == "invalid"
        assert row.value >= 1
        assert f"({node}/{row.group}): silent data corruption in gemm 64x64x64" in row.reason
        assert "wrong element(s) in" in row.reason
        assert "(bit 0 flipped)" in row.reason
    assert {row.status for row in rows["collective_corruption", "repetitions"]} == {"ok"}
    # What a device repeats mostly is right: its digest is that of the other.
    assert analysed(finished).evidence == []
