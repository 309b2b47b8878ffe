"""Uneven cooling within a node, from the conditions of its rows."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.temperatures import temperature_spread
from bench.inventory import Inventory
from bench.records import Conditions, Device, DeviceGroup, Node


def node(index, *chips):
    devices = tuple(
        Device(index=place, backend="acme", name=chip, chip=chip)
        for place, chip in enumerate(chips)
    )
    return Node(id=f"m{index}", name=f"n{index}", backend="acme", devices=devices)


TWO = [node(0, "a", "a"), node(1, "a", "a")]


def spread(rows, cases=None, nodes=TWO):
    """``rows``: (case, rank, °C at the end or None)."""
    made = header(
        *(cases or [case(0)]),
        fleet=None,
        nodes=nodes,
        conditions=[Conditions(temperature=(20.0, after)) for _, _, after in rows],
    )
    found = columns(*((number, rank, 1.0) for number, rank, _ in rows))
    found.conditions = np.arange(len(rows), dtype=np.int32)
    return temperature_spread(made, found, Inventory(nodes))


def test_the_hottest_and_the_coolest_of_each_node():
    first, second = spread([(0, 0, 60), (0, 1, 85), (0, 2, 60), (0, 3, 65)])
    assert (first.name, first.kelvin, first.hottest, first.coolest) == ("n0", 25, "n0/1", "n0/0")
    assert (second.name, second.kelvin) == ("n1", 5)
    assert first.text(case(0, title="gemm bf16")) == (
        "2 devices differ by 25 K during gemm bf16: n0/1 85 °C, n0/0 60 °C"
    )


def test_a_device_counts_by_the_median_of_its_repeats():
    rows = [(0, 0, t) for t in (50, 60, 95)] + [(0, 1, t) for t in (70, 70, 70)]
    (one,) = spread(rows)
    assert (one.low, one.high, one.devices) == (60, 70, 2)


def test_only_the_same_work_is_compared_and_the_widest_told():
    cases = [case(0), case(1, benchmark="stream"), case(2, stage="device+1")]
    rows = [(0, 0, 80), (1, 1, 40), (1, 0, 45), (2, 1, 20), (2, 0, 90)]
    (one,) = spread(rows, cases)
    assert (one.case, one.kelvin) == (1, 5)


def test_metrics_of_one_benchmark_are_one_measurement():
    cases = [case(0), case(1, metric="error")]
    (one,) = spread([(0, 0, 50), (0, 1, 55), (1, 0, 50), (1, 1, 99)], cases)
    assert (one.case, one.kelvin) == (0, 5)


def test_other_chips_get_warm_in_their_own_way():
    nodes = [node(0, "a", "b", "b"), node(1, "a", "b")]
    (one,) = spread([(0, rank, 50 + 10 * rank) for rank in range(5)], nodes=nodes)
    assert (one.kelvin, one.hottest, one.coolest) == (10, "n0/2", "n0/1")


def test_who_does_not_tell_its_temperature_has_no_spread():
    assert spread([(0, 0, 50), (0, 1, None)]) == []
    made = header(case(0), fleet=DeviceGroup(count=1, devices=2, chip="sim-a"))
    rows = columns((0, 0, 1.0), (0, 1, 1.0))
    assert temperature_spread(made, rows, Inventory(fleet=made.fleet)) == []


def test_of_an_even_number_of_repeats_the_middle_of_the_middle_two_counts():
    rows = [(0, 0, t) for t in (80, 50, 60, 40)] + [(0, 1, t) for t in (70, 65)]
    (one,) = spread(rows)
    assert (one.low, one.high, one.kelvin) == (55, 67.5, 12.5)


def test_rows_whose_conditions_nobody_knows_are_left_out():
    made = header(
        case(0),
        fleet=None,
        nodes=TWO,
        conditions=[Conditions(temperature=(None, one)) for one in (50, 60, None, 99)],
    )
    found = columns(*((0, rank, 1.0) for rank in (0, 1, 0, 1, 0, 2)))
    found.conditions = np.array([0, 1, 4, -1, 2, 3], dtype=np.int32)
    (one,) = temperature_spread(made, found, Inventory(TWO))
    assert (one.low, one.high, one.devices) == (50, 60, 2)


def test_of_two_cases_as_wide_the_first_is_told_and_of_two_kinds_the_wider():
    cases = [case(0), case(1, benchmark="stream")]
    (one,) = spread([(0, 0, 50), (0, 1, 60), (1, 0, 70), (1, 1, 80)], cases)
    assert (one.case, one.low) == (0, 50)
    nodes = [node(0, "a", "a", "b", "b"), node(1, "b", "b"), node(2, "a", "a")]
    first, second, third = spread(
        [(0, rank, 50 + t) for rank, t in enumerate((0, 30, 0, 10, 5, 8, 1, 3))], nodes=nodes
    )
    assert (first.kelvin, first.hottest) == (30, "n0/1")
    assert (second.name, second.kelvin, second.devices) == ("n1", 3, 2)
    assert (third.name, third.kelvin, third.devices) == ("n2", 2, 2)
