"""Schedules meet every pair once, never share a rank or lane in a round, and know their ids."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.inventory import Inventory
from bench.records import Device, DeviceGroup, Node, ScheduleSpec
from bench.rounds import schedule_for


def fleet(nodes, devices=1):
    return Inventory(fleet=DeviceGroup(count=nodes, devices=devices, chip="x"))


def shared(nodes, devices, machine="m", labels=lambda index: {}):
    """Nodes on one machine whose devices all live on one lane."""
    return Inventory(
        [
            Node(
                id=str(n),
                name=f"n{n}",
                machine=machine if machine else f"m{n}",
                labels=labels(n),
                devices=tuple(
                    Device(index=d, backend="cpu", name="c", lane="numa0") for d in range(devices)
                ),
            )
            for n in range(nodes)
        ]
    )


def spec(kind, **arguments):
    return ScheduleSpec(kind=kind, scope="pair", arguments=arguments)


def walk(schedule):
    """[[(id, ranks)]] by round."""
    return [
        [
            (int(i), tuple(map(int, ranks)))
            for batch in groups
            for i, ranks in zip(batch.ids, batch.ranks, strict=True)
        ]
        for groups in schedule.walk()
    ]


@given(st.integers(2, 33))
@settings(max_examples=20, deadline=None)
def test_full_pairs_meet_every_pair_once_in_disjoint_rounds(count):
    schedule = schedule_for(spec("pairs", of="device", schedule="full"), fleet(count))
    rounds = walk(schedule)
    met = [ranks for groups in rounds for _, ranks in groups]
    assert sorted(met) == list(itertools.combinations(range(count), 2))
    assert len(rounds) == count - 1 + count % 2
    for groups in rounds:
        ranks = [rank for _, pair in groups for rank in pair]
        assert len(ranks) == len(set(ranks))


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_sampled_pairs_are_distinct_matchings(count, matchings, seed):
    arguments = {"of": "device", "schedule": "sample", "matchings": matchings, "seed": seed}
    schedule = schedule_for(spec("pairs", **arguments), fleet(count))
    rounds = walk(schedule)
    assert len(rounds) == min(matchings, count - 1 + count % 2)
    met = [ranks for groups in rounds for _, ranks in groups]
    assert len(met) == len(set(met)) == schedule.size
    assert all(len(groups) == count // 2 for groups in rounds)


def test_sampled_pairs_depend_on_the_seed_alone():
    def draw(seed):
        arguments = {"of": "device", "schedule": "sample", "matchings": 2, "seed": seed}
        return walk(schedule_for(spec("pairs", **arguments), fleet(30)))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize(
    ("kind", "arguments", "size"),
    [
        ("devices", {}, 24),
        ("nodes", {}, 6),
        ("all", {}, 1),
        ("pairs", {"of": "node", "schedule": "full"}, 15),
        ("pairs", {"of": "device", "schedule": "sample", "matchings": 2}, 24),
    ],
)
def test_ids_lead_back_to_members(kind, arguments, size):
    schedule = schedule_for(spec(kind, **arguments), fleet(6, 4))
    seen = [item for groups in walk(schedule) for item in groups]
    assert len(seen) == schedule.size == size
    assert sorted(i for i, _ in seen) == list(range(size))
    for group, ranks in seen:
        assert schedule.members(group) == ranks


def test_node_pairs_use_the_first_device_of_each_node():
    schedule = schedule_for(spec("pairs", of="node", schedule="full"), fleet(3, 4))
    assert sorted(r for groups in walk(schedule) for _, r in groups) == [(0, 4), (0, 8), (4, 8)]


def test_devices_of_one_lane_are_measured_one_after_the_other():
    schedule = schedule_for(spec("devices"), shared(2, 2))
    assert [[r for _, r in groups] for groups in walk(schedule)] == [[(0,)], [(1,)], [(2,)], [(3,)]]
    apart = schedule_for(spec("devices"), shared(2, 2, machine=""))
    assert [[r for _, r in groups] for groups in walk(apart)] == [[(0,), (2,)], [(1,), (3,)]]


def test_groups_of_one_machine_take_turns():
    schedule = schedule_for(spec("nodes"), shared(3, 2))
    assert [[i for i, _ in groups] for groups in walk(schedule)] == [[0], [1], [2]]


def test_one_node_has_no_pair_of_nodes():
    schedule = schedule_for(spec("pairs", of="node"), fleet(1, 4))
    assert schedule.size == 0
    assert walk(schedule) == []


def test_labels_group_nodes_and_unknown_labels_are_refused():
    inventory = shared(4, 1, machine="", labels=lambda n: {"rack": f"r{n % 2}"})
    schedule = schedule_for(spec("label", key="rack"), inventory)
    assert [schedule.members(g) for g in range(schedule.size)] == [(0, 2), (1, 3)]
    with pytest.raises(UsageError, match="no node carries the label 'site'"):
        schedule_for(spec("label", key="site"), inventory)


def test_nodes_of_different_sizes_and_empty_nodes():
    nodes = [
        Node(
            id=str(n),
            name=f"n{n}",
            devices=tuple(Device(index=d, backend="x", name="x") for d in range(count)),
        )
        for n, count in enumerate([2, 0, 3])
    ]
    inventory = Inventory(nodes)
    schedule = schedule_for(spec("nodes"), inventory)
    assert sorted(r for groups in walk(schedule) for _, r in groups) == [(0, 1), (2, 3, 4)]
    assert inventory.node_of([0, 1, 2, 4]).tolist() == [0, 0, 2, 2]
    assert inventory.rank_name(3) == "n2/1"
