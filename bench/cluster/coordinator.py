"""How agents meet: links between them, barriers, and the messages of the visits they share.

The agent of a group's lowest node leads its visit (`Lead`), the others follow (`follow`): they dial
the leader, say that they have arrived, and then do what it tells them. Whoever loses the other's
heartbeat drops the visit and goes on; nobody waits for the dead.
"""

from __future__ import annotations

import asyncio

from .orders import Order
from .wire import LIMIT, Arrive, Barrier, Command, Link, LinkLost, Reply

DIAL = 10.0
"""Seconds to reach another agent."""
LATE = 30.0
"""Seconds after which a member that has not dialled is asked whether it lives."""
PATIENCE = 90.0
"""Seconds, from its first answer to that, in which it must have dialled. It does so once, when its
stage begins, and goes on without whom it cannot reach then: nobody hears of that."""


class Coordinator:
    """One agent's meetings with the others, who know the run's ``token``."""

    def __init__(self, token: str) -> None:
        self.address = ""
        self._token = token
        self._server: asyncio.Server | None = None
        self._links: dict[int, Link] = {}
        """Links by node: dialled by members to their leaders, or accepted from members."""
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._lost: dict[int, str] = {}
        self._waiting: dict[tuple[object, ...], asyncio.Future[object]] = {}
        self._early: dict[tuple[object, ...], object] = {}
        self._commands: dict[tuple[int, int], asyncio.Queue[Command | None]] = {}
        self._over: set[int] = set()
        """Visits of this stage that this node has led to their end."""
        self._ready: dict[int, set[int]] = {}
        self._asked: dict[int, float] = {}
        """When members that live and have not dialled were first asked, by the loop's clock."""
        self._locks: dict[int, asyncio.Lock] = {}
        self._order: Order | None = None

    @property
    def order(self) -> Order:
        """The stage's order. Nothing asks for it before `begin`."""
        assert self._order is not None
        return self._order

    async def listen(self, address: str) -> None:
        """Accept links on any free port of ``address``."""
        self._server = await asyncio.start_server(self._accept, address, 0, limit=LIMIT)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"{address}:{port}"

    async def begin(self, order: Order) -> None:
        """Dial everyone whom this node will follow in the stage.

        Also those whom it lost in an earlier one: a link that was away for a while has come back.
        """
        self._order = order
        self._over.clear()
        self._lost.clear()
        self._asked.clear()
        leaders = {visit.members[0][0] for visit in order.visits}
        if len(order.beside) > 1:
            leaders.add(order.beside[0])
        others = sorted(leaders - {order.node})
        await asyncio.gather(*(self.reach(node) for node in others))

    def hang_up(self) -> None:
        """Close all links: the others learn that this node does no more."""
        for link in list(self._links.values()):
            link.close()

    async def close(self) -> None:
        """Hang up everywhere and listen no more."""
        for task in self._readers.values():
            task.cancel()
        self.hang_up()
        if self._server is not None:
            self._server.close()

    # ---- links ----

    async def reach(self, node: int) -> Link | None:
        """The link to a node that leads, dialled if need be; None: the node is lost."""
        async with self._locks.setdefault(node, asyncio.Lock()):
            if node not in self._links and node not in self._lost:
                try:
                    link = await Link.dial(
                        self.order.addresses[node], self.order.node, self._token, DIAL
                    )
                except LinkLost as error:
                    self._lose(node, str(error))
                else:
                    self._adopt(node, link)
            return self._links.get(node)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        try:
            node = await link.welcome(self._token)
        except LinkLost:
            link.close()
            return
        self._lost.pop(node, None)
        self._adopt(node, link)

    def _adopt(self, node: int, link: Link) -> None:
        before = self._links.get(node)
        if before is not None:  # its end was noticed on the other side only
            before.close()
        self._links[node] = link
        self._readers[node] = asyncio.create_task(self._read(node, link))

    async def _read(self, node: int, link: Link) -> None:
        try:
            while True:
                message = await link.receive()
                if isinstance(message, Arrive):
                    self._arrived(node, link, message)
                elif isinstance(message, Reply):
                    self._resolve(("reply", node, message.visit, message.number), message)
                elif isinstance(message, Command):
                    self.inbox(node, message.visit).put_nowait(message)
                elif isinstance(message, Barrier):
                    self._at_barrier(node, message.step)
        except LinkLost as error:
            self._end(node, link, str(error))
        except Exception as error:  # a message that fits no step of ours must not stop others
            self._end(node, link, f"broke the protocol: {type(error).__name__}: {error}")
        finally:
            link.close()

    def _end(self, node: int, link: Link, reason: str) -> None:
        """A link has ended, and with it the node, unless it has dialled again meanwhile."""
        if self._links.get(node) is link:
            self._lose(node, reason)

    def _arrived(self, node: int, link: Link, message: Arrive) -> None:
        if message.visit in self._over:  # given up without it: it must not wait for commands
            link.send(Command(message.visit, 0, "close"))
        else:
            self._resolve(("arrive", node, message.visit), message)

    def _lose(self, node: int, reason: str) -> None:
        """Everyone here who waits for the node learns that it is gone."""
        self._lost[node] = reason
        self._links.pop(node, None)
        for key, future in list(self._waiting.items()):
            if key[1] == node and not future.done():
                future.set_exception(LinkLost(reason))
        for (leader, _), inbox in self._commands.items():
            if leader == node:
                inbox.put_nowait(None)
        for step in list(self._ready):
            self._release(step)

    async def _await(self, key: tuple[object, ...]) -> object:
        """The message under ``key`` (kind, node, ...). Raises `LinkLost` if the node is gone."""
        node = key[1]
        assert isinstance(node, int)
        if key in self._early:
            return self._early.pop(key)
        if node in self._lost:
            raise LinkLost(self._lost[node])
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            return await future
        finally:
            self._waiting.pop(key, None)

    def _resolve(self, key: tuple[object, ...], message: object) -> None:
        future = self._waiting.get(key)
        if future is not None and not future.done():
            future.set_result(message)
        else:
            self._early[key] = message

    # ---- barriers between nodes that keep step ----

    async def barrier(self, step: int) -> str:
        """Wait for the nodes that keep step, so that rounds do not overlap.

        Returns:
            Why this node keeps step with nobody any more; empty while it does.
        """
        beside = self.order.beside
        if len(beside) < 2:
            return ""
        leader = beside[0]
        if leader in self._lost:
            return self._lost[leader]
        wait = asyncio.create_task(self._await(("barrier", leader, step)))
        if leader == self.order.node:
            self._ready.setdefault(step, set()).add(leader)
            await asyncio.sleep(0)  # let the wait begin before it is released
            self._release(step)
        else:
            self._links[leader].send(Barrier(step))
        try:
            while not (await asyncio.wait([wait], timeout=LATE))[0]:
                if leader == self.order.node:
                    await asyncio.gather(*(self._probe(node) for node in beside[1:]))
            wait.result()
        except LinkLost as error:
            return str(error)
        finally:
            wait.cancel()
        return ""

    def _at_barrier(self, node: int, step: int) -> None:
        """A barrier line: from the leader it is a release, from a member a report."""
        if ("barrier", node, step) in self._waiting:
            self._resolve(("barrier", node, step), Barrier(step))
        else:
            # Possibly before this node's own stage has begun; steps are unique in a run.
            self._ready.setdefault(step, set()).add(node)
            self._release(step)

    def _release(self, step: int) -> None:
        # Already released, perhaps, by the report that came while this node was on its way.
        if self._order is None or self._order.node not in self._ready.get(step, ()):
            return
        mine = self.order.node
        others = [n for n in self.order.beside if n != mine and n not in self._lost]
        if all(node in self._ready[step] for node in others):
            del self._ready[step]
            for node in others:
                self._links[node].send(Barrier(step))
            self._resolve(("barrier", mine, step), Barrier(step))

    # ---- visits ----

    async def arrival(self, node: int, visit: int) -> None:
        """Wait until a member has come. Raises `LinkLost` if it is gone."""
        waiting = asyncio.create_task(self._await(("arrive", node, visit)))
        while not (await asyncio.wait([waiting], timeout=LATE))[0]:
            await self._probe(node)
        waiting.result()

    def over(self, visit: int) -> None:
        """A visit that this node leads has ended: who has not come to it by now is sent away."""
        self._over.add(visit)
        for key, future in self._waiting.items():
            if key[0] == "arrive" and key[2] == visit:
                future.cancel()

    async def _probe(self, node: int) -> None:
        """A node that has not dialled by now is lost, unless it can be reached and may yet come."""
        if node in self._links or node in self._lost:
            return
        try:
            probe = await Link.dial(self.order.addresses[node], -1, self._token, DIAL)
            probe.close()
        except LinkLost as error:
            self._lose(node, str(error))
            return
        now = asyncio.get_running_loop().time()
        waited = now - self._asked.setdefault(node, now)
        if waited > PATIENCE and node not in self._links:
            self._lose(node, f"answers, but has not dialled for {waited:.0f} s")

    def command(self, node: int, command: Command) -> None:
        """Tell a member what to do; lost members are noticed at `reply`."""
        link = self._links.get(node)
        if link is not None:
            link.send(command)

    async def reply(self, node: int, command: Command) -> Reply:
        """A member's answer to a command. Raises `LinkLost`."""
        message = await self._await(("reply", node, command.visit, command.number))
        assert isinstance(message, Reply)
        return message

    def inbox(self, leader: int, visit: int) -> asyncio.Queue[Command | None]:
        """What a leader says in a visit; None once it is gone."""
        return self._commands.setdefault((leader, visit), asyncio.Queue())

    def leave(self, leader: int, visit: int) -> None:
        """Listen no more to what a leader says in a visit."""
        self._commands.pop((leader, visit), None)
