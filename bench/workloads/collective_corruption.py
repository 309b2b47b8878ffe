"""Silent data corruption on the way between devices: exchanges of random bits, compared in full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from ..timing import Timing
from ..units import format_size
from .base import IN_HOST_MEMORY, Bytes, Check, Context, Metric, Unmeasurable, benchmark
from .collective_checks import CHUNK, poison
from .corruption import SLICE, WRONG, Repeated
from .lacking import lacks
from .runner import all_or_none

if TYPE_CHECKING:
    import torch

_WIDTH = 4
"""Bytes of an element: int32, whose sums are exact in any order and use every bit."""


@benchmark(scope="group", name="collective_corruption")
class CollectiveCorruption(Repeated):
    """The same collective of random 32-bit integers, over and over, compared bit by bit.

    `collectives` verifies one call before and one after timing, on small integers that are exact
    in every dtype. Here every call is verified, and every bit of an element is in use: sums of
    integers wrap around, so they too have one result in whatever order they are made. ``size`` is
    what each rank gives. Counts are over all ranks; the reason of a row names a rank that
    received something wrong and, where the operation tells, the rank that it came from.
    """

    measures = WRONG
    fitting = {"size": ("64MiB", "1MiB")}

    op: Literal["all_reduce", "all_gather", "all_to_all"] = "all_reduce"
    """The collective."""
    size: Bytes = Bytes(4 << 20)
    """Bytes that each rank gives."""

    def setup(self, context: Context) -> None:
        """Fill buffers; compute what every rank must find from the ranks' numbers alone.

        Raises:
            Unmeasurable: a group of one, buffers beyond half of the device's memory, or an
                operation that the library lacks.
        """
        import torch

        from .bits import Tally

        if context.size < 2:
            raise Unmeasurable("a group of one has nothing to exchange")
        self.context, ranks = context, context.size
        self.part = max(1, int(self.size) // _WIDTH // (ranks if self.op == "all_to_all" else 1))
        count = self.part * (ranks if self.op == "all_to_all" else 1)
        taken = self.part * (1 if self.op == "all_reduce" else ranks)
        need = _WIDTH * (count + 3 * taken)
        full = bool(context.memory) and need > context.memory // 2
        problem = f"needs {need} bytes, half of memory is {context.memory // 2}" if full else ""
        all_or_none(context, problem)
        self.given = _drawn(context.rank, 0, count, context.place)
        self.taken = torch.empty(taken, dtype=torch.int32, device=context.place)
        self.tally = Tally({self.op: self._wanted()}, self._from)
        self.found = [0.0, 0.0]
        try:
            self._repeat()
        except (RuntimeError, ValueError) as error:
            if not lacks(error):
                raise
            raise Unmeasurable(f"{context.library} cannot do {self.op} of int32: {error}") from None
        began = time.perf_counter()
        self._repeat()
        one = time.perf_counter() - began
        (self.calls,) = context.agree((max(1, round(SLICE / one)),)) if context.agree else (1,)

    def _wanted(self) -> torch.Tensor:
        import torch

        rank, part, place = self.context.rank, self.part, self.context.place
        wanted = torch.zeros_like(self.taken)
        for other in range(self.context.size):
            if self.op == "all_reduce":
                wanted += _drawn(other, 0, part, place)  # wraps around, as the library's sum does
            else:
                first = rank * part if self.op == "all_to_all" else 0
                wanted[other * part : (other + 1) * part] = _drawn(other, first, part, place)
        return wanted

    def _from(self, name: str, index: int) -> str:
        if self.op == "all_reduce":
            return f"element {index}"
        return f"element {index % self.part} from rank {index // self.part}"

    def _repeat(self) -> None:
        import torch.distributed as dist

        group = self.context.group
        # Torch 2.13 renamed it; the old name warns.
        gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        if self.op == "all_reduce":
            self.taken.copy_(self.given)
            dist.all_reduce(self.taken, group=group)
        else:
            poison(self.taken)
            if self.op == "all_gather":
                gather(self.taken, self.given, group=group)
            else:
                dist.all_to_all_single(self.taken, self.given, group=group)
        self.tally.add({self.op: self.taken})

    def step(self) -> None:
        """As many exchanges as take a slice of the budget; all ranks do equally many."""
        for _ in range(self.calls):
            self._repeat()

    def check(self) -> Check:
        """The harness's own: a flipped bit would be counted. Ranks tell what they saw."""
        mine = [float(self.tally.wrong_elements), float(self.tally.wrong_repetitions)]
        every = self.context.gather(mine) if self.context.gather is not None else [mine]
        self.found = [sum(one) for one in zip(*every, strict=True)]
        return Check(self.tally.sees(), "the comparison does not see a flipped bit")

    def fault(self) -> str:
        """What this rank received wrong."""
        if not self.tally.text:
            return ""
        what = f"{self.op} of {format_size(int(self.size))}"
        return f"silent data corruption in {what}: {self.tally.text}"

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Counts over all ranks: a repetition that was wrong on two ranks counts twice."""
        elements, repetitions = self.found
        yield Metric("wrong_elements", value=elements)
        yield Metric("wrong_repetitions", value=repetitions)
        yield Metric("repetitions", value=float(self.tally.repetitions))

    def note(self) -> str:
        """Where data lies elsewhere than on the devices."""
        return IN_HOST_MEMORY if self.context.through_host else ""


def _drawn(rank: int, first: int, count: int, place: Any) -> torch.Tensor:
    """int32[count]: what a rank gives at places ``first`` and following, the same on every device.

    A finalizer of the kind of SplitMix64 (Steele et al., 2014) over rank and place: integers
    alone, that any rank computes for any other.
    """
    import torch

    made = torch.empty(count, dtype=torch.int32, device=place)
    for start in range(0, count, CHUNK):
        end = min(count, start + CHUNK)
        mixed = torch.arange(first + start, first + end, dtype=torch.int64, device=place)
        mixed += (rank + 1) * 0x9E3779B97F4A
        for factor in (0x3F58476D1CE4E5B9, 0x14D049BB133111EB):
            mixed ^= mixed >> 30
            mixed *= factor
        made[start:end] = ((mixed >> 24) & 0xFFFFFFFF).sub_(1 << 31).to(torch.int32)
    return made
