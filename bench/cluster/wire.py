"""The two versioned protocols: agent ⇄ rank process (over a socket pair), agent ⇄ agent (TCP).

Both are lines of JSON, one message a line, decoded into the tagged structs below. An empty line
between agents is a heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from typing import Any, TypeVar, Union

import msgspec

from ..ledger import Spent
from ..records import Conditions
from ..timing import Rule
from ..workloads.runner import Outcome
from .listening import within

PROTOCOL = 3
HEARTBEAT = 2.0
"""Seconds between heartbeats of a link."""
SILENCE = 12.0
"""Seconds of listening without a line after which the other side of a link is lost."""
LIMIT = 64 * 1024 * 1024
"""Bytes of the longest line that is accepted."""


class LaunchSpec(msgspec.Struct, kw_only=True, frozen=True):
    """How a rank process is started, and the first line that it reads.

    ``index`` is the device among the node's, ``local`` its place among the claimed ``devices``
    (what the process sees); ``cpus`` are the cores it may use; ``memory_limit`` is what it may
    allocate of the device, 0: all.
    """

    version: int = PROTOCOL
    python: str
    environment: dict[str, str]
    directory: str
    backend: str
    index: int
    local: int
    devices: list[int]
    cpus: list[int]
    memory: int = 0
    memory_limit: int = 0
    chip: Any = None
    shared: bool = False


# ---- agent → rank ----


class Open(msgspec.Struct, tag=True):
    """Join a group of ``size`` as ``rank``; rank 0 hosts the store when ``store`` is empty.

    ``node`` and ``host`` are this node's index and address.

    The group must form in ``limit`` seconds; ``timeout`` is what one exchange in it may take.
    ``library`` is the ``torch.distributed`` backend that all of them take, as planned.
    """

    rank: int
    size: int
    node: int
    host: str
    store: str
    limit: float
    timeout: float
    library: str


class Run(msgspec.Struct, tag=True):
    """Measure a benchmark with fixed axes on the open group.

    ``zero``: when the run began, by this host's ``time.monotonic``.
    """

    benchmark: str
    axes: dict[str, Any]
    rule: Rule
    seed: int
    zero: float = 0.0


class Close(msgspec.Struct, tag=True):
    """Leave the group."""


class Ping(msgspec.Struct, tag=True):
    """Answered by a thread of its own, so that a waiting rank differs from a stopped one."""


# ---- rank → agent ----


class Ready(msgspec.Struct, tag=True):
    """The process is up: protocol version, process id, versions of what it imported."""

    protocol: int
    pid: int
    versions: dict[str, str]


class Opened(msgspec.Struct, tag=True):
    """In the group; ``store`` is ``host:port`` of the store that rank 0 hosts."""

    store: str


class Closed(msgspec.Struct, tag=True):
    """Out of the group."""


class Result(msgspec.Struct, tag=True):
    """What came of a `Run` on this rank, and where its time went.

    ``contention`` is the reason in words, or empty.
    """

    outcome: Outcome
    conditions: Conditions
    spent: Spent
    contention: str = ""


class Entered(msgspec.Struct, tag=True):
    """A part of a job begins on this rank (`bench.ledger`); ``likely``: the seconds it may take."""

    part: str
    likely: float = 0.0


class Failed(msgspec.Struct, tag=True):
    """A command raised. The process is replaced, for its state cannot be trusted."""

    reason: str


class Pong(msgspec.Struct, tag=True):
    """The process is alive, whatever its main thread does."""


ToRank = Union[Open, Run, Close, Ping]
FromRank = Union[Ready, Opened, Closed, Entered, Result, Failed, Pong]


# ---- agent ⇄ agent ----


class Hello(msgspec.Struct, tag=True):
    """First line of a link: who dials, with the run's token."""

    protocol: int
    node: int
    token: str


class Arrive(msgspec.Struct, tag=True):
    """A member has come to a visit and waits for its leader's commands."""

    visit: int


class Command(msgspec.Struct, tag=True):
    """Leader → member: do this on your ranks of the visit's group. ``close`` ends the visit.

    ``store`` goes with ``open``, ``job`` (an index into the block's) with ``run``.
    """

    visit: int
    number: int
    do: str  # "open" | "run" | "abort" | "close"
    job: int = -1
    store: str = ""


class Reply(msgspec.Struct, tag=True):
    """Member → leader: one report a rank, in the order of the group's ranks."""

    visit: int
    number: int
    reports: list[Report]


class Barrier(msgspec.Struct, tag=True):
    """This node is ready for a step (member → leader), or may begin it (leader → member)."""

    step: int


class Report(msgspec.Struct, kw_only=True):
    """How a command ended on one rank of a group.

    ``fault`` is empty, or ``lost`` (the process died), ``hang`` (does not answer), ``raised``,
    ``aborted`` (ended because another rank failed).

    ``started``: seconds that the rank's process took to start, where this is its first command;
    ``waited``: for how many of them this command has waited. ``spent``: of a job that failed, what
    the agent knows.
    """

    rank: int
    fault: str = ""
    reason: str = ""
    store: str = ""
    result: Result | None = None
    started: float = 0.0
    waited: float = 0.0
    spent: Spent | None = None


Message = Union[Hello, Arrive, Command, Reply, Barrier]
M = TypeVar("M")

_encode = msgspec.json.Encoder().encode


def line(message: Any) -> bytes:
    """One message as a line."""
    return _encode(message) + b"\n"


class LinkLost(Exception):
    """The other agent closed the connection or fell silent; the text says which."""


class Link:
    """A connection between two agents, with heartbeats both ways."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = msgspec.json.Decoder(Message)
        self._beat = asyncio.get_running_loop().create_task(self._heartbeat())
        self.node = -1

    @classmethod
    async def dial(cls, address: str, node: int, token: str, timeout: float) -> Link:
        """Connect to an agent and say hello.

        Raises `LinkLost` if nobody is there, or nobody has answered after ``timeout`` seconds.
        """
        host, _, port = address.rpartition(":")

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(host, int(port), limit=LIMIT)
            # Connected by the kernel, also where the agent is stopped: its first heartbeat tells.
            try:
                if await reader.readline() != b"\n":
                    raise LinkLost(f"no agent answers at {address}")
            except BaseException:
                writer.close()
                raise
            return reader, writer

        try:
            reader, writer = await within(timeout, connect())
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            why = str(error) or f"no answer in {timeout:g} s"
            raise LinkLost(f"cannot connect to {address}: {why}") from None
        link = cls(reader, writer)
        link.send(Hello(PROTOCOL, node, token))
        return link

    async def welcome(self, token: str) -> int:
        """The dialling node's index. Raises `LinkLost` for a stranger or another version."""
        message = await self.receive()
        if not isinstance(message, Hello) or not hmac.compare_digest(
            message.token.encode(), token.encode()
        ):
            raise LinkLost("not an agent of this run")
        if message.protocol != PROTOCOL:
            raise LinkLost(f"speaks protocol {message.protocol}, this agent {PROTOCOL}")
        self.node = message.node
        return message.node

    def send(self, message: Any) -> None:
        """Queue a message; a broken connection shows at the next `receive`."""
        if not self._writer.is_closing():
            self._writer.write(line(message))

    async def receive(self) -> Any:
        """The next message. Raises `LinkLost` when the link closes or falls silent."""
        while True:
            # Who stood still for a while, and heard nobody meanwhile, gives others their time anew.
            try:
                text = await within(SILENCE, self._reader.readline())
            except asyncio.TimeoutError:
                raise LinkLost(f"silent for {SILENCE:g} s") from None
            except (OSError, ValueError) as error:
                raise LinkLost(f"connection broken: {error}") from None
            if not text:
                raise LinkLost("connection closed")
            if text == b"\n":
                continue
            try:
                return self._decoder.decode(text)
            except msgspec.DecodeError as error:
                raise LinkLost(f"spoke nonsense: {error}") from None

    async def _heartbeat(self) -> None:
        with contextlib.suppress(OSError):
            while not self._writer.is_closing():
                self._writer.write(b"\n")
                await asyncio.sleep(HEARTBEAT)

    def close(self) -> None:
        """Hang up."""
        self._beat.cancel()
        self._writer.close()


class Clock:
    """Seconds since the run began, without trusting that nodes agree on the time of day.

    Attributes:
        zero: When that was, by this host's ``time.monotonic``.
    """

    def __init__(self, offset: float) -> None:
        self.zero = time.monotonic() - offset

    def now(self) -> float:
        """Seconds since the run began, to the millisecond."""
        return round(time.monotonic() - self.zero, 3)
