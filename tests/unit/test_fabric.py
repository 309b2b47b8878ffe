"""The fabric model: who is named, how often that is wrong, and what it says that it cannot tell."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from fleets import Fleet, fleet, full

from bench.analysis.fabric import FAMILY, fit
from bench.analysis.graph import Graph
from bench.matchings import Circle


def of(made: Fleet, **options):
    return fit(made.first, made.second, made.value, **options)


def named(found, *kinds):
    return {
        one.items if kinds != ("item",) else one.items[0]
        for one in found.culprits
        if one.kind in kinds
    }


@pytest.mark.parametrize("spread", [0.0, 0.005, 0.01])
@pytest.mark.parametrize("matchings", [3, 4])
def test_a_big_fleet_names_its_slow_nodes_and_links_and_nobody_else(spread, matchings):
    made = fleet(1, matchings=matchings, spread=spread, items=20, links=20)
    found = of(made)
    assert named(found, "item") == made.items
    assert named(found, "link") <= made.links
    # A link rests on one value, of which items that differ leave less.
    assert len(named(found, "link")) >= (16 if spread < 0.01 else 8)
    assert not named(found, "pair")
    assert found.noise == pytest.approx(0.01, rel=0.15)
    assert found.usual == [pytest.approx(5e10, rel=0.001)]


@pytest.mark.parametrize("count", [99, 100, 101])
def test_one_slow_link_among_all_of_a_hundred_nodes_is_named_and_nothing_else(count):
    """They meet as the schedule ``full`` has them, of odd and prime counts as well."""
    rounds = Circle(count)
    pairs = np.concatenate([rounds.pairs(number) for number in range(rounds.rounds)]).T
    for seed in range(5):
        made = fleet(seed, count, pairs=pairs, spread=0.005, links=1)
        found = of(made)
        assert named(found, "link") == made.links
        assert len(found.culprits) == 1


def test_two_matchings_name_nodes_and_say_what_they_assume():
    found = of(made := fleet(2, 1000, matchings=2, noise=0.005, items=5))
    assert named(found, "item") == made.items
    assert any("two sides" in one for one in found.limits)
    assert not any("two sides" in one for one in of(fleet(2, 1000)).limits)


def test_one_matching_names_pairs_since_nobody_can_say_more():
    made = fleet(3, 2000, matchings=1, items=3, links=3)
    found = of(made)
    pairs = set(zip(made.first.tolist(), made.second.tolist(), strict=True))
    guilty = {tuple(sorted(pair)) for pair in pairs if set(pair) & made.items} | made.links
    assert named(found, "pair") == guilty
    assert not named(found, "item", "link")
    assert np.isnan(found.effect).all()
    assert any("met one other only" in one for one in found.limits)


def test_an_item_met_once_is_not_told_from_its_link():
    first, second = full(12)
    first, second = np.append(first, 0), np.append(second, 12)
    value = np.exp(np.random.default_rng(0).normal(0, 0.003, first.size))
    value[-1] *= 0.7
    (one,) = fit(first, second, value).culprits
    assert (one.kind, one.items) == ("pair", (0, 12))


@pytest.mark.parametrize("tails", [None, 5])
@pytest.mark.parametrize(
    ("count", "matchings", "fleets"), [(5, None, 150), (8, None, 150), (64, 3, 150), (10_240, 3, 8)]
)
def test_healthy_fleets_are_left_alone(count, matchings, fleets, tails):
    wrong = 0
    for seed in range(fleets):
        made = fleet(seed, count, matchings=matchings, tails=tails, spread=0.003)
        wrong += bool(of(made).culprits)
    # Twice what is promised for noise with heavy tails, of which small fleets show too little.
    promised = FAMILY * (1 if tails is None else 2)
    assert wrong <= fleets * promised + 3 * (fleets * promised) ** 0.5


@pytest.mark.parametrize("tails", [None, 5])
@pytest.mark.parametrize("count", [5, 8])
def test_small_fleets_whose_items_differ_by_themselves_are_left_alone(count, tails):
    fleets, promised = 300, 2 * FAMILY
    healthy = (
        fleet(seed, count, matchings=None, spread=0.03, tails=tails) for seed in range(fleets)
    )
    wrong = sum(bool(of(made).culprits) for made in healthy)
    assert wrong <= fleets * promised + 3 * (fleets * promised) ** 0.5


def test_a_promise_can_be_broken():
    """The same count on a fleet with something to find is not 0."""
    assert of(fleet(0, 64, noise=0.002, links=1)).culprits


@pytest.mark.parametrize("tails", [None, 5])
@pytest.mark.parametrize(
    ("count", "matchings", "spread"),
    [(8, None, 0.0), (8, None, 0.01), (32, None, 0.01), (500, 3, 0.0), (500, 3, 0.01)],
)
def test_intervals_hold_the_truth(count, matchings, spread, tails):
    held = []
    for seed in range(120 if count < 100 else 8):
        made = fleet(seed, count, matchings=matchings, spread=spread, tails=tails)
        found = of(made)
        truth = np.expm1(made.effect - np.median(made.effect))
        held.append(np.mean((found.low <= truth) & (truth <= found.high)))
    assert 0.93 <= np.mean(held) <= 0.998


@pytest.mark.parametrize("tails", [None, 5])
def test_intervals_of_those_that_are_named_hold_the_truth(tails):
    held = []
    for seed in range(8):
        made = fleet(seed, 2000, matchings=4, items=20, tails=tails, noise=0.007)
        held += [
            one.low <= -0.1 <= one.high
            for one in of(made).culprits
            if one.kind == "item" and one.items[0] in made.items
        ]
    assert len(held) > 100
    assert 0.90 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("count", [6, 7, 8])
def test_small_clusters_that_meet_in_full_name_one_slow_node(count):
    right = [
        named(of(made), "item") == made.items
        for made in (fleet(seed, count, matchings=None, noise=0.005, items=1) for seed in range(40))
    ]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_pairs_name_nobody_and_say_so(count):
    first, second = full(count)
    value = np.ones(first.size)
    value[0] = 0.5
    found = fit(first, second, value)
    assert found.culprits == []
    assert any("judge noise" in one for one in found.limits)


def test_repeats_of_a_pair_count_by_their_median_whichever_way_round():
    made = fleet(5, 300, items=3)
    g = np.random.default_rng(0)
    first, second = np.tile(made.first, 5), np.tile(made.second, 5)
    value = np.tile(made.value, 5)
    value[g.choice(made.value.size, 60, replace=False)] *= 0.1  # one repeat of five went wrong
    turned = g.random(first.size) < 0.5
    first, second = np.where(turned, second, first), np.where(turned, first, second)
    once, several = of(made), fit(first, second, value)
    assert several.pairs == once.pairs
    assert named(several, "item") == made.items
    assert several.effect == pytest.approx(once.effect, abs=0.02, nan_ok=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_values_that_are_none_are_left_out_and_counted(bad):
    made = fleet(6, 300, matchings=6, items=3)
    made.value[::10] = bad
    found = of(made)
    assert found.missing == len(made.value[::10])
    assert named(found, "item") == made.items
    assert any(
        one.startswith(f"{found.missing} pair(s) have no good value") for one in found.limits
    )


def test_latency_is_worse_where_it_is_more():
    made = fleet(7, 500, items=4, links=0)
    slow = of(made._replace(value=1e5 / made.value), better="lower")
    assert named(slow, "item") == made.items
    for one in slow.culprits:
        assert 0 < one.low < one.effect < one.high
        assert one.effect == pytest.approx(1 / 0.9 - 1, abs=0.04)
    assert slow.usual == [pytest.approx(1e5 / 5e10, rel=0.01)]
    assert of(made, better="lower").culprits == []  # the fast are not named


def test_a_whole_part_that_met_nobody_else_is_said():
    first, second = full(10)
    first, second = np.append(first, first + 10), np.append(second, second + 10)
    value = np.exp(np.random.default_rng(0).normal(0, 0.01, first.size))
    found = fit(first, second, value)
    assert found.culprits == []
    assert any("2 parts never met" in one for one in found.limits)


def test_classes_of_pairs_have_usual_values_of_their_own():
    made = fleet(8, 400, matchings=6, items=4)
    across = (made.first // 200 != made.second // 200).astype(int)
    value = made.value * np.where(across, 0.2, 1.0)
    found = fit(made.first, made.second, value, classes=across)
    assert found.usual == [pytest.approx(5e10, rel=0.01), pytest.approx(1e10, rel=0.01)]
    assert named(found, "item") == made.items


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_slowest_comes_first_in_whichever_direction(better):
    first, second = full(20)
    factor = np.ones(20)
    factor[[3, 11, 7]] = 0.9, 0.7, 0.8
    noise = np.random.default_rng(0).normal(0, 0.003, first.size)
    value = 100 * factor[first] * factor[second] * np.exp(noise)
    found = fit(first, second, value if better == "higher" else 1e4 / value, better=better)
    assert [one.items for one in found.culprits] == [(11,), (7,), (3,)]
    for one, share in zip(found.culprits, (0.7, 0.8, 0.9), strict=True):
        wanted = share - 1 if better == "higher" else 1 / share - 1
        assert one.effect == pytest.approx(wanted, abs=0.01)
        assert one.low <= one.effect <= one.high
        assert (one.kind, one.pairs) == ("item", 19)


def test_what_these_pairs_cannot_tell_is_counted():
    found = fit([0, 2, 0, 4], [1, 3, 2, 0], [1.0, 1.0, np.nan, 0.0], items=7)
    assert (found.pairs, found.missing) == (2, 2)
    assert found.limits == [
        "2 pair(s) have no good value and do not count",
        "3 of 7 were in no pair that has a value",
        "2 pair(s) of 4 leave next to nothing to judge noise by; measure more pairs, of more nodes",
        "4 met one other only: whether it or its link is slow cannot be told; measure at least two "
        "matchings",
    ]
    first, second = full(8)
    kind = np.zeros(first.size, dtype=int)
    kind[[3, 9]] = 3, 4
    found = fit(first, second, np.exp(0.01 * np.arange(first.size) % 0.07), classes=kind)
    assert found.limits == ["2 pair(s) are the only one of their kind: nothing to compare with"]
    assert np.isnan(found.usual).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_of_four_repeats_the_middle_two_count_in_whichever_direction(better):
    """ln 2 and ln 3: their mean is that of √6."""
    found = fit([0, 1, 0, 1], [1, 0, 1, 0], [1.0, 100.0, 3.0, 2.0], better=better)
    assert found.usual == [pytest.approx(6**0.5)]
    assert (found.pairs, found.missing) == (1, 0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="paired with itself"):
        fit([0, 1], [1, 1], [1.0, 1.0])
    with pytest.raises(ValueError, match="no positive number"):
        fit([0], [1], [np.nan])


@given(st.integers(2, 30), st.integers(0, 5), st.integers(0, 10**6), st.booleans())
@settings(max_examples=60)
def test_any_pairs_give_an_answer(count, repeats, seed, alike):
    g = np.random.default_rng(seed)
    size = 1 + repeats * count
    first = g.integers(0, count - 1, size)
    second = g.integers(first + 1, count)
    value = np.ones(size) if alike else g.lognormal(0, 3, size)
    found = fit(first, second, value, items=count)
    assert found.effect.shape == (count,)
    assert all(0 <= one.chance < FAMILY and one.effect < 0 for one in found.culprits)
    assert not (alike and found.culprits)


@given(st.integers(2, 25), st.integers(1, 60), st.integers(0, 10**6))
@settings(max_examples=60)
def test_parts_and_sides_are_those_of_a_search(count, size, seed):
    g = np.random.default_rng(seed)
    first = g.integers(0, count - 1, size)
    second = g.integers(first + 1, count)
    graph = Graph(first, second, count)
    near = {item: set() for item in range(count)}
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        near[one].add(other)
        near[other].add(one)
    parts, sided, colour = 0, np.zeros(count, dtype=bool), {}
    for start in range(count):
        if start in colour or not near[start]:
            continue
        parts += 1
        colour[start], part, clash = 0, [start], False
        for item in part:
            for other in near[item]:
                if other not in colour:
                    colour[other] = 1 - colour[item]
                    part.append(other)
                clash |= colour[other] == colour[item]
        sided[part] = not clash
    assert graph.parts() == parts
    assert np.array_equal(graph.two_sided(), sided)
