"""Who pulls a category down: named only beyond what chance lets a healthy fleet scatter."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.culprits import culprits
from bench.analysis.scores import Category, MetricScore
from bench.analysis.subject import Run
from bench.records import DeviceGroup
from bench.report.language import chinese


def found(slow, *, nodes=8, noise=0.005, seed=1, groups=None):
    """Findings of a fleet of four devices a node, over a rate and a time of each.

    ``slow``: by rank, its share of the usual speed.
    """
    draw = np.random.default_rng(seed)
    size = nodes * 4
    cases = [case(0), case(1, "launch", metric="time", unit="s", better="lower")]
    made = header(*cases, groups=size, fleet=DeviceGroup(count=nodes, devices=4, chip="acme-1"))
    rows = []
    for rank in range(size if groups is None else groups):
        speed = slow.get(rank, 1.0) * np.exp(draw.normal(0, noise, 2))
        rows += [(0, rank, 100 * speed[0]), (1, rank, 1e-6 / speed[1])]
    run = Run(made, columns(*rows), {})
    metrics = [
        MetricScore(name="m", metric="x", case=number, run=made.id, coverage=1.0)
        for number in range(2)
    ]
    return list(
        culprits([run], [Category(name="compute", score=None, coverage=1, metrics=metrics)])
    )


def test_a_slow_device_is_named_and_a_node_of_such_as_a_whole():
    (one,) = found({5: 0.9})
    assert (one.kind, one.name) == ("slow-device", "node-00001/1")
    assert re.match(r"pulls compute down: (9|10)\.\d% below", one.text)
    assert one.text.endswith("below the median device over 2 metric(s)")
    (one,) = found(dict.fromkeys(range(8, 12), 0.8))
    assert (one.kind, one.name) == ("slow-node", "node-00002")
    assert "拉低类别 计算" in chinese(one.text)


def test_the_worst_come_first_and_the_rest_is_counted():
    told = found({4 * node: 0.9 - node / 20 for node in range(1, 6)})
    assert [one.name for one in told] == [f"node-0000{node}/0" for node in (5, 4, 3)]
    assert told[-1].text.endswith("; 2 more do")
    assert chinese(told[-1].text).endswith("另有 2 项")


def test_a_healthy_fleet_has_none():
    told = sum(bool(found({}, seed=seed, noise=0.03, nodes=4)) for seed in range(200))
    assert told <= 7  # a hundredth, and what chance adds to that


@pytest.mark.parametrize("changes", [{"noise": 0.0}, {"groups": 7}, {"groups": 0}])
def test_equal_devices_and_few_have_none(changes):
    assert found({}, **changes) == []
    assert found({5: 0.99}, **{"noise": 0.0, **changes}) == []  # below what is worth a word


def test_the_verb_names_them(tmp_path):
    from click.testing import CliRunner

    from bench.cli import cli

    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "name: fleet\nchip: sim-a\nnodes: 8\ndevices: 4\n"
        "faults: [{kind: slow, node: 3, benchmark: gemm, factor: 0.8}]\n"
    )
    words = ["run", "quick", "--cluster", str(fleet), "--quiet", "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "runs").iterdir()
    done = CliRunner().invoke(cli, ["score", str(run)])
    assert "slow-node: node-00003: pulls compute down" in done.output
