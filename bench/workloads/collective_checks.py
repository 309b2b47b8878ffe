"""What every rank gives to a collective and what it must find afterwards: exact in every dtype."""

from __future__ import annotations

from time import perf_counter, sleep
from typing import Any, NamedTuple

from ..kernels.messages import SUMS, skewed_edges
from .base import Check, Context

CHUNK = 1 << 22
"""Elements that are computed and compared at a time: the check of 8 GB needs no 8 GB of its own."""
PERIOD = 127**3
"""Places after which a rank's values repeat."""
LATE = 0.02
"""Seconds that one rank comes late to a barrier that is being checked."""


class Buffers(NamedTuple):
    """One call's tensors on this rank, flat: what it gives and what it finds. They may overlap.

    Either may be empty: a rank that only receives gives nothing, and the other way round.
    """

    given: Any
    taken: Any


class Pattern:
    """Integers from 1 to 127, distinct in rank and place, in no period that a part could share.

    Of a sum, every place has two contributors and zeros from all others, so that it stays below
    256 and exact in bf16 and uint8 however many ranks there are; every rank contributes somewhere.

    Args:
        op: The collective.
        rank: This rank.
        ranks: Ranks of the group.
        count: Elements of the whole array.
        device: Where values are computed.
        salt: Distinguishes several calls that are in flight together.
    """

    def __init__(
        self, op: str, rank: int, ranks: int, count: int, device: Any = "cpu", salt: int = 0
    ) -> None:
        self.op, self.rank, self.ranks, self.count = op, rank, ranks, count
        self.device, self.salt = device, salt * ranks
        self.part = count // ranks
        self._tables: dict[tuple[int, int], Any] = {}
        self.edges = skewed_edges(count, ranks) if op == "all_to_all_skewed" else []

    def given(self, first: int, count: int) -> Any:
        """int32[count]: what this rank gives at places ``first`` and following."""
        if self.op not in SUMS:
            return self._run(first, count, self.rank)
        import torch

        found = torch.zeros(count, dtype=torch.int32, device=self.device)
        # This rank is one of the two that contribute to a place, at every so many places each.
        for salt, turn in enumerate((self.rank, self.rank - 1)):
            mine = slice((turn - first) % self.ranks, None, self.ranks)
            found[mine] += self._run(first, count, salt)[mine]
        return found

    def wanted(self, first: int, count: int) -> Any:
        """int32[count]: what this rank must find at places ``first`` and following."""
        mine = self.rank * self.part  # where this rank's part of the whole begins
        if self.op in SUMS:
            first += mine if self.op == "reduce_scatter" else 0
            return self._run(first, count, 0) + self._run(first, count, 1)
        if self.op == "broadcast":
            return self._run(first, count, 0)
        if self.op == "scatter":
            return self._run(first + mine, count, 0)
        if self.op == "send_recv":
            return self._run(first, count, (self.rank - 1) % self.ranks)
        share = self.part
        if self.op == "all_to_all_skewed":
            mine, share = self.edges[self.rank], self.edges[self.rank + 1] - self.edges[self.rank]
        begin = mine if self.op.startswith("all_to_all") else 0  # within each rank's own
        return self._parts(first, count, share, begin)

    def fill(self, buffers: Buffers) -> None:
        """Write what is given; poison what is only written, for it must not have been there."""
        poison(buffers.taken)
        if self.op == "broadcast" and self.rank != 0:
            return
        flat = buffers.given
        for first in range(0, flat.numel(), CHUNK):
            piece = flat[first : first + CHUNK]
            piece.copy_(self.given(first, piece.numel()))

    def wrong(self, buffers: Buffers) -> int:
        """How many elements are not what they must be. Only rank 0 has the result of a reduce."""
        if self.op == "reduce" and self.rank != 0:
            return 0
        found, flat = 0, buffers.taken
        for first in range(0, flat.numel(), CHUNK):
            piece = flat[first : first + CHUNK]
            # In the buffer's own dtype: a NaN has no integer, and equals nothing.
            found += int((piece != self.wanted(first, piece.numel()).to(piece.dtype)).sum())
        return found

    def _parts(self, first: int, count: int, share: int, begin: int) -> Any:
        """What ranks gave from their place ``begin`` on, ``share`` of each, one after the other."""
        import torch

        pieces, place = [], first
        while place < first + count:
            source, inner = divmod(place, share)
            length = min(share - inner, first + count - place)
            pieces.append(self._run(begin + inner, length, source))
            place += length
        return torch.cat(pieces) if pieces else self._run(0, 0, 0)

    def _run(self, first: int, count: int, salt: int) -> Any:
        """int32[count]: values of adjacent places, in which a salt is mixed.

        Of a place's three digits in base 127 and the salt: their sum, each times a number of its
        own, modulo 127. Salts that are equal modulo 127 differ in how fast values change.
        """
        import torch

        salt += self.salt
        table = self._table(7 + salt // 127, 11 + salt // 16129)
        begin = first % PERIOD
        found = table[begin : begin + count]
        while found.numel() < count:
            found = torch.cat([found, table[: count - found.numel()]])
        return (found + salt * 31 % 127) % 127 + 1

    def _table(self, fast: int, slow: int) -> Any:
        """int32[at most PERIOD]: what is mixed of places alone, computed once."""
        import torch

        if (fast, slow) not in self._tables:
            digits = torch.arange(127, dtype=torch.int32, device=self.device)
            rows = min(127, -(-self.count // 127**2))
            mixed = (digits[:rows] * 17)[:, None, None] + (digits * slow)[:, None] + digits * fast
            self._tables[fast, slow] = (mixed % 127).reshape(-1)
        return self._tables[fast, slow]


def poison(tensor: Any) -> None:
    """Fill with what no check expects: NaN, or the largest integer of the dtype."""
    import torch

    floating = tensor.dtype.is_floating_point
    tensor.fill_(float("nan") if floating else torch.iinfo(tensor.dtype).max)


def barrier_check(context: Context, call: Any) -> Check:
    """Nobody leaves a barrier before the last has entered it: the others wait for a late rank.

    The first and the last rank come late in turn, twice each; all others must have spent at least
    half of that time inside the barrier once. Each rank reads its own clock only.
    """
    short = ""
    for late in dict.fromkeys((0, context.size - 1)):
        spans = []
        for _ in range(2):  # whoever lost its core just before the call waits less
            if context.gather is not None:
                context.gather([0.0])
            if context.rank == late:
                sleep(LATE)
            start = perf_counter()
            call()
            context.backend.synchronize(context.device)
            spans.append(perf_counter() - start)
        if context.rank != late and max(spans) < LATE / 2:
            short = (
                f"rank {context.rank} left the barrier after {max(spans) * 1e3:.3g} ms, "
                f"rank {late} entered it {LATE * 1e3:.3g} ms late"
            )
    return Check(not short, short or "every rank waited for the last")
