"""Training under failures: calibrate, then attempt after attempt, each killed but the last.

Distances of failures are exponential with the mean that is asked for, counted from when an
attempt's ranks are all ready; they are drawn from a seed. A failure kills one rank, or all ranks of
a node. How failures strike, what a loss is and how it is found is the engine's own: ranks are
processes that die by SIGKILL, their agent notices, gives the group up and starts all of them anew.

Nothing is remembered between stages: the rows say it all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..analysis.checkpointing import daly
from ..analysis.goodput import BENCHMARK, rows_of
from ..cluster.further import Further
from ..cluster.planning import Part
from ..configs import Entry, StageConfig, Suite
from ..inventory import Inventory
from ..records import Row
from ..results import RunReader
from ..units import format_duration

CALIBRATION = "calibration"
TRIAL_STEPS = 40
TRIAL_EVERY = 5
"""Steps of the calibration, and of them between two checkpoints."""
PATIENCE = 240.0
"""Seconds that an attempt may take beyond several times the work that is asked for."""
_KILLED = "SIGKILL"
"""What the engine says of a rank that a failure struck."""


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """What is asked for.

    ``work``: seconds of steps that must be done in the end. ``mtbf``: mean seconds between two
    failures. ``interval``: seconds of work between two checkpoints; None: Daly's optimum for the
    time that a save takes here. ``node_share``: how many failures take a whole node. ``most``:
    attempts that may be killed. ``key`` names the folder of the checkpoints below ``path``.
    """

    model: str = "fitting"
    batch: int = 4
    dp: str = "ddp"
    path: str = ""
    key: str
    work: float = 60.0
    mtbf: float = 30.0
    interval: float | None = None
    node_share: float = 0.2
    seed: int = 0
    most: int = 100


class Goodput:
    """The campaign of one training under failures.

    Args:
        wanted: What is asked for.
        say: Told what is decided, in lines.

    Attributes:
        stopped: Why it ended before the training did; empty if it did not.
        every: Steps between two checkpoints, when they are known.
    """

    def __init__(self, wanted: Wanted, say: Callable[[str], None] = lambda line: None) -> None:
        self._wanted, self._say = wanted, say
        self.stopped = ""
        self.every = 0

    @property
    def suite(self) -> Suite:
        """What the run draws on: the calibration alone."""
        trial = StageConfig(name=CALIBRATION, entries=[self._calibration()])
        return Suite(name="goodput", stages=[trial])

    def following(self, folder: Path, stages: Sequence[str]) -> Further | None:
        """The next stage, see `bench.cluster.further.Campaign`."""
        if not stages:
            return self._further(CALIBRATION, self._calibration())
        reader = RunReader(folder)
        rows = list(reader.rows())
        last = rows_of(reader.header, rows, stages[-1])
        trial = rows_of(reader.header, rows, CALIBRATION)
        if stages[-1] != CALIBRATION and self._ended(last):
            return None
        plan = self._steps(trial)
        if plan is None:
            return None
        steps, self.every = plan
        number = len(stages)
        nodes = Inventory(reader.header.nodes, reader.header.fleet)
        if not self._kinds(nodes):
            return None
        kill, victims, what = self._failure(number, nodes)
        # The model is by now what `fitting` stood for.
        axes = next(case.axes for case in reader.header.cases if case.benchmark == BENCHMARK)
        entry = self._entry(
            {
                **self._axes(),
                "model": axes["model"],
                "key": self._wanted.key,
                "steps": steps,
                "every": self.every,
                "attempt": number,
                "kill_after": kill,
                "victims": victims,
            }
        )
        self._say(f"attempt {number}: {what}")
        return self._further(f"attempt-{number}", entry)

    def _kinds(self, inventory: Inventory) -> bool:
        """Whether the fleet is of one kind, so that a group has all ranks."""
        _, names = inventory.kinds()
        if len(names) > 1:
            self.stopped = f"one training needs chips of one kind, and here are {', '.join(names)}"
        return len(names) <= 1

    def _ended(self, last: dict[str, Row]) -> bool:
        """Whether the last attempt was not killed, or by something that nobody asked for."""
        told = next(iter(last.values()), None)
        if told is None:
            self.stopped = "the last attempt left no rows"
        elif told.status == "failed" and _KILLED not in told.reason:
            self.stopped = told.reason
        return told is None or told.status != "failed" or bool(self.stopped)

    def _steps(self, trial: dict[str, Row]) -> tuple[int, int] | None:
        """Steps of the training, and between two checkpoints; None if the calibration failed."""
        step, save = trial.get("step_time"), trial.get("save_time")
        if step is None or save is None or not step.value or not save.value:
            told = next((row.reason for row in trial.values() if row.reason), "no rows")
            self.stopped = f"the calibration failed: {told}"
            return None
        wanted = self._wanted
        interval = wanted.interval or daly(save.value, wanted.mtbf)
        steps = max(2, math.ceil(wanted.work / step.value))
        # More often than every step cannot be saved, and one at the end would serve nothing.
        every = min(max(1, round(interval / step.value)), steps)
        if not self.every:
            self._say(
                f"a step takes {format_duration(step.value)}, a save "
                f"{format_duration(save.value)}: {steps} steps, a checkpoint every {every}"
            )
        return steps, every

    def _failure(self, number: int, inventory: Inventory) -> tuple[float, str, str]:
        """(seconds until it strikes, ranks that it strikes, both in words) of an attempt."""
        wanted = self._wanted
        if number > wanted.most:
            return 0.0, "", f"not killed, after {wanted.most} that were"
        chance = np.random.default_rng([wanted.seed, number])
        after = float(chance.exponential(wanted.mtbf))
        rank = int(chance.integers(inventory.size))
        where = f"in {format_duration(after)} failure of"
        if chance.random() >= wanted.node_share:
            return after, str(rank), f"{where} rank {rank}"
        node = int(inventory.node_of(np.array([rank]))[0])
        first, end = int(inventory.starts[node]), int(inventory.starts[node + 1])
        return after, f"{first}-{end - 1}", f"{where} node {inventory.nodes[node].name}"

    def _axes(self) -> dict[str, Any]:
        wanted = self._wanted
        return {
            "model": wanted.model,
            "batch": wanted.batch,
            "dp": wanted.dp,
            "path": wanted.path,
        }

    def _calibration(self) -> Entry:
        return self._entry({**self._axes(), "steps": TRIAL_STEPS, "every": TRIAL_EVERY})

    def _entry(self, axes: dict[str, Any]) -> Entry:
        limit = PATIENCE + 4 * self._wanted.work
        return Entry(benchmark=BENCHMARK, axes=axes, place={"over": "all"}, rule={"limit": limit})

    def _further(self, name: str, entry: Entry) -> Further:
        return Further(stage=StageConfig(name=name), parts=[Part([entry])])
