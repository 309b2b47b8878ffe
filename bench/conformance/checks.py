"""How a check of one device is declared, and what it is given."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..backends.base import Backend
from ..records import Device
from .outcome import Fail

if TYPE_CHECKING:
    import torch

MEETING = 60.0
"""Seconds that ranks of a check wait for each other: one may still import its stack."""


class Task(msgspec.Struct, kw_only=True, frozen=True):
    """What a check's process is told. ``claimed``: places in ``devices`` that it may see."""

    check: str
    backend: str
    devices: list[Device]
    claimed: list[int]
    place: int
    rank: int = 0
    size: int = 1
    folder: str


class Subject:
    """The plugin under test, in a process made ready as a rank would be.

    Nothing of its stack is imported before `device` is asked for.
    """

    def __init__(self, task: Task, backend: Backend) -> None:
        self.backend = backend
        self.devices = task.devices
        self.claimed = [task.devices[place] for place in task.claimed]
        self.mine = task.devices[task.place]
        self.local = task.claimed.index(task.place)
        self.rank, self.size = task.rank, task.size
        self.folder = Path(task.folder)

    @functools.cached_property
    def device(self) -> torch.device:
        """This process's device, loaded and opened."""
        import torch

        self.backend.load()
        found = self.backend.open(self.local)
        if not isinstance(found, torch.device):
            raise Fail(
                f"open({self.local}) returned {found!r}, which is no torch.device",
                "return torch.device(self.device_type, index)",
            )
        if found.type != self.backend.device_type:
            raise Fail(
                f"open({self.local}) returned {found}, but device_type is "
                f"{self.backend.device_type!r}",
                "open and device_type must name the same PyTorch device type",
            )
        return found

    def module(self) -> Any | None:
        """``torch.<device_type>``, if there is such a module."""
        import torch

        return getattr(torch, self.backend.device_type, None)

    def synchronize(self) -> None:
        """Wait until the device is done, as the harness does."""
        self.backend.synchronize(self.device)

    def meet(self, name: str) -> None:
        """Wait for all ranks of the check at this point, through files: no library is needed."""
        (self.folder / f"{name}.{self.rank}").touch()
        until = time.monotonic() + MEETING
        for rank in range(self.size):
            while not (self.folder / f"{name}.{rank}").exists():
                if time.monotonic() > until:
                    raise Fail(f"rank {rank} did not come to {name!r} within {MEETING:g} s")
                time.sleep(0.01)


class Check(msgspec.Struct, kw_only=True, frozen=True):
    """A check of one device. ``run`` says in a sentence what held, or raises an `Outcome`.

    ``ranks`` processes take part, each on a device of its own and made ready as a rank is; with 0,
    one that is as the agent, bound to nothing. ``claims``: each may see ``all`` devices, or the
    last rank its own alone (``last``). ``tidy``: nothing may be left of it in
    shared memory and in its folders. ``dies``: the rank whose crash is part of the check.
    ``limit``: seconds until it counts as hung.
    """

    name: str
    about: str
    run: Callable[[Subject], str]
    ranks: int = 1
    claims: Literal["all", "last"] = "all"
    tidy: bool = False
    dies: int | None = None
    limit: float = 120.0


MODULES = ("identity", "memory", "timers", "numbers", "telemetry", "isolation")
_CHECKS: dict[str, Check] = {}


def check(name: str, **more: Any) -> Callable[[Callable[[Subject], str]], Callable[[Subject], str]]:
    """Function decorator: register a check; the first line of its docstring says what it is about.

    ``more`` are fields of `Check`.
    """

    def register(run: Callable[[Subject], str]) -> Callable[[Subject], str]:
        about = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
        _CHECKS[name] = Check(name=name, about=about, run=run, **more)
        return run

    return register


def device_checks() -> dict[str, Check]:
    """All checks of one device by name, in the order in which they are run."""
    for module in MODULES:
        importlib.import_module(f"{__package__}.{module}")
    return dict(_CHECKS)
