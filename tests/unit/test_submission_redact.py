"""Redaction of free text: what goes, and what must stay."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import header

from bench.records import Device, Node
from bench.submissions.redact import Redactor


@pytest.fixture(scope="module")
def redactor():
    made = Redactor()
    devices = tuple(
        Device(index=index, backend="acme", name="Acme One", serial=serial)
        for index, serial in enumerate(("GPU-52a3b1c9", "7"))
    )
    node = Node(id="n", name="vm", machine="4e1f0a2b9c", address="10.0.0.7", devices=devices)
    made.learn(header(fleet=None, nodes=[node]))
    return made


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rank 0 (vm/0): lost", r"rank 0 \(host-\w{12}/0\): lost"),
        ("vm vm-2 vm2 (vm)", r"host-\w+ host-\w+-2 vm2 \(host-\w+\)"),
        ("serial GPU-52a3b1c9.", r"serial serial-\w{12}\."),
        ("to 10.1.2.3:6379 and 10.0.0.7", r"to address-\w+:6379 and address-\w+"),
        ("[fe80::1ff:fe23:4567:890a]:80", r"\[address-\w+\]:80"),
        ("2001:db8:0:0:0:0:2:1", r"address-\w+"),
        ("mac 02:42:ac:11:00:02", r"mac address-\w+"),
        ("guid 0c42:a103:0065:bafe", r"guid address-\w+"),
        ("boot 6f1c2d3e-0a1b-4c5d-8e9f-001122334455", r"boot serial-\w+"),
        ("/home/alice/x and /Users/bob/y", r"/home/user-\w+/x and /Users/user-\w+/y"),
    ],
)
def test_what_names_somebody_goes(redactor, text, wanted):
    assert re.fullmatch(wanted, redactor.text(text)), redactor.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7 of 12 devices, 7.5 s",
        "at 10:15:00 on 2026-03-01T10:15:00+00:00",
        "std::vector<int>, bench.backends.cpu:Cpu",
        "pci 0000:3b:00.0",
        "from 127.0.0.1, ::1 and 0.0.0.0",
        "sha256 9b74c9897bac770ffc029102a200c5de",
        "6.18.44-fc-v669 and 2.13.0+cpu",
        "vma, avm, VM_SIZE",
    ],
)
def test_what_names_nobody_stays(redactor, text):
    assert redactor.text(text) == text


def test_versions_stay_where_they_are_called_so(redactor):
    facts = {"versions": {"driver": "24.1.0.3"}, "addresses": ["24.1.0.3"]}
    found = redactor.value(facts)
    assert found["versions"] == facts["versions"]
    assert found["addresses"][0].startswith("address-")


def test_equal_names_stay_equal_and_others_do_not(redactor):
    one, other = redactor.pseudonym("host", "a"), redactor.pseudonym("host", "b")
    assert one == redactor.pseudonym("host", "a")
    assert one != other
    assert Redactor().pseudonym("host", "a") != one  # another secret
    assert redactor.pseudonym("host", "") == ""
