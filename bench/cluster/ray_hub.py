"""Agents as Ray actors, one a node. Ray places them and carries pages; it measures nothing."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from ..errors import InfraError, UsageError
from ..leaving import within
from ..records import Node
from .agent import Agent, AgentSpec
from .hub import Arrived, Hub
from .listening import Listening
from .orders import Order
from .ray_environment import QUIET, folder
from .ray_head import HeadWatch
from .ray_reach import answers, raylet, reached

EMBEDDED = "local"
START_LIMIT = 120.0
"""Seconds in which an agent must have come up and described its node."""
WAVE = 200
"""Agents that are started at once: registration storms stall a large cluster."""
SILENCE = 30.0
"""Seconds of listening without an answer after which an agent is lost; Ray itself takes over a
minute."""
LEAVE = 30.0
"""Seconds that leaving the cluster may take: Ray waits without end for a head that is stopped, or
whose host is gone."""
_NOT_UP = "is the cluster up (`ray status --address ...`) and its token known here?"
_NO_ROOM = (
    "Ray keeps its files and sockets below {folder}: it needs room there, the right to write and a "
    "short path (RAY_TMPDIR names another); `--executor local` measures this machine without Ray"
)


class RayHub(Hub):
    """Agents on the nodes of a Ray cluster.

    Args:
        spec: What agents are started with (its ``address`` is chosen here).
        address: ``local`` starts a cluster for this run alone; else a running cluster's address.
        nodes: Only these nodes (names or addresses); None: all.
    """

    name = "ray"

    def __init__(self, spec: AgentSpec, address: str, nodes: list[str] | None = None) -> None:
        self._spec = spec
        self._address = address
        self._wanted = nodes
        self._actors: dict[int, Any] = {}
        self._places: dict[int, dict[str, Any]] = {}
        self._known: set[str] = set()
        self._pulls: dict[Any, tuple[int, float]] = {}
        self._gone: set[int] = set()
        self._head: HeadWatch | None = None
        self._listening = Listening()
        if address == EMBEDDED:
            # Before Ray is imported, for it reads them then. It listens on every interface: a
            # token keeps strangers from running code here.
            os.environ.update(QUIET, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
        self._ray = _import_ray()
        self._connect()

    def _connect(self) -> None:
        embedded = self._address == EMBEDDED
        if not embedded:
            answers(self._address)
        try:
            # Plain init() may join a stale cluster that somebody left on this machine.
            extra = {
                "include_dashboard": False,
                "object_store_memory": 80_000_000,
                "_temp_dir": folder(),
            }
            self._ray.init(
                address=EMBEDDED if embedded else self._address,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                **(extra if embedded else {}),
            )
        except Exception as error:  # ConnectionError, ValueError, RuntimeError by cause
            raise InfraError(
                f"cannot start or join Ray: {_first_line(error)}",
                where=f"address {self._address}",
                hint=_NO_ROOM.format(folder=folder()) if embedded else _NOT_UP,
            ) from None

    def nodes(self) -> list[Node]:
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        listed = self._choose(alive)
        one_machine = len({node["NodeManagerAddress"] for node in listed}) == 1
        held = self._held(listed)  # while none of it is ours
        described: list[Node] = []
        for wave in _waves(listed, WAVE):
            pending: list[Any] = []
            for node, there in zip(wave, reached(wave), strict=True):
                host = "127.0.0.1" if one_machine else node["NodeManagerAddress"]
                ref = None
                if there:
                    number = len(described) + len(pending)
                    self._places[number] = node
                    self._actors[number] = self._actor(node, host)
                    ref = self._actors[number].describe.remote()
                pending.append(ref)
            self._await([ref for ref in pending if ref is not None], START_LIMIT)
            described.extend(
                self._described(node, ref, node["NodeID"] in held)
                for node, ref in zip(wave, pending, strict=True)
            )
        self._known = {node["NodeID"] for node in alive}
        self._head = HeadWatch(self._ray, self._address, set(self._known))
        return described

    def _choose(self, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # A head that offers neither cores nor devices is there to manage, not to be measured.
        useful = [n for n in listed if any(k in n["Resources"] for k in _claimable(n))]
        if self._wanted is not None:
            names = {key for node in useful for key in _names(node)}
            for name in self._wanted:
                if name not in names:
                    raise UsageError(
                        f"no node {name!r} in the cluster",
                        hint=f"nodes: {', '.join(sorted(names))}",
                    )
            useful = [n for n in useful if not _names(n).isdisjoint(self._wanted)]
        if not useful:
            raise InfraError("the Ray cluster has no node with cores or devices")
        return sorted(useful, key=lambda n: (n["NodeManagerAddress"], n["NodeID"]))

    def _actor(self, node: dict[str, Any], host: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # All of the node's devices and cores: nobody else is placed there while we measure.
        claims = {} if self._spec.share else {k: node["Resources"][k] for k in _claimable(node)}
        cpus, gpus = claims.pop("CPU", 0), claims.pop("GPU", 0)
        return (
            self._ray.remote(Agent)
            .options(
                num_cpus=cpus,
                num_gpus=gpus,
                resources=claims,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=4,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(msgspec.structs.replace(self._spec, address=host, apart=True))
        )

    def _described(self, node: dict[str, Any], ref: Any, held: bool = False) -> Node:
        """What its agent says of a node, or why there is none.

        ``ref`` is None if it is away; of one that was ``held`` others used cores or devices.
        """
        labels = {k: v for k, v in node.get("Labels", {}).items() if not k.startswith("ray.io/")}
        known = Node(id=node["NodeID"], name=node["NodeManagerHostname"])
        busy: tuple[str, ...] = ()
        try:
            if ref is None:
                why = f"it does not answer at {raylet(node)}, though Ray lists it as alive"
            else:
                known, why = self._ray.get(ref, timeout=0), ""
        except self._ray.exceptions.GetTimeoutError:
            why = f"its agent did not come up in {START_LIMIT:g} s"
            if held:
                # Nothing speaks against a node that works for others.
                why = "other Ray work holds its cores or devices (--share measures them)"
                busy = (why,)
        except Exception as error:  # whatever the agent raised, wrapped by Ray
            why = f"its agent failed: {_first_line(error)}"
        return msgspec.structs.replace(
            known,
            id=node["NodeID"],
            labels={**known.labels, **labels},
            problem=why or known.problem,
            busy=(*known.busy, *busy),
        )

    def _held(self, listed: list[dict[str, Any]]) -> set[str]:
        """Nodes of which others hold some of what an agent claims, as far as Ray tells."""
        try:
            # Nothing that Ray calls public says it of each node.
            from ray._private.state import available_resources_per_node
        except ImportError:
            return set()
        free = {} if self._spec.share else available_resources_per_node()
        return {
            node["NodeID"]
            for node in listed
            if (left := free.get(node["NodeID"])) is not None
            and any(left.get(key, 0) < node["Resources"][key] for key in _claimable(node))
        }

    def start(self, node: int, order: Order) -> None:
        # A failure shows when the first page is pulled. That waits for the start, for an actor
        # with several threads may take the second call first: no stage yet would mean an ended one.
        self._pull(node, self._actors[node].start.remote(order))

    def _pull(self, node: int, *after: Any) -> None:
        self._pulls[self._actors[node].page.remote(1.0, *after)] = (node, self._listening.look())

    def poll(self, timeout: float) -> list[Arrived]:
        if self._head is not None:
            self._head.check()
        refs = list(self._pulls)
        if not refs:
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=timeout)
        if ready:  # whatever else is there comes along
            more, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            ready = more or ready
        news = []
        for ref in ready:
            node, _ = self._pulls.pop(ref)
            try:
                page, ended = self._ray.get(ref, timeout=10)
            except Exception as error:  # RayActorError and kin: a death is a result
                self._gone.add(node)
                news.append(Arrived(node, lost=f"its agent was lost ({_first_line(error)})"))
                continue
            news.append(Arrived(node, page, ended))
            if not ended:
                self._pull(node)
        now = self._listening.look()
        for ref, (node, since) in list(self._pulls.items()):
            if now - since > SILENCE:
                del self._pulls[ref]
                self._gone.add(node)
                news.append(Arrived(node, lost=f"its agent did not answer for {SILENCE:g} s"))
        return news

    def cancel(self) -> None:
        self._await([actor.cancel.remote() for actor in self._living()])

    def _living(self) -> list[Any]:
        """The agents that can still answer: nobody waits for the others."""
        return [actor for node, actor in self._actors.items() if node not in self._gone]

    def _await(self, refs: list[Any], limit: float = 10.0) -> None:
        """Wait until all have answered, listening for ``limit`` seconds at most."""
        until = self._listening.look() + limit
        while refs and self._listening.look() < until:
            _, refs = self._ray.wait(refs, num_returns=len(refs), timeout=1.0)

    def drop(self, node: int) -> None:
        self._gone.add(node)
        with contextlib.suppress(Exception):  # it is dead, or Ray is: what matters is that it ends
            self._actors[node].cancel.remote()
        self._pulls = {ref: pull for ref, pull in self._pulls.items() if pull[0] != node}

    def revive(self, node: int) -> Node | None:
        before = self._places.get(node)
        there = self._again(before) if before is not None else None
        if there is None:
            return None
        with contextlib.suppress(Exception):  # one that was only silent must hold nothing
            self._ray.kill(self._actors[node])
        one_machine = len({one["NodeManagerAddress"] for one in self._places.values()}) == 1
        actor = self._actor(there, "127.0.0.1" if one_machine else there["NodeManagerAddress"])
        ref = actor.describe.remote()
        self._await([ref], START_LIMIT)
        found = self._described(there, ref)
        if found.problem:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
            return None
        self._actors[node], self._places[node] = actor, there
        self._gone.discard(node)
        if self._head is not None:
            self._head.admit(there["NodeID"])
        return found

    def _again(self, before: dict[str, Any]) -> dict[str, Any] | None:
        """A node as Ray lists it now: its raylet still runs, or one has joined in its place.

        Several raylets may share a host: none that was there from the beginning is taken for it.
        """
        taken = self._known | {one["NodeID"] for one in self._places.values()}
        where = ("NodeManagerAddress", "NodeManagerHostname")
        listed: list[dict[str, Any]] = self._ray.nodes()
        for one in listed:
            same = one["NodeID"] == before["NodeID"]
            new = one["NodeID"] not in taken and all(one[key] == before[key] for key in where)
            new = new and bool(_claimable(one))
            if one["Alive"] and (same or new) and reached([one]) == [True]:
                return one
        return None

    def joined(self) -> list[str]:
        return self._head.joined() if self._head is not None else []

    def close(self) -> None:
        if self._head is not None:
            self._head.close()
        with contextlib.suppress(Exception):  # some may be dead; the rest must still be told
            self._await([actor.close.remote() for actor in self._living()])
        for actor in self._actors.values():
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        if not within(LEAVE, self._ray.shutdown):
            # Python would call it again at its end. What Ray started here ends with this process.
            atexit.unregister(self._ray.shutdown)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InfraError(
            "Ray is not installed",
            hint="pip install 'hengsuan[run]', or measure this machine alone: --executor local",
        ) from None
    return ray


def _claimable(node: dict[str, Any]) -> list[str]:
    """Resources of a node that stand for cores and devices, not for memory or for the node."""
    standard = ("memory", "object_store_memory")
    return [
        key
        for key, amount in node["Resources"].items()
        if amount > 0 and key not in standard and ":" not in key
    ]


def _names(node: dict[str, Any]) -> set[str]:
    return {node["NodeManagerHostname"], node["NodeManagerAddress"], node["NodeID"]}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    # Ray puts the cause of a remote exception last, its traceback before it.
    remote = type(error).__name__ == "RayTaskError" or len(lines) > 20
    return f"{type(error).__name__}: {(lines[-1] if remote else lines[0]).strip()[:300]}"


def _waves(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
