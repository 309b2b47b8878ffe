"""Slow nodes and links that pairs show: who is told of them, in which direction, how surely."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.certify.links import links
from bench.configs import Profile, ProfileMetric
from bench.records import DeviceGroup, ScheduleSpec

COUNT = 12
PAIRS = list(itertools.combinations(range(COUNT), 2))


def judged(slow, again=None, *, metric="bandwidth", better="higher", devices=1, stages=None):
    """(node, evidence) of pairs of 100 and 0.2 % of chance; ``slow``: pair → its factor.

    ``again`` are the pairs of a re-test.
    """
    chance = np.random.default_rng(3)
    cases, rows = [], []
    for number, (stage, pairs) in enumerate((("fabric", PAIRS), ("fabric+1", again or []))):
        if pairs:
            cases.append(
                case(
                    number, "pairs", {"size": "1MiB"}, metric, "B/s", scope="pair", stage=stage,
                    better=better, title="pairs 1MiB",
                )
            )  # fmt: skip
        for pair in pairs:
            value = 100 * slow(pair) * np.exp(0.002 * chance.standard_normal())
            rows.append((number, PAIRS.index(pair), value))
    spec = ScheduleSpec(
        kind="listed",
        scope="pair",
        groups=len(PAIRS),
        arguments={"groups": [list(pair) for pair in PAIRS]},
    )
    fleet = DeviceGroup(count=COUNT // devices, devices=devices, chip="acme-1")
    made = header(*cases, fleet=fleet, schedules=[spec])
    line = ProfileMetric(benchmark="pairs", metric=metric, reference="none")
    profile = Profile(name="p", categories={"c": [line]})
    return links(made, columns(*rows), profile, stages)


def of_node(node, factor):
    return lambda pair: factor if node in pair else 1.0


def of_pairs(*those, factor=0.5):
    return lambda pair: factor if pair in those else 1.0


def met_by(node):
    return [pair for pair in PAIRS if node in pair]


@pytest.mark.parametrize(
    ("metric", "better", "factor", "effect"),
    [("bandwidth", "higher", 0.8, 0.2), ("latency", "lower", 1.25, 0.25)],
)
def test_a_slow_node_is_worse_in_either_direction_and_rejected_where_it_is_again(
    metric, better, factor, effect
):
    for again in (None, met_by(5)):
        found = judged(of_node(5, factor), again, metric=metric, better=better)
        ((node, one),) = found.evidence
        assert (node, one.verdict) == (5, "reject" if again else "inconclusive")
        assert ("seen in one sweep only" in one.text) == (again is None)
        assert one.effect == pytest.approx(effect, abs=0.01)
        assert one.low < one.effect < one.high
        assert one.high - one.low < 0.02
        assert one.expected == pytest.approx(100, rel=0.005)
        assert one.value == pytest.approx(100 * factor, rel=0.01)
        assert "; the usual pair has 100" in one.text.replace("99.9", "100")
        assert (one.peers, one.repeats, one.device) == (COUNT, COUNT - 1, "")
        assert (one.against, one.better) == ("fabric", better)
        assert found.suspects == {"fabric": {5}}


@pytest.mark.parametrize("again", [None, [(2, 7), (2, 8), (7, 9)]])
def test_a_slow_link_is_told_of_both_ends_and_rejects_neither(again):
    found = judged(of_pairs((2, 7)), again)
    assert [(node, one.verdict) for node, one in found.evidence] == [
        (2, "inconclusive"),
        (7, "inconclusive"),
    ]
    for _, one in found.evidence:
        assert one.text.startswith("link between node-00002 and node-00007: ")
        assert one.effect == pytest.approx(0.5, abs=0.02)
        assert one.repeats == 1
    assert found.suspects == {"fabric": {2, 7}}


@pytest.mark.parametrize("again", [None, [(2, 7), (2, 9)]])
def test_a_node_at_which_several_slow_links_end_is_slow_at_times(again):
    """The nodes that it met then are not."""
    found = judged(of_pairs((2, 7), (2, 9)), again)
    word = "reject" if again else "inconclusive"
    assert {(node, one.verdict) for node, one in found.evidence} == {(2, word)}
    texts = sorted(one.text for _, one in found.evidence)
    begins = "slow at times: one of several slow links of this node, node-00002 to node-0000"
    assert [one[: len(begins) + 1] for one in texts] == [f"{begins}7", f"{begins}9"]
    assert found.suspects == {"fabric": {2}}


def test_of_links_that_make_a_ring_nobody_is_the_common_end():
    found = judged(of_pairs((2, 7), (2, 9), (7, 9)))
    assert {node for node, _ in found.evidence} == {2, 7, 9}
    assert all(one.text.startswith("link between") for _, one in found.evidence)


def test_two_nodes_are_told_where_each_has_several_slow_links_and_none_of_a_chain():
    found = judged(of_pairs((2, 7), (2, 9), (4, 8), (4, 10)))
    assert {node for node, _ in found.evidence} == {2, 4}
    chain = judged(of_pairs((2, 7), (7, 9), (4, 9)))
    assert {node for node, _ in chain.evidence} == {2, 4, 7, 9}
    assert all(one.text.startswith("link between") for _, one in chain.evidence)


def test_a_slow_device_is_named_and_its_node_is_told():
    """Six nodes of two devices: pairs inside a node are another fabric."""
    found = judged(of_node(5, 0.8), devices=2)
    told = [(node, one.device, one.repeats) for node, one in found.evidence]
    assert told == [(2, "node-00002/1", COUNT - 2), (2, "", 1)]
    assert found.evidence[1][1].text.startswith("pair of node-00002/0 and node-00002/1: ")
    assert found.evidence[0][1].peers == COUNT // 2
    assert found.suspects == {"fabric": {2}}


def test_only_pairs_of_the_stages_asked_for_are_judged():
    assert judged(of_node(5, 0.8), stages=["device"]).evidence == []
    found = judged(of_node(5, 0.8), met_by(5), stages=["fabric"])
    ((_, one),) = found.evidence
    assert one.verdict == "inconclusive"  # the re-test is not asked about
