"""Training that goes on from its last checkpoint: what `hengsuan goodput` kills again and again."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..errors import UsageError
from ..files import replace_file
from ..host.cores import expand
from ..records import Measure
from ..timing import Rule, Timing
from .attempts import Account, Log, account, launched, read_log
from .base import Check, Context, Metric, Unmeasurable, benchmark
from .runner import all_or_none
from .saved import Saved, Training, state_bytes, together
from .scratch import Scratch, broadcast, is_url, place_of, shared
from .tokens import synthetic

CLASSES = 16
"""Tokens that the text is made of, of the model's vocabulary: which they are is soon learnt."""
SAME = 1e-3
"""Relative difference of losses up to which two passes of a step are the same: devices may add in
another order, while an optimizer without its moments is off by percents."""
LATEST = "latest.json"


@benchmark(scope="group")
class Resumable(Saved):
    """``steps`` training steps with a checkpoint every ``every``, from the last checkpoint on.

    One measurement is the whole training: with a ``key``, what an earlier attempt of that key has
    saved is restored, and ranks ``victims`` (``0-3,7``) kill themselves with SIGKILL
    ``kill_after`` seconds after all are ready. The attempt that comes to the end accounts for all
    of them, from logs that rank 0 keeps beside the checkpoints, and removes everything.
    ``goodput`` is the time of steps that count over the whole; seconds that were lost are told
    apart: ``saving`` checkpoints, ``lost_work`` done again, ``detection``, ``relaunch``,
    ``restoring``. Checked: the loss falls, and a step that is done again gives the same loss.

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
        Measure("save_time", "s", "lower", about="seconds of a checkpoint that was completed"),
        Measure(
            "total",
            "s",
            "lower",
            about="from the first step's begin to the last one's end, restarts included",
            formula="productive + saving + lost_work + detection + relaunch + restoring",
        ),
        Measure("productive", "s", "higher", about="seconds of steps that count"),
        Measure("saving", "s", "lower", about="seconds of checkpoints that were completed"),
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
            about="seconds from a kill until the engine has started a new process of rank 0",
        ),
        Measure(
            "relaunch",
            "s",
            "lower",
            about="seconds from there until the benchmark begins: imports, the group",
        ),
        Measure(
            "restoring",
            "s",
            "lower",
            about="seconds of building the model and reading the checkpoint",
        ),
        Measure("failures", "count", "lower", about="how often ranks were killed"),
    )
    timed = False  # minutes, restarts included: what others do in them cannot be told apart
    worded = {"kill_after": {0.0: ""}, "attempt": {0: ""}}

    batch: int = 4
    """Sequences of a rank in a step."""
    steps: int = 20
    """Steps of the whole training."""
    every: int = 10
    """Steps from one checkpoint to the next."""
    key: str = ""
    """Names the training that attempts belong to; empty: there is one attempt."""
    attempt: int = 0
    """Number of this attempt."""
    kill_after: float = 0.0
    """Seconds after which ranks kill themselves; 0: none does."""
    victims: str = ""
    """Which ranks do, as ``0-3,7``."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        for name in ("batch", "every"):
            if getattr(self, name) < 1:
                raise UsageError(f"resumable: {name} must be at least 1, not {getattr(self, name)}")
        if self.steps < 2:
            raise UsageError(f"resumable: steps must be at least 2, not {self.steps}")
        if is_url(self.path):
            raise UsageError(f"resumable: path must be a directory, not {self.path}")
        super().__post_init__()
        if self.key and not self.key.isalnum():
            raise UsageError(f"resumable: key must be letters and digits, not {self.key!r}")
        try:
            expand(self.victims)
        except ValueError:
            raise UsageError(
                f"resumable: victims must be ranks as 0-3,7, not {self.victims!r}"
            ) from None
        if self.kill_after and not (self.key and self.victims):
            raise UsageError("resumable: kill_after needs victims, and a key to go on by")

    def rule(self, rule: Rule) -> Rule:
        """Once: the first call does it all."""
        return msgspec.structs.replace(
            rule, precision=1.0, budget=1e-3, warmup=0.0, min_samples=1, max_samples=1
        )

    def setup(self, context: Context) -> None:
        """Build the model and restore the last checkpoint; arm the timers of those who will die.

        Raises:
            Unmeasurable: no such path, no room, not shared by the ranks, too large for a device,
                or a group across kinds of chip.
        """
        super().setup(context)
        self.trained = self.ended = False
        self.account: Account | None = None
        self.timer: threading.Timer | None = None
        self.log: Log | None = None
        self.folder = self._place()
        if context.rank == 0:
            self.log = Log(os.path.join(self.folder, f"attempt-{self.attempt:05d}.jsonl"))
            self.log.write("launched", launched())
            self.log.write("begun")
        self.training = Training(context, self.model, self.dp)
        latest = os.path.join(self.folder, LATEST)
        self.done = 0
        if os.path.exists(latest):
            said = json.loads(Path(latest).read_text())
            self.training.restore(os.path.join(self.folder, said["folder"]))
            self.done = said["step"]
        together(self.context)
        if self.log is not None:
            self.log.write("ready", step=self.done)
        self._arm()

    def _place(self) -> str:
        """The folder of logs and checkpoints: kept from attempt to attempt where there is a key."""
        context, problem, folder = self.context, "", ""
        self.scratch: Scratch | None = None
        if not self.key:
            self.scratch = shared(context, self.path)
            folder = self.scratch.folder
        elif context.rank == 0:
            try:
                place = place_of(self.path)
                if not os.path.isdir(place):
                    raise Unmeasurable(f"path {place}: there is no such directory on this node")
                folder = os.path.join(place, f"hengsuan-goodput-{self.key}")
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700)
            except Unmeasurable as error:
                problem = error.message
            except OSError as error:
                problem = f"path {self.path} cannot be written: {error.strerror}"
        all_or_none(context, problem)
        if context.size > 1:
            folder = broadcast(context, folder)
        if not os.path.isdir(folder):
            problem = f"path {folder} is not on every node: it must be shared storage"
        else:
            free = shutil.disk_usage(folder).free
            # The one before is kept until the next is whole.
            if 2 * state_bytes(self.model) > free:
                problem = f"path {folder} has no room for two checkpoints of {self.model}"
        all_or_none(context, problem)
        return folder

    def _arm(self) -> None:
        if not self.kill_after:
            return
        if self.log is not None:
            self.log.write("kill", self.log.last + self.kill_after)
        if self.context.rank in expand(self.victims):
            kill = (os.getpid(), signal.SIGKILL)
            self.timer = threading.Timer(self.kill_after, os.kill, kill)
            self.timer.daemon = True
            self.timer.start()

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
            if self.done % self.every == 0 and self.done < self.steps:
                self._save()
        if self.timer is not None:
            self.timer.cancel()
        together(self.context)
        self.ended = True
        if self.log is not None:
            self.log.write("done")
            logs = sorted(Path(self.folder).glob("attempt-*.jsonl"))
            self.lines = [read_log(path) for path in logs]
            self.account = account(self.lines)

    def _train(self) -> float:
        """One step on this rank's part of the text; its loss, when the step is done."""
        training = self.training
        loss = training.net(self._text())
        loss.backward()
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _text(self) -> Any:
        """int64 [batch, seq + 1], the same for a step whenever it is done."""
        import torch

        shape = self.training.shape
        count = self.batch * (shape.seq + 1)
        turn = self.done * self.context.size + self.context.rank
        made = synthetic(self.context.seed, turn * count, count, min(CLASSES, shape.vocab))
        text = torch.from_numpy(made.astype(np.int64)).view(self.batch, -1)
        return text.to(self.context.device)

    def _save(self) -> None:
        """A checkpoint, whole before it is the latest; the one before it is removed then."""
        name = f"step-{self.done:08d}"
        self.training.save(os.path.join(self.folder, name))
        if self.log is None:
            return
        said = json.dumps({"step": self.done, "folder": name})
        replace_file(Path(self.folder, LATEST), said.encode())
        self.log.write("saved", step=self.done)
        for old in Path(self.folder).glob("step-*"):
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)

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
        if found.saves:
            yield Metric("save_time", samples=np.array(found.saves))
        for name in ("total", "productive", "saving", "detection", "relaunch", "restoring"):
            yield Metric(name, value=getattr(found, name))
        yield Metric("lost_work", value=found.lost)
        yield Metric("failures", value=float(found.failures))

    def note(self) -> str:
        """How often steps were done again, and how alike they came out."""
        found = self.account
        if found is None or not found.again:
            return ""
        return f"{found.again} step(s) done again, losses differ by at most {found.differs:.2g}"

    def teardown(self) -> None:
        """Remove everything if the training has ended; an attempt that failed leaves it behind."""
        held = self.__dict__
        timer, log, scratch = held.get("timer"), held.get("log"), held.get("scratch")
        if timer is not None:
            timer.cancel()
        if log is not None:
            log.close()
        if scratch is not None:
            scratch.close()
        elif held.get("ended") and self.context.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
        super().teardown()
