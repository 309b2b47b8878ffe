"""Who computes other bits than its equals, and when nobody can say so."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.corruption import corruption
from bench.inventory import Inventory
from bench.records import Conditions, Device, DeviceGroup, Node, ScheduleSpec

AXES = {"op": "gemm", "shape": "small", "dtype": "fp32", "impl": "torch"}
GOOD, BAD, OTHER = 0x123456789ABC, 0x123456789ABD, 0xFFFFFFFFFFFF


def digest(number=0, stage="device", schedule=0, **axes):
    return case(
        number,
        "corruption",
        {**AXES, **axes},
        "digest",
        "digest",
        stage=stage,
        schedule=schedule,
        title=" ".join(["corruption", *{**AXES, **axes}.values()]),
    )


def node(index, devices=2, chip="chip-a", torch="2.13.0", driver="1"):
    return Node(
        id=f"m{index}",
        name=f"n{index}",
        backend="acme",
        devices=tuple(
            Device(index=place, backend="acme", name=chip, memory=index) for place in range(devices)
        ),
        facts={"packages": {"torch": torch}, "versions": {"driver": driver}},
    )


def judged(nodes, rows, cases=None, baseline=None, **changes):
    made = header(*(cases or [digest()]), fleet=None, nodes=nodes, **changes)
    return corruption(made, columns(*rows), Inventory(nodes), baseline)


def said(found):
    return {one.device: (node, one.verdict, one.text) for node, one in found.evidence}


def all_but(values, count=6):
    """Rows of one case in which every device has `GOOD`, but for these ranks."""
    return [(0, rank, values.get(rank, GOOD)) for rank in range(count)]


def test_equal_devices_with_equal_digests_are_no_finding():
    found = judged([node(i) for i in range(3)], all_but({}))
    assert (found.evidence, found.notes) == ([], [])


def test_one_device_against_a_majority_is_wrong():
    found = judged([node(i) for i in range(3)], all_but({3: BAD}))
    ((where, one),) = found.evidence
    assert (where, one.device, one.verdict, one.against) == (1, "n1/1", "reject", "corruption")
    assert (one.value, one.expected, one.peers) == (BAD, GOOD, 5)
    assert one.text == (
        "its result has digest 123456789abd; 5 of 6 equal devices have 123456789abc"
    )
    assert one.metric == "corruption gemm small fp32 torch digest"


def test_two_that_are_wrong_in_different_ways_are_both_wrong():
    found = said(judged([node(i) for i in range(3)], all_but({0: OTHER, 3: BAD})))
    assert {device: word for device, (_, word, _) in found.items()} == {
        "n0/0": "reject",
        "n1/1": "reject",
    }


def test_a_digest_that_several_share_is_more_likely_other_software():
    found = said(judged([node(i) for i in range(4)], all_but({0: BAD, 1: BAD}, 8)))
    assert set(found) == {"n0/0", "n0/1"}
    for _, word, text in found.values():
        assert word == "inconclusive"
        assert "as 2 devices have; 6 of 8 equal devices" in text
        assert "do they run other software?" in text


@pytest.mark.parametrize("count", [2, 4])
def test_without_a_majority_nobody_is_blamed_and_nobody_is_good(count):
    rows = [(0, rank, GOOD if rank < count // 2 else BAD) for rank in range(count)]
    found = said(judged([node(i) for i in range(count // 2)], rows))
    assert len(found) == count
    for _, word, text in found.values():
        assert word == "inconclusive"
        assert f"2 different ones on {count} equal devices and no majority" in text


def test_two_of_three_are_a_majority_and_two_of_four_expect_nothing():
    ((_, one),) = judged([node(0), node(1, devices=1)], all_but({2: BAD}, 3)).evidence
    assert (one.verdict, one.device, one.expected) == ("reject", "n1/0", GOOD)
    none = judged([node(0), node(1)], all_but({2: BAD, 3: BAD}, 4)).evidence
    assert [one.expected for _, one in none] == [None] * 4


@pytest.mark.parametrize(
    "other",
    [{"chip": "chip-b"}, {"torch": "2.12.0"}, {"driver": "2"}],
    ids=lambda one: next(iter(one)),
)
def test_only_equal_devices_are_compared(other):
    nodes = [node(0), node(1), node(2, devices=1, **other)]
    found = judged(nodes, all_but({4: BAD}, 5))
    assert found.evidence == []
    (note,) = found.notes
    assert note.startswith("corruption gemm small fp32 torch: 1 device(s) have no equal here")


def test_stand_ins_with_another_number_of_cores_are_no_equals():
    def cores(count):
        device = Device(
            index=0, backend="cpu", name="core", stand_in=True, facts={"cpus": list(range(count))}
        )
        return Node(id=f"c{count}", name=f"c{count}", backend="cpu", devices=(device,))

    nodes = [cores(1), cores(1), cores(1), cores(2)]
    assert judged(nodes, all_but({3: BAD}, 4)).evidence == []
    nodes[3] = cores(1)
    assert set(said(judged(nodes, all_but({3: BAD}, 4)))) == {"c1/0"}


def test_an_accelerator_computes_alike_beside_any_number_of_cores():
    nodes = [node(0), node(1)]
    for rank, count in enumerate((4, 4, 4, 8)):
        nodes[rank // 2].devices[rank % 2].facts["cpus"] = list(range(count))
    assert set(said(judged(nodes, all_but({3: BAD}, 4)))) == {"n1/1"}


def test_kernels_that_took_other_tables_are_no_equals():
    nodes = [node(0), node(1)]
    made = header(
        digest(impl="triton"),
        fleet=None,
        nodes=nodes,
        conditions=[Conditions(tables="acme.yaml 1"), Conditions(tables="acme.yaml 2")],
    )
    rows = columns(*all_but({3: BAD}, 4))
    assert len(corruption(made, rows, Inventory(nodes)).evidence) == 1
    rows.conditions[3] = 1
    assert corruption(made, rows, Inventory(nodes)).evidence == []


def test_other_work_by_other_tables_is_apart_from_both():
    """Each device did both works: the one by the one table, the other by the other."""
    nodes = [node(0), node(1)]
    tables = [Conditions(tables="acme.yaml 1"), Conditions(tables="acme.yaml 2")]
    made = header(digest(0), digest(1, op="softmax"), fleet=None, nodes=nodes, conditions=tables)
    rows = columns(*((number, rank, GOOD + number) for number in (0, 1) for rank in range(4)))
    for first in (0, 1):
        rows.conditions[:] = np.where(rows.case == 0, first, 1 - first)
        assert corruption(made, rows, Inventory(nodes)).evidence == []


def test_other_work_has_another_digest():
    cases = [digest(0), digest(1, op="softmax"), digest(2, dtype="bf16")]
    rows = [(number, rank, GOOD + number) for number in range(3) for rank in range(4)]
    assert judged([node(0), node(1)], rows, cases).evidence == []


def test_a_device_that_differs_from_itself_between_stages_is_wrong():
    cases = [digest(0), digest(1, stage="device+1", schedule=1)]
    schedules = [
        ScheduleSpec(kind="devices", scope="device"),
        ScheduleSpec(kind="devices", scope="device", arguments={"ranks": [1, 2]}),
    ]
    nodes = [node(0), node(1)]
    rows = [*all_but({}, 4), (1, 1, GOOD), (1, 2, BAD)]
    found = said(judged(nodes, rows, cases, schedules=schedules))
    assert set(found) == {"n1/0"}
    assert found["n1/0"][1:] == (
        "reject",
        "it differs from itself: 2 different digests in 2 measurements",
    )


def test_what_most_devices_cannot_repeat_is_not_deterministic():
    rows = [(0, rank, GOOD + again) for rank in range(3) for again in (0, rank + 1)]
    found = said(judged([node(0), node(1, devices=1)], [*rows], None))
    assert {word for _, word, _ in found.values()} == {"inconclusive"}
    assert "as 3 of 3 equal devices: it is not deterministic here" in found["n0/0"][2]


def test_where_half_of_the_devices_repeat_themselves_the_others_should():
    rows = [*all_but({}, 4), *all_but({2: BAD, 3: OTHER}, 4)]
    found = said(judged([node(0), node(1)], rows))
    assert {device: word for device, (_, word, _) in found.items()} == {
        "n1/0": "reject",
        "n1/1": "reject",
    }


def test_an_invalid_row_keeps_its_vote_and_a_failed_one_has_none():
    rows = all_but({3: BAD}, 4)
    rows[0] = (0, 0, GOOD, "invalid", "a bit was flipped")
    assert set(said(judged([node(0), node(1)], rows))) == {"n1/1"}
    for lost in (
        (0, 3, float("nan"), "failed", "lost"),
        (0, 3, BAD, "failed", "lost"),
        (0, 3, float("nan")),
    ):
        rows[3] = lost
        assert judged([node(0), node(1)], rows).evidence == []


def test_what_is_no_digest_may_differ():
    cases = [digest(0), case(1, "corruption", AXES, "repetitions", "1")]
    rows = [(number, rank, GOOD + number * rank) for number in (0, 1) for rank in range(4)]
    assert judged([node(0), node(1)], rows, cases).evidence == []


def test_a_proven_run_tells_what_a_new_node_should_compute():
    proven = [node(i) for i in range(8, 10)]
    before = header(digest(), fleet=None, nodes=proven), columns(*all_but({3: OTHER}, 4))
    rows = [(0, 0, GOOD), (0, 1, BAD)]
    found = said(judged([node(0)], rows, baseline=before))
    assert set(found) == {"n0/1"}
    assert found["n0/1"][1] == "reject"
    assert "4 of 6 equal devices" in found["n0/1"][2]


def test_what_only_the_proven_run_did_is_nobodys_here():
    proven = [node(8), node(9)]
    done = [(number, rank, GOOD + rank) for number in (0, 1) for rank in range(4)]
    before = header(digest(), digest(1, op="softmax"), fleet=None, nodes=proven), columns(*done)
    here = judged([node(0)], [(0, 0, GOOD), (0, 1, GOOD)], baseline=before)
    assert {one.metric for _, one in here.evidence} == {"corruption gemm small fp32 torch digest"}
    assert here.notes == []
    other = judged([node(0, chip="chip-b")], all_but({}, 2), baseline=before)
    assert (other.evidence, other.notes) == ([], [])


def test_a_simulated_fleet_is_of_one_kind():
    fleet = DeviceGroup(count=3, devices=2, chip="sim-a")
    made = header(digest(), fleet=fleet)
    found = corruption(made, columns(*all_but({5: BAD})), Inventory(fleet=fleet))
    ((where, one),) = found.evidence
    assert (where, one.device) == (2, "node-00002/1")


def test_digests_are_printed_as_such():
    from bench.units import format_value

    assert format_value(float(0x00123456789A), "digest") == "00123456789a"
    assert msgspec.json.decode(msgspec.json.encode(float(2**48 - 1)), type=float) == 2**48 - 1
