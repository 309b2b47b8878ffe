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
@settings(max_examples=20)
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
@settings(max_examples=20)
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
@settings(max_examples=40)
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
@settings(max_examples=150)
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


def sized(*counts):
    """Nodes with so many devices each, every second in rack b."""
    return Inventory(
        [
            Node(
                id=str(n),
                name=f"n{n}",
                labels={"rack": "ab"[n % 2]},
                devices=tuple(Device(index=d, backend="x", name="x") for d in range(count)),
            )
            for n, count in enumerate(counts)
        ]
    )


def test_nodes_of_different_sizes_and_empty_nodes():
    inventory = sized(2, 0, 3)
    schedule = schedule_for(spec("nodes"), inventory)
    assert sorted(r for groups in walk(schedule) for _, r in groups) == [(0, 1), (2, 3, 4)]
    assert inventory.node_of([0, 1, 2, 4]).tolist() == [0, 0, 2, 2]
    assert inventory.rank_name(3) == "n2/1"


KINDS_OF_GROUPS = [
    ("devices", {}),
    ("nodes", {}),
    ("all", {}),
    ("rails", {}),
    ("growing", {}),
    ("label", {"key": "rack"}),
    ("pairs", {"of": "node", "schedule": "full"}),
    ("node_pairs", {"schedule": "full"}),
    ("pairs", {"of": "device", "schedule": "topology"}),
]


@pytest.mark.parametrize(("kind", "arguments"), KINDS_OF_GROUPS)
@pytest.mark.parametrize("counts", [(0, 4, 4), (4, 0, 4), (4, 4, 0), (0, 0, 1)])
def test_a_node_without_devices_is_no_group_and_none_of_the_first(kind, arguments, counts):
    """Those that are away, lend theirs to others or whose driver is broken stay in the list."""
    schedule = schedule_for(spec(kind, **arguments), sized(*counts))
    groups = [
        (group, tuple(ranks))
        for whole in schedule.rounds()
        for batch in whole
        for group, ranks in zip(batch.ids.tolist(), batch.ranks.tolist(), strict=True)
    ]
    assert schedule.count == len(groups)
    assert all(ranks == schedule.members(group) for group, ranks in groups)
    assert all(group < schedule.size for group, _ in groups)
    if groups:
        assert schedule.first() in {ranks for _, ranks in groups}
        assert schedule.first()
    chosen = schedule_for(spec(kind, nodes=[0, 1, 2], **arguments), sized(*counts))
    assert (chosen.count, schedule.count and chosen.first()) == (
        schedule.count, schedule.count and schedule.first()
    )  # fmt: skip


SITES = "aaabbc-a"
"""The site of each of eight nodes; one has none."""


def sited(letters=SITES, devices=1):
    return labelled(len(letters), devices, site=lambda n: None if letters[n] == "-" else letters[n])


def classes(letters, same):
    return sorted(
        pair
        for pair in itertools.combinations(range(len(letters)), 2)
        if "-" not in (letters[pair[0]], letters[pair[1]])
        and (letters[pair[0]] == letters[pair[1]]) == same
    )


@given(st.text("abcd-", min_size=1, max_size=14), st.integers(0, 3), st.integers(1, 9))
@settings(max_examples=150)
def test_one_class_of_link_is_met_whole_or_in_distinct_rounds(letters, seed, matchings):
    if not letters.strip("-"):
        return
    inventory = sited(letters)
    for way, same in (("within", True), ("across", False)):
        given = {"of": "node", way: "site", "seed": seed}
        full = schedule_for(spec("pairs", schedule="full", **given), inventory)
        rounds = walk(full)
        for groups in rounds:
            ranks = [rank for _, pair in groups for rank in pair]
            assert len(ranks) == len(set(ranks))
        met = [pair for groups in rounds for _, pair in groups]
        assert sorted(met) == classes(letters, same)
        assert [full.members(group) for group in range(full.size)] == met
        some = {**given, "schedule": "sample", "matchings": matchings}
        sampled = schedule_for(spec("pairs", **some), inventory)
        drawn = [pair for groups in walk(sampled) for _, pair in groups]
        assert len(drawn) == len(set(drawn)) == sampled.size
        assert set(drawn) <= set(met)
        assert len(walk(sampled)) == min(matchings, len(rounds))
        one = schedule_for(spec("pairs", schedule="topology", **given), inventory)
        assert {pair for groups in walk(one) for _, pair in groups} <= set(met)
        assert bool(one.size) == bool(met)


def test_every_two_values_meet_before_any_two_meet_again():
    inventory = sited("aaabbbcccddd")
    arguments = {"of": "node", "across": "site", "schedule": "sample", "matchings": 3}
    rounds = walk(schedule_for(spec("pairs", **arguments), inventory))
    met = {tuple(sorted({a // 3, b // 3})) for groups in rounds for _, (a, b) in groups}
    assert met == set(itertools.combinations(range(4), 2))
    # Items of equal place meet: devices of one rail.
    assert all(a % 3 == b % 3 for groups in rounds for _, (a, b) in groups)


def test_values_meet_once_each_by_its_first_item():
    arguments = {"of": "device", "across": "site", "schedule": "values"}
    schedule = schedule_for(spec("pairs", **arguments), sited(devices=2))
    assert sorted(pair for groups in walk(schedule) for _, pair in groups) == [
        (0, 6),
        (0, 10),
        (6, 10),
    ]


def test_pairs_of_whole_nodes_have_classes_too():
    schedule = schedule_for(spec("node_pairs", across="site", schedule="values"), sited("ab", 2))
    assert walk(schedule) == [[(0, (0, 1, 2, 3))]]


def test_a_class_of_a_label_that_no_node_has_is_refused():
    for inventory in (sited(), fleet(4, 2)):
        with pytest.raises(UsageError, match="no node carries the label 'rack'"):
            schedule_for(spec("pairs", across="rack"), inventory)
    # Devices have classes without any label.
    inside = schedule_for(spec("pairs", within="node"), fleet(2, 2))
    assert walk(inside) == [[(0, (0, 1)), (1, (2, 3))]]


def test_a_topologys_classes_are_its_rounds():
    whole = schedule_for(spec("pairs", schedule="topology", seed=4), sited(devices=2))
    assert whole.classes == (
        ("within", "site"),
        ("across", "site"),
        ("within", "node"),
        ("across", "node"),
        ("within", "rail"),
        ("across", "rail"),
    )
    for (way, key), (groups,) in zip(whole.classes, whole.rounds(), strict=True):
        arguments = {"schedule": "topology", "seed": 4, way: key}
        ((own,),) = schedule_for(spec("pairs", **arguments), sited(devices=2)).rounds()
        assert set(map(tuple, groups.ranks.tolist())) <= set(map(tuple, own.ranks.tolist()))


KINDS = ["x", "x", "y", "z", "y", "-"]
"""The backend of each of six nodes, of one to three devices; the last has none."""


def mixed(kinds=KINDS, chips=None):
    """Nodes of several backends; ``chips(node)`` is the chip of its devices."""
    return Inventory(
        [
            Node(
                id=str(n),
                name=f"n{n}",
                backend="" if kind == "-" else kind,
                collectives=f"{kind}ccl",
                labels={"site": f"s{n % 2}"},
                devices=tuple(
                    Device(index=d, backend=kind, name=kind, chip=chips(n) if chips else None)
                    for d in range(0 if kind == "-" else 1 + n % 3)
                ),
            )
            for n, kind in enumerate(kinds)
        ]
    )


def parties(inventory, on):
    """[kind of every rank] of every group of a schedule, as sets."""
    codes, names = inventory.kinds()
    return lambda ranks: {names[codes[rank]] for rank in ranks}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("nodes", {}),
        ("all", {}),
        ("rails", {}),
        ("label", {"key": "site"}),
        ("pairs", {"of": "device", "schedule": "full"}),
        ("pairs", {"of": "node", "schedule": "full"}),
        ("pairs", {"of": "device", "schedule": "topology"}),
        ("pairs", {"of": "device", "schedule": "sample", "across": "site"}),
        ("node_pairs", {"schedule": "full"}),
    ],
)
@pytest.mark.parametrize("on", ["x", "y", "z", "x+y+z"])
def test_parts_of_a_mixed_fleet_hold_one_kind_or_mix_several(kind, arguments, on):
    inventory = mixed()
    kinds = parties(inventory, on)
    schedule = schedule_for(spec(kind, on=on, **arguments), inventory)
    seen = [item for groups in walk(schedule) for item in groups]
    assert len(seen) == schedule.size == len({ranks for _, ranks in seen})
    for group, ranks in seen:
        assert schedule.members(group) == ranks
        assert len(ranks) <= schedule.width
        assert kinds(ranks) == {on} if len(on) == 1 else len(kinds(ranks)) > 1
    if (kind, arguments.get("schedule")) == ("pairs", "full") and "+" not in on:
        own = [rank for rank in range(inventory.size) if kinds([rank]) == {on}]
        if arguments["of"] == "node":
            own = [int(first) for first in inventory.starts[:-1] if first in own]
        assert len(seen) == len(own) * (len(own) - 1) // 2


def test_devices_of_a_kind_keep_their_rank_as_group():
    schedule = schedule_for(spec("devices", on="y"), mixed(["x", "y", "x", "y"]))
    assert walk(schedule) == [[(1, (1,)), (2, (2,)), (6, (6,))]]
    assert (schedule.size, schedule.width, schedule.members(6)) == (3, 1, (6,))


def test_pairs_across_kinds_all_meet():
    inventory = mixed(["x", "y", "y", "z"])
    kinds = parties(inventory, "")
    schedule = schedule_for(spec("pairs", on="x+y+z", of="device"), inventory)
    met = [pair for groups in walk(schedule) for _, pair in groups]
    every = itertools.combinations(range(inventory.size), 2)
    assert sorted(met) == [pair for pair in every if len(kinds(pair)) == 2]


def test_kinds_are_chips_and_backends_and_mixes_do_not_cross_needlessly():
    inventory = mixed(["x", "x", "y", "z"], lambda n: ["a", "b", None, "a"][n])
    codes, names = inventory.kinds()
    assert names == ["x/a", "b", "y", "z/a"]  # one chip under two backends is two kinds
    assert codes.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert inventory.mixes() == ["x/a+b", "x+y+z"]
    # Chips of one backend meet in its library, backends in what every torch has.
    assert inventory.library([0, 1]) == "xccl"
    assert inventory.library([0, 3]) == "gloo"
    two = schedule_for(spec("all", on="x/a+b"), inventory)
    assert walk(two) == [[(0, (0, 1, 2))]]
    assert schedule_for(spec("all", on="x+y+z"), inventory).members(0) == tuple(range(7))
    with pytest.raises(UsageError, match="unknown kind of chip 'w'"):
        schedule_for(spec("all", on="w"), inventory)
    assert fleet(2, 2).mixes() == []
