"""Saving and restoring a model and its optimizer, to a path of one's choice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Literal

import msgspec
import numpy as np

from ..errors import UsageError
from ..host import page_cache
from ..records import Measure
from ..timing import Rule, Timing
from ..units import format_size
from .base import Check, Context, Metric, Unmeasurable, benchmark
from .runner import all_or_none
from .saved import Saved, StateError, Training, state_bytes, together
from .scratch import shared

ROUNDS = 3
"""Saves and restores at least, so that a median says something."""
MOST_THREADS = 1 << 10
"""PyTorch makes a list of files for each, whether it has any or not."""


@benchmark(scope="group")
class Checkpoint(Saved):
    """Time and bandwidth of a checkpoint, through ``torch.distributed.checkpoint``.

    The state is that of training in fp32: weights and AdamW's moments, 12 bytes a weight. Bandwidth
    is the state, counted once however many ranks hold it, over the time of the slowest rank.
    ``path`` is a directory that all ranks of the group see, or a URL that fsspec knows; empty: the
    folder for temporary files, which may lie in memory. A save ends when the storage has it:
    files are synced. ``mode`` async: copied first, then written while training would go on;
    ``blocked`` is the time of the copy, in which it could not.

    Before every restore all bits of the state are flipped and the host's page cache forgets the
    files, as far as it can; after it every bit is compared with what was saved (by SHA-256, each
    rank its own). One checkpoint exists at a time, and none afterwards.
    """

    measures = (
        Measure(
            "save_bandwidth",
            "B/s",
            "higher",
            about="how fast a checkpoint is written",
            formula="state / save_time; state = 12 B × weights, counted once",
        ),
        Measure(
            "restore_bandwidth",
            "B/s",
            "higher",
            about="how fast a checkpoint is read back",
            formula="state / restore_time; state = 12 B × weights, counted once",
        ),
        Measure(
            "save_time",
            "s",
            "lower",
            about="from the common start until the storage has the whole checkpoint",
            formula="of the slowest rank",
        ),
        Measure(
            "restore_time",
            "s",
            "lower",
            about="from the common start until every rank has its state again",
            formula="of the slowest rank",
        ),
        Measure(
            "blocked",
            "s",
            "lower",
            about="how long training stands still for an asynchronous save: the time of the copy",
        ),
    )
    per_sample = True
    worded = {"threads": {1: ""}}

    mode: Literal["sync", "async"] = "sync"
    """``sync``: training stands still until the storage has all; ``async``: it is copied first,
    then written while training would go on."""
    threads: int = 1
    """Threads with which each rank writes."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"checkpoint: threads must be 1 to {MOST_THREADS}, not {self.threads}")
        super().__post_init__()

    def reported(self) -> tuple[Measure, ...]:
        """``blocked`` of asynchronous saves only: a synchronous one blocks for all of its time."""
        return self.measures if self.mode == "async" else self.measures[:-1]

    def rule(self, rule: Rule) -> Rule:
        """A few rounds are enough: each writes and reads all of the state."""
        return msgspec.structs.replace(rule, min_samples=ROUNDS, warmup=0.0)

    def setup(self, context: Context) -> None:
        """Build the state and find a place for it.

        Raises:
            Unmeasurable: no such path, no room, not shared by the ranks, too large for a device,
                or a group across kinds of chip.
        """
        super().setup(context)
        self.bytes = state_bytes(self.model)
        self.scratch = shared(context, self.path)
        problem = ""
        try:
            self.scratch.needs(self.bytes)
        except Unmeasurable as error:
            problem = error.message
        all_or_none(context, problem)
        self.training = Training(context, self.model, self.dp)
        self.training.fill()
        self.wanted = self.training.digests()
        self.turn = 0
        self.problem = ""
        self.spans: list[tuple[float, float, float]] = []
        """Seconds of a save, of what it blocked, of a restore; one for each round."""
        self.warm: list[float] = []

    def step(self) -> None:
        """Save, forget, restore, compare, remove."""
        if self.problem:  # the same on all ranks: nothing more can be learnt
            self.spans.append((np.nan, np.nan, np.nan))
            return
        self.turn += 1
        place = os.path.join(self.scratch.folder, f"round-{self.turn}")
        begin = together(self.context)
        try:
            if self.mode == "async":
                writing = self.training.save_beside(place, threads=self.threads)
                blocked = perf_counter() - begin
                writing.wait()
            else:
                self.training.save(place, threads=self.threads)
                blocked = perf_counter() - begin
        except StateError as error:
            where = os.path.dirname(self.scratch.folder)
            raise StateError(f"the checkpoint cannot be written to {where}: {error}") from error
        saved = perf_counter() - begin
        self._between(place)
        self._restore(place, saved, blocked)
        if self.context.rank == 0:
            self.scratch.remove(place)

    def _between(self, place: str) -> None:
        """Have nothing left of the state but what was saved."""
        self.training.spoil()
        if not self.scratch.url:
            files: list[Path] = []
            shares = []
            with contextlib.suppress(OSError):  # of what is gone, reading it back will tell
                files = sorted(Path(place).iterdir())
            for file in files:
                with contextlib.suppress(OSError):
                    page_cache.drop(file)
                    shares.append(page_cache.resident(file) or 0.0)
            self.warm.append(max(shares, default=0.0))

    def _restore(self, place: str, saved: float, blocked: float) -> None:
        begin = together(self.context)
        problem = ""
        try:
            self.training.restore(place)
        except StateError as error:
            problem = f"the checkpoint cannot be read back: {error}"
        # Reading ends together; what a rank then puts back, nobody else waits for.
        took = together(self.context) - begin
        if not problem:
            found = self.training.digests()
            wrong = [name for name, one in self.wanted.items() if found.get(name) != one]
            if wrong:
                more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
                problem = (
                    f"{len(wrong)} of {len(self.wanted)} tensors differ from what was saved: "
                    f"{', '.join(wrong[:3])}{more}"
                )
        self.problem = self._anywhere(problem)
        self.spans.append((saved, blocked, took))

    def _anywhere(self, problem: str) -> str:
        """The first rank's problem, on every rank."""
        if self.context.size == 1:
            return problem
        import torch.distributed as dist

        said: list[str] = [""] * self.context.size
        dist.all_gather_object(said, problem, group=self.context.control)
        return next((f"rank {rank}: {one}" for rank, one in enumerate(said) if one), "")

    def check(self) -> Check:
        """A checkpoint is restored bit by bit; that of every timed round as well."""
        if not self.spans:
            self.step()
        good = f"{format_size(self.bytes)} restored bit by bit, {len(self.spans)} times"
        return Check(not self.problem, self.problem or good)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """From the parts of the rounds: what compares and removes is not in them."""
        saved, blocked, restored = np.array(timing.kept(self.spans)).T
        yield Metric("save_bandwidth", samples=self.bytes / saved)
        yield Metric("restore_bandwidth", samples=self.bytes / restored)
        yield Metric("save_time", samples=saved)
        yield Metric("restore_time", samples=restored)
        if self.mode == "async":
            yield Metric("blocked", samples=blocked)

    def note(self) -> str:
        """Size, and whether the restore had to read from the storage."""
        if self.scratch.url:
            return f"{format_size(self.bytes)}; whether the storage caches is not known here"
        warm = max(self.warm, default=0.0)
        read = "from a cold page cache" if warm < 0.01 else f"with {warm:.0%} in the page cache"
        where = os.path.dirname(self.scratch.folder)
        return f"{format_size(self.bytes)} in {where}, restored {read}"

    def teardown(self) -> None:
        """Remove every checkpoint, and free the state."""
        scratch = self.__dict__.get("scratch")
        if scratch is not None:
            scratch.close()
        super().teardown()
