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


def told(values, *, size=12, devices=4, weights=(1.0, 1.0), groups=False, **changes):
    """Findings where every device has 1 in a rate and a time but as {(case, rank): value} says.

    None: not measured. ``groups``: the rate is one of groups, not of devices.
    """
    cases = [case(0, scope="group" if groups else "device")]
    cases.append(case(1, "launch", metric="time", unit="s", better="lower"))
    fleet = DeviceGroup(count=size // devices, devices=devices, chip="acme-1")
    made = header(*cases, groups=size, fleet=fleet)
    rows = [(n, rank, values.get((n, rank), 1.0)) for n in (0, 1) for rank in range(size)]
    run = Run(made, columns(*(row for row in rows if row[2] is not None)), {})
    metrics = [
        MetricScore(**{"name": "m", "metric": "x", "case": n, "run": made.id, **changes}, weight=w)
        for n, w in enumerate(weights)
    ]
    category = Category(name="compute", score=None, coverage=1, metrics=metrics)
    return [(one.kind, one.name, one.text) for one in culprits([run], [category])]


def below(percent, metrics=2):
    return f"pulls compute down: {percent}% below the median device over {metrics} metric(s)"


def test_a_loss_is_the_weighted_mean_of_logarithms_of_both_directions():
    # Weights 3 to 1 of 0.9 of the rate and twice the time: 0.9^(3/4) × 2^(-1/4) = 0.7770.
    slow = {(0, 5): 0.9, (1, 5): 2.0}
    assert told(slow, weights=(0.75, 0.25)) == [("slow-device", "node-00001/1", below(22.3))]


def test_what_a_device_lacks_moves_neither_its_loss_nor_the_unit_of_a_metric():
    rates = {(0, rank): 4.0e12 for rank in range(12)}
    slow = {**rates, (0, 5): 3.6e12, (1, 5): None}
    found = [("slow-device", "node-00001/1", below("10.0"))]
    assert told(slow, weights=(0.75, 0.25)) == found


def test_two_percent_are_worth_a_word_and_less_are_not():
    assert told({(0, 5): 0.981, (1, 5): 1 / 0.981}) == []
    assert told({(0, 5): 0.979, (1, 5): 1 / 0.979})[0][2] == below(2.1)


def test_a_node_lies_below_by_the_geometric_mean_of_its_measured_devices():
    slow = {(0, 0): 0.8, (0, 1): 0.9}  # √(0.8 × 0.9) = 0.8485
    found = [("slow-node", "node-00000", below(15.1))]
    assert told(slow, devices=2, weights=(1.0, 0.0)) == found
    lost = {(n, 2): None for n in (0, 1)}
    assert told({**slow, **lost}, devices=3, weights=(1.0, 0.0)) == found


def test_what_says_nothing_of_a_device_does_not_count():
    both = {(0, 5): 0.5, (1, 5): 2.0}
    assert told(both, groups=True)[0][2] == below("50.0", 1)  # group 5 is not device 5
    assert told({**both, (0, 7): 0.0})[0][2] == below("50.0", 1)  # it has no logarithm
    assert told(both, run="another") == []
    assert told(both, scored=False) == []


def test_eight_devices_are_enough_and_seven_are_not():
    both = {(0, 5): 0.5, (1, 5): 2.0}
    assert told(both, size=8)[0][2] == below("50.0")
    assert told({**both, (0, 7): None}, size=8)[0][2] == below("50.0", 1)


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
