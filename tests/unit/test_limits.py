"""What the profile or the datasheet asks of every unit, whatever the fleet does."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.certify.limits import beyond, limit
from bench.analysis.table import table
from bench.configs import Profile, ProfileMetric
from bench.records import DeviceGroup, ScheduleSpec


def line(**changes):
    return ProfileMetric(benchmark="gemm", metric="flops", **changes)


@pytest.mark.parametrize(
    ("changes", "higher", "lower", "whose"),
    [
        ({"reference": "target", "target": 80.0, "required": True}, 80.0, 80.0, "floor"),
        ({"reference": "target", "target": 80.0, "least": 0.5}, 40.0, 160.0, "floor"),
        (
            {"reference": "target", "target": 80.0, "required": True, "least": 0.8},
            64.0,
            100.0,
            "floor",
        ),
        ({"reference": "target", "target": 80.0}, None, None, "floor"),
        ({"reference": "datasheet", "least": 0.8}, 80.0, 125.0, "datasheet"),
        ({"reference": "datasheet"}, None, None, "floor"),
        ({"reference": "ceiling", "least": 0.8}, None, None, "floor"),
    ],
)
def test_a_limit_is_a_share_of_its_reference_in_the_metrics_direction(
    changes, higher, lower, whose
):
    for better, wanted in (("higher", higher), ("lower", lower)):
        found, against = limit(line(**changes), case(0, better=better, expected=100.0))
        assert found == (None if wanted is None else pytest.approx(wanted))
        assert against == whose
    unknown = limit(line(reference="datasheet", least=0.8), case(0))
    assert unknown[0] is None


def judged(*rows, better="higher", expected=100.0, scope="device", stands_for="", **changes):
    """Of two nodes of two devices."""
    wanted = Profile(name="p", categories={"c": [line(**{"reference": "datasheet", **changes})]})
    made = header(
        case(0, better=better, expected=expected, scope=scope),
        fleet=DeviceGroup(count=2, devices=2, chip="acme-1"),
        schedules=[ScheduleSpec(kind=f"{scope}s", scope=scope, groups=4)],
    )
    read = columns(*rows)
    evidence, notes = beyond(table(made, read, wanted), read, stands_for)
    return [(node, one.device, one.value, one.expected) for node, one in evidence], notes, evidence


def test_a_unit_is_held_to_the_limit_by_the_median_of_what_counts():
    rows = [(0, rank, 90.0) for rank in (1, 2)]
    rows += [(0, 0, value) for value in (90.0, 70.0, 81.0)]  # 81
    rows += [(0, 3, value) for value in (79.0, 70.0, 99.0, 60.0)]  # 74.5
    rows += [(0, 2, 1.0, "failed"), (0, 2, 2.0, "contended"), (0, 2, float("nan"))]
    found, notes, ((_, one),) = judged(*rows, least=0.8)
    assert found == [(1, "node-00001/1", 74.5, 80.0)]
    assert (one.verdict, one.against, one.repeats) == ("reject", "datasheet", 4)
    assert one.effect == pytest.approx(5.5 / 80)
    assert one.text == (
        "74.5 FLOP/s; the datasheet's share in the profile asks for at least 80 FLOP/s"
    )
    assert notes == []
    assert judged((0, 0, 80.0), least=0.8)[0] == []  # there is enough


def test_of_what_is_better_when_lower_more_is_too_much():
    rows = [(0, rank, value) for rank, value in enumerate((120.0, 125.0, 126.0))]
    found, _, ((_, one),) = judged(*rows, better="lower", least=0.8)
    assert found == [(1, "node-00001/0", 126.0, 125.0)]
    assert one.effect == pytest.approx(1 / 125)
    assert "asks for at most 125 FLOP/s" in one.text
    asked = {"reference": "target", "target": 50.0, "required": True}
    ((_, one),) = judged((0, 1, 51.0), better="lower", **asked)[2]
    assert one.text == "51 FLOP/s; the profile asks for at most 50 FLOP/s"


def test_of_what_should_not_be_at_all_any_is_too_much():
    rows = [(0, 0, 0.0), (0, 1, 3.0)]
    found, notes, ((_, one),) = judged(*rows, better="lower", expected=0.0, least=0.8)
    assert found == [(0, "node-00000/1", 3.0, 0.0)]
    assert one.effect is None
    assert notes == []


def test_a_nodes_own_value_is_of_no_device():
    found, _, _ = judged((0, 0, 90.0), (0, 1, 70.0), scope="node", least=0.8)
    assert found == [(1, "", 70.0, 80.0)]


def test_a_share_of_what_nobody_knows_is_no_limit_and_said():
    found, notes, _ = judged((0, 0, 1.0), expected=None, least=0.8)
    assert found == []
    assert notes == ["gemm flops is held against no limit: no datasheet says what to expect"]
    assert judged((0, 0, 1.0), expected=None)[1] == []


@pytest.mark.parametrize(("better", "most", "more"), [("higher", 104.0, 106.0), ("lower", 96, 94)])
@pytest.mark.parametrize("least", [None, 0.8])
def test_what_is_better_than_possible_is_said_once(better, most, more, least):
    assert judged((0, 0, most), better=better, least=least)[1] == []
    usual = 100.0
    rows = [(0, 0, usual), (0, 1, more), (0, 2, usual)]
    (note,) = judged(*rows, better=better, least=least)[1]
    assert note == (
        f"gemm flops: {more:g} FLOP/s is better than the 100 FLOP/s that datasheet and topology "
        "allow: one of them is wrong"
    )
    (note,) = judged(*rows, better=better, least=least, stands_for="acme-9")[1]
    assert note.endswith("allow: what stands in for acme-9 is faster")
    # One value of a unit beside others of its own is an outlier, not a finding.
    rows = [(0, 1, value) for value in (more, usual, usual)]
    assert judged(*rows, better=better, least=least)[1] == []
