"""Who differs from the fleet, and what happened to nodes beside their measurements."""

import copy
import time

import pytest

from bench.analysis.drift import drift
from bench.analysis.health import incidents
from bench.records import Device, Header, Node

FACTS = {
    "boot": "x",
    "kernel": "6.1",
    "memory": 1_000_000_000,
    "kernel_log": "readable",
    "interfaces": {
        "eth0": {"mtu": 9000, "speed": 25_000_000_000, "addresses": ["10.0.0.1"]},
        "eth1": {"mtu": 9000},
    },
    "rdma": {"rdma0": {"firmware": "28.1", "ports": {"1": {"state": "ACTIVE"}}}},
    "pcie": {"0000:3c:00.0": {"kind": "accelerator", "width": 16, "width_max": 16}},
}


def node(index, chip="chip-a", changed=None, firmware="1.0"):
    facts = copy.deepcopy(FACTS)
    facts["boot"] = f"boot-{index}"
    facts["interfaces"]["eth0"]["addresses"] = [f"10.0.0.{index}"]
    if changed is not None:
        changed(facts)
    device = Device(
        index=0, backend="b", name=chip, chip=chip, serial=str(index), firmware=firmware
    )
    return Node(id=str(index), name=f"node{index}", devices=(device,), facts=facts)


def header(nodes, events=()):
    return Header(
        id="r",
        suite="s",
        started="",
        executor="ray",
        provenance="measured",
        nodes=list(nodes),
        events=list(events),
    )


def found(nodes, share=0.6):
    return {(one.node, one.fact): one for one in drift(header(nodes), share)}


def change(*path, to):
    def changed(facts):
        for key in path[:-1]:
            facts = facts[key]
        facts[path[-1]] = to

    return changed


def remove(*path):
    def changed(facts):
        for key in path[:-1]:
            facts = facts[key]
        del facts[path[-1]]

    return changed


def test_alike_nodes_do_not_drift_whatever_is_their_own():
    assert found([node(i) for i in range(5)]) == {}


def test_a_node_that_differs_is_named_with_the_majority_and_its_share():
    nodes = [node(i) for i in range(9)]
    nodes.append(node(9, changed=change("interfaces", "eth0", "mtu", to=1500)))
    (one,) = found(nodes).values()
    assert (one.node, one.fact, one.value, one.majority) == (
        "node9",
        "interfaces.eth0.mtu",
        1500,
        9000,
    )
    assert one.share == pytest.approx(0.9)
    assert one.nodes == 10
    assert one.text == "interfaces.eth0.mtu is 1500; 90% of 10 nodes with chip-a have 9000"


def test_devices_are_compared_too():
    nodes = [node(i) for i in range(4)] + [node(4, firmware="0.9")]
    assert set(found(nodes)) == {("node4", "device.0.firmware")}


def test_a_missing_part_is_told_once_and_an_unknown_value_not_at_all():
    nodes = [node(i) for i in range(4)]
    lost = [node(4, changed=remove("rdma", "rdma0")), node(5, changed=remove("kernel"))]
    (one,) = found(nodes + lost).values()
    assert (one.node, one.fact, one.value) == ("node4", "rdma.rdma0", "absent")
    assert one.text.startswith("rdma.rdma0 is absent; ")
    # Who states nothing of RDMA at all may have it.
    assert found([*nodes, node(4, changed=remove("rdma"))]) == {}


def test_a_part_that_only_one_has():
    nodes = [node(i) for i in range(4)]
    extra = node(4, changed=change("interfaces", "usb0", to={"mtu": 1500}))
    (one,) = found([*nodes, extra]).values()
    assert one.text == "interfaces.usb0 is there; 80% of 5 nodes with chip-a have none"


def test_memory_may_differ_by_a_hundredth():
    near = change("memory", to=995_000_000)
    far = change("memory", to=980_000_000)
    nodes = [node(i) for i in range(4)]
    assert found([*nodes, node(4, changed=near)]) == {}
    assert set(found([*nodes, node(4, changed=near), node(5, changed=far)])) == {
        ("node5", "memory")
    }


def test_without_a_majority_nobody_differs():
    old = change("kernel", to="5.15")
    half = [node(i) for i in range(3)] + [node(i, changed=old) for i in range(3, 6)]
    assert found(half) == {}
    two_of_three = [node(0), node(1), node(2, changed=old)]
    assert set(found(two_of_three)) == {("node2", "kernel")}
    assert found(two_of_three, share=0.9) == {}
    assert found([node(0), node(1, changed=old)]) == {}


def test_kinds_of_chips_are_compared_among_themselves():
    wide = change("pcie", "0000:3c:00.0", "width", to=8)
    nodes = [node(i) for i in range(3)]
    others = [node(i, chip="chip-b", changed=wide) for i in range(3, 6)]
    assert found(nodes + others) == {}


def test_a_share_of_half_is_no_majority():
    with pytest.raises(ValueError, match="more than half"):
        drift(header([]), 0.5)


@pytest.mark.slow
def test_ten_thousand_nodes_in_seconds():
    nodes = [node(i) for i in range(10_240)]
    nodes[77] = node(77, changed=change("kernel", to="5.15"))
    began = time.monotonic()
    assert set(found(nodes)) == {("node77", "kernel")}
    assert time.monotonic() - began < 60


def event(kind, text="", changes=None, node="node0", stage="fabric"):
    made = {"time": 1.0, "kind": kind, "text": text, "node": node, "stage": stage}
    return {**made, "changes": changes or {}}


def test_errors_that_grew_are_incidents_and_congestion_is_not():
    events = [
        event("counters", changes={"eth0 rx_errors": 3, "eth0 rx_dropped": 9}),
        event("counters", changes={"eth0 driver:rx_pause": 9}, node="node1"),
        event("kernel-log", "pcie: AER: Corrected error"),
        {"time": 0.0, "kind": "warning", "text": "something else", "node": ""},
    ]
    got = [(one.kind, one.node, one.text) for one in incidents(header([node(0)], events))]
    assert got == [
        ("errors", "node0", "in stage fabric: eth0 rx_errors +3"),
        ("kernel-log", "node0", "in stage fabric: pcie: AER: Corrected error"),
    ]


def test_degraded_links_of_cards_and_accelerators():
    narrow = change("pcie", "0000:3c:00.0", "width", to=8)
    rest = {"generation": 1, "generation_max": 5}
    asleep = change("pcie", "0000:3c:00.0", to={"kind": "accelerator", **rest})
    slow = change("pcie", "0000:3c:00.0", to={"kind": "network", **rest})
    nodes = [node(0, changed=narrow), node(1, changed=asleep), node(2, changed=slow)]
    events = [event("link", "it ran slow", node="node1")] * 2
    got = [(one.node, one.text) for one in incidents(header(nodes, events))]
    assert got == [
        ("node0", "the link of accelerator 0000:3c:00.0 runs at x8 of x16"),
        ("node2", "the link of network 0000:3c:00.0 runs at generation 1 of generation 5"),
        ("node1", "it ran slow"),
    ]


def test_logs_that_nobody_could_read_are_one_note():
    closed = change("kernel_log", to="Operation not permitted")
    nodes = [node(0), *(node(i, changed=closed) for i in (1, 2))]
    (one,) = incidents(header(nodes))
    assert one.kind == "note"
    assert "on 2 of 3 node(s) (Operation not permitted)" in one.text
