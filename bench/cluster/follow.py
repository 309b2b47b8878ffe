"""Following a visit: this node's ranks do what the visit's leader says, until it closes it."""

from __future__ import annotations

import asyncio

from .coordinator import Coordinator
from .orders import Order, Visit
from .party import Home, Party
from .wire import Arrive, Command, Link, Reply


async def follow(home: Home, meeting: Coordinator, order: Order, visit: Visit) -> None:
    """Take part in a visit as one of its members."""
    leader = visit.members[0][0]
    link = await meeting.reach(leader)
    if link is None:
        return  # the driver notes what is missing
    party = home.party(visit)
    inbox = meeting.inbox(leader, visit.id)
    link.send(Arrive(visit.id))
    work: asyncio.Task[None] | None = None
    try:
        while True:
            command = await inbox.get()
            if command is None:
                party.abort()
                return
            if command.do == "abort":
                await asyncio.sleep(0)  # a command that came along must have begun
                party.abort()
            elif command.do == "close":
                if work is not None:
                    await work
                await party.close()
                return
            else:
                if work is not None:
                    await work
                work = asyncio.create_task(_obey(link, home, party, order, visit, command))
    finally:
        meeting.leave(leader, visit.id)
        if work is not None:
            await asyncio.wait([work], timeout=10)
        home.progress(len(visit.jobs), "")


async def _obey(
    link: Link, home: Home, party: Party, order: Order, visit: Visit, command: Command
) -> None:
    if command.do == "open":
        reports = await party.open(command.store)
    else:
        work = order.jobs[visit.block][command.job]
        reports = await party.run(work, order.seed, home.clock)
    link.send(Reply(visit.id, command.number, reports))
