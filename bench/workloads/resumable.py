"""Training that goes on from its last checkpoint: what `hengsuan goodput` kills again and again."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from ..errors import UsageError
from ..records import Measure
from ..timing import Rule, Timing
from .attempts import Account, Failure, Log, account, read_failures, read_log
from .base import Check, Context, Metric, Unmeasurable, benchmark
from .kept import Checkpoints, check_room, kept_at, remove_partial
from .modelled import MOST
from .runner import all_or_none
from .saved import Saved, StateError, Training, together
from .scratch import Scratch, broadcast, is_url, shared
from .shared_step import SharedStep

SAME = 1e-3
"""Relative difference of losses up to which two passes of a step are the same: devices may add in
another order, while an optimizer without its moments is off by percents."""


def _after(failed: str) -> str:
    """How many attempts came before, in a title: their times would fill lines."""
    return f"after {len(read_failures(failed))} failure(s)" if failed else ""


@benchmark(scope="group")
class Resumable(Saved):
    """``steps`` training steps with a checkpoint every ``every``, from the last checkpoint on.

    One measurement is the whole training: with a ``key``, what earlier attempts of that key have
    saved is restored, be there more ranks or fewer than then: the sequences of a step stay the
    same. Somebody else lets the attempts fail (`hengsuan goodput` kills processes) and says when
    they did, in ``failed``. The attempt that comes to the end accounts for all of them, from
    logs that the first rank of each keeps beside the checkpoints, and removes everything.
    ``goodput`` is the time of steps that count over the whole; seconds that were lost are told
    apart: ``saving`` checkpoints, ``lost_work`` done again, ``detection``, ``relaunch``,
    ``restoring``. ``mode`` async: a checkpoint is copied, then written while training goes on, and
    counts when it is whole. Checked: the loss falls, and a step that is done again gives the same
    loss.

    ``path`` is a directory that all ranks see; empty: the folder for temporary files.
    """

    measures = (
        Measure(
            "goodput",
            "ratio",
            "higher",
            about="share of the time in which steps were made that count",
            formula="productive / total",
        ),
        Measure("step_time", "s", "lower", about="seconds of a step that counts"),
        Measure(
            "save_time",
            "s",
            "lower",
            about="seconds for which training stands still for a checkpoint that counts",
        ),
        Measure(
            "total",
            "s",
            "lower",
            about="from the first step's begin to the last one's end, restarts included",
            formula="productive + saving + lost_work + detection + relaunch + restoring",
        ),
        Measure("productive", "s", "higher", about="seconds of steps that count"),
        Measure(
            "saving",
            "s",
            "lower",
            about="seconds for which training stood still for checkpoints that count",
        ),
        Measure(
            "lost_work",
            "s",
            "lower",
            about="seconds of steps and of parts of checkpoints that a failure undid",
        ),
        Measure(
            "detection",
            "s",
            "lower",
            about="seconds from a failure until all that waits for it is known to be lost",
        ),
        Measure(
            "relaunch",
            "s",
            "lower",
            about="seconds from there until the benchmark begins: processes, imports, the group",
        ),
        Measure(
            "restoring",
            "s",
            "lower",
            about="seconds of building the model and reading the checkpoint",
        ),
        Measure(
            "recovery",
            "s",
            "lower",
            about="seconds of relaunch and restoring that no other failure interrupted",
        ),
        Measure(
            "failures", "count", "lower", about="how often the training failed, once it had begun"
        ),
        Measure(
            "interrupted",
            "count",
            "lower",
            about="how many of the failures struck before the training went on: while processes "
            "started, the group formed or a checkpoint was read",
        ),
        Measure(
            "landing",
            "s",
            "lower",
            about="seconds for which an asynchronous checkpoint is written beside the training",
        ),
    )
    timed = False  # minutes, restarts included: what others do in them cannot be told apart
    worded = {"mode": {"sync": ""}, "ranks": {0: ""}, "failed": _after}

    batch: int = 4
    """Sequences of a rank in a step."""
    steps: int = 20
    """Steps of the whole training."""
    every: int = 10
    """Steps from one checkpoint to the next."""
    key: str = ""
    """Names the training that attempts belong to; empty: there is one attempt."""
    mode: Literal["sync", "async"] = "sync"
    """``sync``: training stands still until the storage has a checkpoint; ``async``: it is copied
    first, then written while training goes on."""
    ranks: int = 0
    """Ranks of which each has ``batch`` sequences of a step; others share them anew. 0: these."""
    failed: str = ""
    """When attempts before this one failed, and when that was noticed, in seconds of the run:
    ``12.3-13.02+,-20.5``; of one that nobody asked for the former is not known, and ``+`` says
    that it had trained by then."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        for name in ("batch", "every"):
            if getattr(self, name) < 1:
                raise UsageError(f"resumable: {name} must be at least 1, not {getattr(self, name)}")
        if self.batch > MOST:
            raise UsageError(f"resumable: batch must be at most {MOST}, not {self.batch}")
        if self.steps < 2:
            raise UsageError(f"resumable: steps must be at least 2, not {self.steps}")
        if is_url(self.path):
            raise UsageError(f"resumable: path must be a directory, not {self.path}")
        super().__post_init__()
        if self.ranks < 0:
            raise UsageError(f"resumable: ranks must not be negative, but is {self.ranks}")
        if self.key and not self.key.isalnum():
            raise UsageError(f"resumable: key must be letters and digits, not {self.key!r}")
        try:
            read_failures(self.failed)
        except ValueError:
            raise UsageError(
                f"resumable: failed must be times as 12.3-13.02,-20.5, not {self.failed!r}"
            ) from None
        if self.failed and not self.key:
            raise UsageError("resumable: failed needs the key of what has failed")

    def reported(self) -> tuple[Measure, ...]:
        """``landing`` of asynchronous checkpoints only."""
        return self.measures if self.mode == "async" else self.measures[:-1]

    def rule(self, rule: Rule) -> Rule:
        """Once: the first call does it all."""
        return msgspec.structs.replace(
            rule, precision=1.0, budget=1e-3, warmup=0.0, min_samples=1, max_samples=1
        )

    def setup(self, context: Context) -> None:
        """Build the model and restore the last checkpoint.

        Raises:
            StateError: the checkpoint is damaged, or what earlier attempts left is gone.
            Unmeasurable: no such path, no room, not shared by the ranks, too large for a device,
                or a group across kinds of chip.
        """
        super().setup(context)
        self.shared_step = SharedStep(context, self.batch * (self.ranks or context.size))
        self.trained = self.ended = False
        self.account: Account | None = None
        self.log: Log | None = None
        self.failures: list[Failure] = read_failures(self.failed)
        self.folder = self._place()
        if context.rank == 0:
            self._missed()
            self.log = Log(self._log_of(len(self.failures)), context.zero)
            self.log.write("begun")
            remove_partial(self.folder)
        check_room(context, self.folder, self.model)
        self.training = Training(context, self.model, self.dp)
        self.kept = Checkpoints(self.training, self.folder, len(self.failures), self.log)
        self.done = self.kept.restore()
        together(self.context)
        if self.log is not None:
            self.log.write("ready", step=self.done)

    def _missed(self) -> None:
        """Raise `StateError` where an attempt had trained and its log is gone: without it the
        account would not know of what was lost."""
        for number, failure in enumerate(self.failures):
            path = self._log_of(number)
            if failure.trained and not os.path.exists(path):
                raise StateError(
                    f"{path} is gone, the log of an attempt that had trained: what was lost with "
                    "it cannot be accounted for"
                )

    def _log_of(self, attempt: int) -> str:
        return os.path.join(self.folder, f"attempt-{attempt:05d}.jsonl")

    def _place(self) -> str:
        """The folder of logs and checkpoints: kept from attempt to attempt where there is a key."""
        context, problem, folder = self.context, "", ""
        self.scratch: Scratch | None = None
        if not self.key:
            self.scratch = shared(context, self.path)
            folder = self.scratch.folder
        elif context.rank == 0:
            try:
                folder = kept_at(self.path, self.key)
            except Unmeasurable as error:
                problem = error.message
        all_or_none(context, problem)
        if context.size > 1:
            folder = broadcast(context, folder)
        if not os.path.isdir(folder):
            problem = f"path {folder} is not on every node: it must be shared storage"
        all_or_none(context, problem)
        return folder

    def step(self) -> None:
        """All steps that are left, when called for the first time."""
        if self.trained:
            return
        self.trained = True
        while self.done < self.steps:
            loss = self._train()
            self.done += 1
            if self.log is not None:
                self.log.write("step", step=self.done, loss=loss)
            self.kept.look()
            if self.done % self.every == 0 and self.done < self.steps:
                self.kept.save(self.done, beside=self.mode == "async")
        self._meet()
        if self.log is not None:
            self.log.write("done")
        self.kept.land()  # nothing may write into a folder that is to be removed
        together(self.context)
        self.ended = True
        if self.log is not None:
            attempts = range(len(self.failures) + 1)
            self.lines = [read_log(Path(self._log_of(number))) for number in attempts]
            self._missed()  # since it began
            try:
                self.account = account(self.lines, self.failures)
            except ValueError as error:
                raise StateError(f"the logs in {self.folder} cannot be added up: {error}") from None

    def _meet(self) -> None:
        """Wait for the last rank, in the group that no checkpoint is being written by."""
        if self.context.size > 1:
            import torch.distributed as dist

            dist.barrier(group=self.context.group)

    def _train(self) -> float:
        """One step; the loss of all its sequences, when it is done."""
        return self.shared_step.train(self.training, self.done)

    def check(self) -> Check:
        """Before: what was restored is not behind the end. After: it was trained, as it must be."""
        if not self.trained:
            return Check(self.done < self.steps, f"{self.done} of {self.steps} steps are done")
        if self.account is None:
            return Check(self.context.rank > 0, "rank 0 checks")
        found = self.account
        losses = {line.step: line.loss for lines in self.lines for line in lines if line.loss}
        if sorted(losses) != list(range(1, self.steps + 1)):
            return Check(False, f"{len(losses)} of {self.steps} steps were done")
        if found.differs > SAME:
            return Check(
                False,
                f"losses of steps that were done again differ by {found.differs:.2g}: what was "
                "restored is not what was saved",
            )
        first, last = losses[1], losses[self.steps]
        assert first is not None
        assert last is not None
        if not math.isfinite(last) or last >= first:
            return Check(False, f"loss went from {first:.4f} to {last:.4f}")
        if abs(found.rest) > 1e-3 * found.total:
            return Check(False, f"{found.rest:.3g} s of {found.total:.3g} s are in no part")
        return Check(True, f"loss fell from {first:.4f} to {last:.4f}")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """The account of all attempts. Only rank 0 keeps one."""
        found = self.account
        if found is None:
            return
        yield Metric("goodput", value=found.productive / found.total)
        yield Metric("step_time", samples=np.array(found.steps))
        for metric, seconds in (
            ("save_time", found.saves),
            ("recovery", found.recoveries),
            ("landing", found.landings),
        ):
            if seconds:
                yield Metric(metric, samples=np.array(seconds))
        for name in ("total", "productive", "saving", "detection", "relaunch", "restoring"):
            yield Metric(name, value=getattr(found, name))
        yield Metric("lost_work", value=found.lost)
        yield Metric("failures", value=float(found.failures))
        yield Metric("interrupted", value=float(found.interrupted))

    def note(self) -> str:
        """How often steps were done again, and how alike they came out."""
        found = self.account
        if found is None or not found.again:
            return ""
        return f"{found.again} step(s) done again, losses differ by at most {found.differs:.2g}"

    def teardown(self) -> None:
        """Remove everything if the training has ended; an attempt that failed leaves it behind."""
        held = self.__dict__
        log, scratch = held.get("log"), held.get("scratch")
        if log is not None:
            log.close()
        if scratch is not None:
            scratch.close()
        elif held.get("ended") and self.context.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
        super().teardown()
