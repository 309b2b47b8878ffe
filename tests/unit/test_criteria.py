"""Which targets are missed, and by whom."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.criteria import criteria
from bench.analysis.finding import misses, ratio
from bench.analysis.summary import summarize
from bench.configs import ProfileMetric
from bench.records import DeviceGroup, ScheduleSpec


def told(rows, *, better="lower", target=5.0, groups=2, kind="devices", nodes=1, devices=2):
    line = ProfileMetric(
        benchmark="gemm", metric="flops", reference="target", target=target, required=True
    )
    made = header(
        case(0, better=better, scope="device" if kind == "devices" else "group"),
        fleet=DeviceGroup(count=nodes, devices=devices, chip="acme-1"),
        schedules=[ScheduleSpec(kind=kind, scope="device", groups=groups)],
    )
    read = columns(*rows)
    return [(one.kind, one.text) for one in criteria(line, summarize(made, read), made)]


@pytest.mark.parametrize(
    ("better", "good", "bad"),
    [("lower", (5.0, 4.0, 0.0), (5.1,)), ("higher", (5.0, 6.0), (4.9, 0.0, -1.0))],
)
def test_a_target_is_missed_by_what_is_worse_and_nothing_is_the_best_of_all(better, good, bad):
    """Of nothing at all there is no ratio to a target: no failures meet `at most 5`, too."""
    for value in good:
        assert told([(0, 0, value), (0, 1, value)], better=better) == []
    for value in bad:
        ((kind, text),) = told([(0, 0, 5.0), (0, 1, value)], better=better)
        assert kind == "criterion"
        asks = "at most" if better == "lower" else "at least"
        assert text.endswith(f", {asks} 5 FLOP/s is required (node-00000/1)")


def test_who_has_no_value_is_undecided_beside_who_has():
    lost = (0, 1, float("nan"), "failed", "gone")
    assert told([(0, 0, 4.0), lost]) == [
        (
            "undecided",
            "flops at most 5 FLOP/s is required, and 1 of 2 groups have no value: failed: gone",
        )
    ]
    both = told([(0, 0, 6.0), lost])
    assert [kind for kind, _ in both] == ["criterion", "undecided"]
    assert told([lost], groups=1)[0][0] == "undecided"


def test_of_a_large_group_four_devices_are_named():
    text = told([(0, 0, 6.0)], kind="all", groups=1, devices=6)[0][1]
    names = " - ".join(f"node-00000/{index}" for index in range(4))
    assert text.endswith(f"({names} and 2 more)")
    text = told([(0, 0, 6.0)], kind="all", groups=1, devices=4)[0][1]
    assert text.endswith(f"({names})")


def test_a_ratio_is_how_near_a_value_comes_in_its_direction():
    higher, lower = case(0), case(0, better="lower")
    assert (ratio(8.0, 10.0, higher), ratio(8.0, 10.0, lower)) == (0.8, 1.25)
    assert (ratio(0.0, 10.0, higher), ratio(0.0, 10.0, lower)) == (0.0, None)
    assert ratio(-1.0, 10.0, higher) is None
    assert (misses(1.0, 1.0, "higher"), misses(1.0, 1.0, "lower")) == (False, False)
