"""Agents that meet: those that come late to a visit, and links that broke and are dialled anew."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bench.cluster import coordinator
from bench.cluster.coordinator import Coordinator
from bench.cluster.follow import follow
from bench.cluster.lead import Lead
from bench.cluster.orders import Order, Visit
from bench.cluster.plan import Job
from bench.cluster.wire import Clock, Command
from bench.timing import Rule

JOB = Job(benchmark="none", axes={}, case=0, metrics=("time",), rule=Rule(), limit=5.0)
NOWHERE = "127.0.0.1:1"
"""Where nobody listens."""


class NoParty:
    """A node's part in a group: nobody there is ever asked to measure."""

    def abort(self):
        pass

    async def close(self):
        pass


class Home:
    """What a visit finds on its node: it keeps the rows that are reported."""

    def __init__(self):
        self.clock = Clock(0.0)
        self.rows = []

    def party(self, visit):
        return NoParty()

    def record(self, rows, conditions, samples, ledger):
        self.rows += rows

    def progress(self, done, current):
        pass

    def event(self, kind, text, node=""):
        pass


def visit(number, nodes):
    members = [(node, [0]) for node in nodes]
    return Visit(
        id=number,
        step=0,
        block=0,
        repeat=0,
        group=0,
        members=members,
        jobs=[0],
        library="gloo",
        ranks=list(nodes),
    )


def order(node, visits, addresses, beside=(), in_step=False):
    return Order(
        node=node,
        stage="s",
        jobs=[[JOB]],
        visits=visits,
        steps=(0, 1),
        names={n: f"n{n}" for n in addresses},
        addresses=addresses,
        beside=list(beside) or [node],
        in_step=in_step,
        offset=0.0,
        seed=0,
        provenance="stand-in",
    )


@asynccontextmanager
async def meetings(count):
    """So many nodes' coordinators, and where each listens."""
    made = [Coordinator("token") for _ in range(count)]
    for one in made:
        await one.listen("127.0.0.1")
    try:
        yield made, {number: one.address for number, one in enumerate(made)}
    finally:
        for one in made:
            await one.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def linked(meeting, node):
    """The link with a node that has dialled, once it is there."""
    while node not in meeting._links:
        await asyncio.sleep(0.01)
    return meeting._links[node]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(coordinator, "LATE", 0.2)
    monkeypatch.setattr(coordinator, "DIAL", 2.0)


def test_who_comes_to_a_visit_that_was_given_up_is_sent_away():
    """A third member is dead: the leader gives up before this one has dialled at all."""

    async def session():
        async with meetings(2) as ((leads, comes), where):
            meeting = visit(1, [0, 1, 2])
            where[2] = NOWHERE
            home = Home()
            await leads.begin(order(0, [meeting], where))
            await asyncio.wait_for(Lead(home, leads, leads.order, meeting).run(), 20)
            assert [row.status for row in home.rows] == ["missing"]
            assert home.rows[0].reason.startswith("node n2 was lost: cannot connect")
            mine = order(1, [meeting], where)
            await comes.begin(mine)
            await asyncio.wait_for(follow(Home(), comes, mine, meeting), 20)
            # Nobody is waited for any more.
            assert leads._waiting == {}
            assert leads._early == {}

    asyncio.run(session())


def test_a_link_that_broke_in_one_stage_is_dialled_anew_in_the_next():
    async def session():
        async with meetings(2) as ((leads, comes), where):
            first, second = visit(1, [0, 1]), visit(2, [0, 1])
            for meeting in (leads, comes):
                await meeting.begin(order(int(meeting is comes), [first], where))
            await linked(leads, 1)
            comes.hang_up()  # as a switch that is away for a while
            with pytest.raises(coordinator.LinkLost):
                await asyncio.wait_for(leads.arrival(1, first.id), 20)
            while not comes._lost:
                await asyncio.sleep(0.01)
            for meeting in (leads, comes):
                await meeting.begin(order(int(meeting is comes), [second], where))
            link = await comes.reach(0)
            assert link is not None
            link.send(coordinator.Arrive(second.id))
            await asyncio.wait_for(leads.arrival(1, second.id), 20)
            leads.command(1, Command(second.id, 1, "close"))
            assert (await asyncio.wait_for(comes.inbox(0, second.id).get(), 20)).do == "close"

    asyncio.run(session())


def test_a_member_whose_dial_failed_is_not_waited_for_though_it_lives(monkeypatch):
    """It has gone on without this node, and will not come."""
    monkeypatch.setattr(coordinator, "PATIENCE", 0.5)

    async def session():
        async with meetings(2) as ((leads, comes), where):
            meeting, home = visit(1, [0, 1]), Home()
            away = {**where, 0: NOWHERE}
            await comes.begin(order(1, [meeting], away))
            await asyncio.wait_for(follow(Home(), comes, comes.order, meeting), 20)
            await leads.begin(order(0, [meeting], where))
            await asyncio.wait_for(Lead(home, leads, leads.order, meeting).run(), 20)
            assert [row.status for row in home.rows] == ["missing"]
            assert home.rows[0].reason.startswith(
                "node n1 was lost: answers, but has not dialled for "
            )

    asyncio.run(session())


def test_the_end_of_an_old_link_says_nothing_of_the_new_one():
    """One side may notice late that a link broke, when the other has dialled again."""

    async def session():
        async with meetings(2) as ((leads, comes), where):
            meeting = visit(1, [0, 1])
            await leads.begin(order(0, [meeting], where))
            await comes.begin(order(1, [meeting], where))
            old = await linked(leads, 1)
            comes._links.pop(0)  # it knows nothing of that link any more, which still stands
            assert await comes.reach(0) is not None
            while leads._links.get(1) in (old, None):
                await asyncio.sleep(0.01)
            old.close()
            await asyncio.wait([leads._readers[1]], timeout=0.3)  # that of the new one goes on
            assert leads._lost == {}
            comes._links[0].send(coordinator.Arrive(meeting.id))
            await asyncio.wait_for(leads.arrival(1, meeting.id), 20)

    asyncio.run(session())


def test_who_keeps_step_with_nobody_any_more_is_told_why():
    async def session():
        async with meetings(3) as (made, where):
            for node, one in enumerate(made):
                beside = [0, 1, 2] if node == 0 else [0, node]
                await one.begin(order(node, [], where, beside, in_step=True))
            steps = await asyncio.wait_for(asyncio.gather(*(one.barrier(0) for one in made)), 20)
            assert steps == ["", "", ""]
            waiting = [asyncio.create_task(one.barrier(1)) for one in made[1:]]
            await asyncio.sleep(0.05)
            await made[0].close()
            said = await asyncio.wait_for(asyncio.gather(*waiting), 20)
            assert all(said)
            assert all([await asyncio.wait_for(one.barrier(2), 20) for one in made[1:]])

    asyncio.run(session())
