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


def labelled(count, devices=1, **labels):
    """Nodes of one machine each; every label by a function of the node's number, or None."""
    return shared(
        count,
        devices,
        machine="",
        labels=lambda n: {key: of(n) for key, of in labels.items() if of(n) is not None},
    )


def test_rails_hold_devices_of_equal_place():
    inventory = fleet(3, 4)
    schedule = schedule_for(spec("rails"), inventory)
    assert walk(schedule) == [[(k, (k, 4 + k, 8 + k)) for k in range(4)]]
    assert (schedule.size, schedule.width) == (4, 3)
    nodes = [
        Node(
            id=str(n),
            name=f"n{n}",
            devices=tuple(Device(index=d, backend="x", name="x") for d in range(count)),
        )
        for n, count in enumerate([2, 0, 3])
    ]
    uneven = schedule_for(spec("rails"), Inventory(nodes))
    assert [uneven.members(g) for g in range(uneven.size)] == [(0, 2), (1, 3), (4,)]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=9))
@settings(max_examples=40, deadline=None)
def test_pairs_of_nodes_as_groups_meet_once_with_all_their_devices(counts):
    nodes = [
        Node(
            id=str(n),
            name=f"n{n}",
            devices=tuple(Device(index=d, backend="x", name="x") for d in range(count)),
        )
        for n, count in enumerate(counts)
    ]
    inventory = Inventory(nodes)
    schedule = schedule_for(spec("node_pairs", schedule="full"), inventory)
    met = []
    for groups in walk(schedule):
        ranks = [rank for _, one in groups for rank in one]
        assert len(ranks) == len(set(ranks))  # disjoint
        for number, one in groups:
            assert schedule.members(number) == one
            pair = tuple(sorted(set(inventory.node_of(one).tolist())))
            assert len(one) == sum(counts[node] for node in pair) <= schedule.width
            met.append(pair)
    occupied = [n for n, count in enumerate(counts) if count]
    assert sorted(met) == list(itertools.combinations(occupied, 2))
    assert len(met) == schedule.size


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=40),
    st.integers(0, 5),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_topology_meets_every_class_of_link_in_few_rounds(places, seed, nested):
    """Racks are within sites if ``nested``; 0 is a node without the label."""

    def rack(n):
        site, number = places[n]
        name = f"{site}.{number}" if nested else str(number)
        return name if number else None

    labels = {"rack": rack, "site": lambda n: str(places[n][0]) if places[n][0] else None}
    inventory = labelled(len(places), **labels)
    codes = inventory.shared_labels()
    arguments = {"of": "node", "schedule": "topology", "seed": seed}
    if not codes:
        with pytest.raises(UsageError, match="topology needs labels"):
            schedule_for(spec("pairs", **arguments), inventory)
        return
    schedule = schedule_for(spec("pairs", **arguments), inventory)
    rounds = walk(schedule)
    assert 1 <= len(rounds) <= 2 * len(codes)
    for groups in rounds:
        ranks = [rank for _, pair in groups for rank in pair]
        assert len(ranks) == len(set(ranks))
    met = [pair for groups in rounds for _, pair in groups]
    assert len(met) == len(set(met)) == schedule.size
    assert [schedule.members(g) for g in range(schedule.size)] == met
    for key, code in codes.items():
        values = [labels[key](n) for n in range(len(places))]
        for same in (True, False):
            exists = [
                pair
                for pair in itertools.combinations(range(len(places)), 2)
                if None not in (values[pair[0]], values[pair[1]])
                and (values[pair[0]] == values[pair[1]]) == same
            ]
            assert bool(exists) == bool(set(exists) & set(met)), (key, same)
            if same:  # and in every rack that two nodes share
                found = {values[pair[0]] for pair in set(exists) & set(met)}
                assert found == {values[pair[0]] for pair in exists}
        assert code.min() >= -1


def test_across_racks_stays_within_a_site_where_it_can():
    inventory = labelled(16, rack=lambda n: f"r{n // 4}", site=lambda n: f"s{n // 8}")
    schedule = schedule_for(spec("pairs", of="node", schedule="topology"), inventory)
    kinds = [
        [(a // 4 == b // 4, a // 8 == b // 8) for _, (a, b) in groups] for groups in walk(schedule)
    ]
    assert kinds[0] == [(True, True)] * 8  # within a rack
    assert kinds[1] == [(False, True)] * 8  # across racks of a site
    assert set(kinds[-1]) == {(False, False)}  # across sites


def test_a_topology_of_devices_knows_nodes_and_rails_without_any_label():
    schedule = schedule_for(spec("pairs", of="device", schedule="topology"), fleet(4, 8))
    rounds = walk(schedule)
    assert len(rounds) == 4
    kinds = {(a // 8 == b // 8, a % 8 == b % 8) for groups in rounds for _, (a, b) in groups}
    assert {(True, False), (False, True), (False, False)} <= kinds
    large = schedule_for(spec("pairs", of="device", schedule="topology"), fleet(10_240, 8))
    assert sum(1 for _ in large.rounds()) == 4


def test_names_that_no_two_nodes_share_divide_nothing():
    inventory = labelled(6, host=lambda n: f"h{n}", rack=lambda n: f"r{n % 2}")
    assert list(inventory.shared_labels()) == ["rack"]


@pytest.mark.parametrize("kind", ["nodes", "rails", "pairs"])
def test_groups_alone_are_the_same_groups_one_a_round(kind):
    beside = schedule_for(spec(kind), fleet(4, 2))
    alone = schedule_for(spec(kind, together=False), fleet(4, 2))
    rounds = walk(alone)
    assert all(len(groups) == 1 for groups in rounds)
    assert [g for groups in rounds for g in groups] == [g for one in walk(beside) for g in one]
    assert walk(schedule_for(spec(kind, together=True), fleet(4, 2))) == walk(beside)


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
