"""The input path of training: tokens from a file to the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import msgspec
import numpy as np

from ..errors import InfraError, UsageError
from ..host import page_cache
from ..records import Measure
from ..timing import Rule, Timing
from .base import Benchmark, Bytes, Check, Context, Metric, Unmeasurable, benchmark
from .marks import every_rank
from .runner import all_or_none
from .scratch import Scratch, is_url, place_of, shared
from .tokens import Reader, Sequences, TokenSet, batches, open_set, write_set

WINDOW = 16
"""Batches of a step, times those read ahead: the pipeline fills in every step anew."""


@benchmark(scope="node")
class Data(Benchmark):
    """Tokens that a node's ranks read from a packed set, each its own sequences, to their devices.

    Every rank has ``workers`` threads that read ``ahead`` batches before they are wanted. Of a cold
    page cache it is said how much it kept. Tokens count in the sum of all ranks, each at its own
    pace; every token of the first and the last step is compared with what must be there.

    A step is many batches, and begins with an empty pipeline: nothing is read beside the clock. It
    reads no sequence twice, for the second time it would come from memory: so a set has at least as
    many as all ranks read in a step, 16 · ``ahead`` · ``batch`` each.
    """

    measures = (
        Measure(
            "tokens_per_second",
            "token/s",
            "higher",
            about="tokens that a node's ranks get onto their devices in a second",
            formula="sum over the ranks of tokens of a step / the rank's own seconds",
        ),
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="bytes of tokens that a node's ranks read in a second",
            formula="tokens_per_second × bytes of a token (2 or 4)",
        ),
    )
    per_sample = True
    fitting = {"size": ("8GiB", "64MiB")}
    worded = {"cache": {"cold": ""}, "order": {"shuffled": ""}, "vocab": {32000: ""}}

    path: str = ""
    """A set that ``hengsuan tokens new`` wrote, or a directory in which one of ``size`` is written
    and removed; empty: the folder for temporary files, which may lie in memory."""
    size: Bytes = Bytes(64 << 20)
    """Bytes of the set that is written."""
    seq: int = 2048
    """Tokens of a sequence."""
    batch: int = 8
    """Sequences of a batch."""
    workers: int = 2
    """Threads of each rank that read."""
    ahead: int = 4
    """Batches that are read before they are wanted."""
    order: Literal["shuffled", "sequential"] = "shuffled"
    """In which sequences are read."""
    cache: Literal["cold", "warm"] = "cold"
    """``cold``: the host's page cache forgets what a step is going to read, as far as it can."""
    vocab: int = 32_000
    """Different tokens: above 65,536 they take four bytes each, else two."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        for name in ("seq", "batch", "workers", "ahead"):
            if getattr(self, name) < 1:
                raise UsageError(f"data: {name} must be at least 1, not {getattr(self, name)}")
        if not 1 < self.vocab <= 1 << 32:
            raise UsageError(f"data: vocab must be between 2 and 2^32, not {self.vocab}")
        if is_url(self.path):
            raise UsageError(f"data: path must be a file or a directory, not {self.path}")

    def rule(self, rule: Rule) -> Rule:
        """At least six steps: the interval of a median needs so many."""
        return msgspec.structs.replace(rule, min_samples=max(6, rule.min_samples))

    def clock(self) -> Literal["device", "host"]:
        """Files are read by the host."""
        return "host"

    def setup(self, context: Context) -> None:
        """Find the set, or write one.

        Raises:
            Unmeasurable: no such path, no room, a file that is no set, or one that has fewer
                sequences than are read in a step.
        """
        self.context = context
        self.scratch: Scratch | None = None
        self.reader: Reader | None = None
        self.pool = ThreadPoolExecutor(self.workers)
        problem = ""
        try:
            place = place_of(self.path)
        except Unmeasurable as error:
            place, problem = "", error.message
        all_or_none(context, problem)
        if not os.path.isfile(place):
            place = self._written()
        try:
            self.tokens: TokenSet = open_set(place)
            self.sequences = Sequences(
                self.tokens,
                self.seq,
                shuffled=self.order == "shuffled",
                reader=context.rank,
                readers=context.size,
            )
            problem = self._few()
        except UsageError as error:
            problem = f"{self._where(place)}: {error.message}"
        all_or_none(context, problem)
        self.turn = 0
        self.problem = ""
        self.warm: list[float] = []
        self.refresh()

    def _few(self) -> str:
        """That the set has fewer sequences than a step reads; empty where it has as many."""
        read = WINDOW * self.ahead * self.batch * self.context.size
        if read <= self.sequences.total:
            return ""
        return (
            f"a step reads {read} sequences of {self.seq} tokens, and the set has "
            f"{self.sequences.total}: take a larger one or a smaller batch"
        )

    def _written(self) -> str:
        """A set of `size` in a directory, by rank 0."""
        self.scratch = shared(self.context, self.path)
        place = os.path.join(self.scratch.folder, "tokens")
        problem = ""
        if self.context.rank == 0:
            count = int(self.size) // (2 if self.vocab <= 1 << 16 else 4)
            try:
                self.scratch.needs(int(self.size))
                write_set(place, count, self.vocab, seed=self.context.seed)
            except (Unmeasurable, UsageError) as error:  # which say where, or need not
                problem = error.message
            except InfraError as error:
                problem = f"path {os.path.dirname(self.scratch.folder)}: {error.message}"
        all_or_none(self.context, problem)
        return place

    def lifetime(self) -> int:
        """Every step reads other sequences."""
        return 1

    def refresh(self) -> None:
        """Choose what is read next, and have the host forget it.

        Raises `InfraError` where the file is no longer the set that it was: tokens of another set
        are no damage.
        """
        self._same()
        count = WINDOW * self.ahead
        first = self.turn * count * self.batch
        self.turn += 1
        numbers = range(first, first + count * self.batch)
        starts = [self.sequences.start(number) for number in numbers]
        self.starts = [starts[at : at + self.batch] for at in range(0, len(starts), self.batch)]
        ranges = [self.tokens.place(start, self.seq + 1) for start in starts]
        try:
            if self.cache == "cold":
                page_cache.drop(self.tokens.path, ranges)
            self.warm.append(page_cache.resident(self.tokens.path, ranges) or 0.0)
        except OSError as error:
            raise InfraError(f"cannot be read: {error.strerror}", where=self.tokens.path) from None
        if self.reader is not None:
            self.reader.close()
        self.reader = Reader(self.tokens, random=self.order == "shuffled")

    def _same(self) -> None:
        try:
            if open_set(self.tokens.path) == self.tokens:
                return
            why = "it is another set now"
        except UsageError as error:
            why = error.message
        raise InfraError(f"changed while it was read: {why}", where=self._where(self.tokens.path))

    def _where(self, place: str) -> str:
        """What to call a set: one that is written for this has a name that nobody gave."""
        return os.path.dirname(self.scratch.folder) if self.scratch else place

    def step(self) -> None:
        """Read the chosen batches, each to the device."""
        for _, batch in self._batches():
            self.last = self._to_device(batch)

    def _batches(self) -> Iterator[tuple[list[int], Any]]:
        assert self.reader is not None
        found = batches(self.reader, self.starts, self.seq + 1, self.pool, self.ahead)
        return zip(self.starts, found, strict=True)

    def _to_device(self, batch: Any) -> Any:
        import torch

        return torch.from_numpy(batch).to(self.context.device)

    def check(self) -> Check:
        """Every token of a step, as it is on the device, is what must be there."""
        count = 0
        for starts, batch in self._batches():
            arrived = self._to_device(batch).cpu().numpy()
            for start, row in zip(starts, arrived, strict=True):
                if wrong := self.tokens.wrong(start, row):
                    return Check(False, wrong)
                count += row.size
        return Check(True, f"{count} tokens are what was written")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """The sum of all ranks' rates. Every rank of the node asks for it."""
        _, seconds = every_rank(self.context, timing.seconds)
        rates = (WINDOW * self.ahead * self.batch * self.seq / seconds).sum(axis=0)
        yield Metric("tokens_per_second", samples=rates)
        yield Metric("bandwidth", samples=rates * self.tokens.width)

    def note(self) -> str:
        """Where the set lies, and how much of what was read was in the page cache."""
        warm = float(np.mean(self.warm))
        read = "all from a cold page cache" if not warm else f"{warm:.0%} from the page cache"
        return f"{self._where(self.tokens.path)}, {read}"

    def teardown(self) -> None:
        """End the threads and remove the set that was written for this."""
        held = self.__dict__
        pool, reader, scratch = held.get("pool"), held.get("reader"), held.get("scratch")
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        if reader is not None:
            reader.close()
        if scratch is not None:
            scratch.close()
        super().teardown()
