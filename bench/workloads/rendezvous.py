"""How the processes of a program find each other: places of a group's ranks, in every dialect.

The engine has formed the group already; its ranks tell each other where they are, and what they
know is written into the variables that a framework's own launcher would set.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from ..errors import UsageError, unknown
from .base import Context

PACKAGE = Path(__file__).resolve().parents[1]
COMMANDS = PACKAGE / "data" / "commands"
"""Programs that come with the harness."""
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Kind(msgspec.Struct, frozen=True):
    """Variables of one family of launchers, with `Place.names` in braces.

    ``device``: of a process for every rank. ``node``: of one launcher a node, which starts the
    ranks itself. ``beside``: of one more process that the job needs, beside rank 0.
    """

    device: Mapping[str, str]
    node: Mapping[str, str]
    beside: Mapping[str, str] = {}


_MASTER = {"MASTER_ADDR": "{master_addr}", "MASTER_PORT": "{master_port}"}
_SCHEDULER = {
    "MS_SCHED_HOST": "{master_addr}",
    "MS_SCHED_PORT": "{master_port}",
    "MS_WORKER_NUM": "{ranks}",
}

KINDS: Mapping[str, Kind] = {
    # torchrun's own, and what it reads itself (torch.distributed.argparse_util).
    "torch": Kind(
        device={
            **_MASTER,
            "RANK": "{rank}",
            "WORLD_SIZE": "{ranks}",
            "LOCAL_RANK": "{local_rank}",
            "LOCAL_WORLD_SIZE": "{local_ranks}",
            "GROUP_RANK": "{node_rank}",
        },
        node={
            **_MASTER,
            "PET_MASTER_ADDR": "{master_addr}",
            "PET_MASTER_PORT": "{master_port}",
            "PET_NNODES": "{nodes}",
            "PET_NODE_RANK": "{node_rank}",
            "PET_NPROC_PER_NODE": "{local_ranks}",
        },
    ),
    # paddle.distributed.launch: controllers/collective.py, context/args_envs.py.
    "paddle": Kind(
        device={
            **_MASTER,  # which paddle.distributed.init_parallel_env obeys before its own
            "PADDLE_MASTER": "{master_addr}:{master_port}",
            "PADDLE_TRAINER_ID": "{rank}",
            "PADDLE_TRAINERS_NUM": "{ranks}",
            "PADDLE_TRAINER_ENDPOINTS": "{endpoints}",
            "PADDLE_CURRENT_ENDPOINT": "{endpoint}",
            "PADDLE_RANK_IN_NODE": "{local_rank}",
            "PADDLE_GLOBAL_RANK": "{rank}",
            "PADDLE_GLOBAL_SIZE": "{ranks}",
            "PADDLE_LOCAL_RANK": "{local_rank}",
            "PADDLE_LOCAL_SIZE": "{local_ranks}",
            "PADDLE_NNODES": "{nodes}",
            "FLAGS_selected_gpus": "{local_rank}",
            "FLAGS_selected_xpus": "{local_rank}",
        },
        node={
            "PADDLE_MASTER": "{master_addr}:{master_port}",
            "PADDLE_NNODES": "{nodes}",
            "PADDLE_RANK": "{node_rank}",
            "PADDLE_NPROC_PER_NODE": "{local_ranks}",
        },
    ),
    # MindSpore's dynamic cluster: workers and a scheduler, which is the same program. Its launcher
    # msrun takes arguments only.
    "mindspore": Kind(
        device={**_SCHEDULER, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": "{rank}"},
        node={},
        beside={**_SCHEDULER, "MS_ROLE": "MS_SCHED"},
    ),
    # What Open MPI's launcher tells its processes, for programs that read it; MPI itself needs its
    # own launcher.
    "mpi": Kind(
        device={
            **_MASTER,
            "OMPI_COMM_WORLD_RANK": "{rank}",
            "OMPI_COMM_WORLD_SIZE": "{ranks}",
            "OMPI_COMM_WORLD_LOCAL_RANK": "{local_rank}",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "{local_ranks}",
            "OMPI_COMM_WORLD_NODE_RANK": "{local_rank}",
        },
        node=_MASTER,
    ),
}


class Place(msgspec.Struct, kw_only=True, frozen=True):
    """Where one rank is in its group; nodes are counted within the group as well.

    ``here`` are the group's ranks on this node, ``devices`` theirs, by index on the node, ``cores``
    those of all of them. ``endpoints`` is an ``address:port`` of every rank, ``master`` one at
    which rank 0 may gather the others; nobody uses these ports now.
    """

    rank: int
    ranks: int
    here: Sequence[int]
    node_rank: int
    nodes: int
    endpoints: Sequence[str]
    master: str
    devices: Sequence[int]
    cores: Sequence[int]

    @property
    def local_rank(self) -> int:
        """This rank among those of its node."""
        return self.here.index(self.rank)

    def names(self) -> dict[str, str]:
        """What may stand in braces in a program's words, directory and environment."""
        master_addr, _, master_port = self.master.rpartition(":")
        address, _, port = self.endpoints[self.rank].rpartition(":")
        return {
            "rank": str(self.rank),
            "ranks": str(self.ranks),
            "local_rank": str(self.local_rank),
            "local_ranks": str(len(self.here)),
            "node_rank": str(self.node_rank),
            "nodes": str(self.nodes),
            "master_addr": master_addr,
            "master_port": master_port,
            "address": address,
            "port": port,
            "endpoint": self.endpoints[self.rank],
            "endpoints": ",".join(self.endpoints),
            "python": sys.executable,
            "commands": str(COMMANDS),
        }


_ALONE = Place(
    rank=0,
    ranks=1,
    here=[0],
    node_rank=0,
    nodes=1,
    endpoints=[":"],
    master=":",
    devices=[0],
    cores=[0],
)


def check(text: str) -> None:
    """Raise `UsageError` for a name in braces that stands for nothing.

    Lower-case names are those of `Place.names`, others are variables of the node's environment.
    """
    known = _ALONE.names()
    for name in _NAME.findall(text):
        if name.islower() and name not in known:
            raise unknown("name in braces", name, known)


def filled(text: str, place: Place, environment: Mapping[str, str]) -> str:
    """The text with names in braces replaced; nothing else of it is touched.

    Raises `UsageError` for a variable that is not set here.
    """
    names = place.names()

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.islower():
            return names[name]
        if name not in environment:
            raise UsageError(f"the environment variable {name} is not set on this node")
        return environment[name]

    return _NAME.sub(value, text)


def meet(context: Context) -> Place:
    """Where this rank is, by what all ranks of the group say. All of them call it."""
    with ExitStack() as held:
        ports = []
        for _ in range(2):  # at once, so that they differ
            door = held.enter_context(socket.socket())
            door.bind(("", 0))
            ports.append(door.getsockname()[1])
        mine: dict[str, Any] = {
            "node": context.node,
            "endpoint": f"{context.address}:{ports[0]}",
            "master": f"{context.address}:{ports[1]}",
            "device": context.index,
            "cores": sorted(os.sched_getaffinity(0)),
        }
        every = everyone(context, mine)
    nodes: dict[int, list[int]] = {}
    for rank, one in enumerate(every):
        nodes.setdefault(one["node"], []).append(rank)
    local = nodes[context.node]
    return Place(
        rank=context.rank,
        ranks=context.size,
        here=local,
        node_rank=list(nodes).index(context.node),
        nodes=len(nodes),
        endpoints=[one["endpoint"] for one in every],
        master=every[0]["master"],
        devices=[every[rank]["device"] for rank in local],
        cores=sorted({core for rank in local for core in every[rank]["cores"]}),
    )


def everyone(context: Context, mine: Any) -> list[Any]:
    """What every rank says, by rank."""
    if context.control is None:
        return [mine]
    import torch.distributed as dist

    said: list[Any] = [None] * context.size
    dist.all_gather_object(said, mine, group=context.control)
    return said


def told(context: Context, rank: int, mine: Any) -> Any:
    """What one rank says, on all ranks."""
    if context.control is None:
        return mine
    import torch.distributed as dist

    said = [mine]
    root = dist.get_global_rank(context.control, rank)
    dist.broadcast_object_list(said, root, group=context.control)
    return said[0]


def inherited() -> dict[str, str]:
    """This process's environment without what the harness put there for itself."""
    kept = {
        key: value for key, value in os.environ.items() if key != "TORCH_DEVICE_BACKEND_AUTOLOAD"
    }
    ours = str(PACKAGE.parent)
    paths = [
        path for path in kept.pop("PYTHONPATH", "").split(os.pathsep) if path not in ("", ours)
    ]
    return {**kept, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}
