"""Which interface a group's traffic takes: the address's own, or the one that a person named."""

import ipaddress
import socket

import pytest

from bench.cluster import interfaces
from bench.host.addresses import held, interface_of


def test_addresses_are_those_that_a_socket_can_be_bound_to():
    found = held()
    assert ("lo", ipaddress.ip_address("127.0.0.1")) in found
    for name, address in found:
        assert name in dict(map(reversed, socket.if_nameindex()))
        if address.version == 4:
            with socket.socket() as probe:
                probe.bind((str(address), 0))


@pytest.mark.parametrize("address", ["203.0.113.77", "no address", ""])
def test_an_address_that_this_host_lacks_has_no_interface(address):
    assert interface_of(address) == ""
    assert interfaces.environment(address) == {}


def test_a_person_is_obeyed_and_told_of_what_is_not_there(monkeypatch):
    monkeypatch.delenv(interfaces.VARIABLE, raising=False)
    assert interfaces.environment("127.0.0.1") == {"GLOO_SOCKET_IFNAME": "lo"}
    assert interfaces.problem() == ""
    monkeypatch.setenv(interfaces.VARIABLE, "lo")
    assert interfaces.environment("203.0.113.77") == {}
    assert interfaces.problem() == ""
    monkeypatch.setenv(interfaces.VARIABLE, "lo,ib7")
    assert "names ib7, no interface" in interfaces.problem()
    assert "there are lo" in interfaces.problem()
