"""Strangers on an agent's port, and agents that fall silent."""

import asyncio
import contextlib
import json
import socket
import time

import pytest

from bench.cluster import listening, wire
from bench.cluster.agent import Agent, AgentSpec
from bench.cluster.orders import Order, Visit
from bench.cluster.wire import Arrive, Hello, Link, LinkLost, line

pytestmark = pytest.mark.alone


@pytest.fixture
def agent():
    made = Agent(AgentSpec(token="secret"))
    yield made
    made.close()


def talk(address, *lines):
    """Send raw lines to an agent and read until it hangs up."""

    async def session():
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for text in lines:
            writer.write(text)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            while await asyncio.wait_for(reader.read(1000), 20):
                pass
        writer.close()

    asyncio.run(session())


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\xfe\n",
        b"{}\n",
        line(Hello(wire.PROTOCOL, 0, "wrong")),
        line(Hello(99, 0, "secret")),
        line(Arrive(1)),
        json.dumps({"type": "Hello", "protocol": 1, "node": "zero", "token": "secret"}).encode()
        + b"\n",
    ],
)
def test_strangers_are_hung_up_on_and_the_agent_lives(agent, text):
    address = agent._meeting.address
    talk(address, text)
    assert agent._meeting._links == {}

    async def known():
        link = await Link.dial(address, 7, "secret", 5)
        await asyncio.sleep(0.2)
        link.close()

    asyncio.run(known())
    assert 7 in agent._meeting._links or 7 in agent._meeting._lost


def test_a_silent_agent_is_lost(monkeypatch):
    monkeypatch.setattr(wire, "SILENCE", 0.5)

    async def session():
        async def mute(reader, writer):
            writer.write(b"\n")
            await asyncio.sleep(30)

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        link = await Link.dial(f"127.0.0.1:{port}", 0, "t", 5)
        with pytest.raises(LinkLost, match="silent"):
            await link.receive()
        link.close()
        server.close()

    asyncio.run(session())


@contextlib.asynccontextmanager
async def accepting():
    """An address that is listened at, and the links that were accepted there, closed at the end."""
    links = []

    async def accept(reader, writer):
        links.append(Link(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", links
    for one in links:
        one.close()
    server.close()


def test_heartbeats_keep_a_link_alive(monkeypatch):
    monkeypatch.setattr(wire, "SILENCE", 0.6)
    monkeypatch.setattr(wire, "HEARTBEAT", 0.1)

    async def session():
        async with accepting() as (address, links):
            link = await Link.dial(address, 3, "t", 5)
            await asyncio.sleep(0.1)
            assert await links[0].welcome("t") == 3
            await asyncio.sleep(1.2)
            links[0].send(Arrive(5))
            assert await link.receive() == Arrive(5)
            link.close()

    asyncio.run(session())


def test_who_stood_still_himself_gives_the_others_their_time_anew(monkeypatch):
    monkeypatch.setattr(wire, "SILENCE", 1.0)
    monkeypatch.setattr(wire, "HEARTBEAT", 0.1)
    monkeypatch.setattr(listening, "GAP", 0.3)

    async def session():
        async with accepting() as (address, links):
            dialling = asyncio.create_task(Link.dial(address, 3, "t", 1.0))
            await asyncio.sleep(0)
            time.sleep(1.5)  # as a host does that swaps, or is moved
            link = await dialling
            waiting = asyncio.create_task(link.receive())
            await asyncio.sleep(0.3)
            time.sleep(1.5)
            await asyncio.sleep(0.2)
            links[0].send(Arrive(5))
            assert await waiting == Arrive(5)
            link.close()

    asyncio.run(session())


def test_a_stopped_agent_is_not_reached_though_the_kernel_takes_the_connection():
    async def session():
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            door.listen()
            with pytest.raises(LinkLost, match=r"no answer in 0\.5 s"):
                await Link.dial(f"127.0.0.1:{door.getsockname()[1]}", 0, "t", 0.5)

    asyncio.run(session())


def test_nobody_listens_there():
    async def session():
        with pytest.raises(LinkLost, match="cannot connect"):
            await Link.dial("127.0.0.1:1", 0, "t", 2)

    asyncio.run(session())


def test_who_was_lost_in_one_stage_is_asked_again_in_the_next():
    """A link that was cut, or an agent that was started anew, is there by then."""
    first, second = (Agent(AgentSpec(token="secret", backend="cpu")) for _ in range(2))
    try:
        orders = [order_of(number, first, second) for number in range(2)]

        async def lost():
            await second._meeting.begin(orders[0])
            second._meeting._links[0].close()
            while 0 not in second._meeting._lost:
                await asyncio.sleep(0.01)
            assert await second._meeting.reach(0) is None
            await second._meeting.begin(orders[1])
            assert await second._meeting.reach(0) is not None

        second._call(asyncio.wait_for(lost(), 60))
    finally:
        second.close()
        first.close()


def order_of(number, first, second):
    """A stage in which the second agent, node 1, follows the first."""
    visit = Visit(
        id=number,
        step=number,
        block=0,
        repeat=0,
        group=0,
        members=[(0, [0]), (1, [0])],
        jobs=[],
        library="gloo",
    )
    return Order(
        node=1,
        stage=f"stage{number}",
        jobs=[],
        visits=[visit],
        steps=(number, number + 1),
        names={0: "n0", 1: "n1"},
        addresses={0: first._meeting.address, 1: second._meeting.address},
        beside=[1],
        offset=0.0,
        seed=0,
        provenance="stand-in",
    )
