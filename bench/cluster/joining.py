"""Joining a group of ranks in a collective library, bound to this rank's device where that goes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_UNBINDABLE = "No backend type associated"
"""What PyTorch says where a library is a process group in Python, to which it binds no device."""


def join(
    library: str, store: Any, rank: int, size: int, timeout: timedelta, device: torch.device | None
) -> None:
    """Make the process's default group.

    All ranks must agree in ``library`` and in whether a ``device`` is given: of a library that
    takes none, all find out at the same point, and join once more without.

    Args:
        library: The ``torch.distributed`` backend.
        store: Where the ranks find each other.
        rank: This process's.
        size: Ranks of the group.
        timeout: Of its collectives.
        device: To bind the group to, so that the library connects at once; None: to none.
    """
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    def attempt(prefix: str, bound: torch.device | None) -> None:
        dist.init_process_group(
            library,
            store=PrefixStore(prefix, store),
            rank=rank,
            world_size=size,
            timeout=timeout,
            device_id=bound,
        )

    try:
        attempt("group", device)
    except RuntimeError as error:
        if device is None or _UNBINDABLE not in str(error):
            raise
        attempt("unbound", None)
