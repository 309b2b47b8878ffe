"""What a comparison with the fleet is told as: values and shares, from logarithms."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.certify.cells import ACCEPT, INCONCLUSIVE, REJECT, SUSPECT, Judgement
from bench.analysis.certify.relative import evidence, off, span, unproven
from bench.analysis.table import table
from bench.configs import Profile, ProfileMetric
from bench.records import Conditions, DeviceGroup

NAMES = ("flops", "hits", "c", "d", "e", "f", "g", "h")
PROFILE = Profile(
    name="p",
    categories={"c": [ProfileMetric(benchmark="gemm", metric=name) for name in NAMES]},
)
HELD = Conditions(temperature=(40.0, 71.0), power=(300.0, 650.0), frequency=(1900.0, 1500.0))


def cells(*rows, **changes):
    """Of (metric, unit, state, effect, low, high, usual), of 9 units and 4 values each."""
    metric, unit, state, effect, low, high, usual = map(np.array, zip(*rows, strict=True))
    count = len(rows)
    values = {
        "metric": metric, "unit": unit, "kind": np.zeros(count, dtype=np.int64),
        "state": state.astype(np.int8), "effect": effect, "low": low, "high": high,
        "usual": usual, "second": np.zeros(count, dtype=bool),
        "percentile": np.full(count, 12.5), "chance": np.zeros(count), "noise": np.zeros(count),
        "drift": np.zeros(count), "peers": np.full(count, 9), "repeats": np.full(count, 4),
        "proven": np.zeros(count, dtype=bool), "notes": [],
    }  # fmt: skip
    return Judgement(**{**values, **{name: np.array(one) for name, one in changes.items()}})


def told(judged, better="higher", ended=True):
    made = header(
        *(case(number, metric=name, better=better) for number, name in enumerate(NAMES)),
        groups=4,
        fleet=DeviceGroup(count=2, devices=2, chip="acme-1"),
        conditions=[Conditions(), HELD],
    )
    once = [(number, rank, 90.0) for number in range(len(NAMES)) for rank in range(4)]
    rows = columns(*once, *once)
    rows.conditions[len(once) :] = 1  # of what came last
    found = table(made, rows, PROFILE)
    return found, rows, made, list(evidence(found, rows, made, judged, ended=ended))


@pytest.mark.parametrize(
    ("better", "value", "worse", "ends"),
    [
        ("higher", 100 * math.exp(-0.1), 1 - math.exp(-0.1), (0.08, 0.12)),
        ("lower", 100 * math.exp(0.1), math.exp(0.1) - 1, (0.08, 0.12)),
    ],
)
def test_a_deviation_is_a_share_of_what_is_usual_towards_worse(better, value, worse, ends):
    sign = 1 if better == "higher" else -1
    one = (0, 3, REJECT, -0.1, -ends[1], -ends[0], sign * math.log(100))
    (node, said), = told(cells(one), better)[3]  # fmt: skip
    assert (node, said.device, said.verdict, said.against) == (1, "node-00001/1", "reject", "fleet")
    assert (said.value, said.expected) == (pytest.approx(value), pytest.approx(100.0))
    low, high = (sign * (1 - math.exp(-sign * end)) for end in ends)
    assert (said.effect, said.low, said.high) == (
        pytest.approx(worse),
        pytest.approx(low),
        pytest.approx(high),
    )
    assert said.text == (
        f"{value:.4g} FLOP/s, {worse:.1%} worse than the 100 FLOP/s of 8 others "
        f"(95 %: {low:.1%} to {high:.1%})"
    )
    assert (said.percentile, said.peers, said.repeats) == (12.5, 9, 4)
    assert said.conditions == {"temperature": 71.0, "power": 650.0, "clock": 1500.0}


def test_only_what_is_not_accepted_is_told_and_doubt_at_the_end():
    states = (ACCEPT, REJECT, SUSPECT, INCONCLUSIVE)
    judged = cells(*((0, unit, state, -0.1, -0.2, 0.0, 0.0) for unit, state in enumerate(states)))
    found = told(judged)[3]
    assert [(one.device, one.verdict) for _, one in found] == [
        ("node-00000/1", "reject"),
        ("node-00001/0", "inconclusive"),
        ("node-00001/1", "inconclusive"),
    ]
    assert ["not sure enough" in one.text for _, one in found] == [False, True, True]
    assert [one.device for _, one in told(judged, ended=False)[3]] == ["node-00000/1"]


def test_who_is_alone_or_of_a_baseline_is_not_told():
    one = (0, 0, REJECT, -0.1, -0.2, 0.0, 0.0)
    assert told(cells(one, peers=[1]))[3] == []
    assert told(cells(one, proven=[True]))[3] == []
    assert told(cells((0, 6, *one[2:])))[3] == []  # of a node that is another run's
    ((_, two),) = told(cells(one, peers=[2]))[3]
    assert "of 1 other (" in two.text


def test_what_is_compared_with_proven_units_is_against_the_baseline():
    rows = [(metric, unit, REJECT, -0.1, -0.2, 0.0, 0.0) for metric in (0, 1) for unit in (0, 9)]
    judged = cells(*rows, proven=[False, True, False, False])
    found, _, _, said = told(judged)
    assert [(one.against, one.metric) for _, one in said] == [
        ("baseline", "gemm flops"),
        ("fleet", "gemm hits"),
    ]
    lacking, notes = unproven(found, judged, "before")
    assert lacking == []
    assert notes == ["the baseline before has no value of gemm hits (other axes or code)"]
    rows = [(0, unit, REJECT, -0.1, -0.2, 0.0, 0.0) for unit in (0, 2, 9)]
    judged = cells(*rows, kind=[0, 1, 0], proven=[False, False, True])
    lacking, notes = unproven(found, judged, "before")
    assert [node for node, _ in lacking] == [1]
    assert notes == []


def test_proven_units_are_beside_those_of_their_metric_and_kind_only():
    """Of metric 0 and kind 1: not of metric 1 with that kind, nor of metric 2 with kind 0."""
    one = REJECT, -0.1, -0.2, 0.0, 0.0
    judged = cells(
        (0, 9, *one), (1, 0, *one), (2, 0, *one), proven=[True, False, False], kind=[1, 1, 0]
    )
    assert [said.against for _, said in told(judged)[3]] == ["fleet", "fleet"]


def test_of_many_metrics_that_a_baseline_lacks_five_are_named():
    for count, rest in ((5, ""), (8, " and 3 more")):
        rows = [(metric, 0, ACCEPT, 0.0, 0.0, 0.0, 0.0) for metric in range(count)]
        judged = cells(*rows)
        lacking, (note,) = unproven(told(judged)[0], judged, "before")
        named = ", ".join(f"gemm {name}" for name in NAMES[:5])
        assert note == f"the baseline before has no value of {named}{rest} (other axes or code)"
        assert [(node, one.verdict, one.against) for node, one in lacking] == [
            (0, "inconclusive", "coverage")
        ]


def test_words():
    assert (off(0.031), off(-0.004), off(0.0)) == ("3.1% worse", "0.4% better", "0.0% worse")
    assert span(0.098, 0.113) == "9.8% to 11.3%"
    assert span(-0.5, 10.1) == span(-10.1, 0.0) == "too wide to say anything"
    assert span(-10.0, 10.0) == "-1000.0% to 1000.0%"
