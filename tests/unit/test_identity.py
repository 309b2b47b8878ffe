"""Which hardware a node is: renamed, repaired, moved."""

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import header

from bench.identity import differences, identities, identity_of
from bench.records import Device, DeviceGroup, Node

MACHINE = "4c4c4544-0042"


def node(name="gpu-07", machine=MACHINE, serials=("A", "B"), firmware="96.0") -> Node:
    return Node(
        id="ray-1",
        name=name,
        machine=machine,
        devices=tuple(
            Device(index=i, backend="acme", name="Acme One", serial=serial, firmware=firmware)
            for i, serial in enumerate(serials)
        ),
    )


def test_a_renamed_node_is_the_same():
    before, now = identity_of(node()), identity_of(node(name="gpu-99"))
    assert differences(before, now) == []
    assert before.key() == now.key() != ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"machine": "other"}, ["another machine"]),
        ({"serials": ("A", "C")}, ["Acme One B is not there any more", "Acme One C was not there"]),
        ({"serials": ("A",)}, ["Acme One B is not there any more"]),
        ({"firmware": "97.0"}, ["firmware of Acme One A is 97.0, not 96.0", "of Acme One B"]),
        ({"serials": ("A", "")}, []),
    ],
)
def test_what_changed_is_named(changed, said):
    found = differences(identity_of(node()), identity_of(node(**changed)))
    assert len(found) == len(said)
    for sentence, words in zip(found, said, strict=True):
        assert words in sentence


def test_devices_in_another_order_are_the_same_hardware():
    before, now = identity_of(node()), identity_of(node(serials=("B", "A")))
    assert differences(before, now) == []
    assert before.key() == now.key()
    assert before.device_key(0) == now.device_key(1)


def test_a_card_keeps_its_key_in_another_machine():
    moved = identity_of(node(machine="other", serials=("X", "A")))
    assert identity_of(node()).device_key(0) == moved.device_key(1)
    assert identity_of(node()).key() != moved.key()


def test_cloned_machine_ids_are_told_apart_by_serials():
    assert identity_of(node()).key() != identity_of(node(serials=("C", "D"))).key()


def test_what_nothing_identifies_is_never_the_same():
    bare = identity_of(node(machine="", serials=("", "")))
    assert bare.key() == bare.device_key(0) == ""
    assert "nothing identifies" in differences(bare, bare)[0]


def test_the_machine_id_itself_is_not_handed_on():
    processors = node(serials=(f"{MACHINE}:0", f"{MACHINE}:1"))
    text = msgspec.json.encode(identity_of(processors)).decode()
    assert MACHINE not in text
    assert len({card.serial for card in identity_of(processors).devices}) == 2


def test_a_simulated_fleet_is_known_by_its_names():
    fleet = DeviceGroup(count=3, devices=2, chip="sim-a")
    found = identities(header(fleet=fleet))
    assert len({one.key() for one in found}) == 3
    assert len({one.device_key(i) for one in found for i in range(2)}) == 6
    assert found == identities(header(id="later", fleet=fleet))
