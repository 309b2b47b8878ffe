"""What gets slower while it is kept at work is found against itself; noise and the room are not."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.certify.endurance import fading
from bench.analysis.table import table
from bench.configs import Profile, ProfileMetric
from bench.records import DeviceGroup

PROFILE = Profile(
    name="p", categories={"c": [ProfileMetric(benchmark="gemm", metric="flops", reference="none")]}
)
NODES, REPEATS = 12, 12


def found(falls, better="higher", seed=0, noise=0.002, shared=0.01):
    """Nodes that are told of, where node 3 loses ``falls`` over the soak and all ``shared``."""
    draw = np.random.default_rng(seed)
    fleet = DeviceGroup(count=NODES, devices=1, chip="acme-1")
    made = header(case(0, stage="soak", better=better), groups=NODES, fleet=fleet)
    sign = 1 if better == "higher" else -1
    rows, repeats = [], []
    for repeat in range(REPEATS):
        share = repeat / (REPEATS - 1)
        for node in range(NODES):
            log = -shared * share - (falls * share if node == 3 else 0.0) + draw.normal(0, noise)
            rows.append((0, node, 1e12 * np.exp(sign * log)))
            repeats.append(repeat)
    taken = columns(*rows)
    taken.repeat = np.array(repeats, dtype=np.int32)
    taken.time = 300.0 * np.array(repeats)
    return list(fading(table(made, taken, PROFILE), taken))


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_device_that_fades_is_found_alone(better):
    ((node, one),) = found(0.05, better)
    assert node == 3
    assert (one.verdict, one.against) == ("reject", "history")
    assert 0.03 < one.effect < 0.07
    assert one.low < one.effect < one.high
    assert "55m" in one.text


@pytest.mark.parametrize(
    ("better", "worse"), [("higher", 1 - np.exp(-0.2)), ("lower", np.expm1(0.2))]
)
def test_a_share_worse_is_of_the_first_value(better, worse):
    ((_, one),) = found(0.2, better, noise=0.0, shared=0.0)
    assert [one.effect, one.low, one.high] == pytest.approx([worse] * 3)
    assert abs(one.value / one.expected - 1) == pytest.approx(worse)
    assert one.text.startswith(f"{worse:.1%} worse after 55m")


def test_what_all_share_is_no_nodes():
    assert found(0.0) == []


def test_healthy_fleets_are_left_alone():
    assert sum(bool(found(0.0, seed=seed)) for seed in range(40)) <= 1
