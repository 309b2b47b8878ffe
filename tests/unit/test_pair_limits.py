"""Pairs of nodes held to a limit: who is blamed, who cannot be told, and who met nobody."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.certify.links import links
from bench.configs import Profile, ProfileMetric
from bench.records import DeviceGroup, ScheduleSpec

PAIRS = list(itertools.combinations(range(4), 2))
"""Of four nodes of two devices each every two, over the first device of each."""


def judged(values, *, better="higher", least=0.8, metric="bandwidth", again=(), **changes):
    """What is found where each pair has 100 but as ``values`` say, in a sweep and a re-test.

    ``values``, ``again``: {pair: value, or (value, status, reason)}.
    """
    cases = [
        case(
            number, "pairs", {"size": "1MiB"}, metric, "B/s", scope="pair", stage=stage,
            better=better, expected=100.0, title="pairs 1MiB",
        )
        for number, stage in enumerate(["fabric", "fabric+1"][: 2 if again else 1])
    ]  # fmt: skip
    rows = []
    for group, pair in enumerate(PAIRS):
        value = values.get(pair, 100.0)
        rows.append((0, group, *(value if isinstance(value, tuple) else (value,))))
    rows += [(1, PAIRS.index(pair), value) for pair, value in dict(again).items()]
    made = header(
        *cases,
        fleet=DeviceGroup(count=4, devices=2, chip="acme-1"),
        schedules=[
            ScheduleSpec(
                kind="listed",
                scope="pair",
                groups=len(PAIRS),
                arguments={"groups": [[2 * one, 2 * other] for one, other in PAIRS]},
            )
        ],
    )
    line = {"benchmark": "pairs", "metric": metric, "reference": "datasheet", "least": least}
    profile = Profile(name="p", categories={"c": [ProfileMetric(**{**line, **changes})]})
    found = links(made, columns(*rows), profile)
    return found, [(node, one) for node, one in found.evidence if one.against != "fabric"]


@pytest.mark.parametrize(
    ("better", "bad", "asks"), [("higher", 50, "at least 80"), ("lower", 150, "at most 125")]
)
def test_a_node_all_of_whose_pairs_are_beyond_a_limit_is_rejected(better, bad, asks):
    values = {pair: float(bad + pair[0]) for pair in PAIRS if 3 in pair}
    found, ((node, one),) = judged(values, better=better)
    assert (node, one.verdict, one.against) == (3, "reject", "datasheet")
    assert (one.value, one.repeats) == (bad + 1.0, 3)  # the median of its three
    assert one.expected == pytest.approx(80.0 if better == "higher" else 125.0)
    assert one.text == f"{bad + 1} B/s in 3 pair(s); {asks} B/s is asked for"
    assert one.metric == "pairs 1MiB bandwidth"
    assert 3 in found.suspects["fabric"]


def test_of_one_pair_nobody_knows_whose_it_is():
    found, told = judged({(0, 1): 50.0})
    assert [(node, one.verdict) for node, one in told] == [(0, "inconclusive"), (1, "inconclusive")]
    for _, one in told:
        assert one.text.endswith("; whether it or its partner is slow cannot be told")
    assert {0, 1} <= found.suspects["fabric"]
    # Measured again it was well: nobody is blamed for both, and the pair is told all the same.
    _, told = judged({(0, 1): 50.0}, again={(0, 1): 100.0})
    assert {node for node, one in told if one.verdict == "reject"} == set()


def test_a_pair_at_its_limit_is_well_and_without_one_there_is_none():
    assert judged({(0, 1): 80.0})[1] == []
    assert judged({(0, 1): 1.0}, least=None)[1] == []
    lost = {pair: (1.0, "contended") for pair in PAIRS if pair[0] == 0 and pair[1] < 3}
    assert judged(lost)[1] == []  # what does not count is beyond no limit


def test_who_met_nobody_is_a_gap_with_its_reason():
    lost = {pair: (float("nan"), "failed", "no route") for pair in PAIRS if 3 in pair}
    found, ((node, one),) = judged(lost)
    assert (node, one.verdict, one.against) == (3, "inconclusive", "coverage")
    assert one.text == "no pair of it has a value: failed: no route"
    assert found.suspects["fabric"] == {3}
    assert found.met["fabric"] == {0, 1, 2, 3}
    assert judged(lost, optional=True)[1] == []
    one_pair = {(0, 3): 100.0}
    assert judged(lost, again=one_pair)[1] == []  # a re-test had a value of it


@pytest.mark.parametrize(
    ("value", "better", "said"),
    [
        (0.0, "higher", "its value is 0, which is no measurement"),
        (float("nan"), "higher", "its value is nan, which is no measurement"),
        (float("inf"), "lower", "its value is inf, which is no measurement"),
        (-1.0, "lower", "its value is -1, which is no measurement"),
        (0.0, "lower", ""),
    ],
)
def test_a_pair_whose_value_is_no_measurement_is_no_pass(value, better, said):
    """Of one node alone: the other pairs are well."""
    values = {pair: value for pair in PAIRS if 3 in pair}
    found, told = judged(values, better=better, least=None)
    if not said:
        assert told == []
        return
    ((node, one),) = told
    assert (node, one.verdict, one.against) == (3, "inconclusive", "coverage")
    assert one.text == f"no pair of it has a value: {said}"
    assert 3 in found.suspects["fabric"]
    one_pair = {(0, 3): 100.0}
    assert judged(values, better=better, least=None, again=one_pair)[1] == []


def test_what_nobody_can_do_is_said_once():
    skipped = {pair: (float("nan"), "skipped", "no network") for pair in PAIRS}
    found, told = judged(skipped)
    assert told == []
    assert found.notes == ["pairs 1MiB is not covered: skipped: no network"]
    assert found.suspects.get("fabric", set()) == set()
    some = {pair: value for pair, value in skipped.items() if 3 in pair}
    _, ((node, one),) = judged(some)
    assert (node, one.text) == (3, "no pair of it has a value: skipped: no network")
