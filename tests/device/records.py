"""What the device check remembers of every task, as it stands in ``kernels.json``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

OURS = "triton"
"""The name of the kernels under test among the contenders of a task."""
CEILING = "copy_"
"""The name of the device-to-device copy that memory-bound tasks are compared with."""


def takes_part(name: str, wanted: Collection[str]) -> bool:
    """Whether a rival takes part: its name's first word is one of those wanted (none: all are),
    and is not there with a minus before it."""
    word = name.split()[0]
    named = [one for one in wanted if not one.startswith("-")]
    return (not named or word in named) and f"-{word}" not in wanted


def short_of_memory(reason: str) -> bool:
    """Whether an error says that the device had too little memory, as they do it in words."""
    return "out of memory" in reason.lower()


class Cell(msgspec.Struct, kw_only=True):
    """One contender of a task.

    ``status``: ``ok``, ``wrong`` (its error exceeds the tolerance), ``failed`` (it raised, crashed
    or hung) or ``absent``; the last three have a reason. ``error`` is the largest relative error
    against fp64. Seconds of one call on a cold cache: median and its 95 % interval over
    ``samples`` calls. ``bytes`` is what a call moves where that is not the operation's own.
    """

    family: str  # "ours" | "torch" | "library" | "vendor" | "ceiling" | "untried"
    status: str = "ok"
    reason: str = ""
    error: float | None = None
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    bytes: int = 0


class Record(msgspec.Struct, kw_only=True):
    """One task that was done.

    ``status``: ``right``, ``wrong``, ``failed`` or ``skipped`` of the kernels under test;
    all but the first have a reason. FLOPs and bytes are of one call, by the cost model.
    ``seed`` is that of the operands. ``before`` and ``after``: what the device said of itself.
    ``run``: place in `Report.runs` of that which did it, ``at`` when. ``code``, ``configs`` and
    ``aside`` say with which kernels: the digest of their sources, and what the tables answered in
    the task itself and before it, as to a forward pass (`digests`). ``spent``: seconds of timing.
    ``places``: at how many places in memory the operands lay, one after the other.
    """

    kind: str
    op: str
    variant: str
    dtype: str
    shape: tuple[int, ...]
    figure: str = ""
    status: str = "right"
    reason: str = ""
    tolerance: float = 0.0
    errors: dict[str, float] = {}
    flops: int = 0
    bytes: int = 0
    seed: int = 0
    cells: dict[str, Cell] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    run: int = 0
    at: str = ""
    code: str = ""
    configs: dict[str, str] = {}
    aside: dict[str, str] = {}
    spent: float = 0.0
    places: int = 1

    @property
    def what(self) -> str:
        """Operation, variant, dtype and shape, as `cases.Task.what`."""
        return f"{self.op} {self.variant} {self.dtype} {'x'.join(map(str, self.shape))}"

    @property
    def name(self) -> str:
        """As `cases.Task.name`."""
        return f"{self.kind} {self.what}"

    def best(self, names: tuple[str, ...] = (), family: str = "torch") -> tuple[str, Cell] | None:
        """The fastest correct contender of these names (of a family where none is given)."""
        fitting = [
            (name, cell)
            for name, cell in self.cells.items()
            if cell.status == "ok" and cell.seconds
            and (name in names if names else cell.family == family)
        ]  # fmt: skip
        return min(fitting, key=lambda pair: pair[1].seconds or 0.0, default=None)
