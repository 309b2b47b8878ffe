"""Training under failures: calibrate, then attempt after attempt, each struck but the last.

Distances of failures are exponential with the mean that is asked for, counted from when an attempt
is ordered, so that they strike while processes start, the group forms or a checkpoint is read as
well as in a step; they are drawn from a seed. A failure kills the process of one rank, or every
process of ours on a node, its agent included. What a loss is and how it is found is the engine's
own. A node whose agent can be started anew goes on with the next attempt, with its ranks on the
others; one that is away is done without, and so is one that was lost though nobody asked for it.

Nothing is remembered between stages: rows, stages and events of the run say it all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..analysis.checkpointing import daly
from ..analysis.goodput import BENCHMARK, rows_of
from ..cluster.further import Further
from ..cluster.plan import Strike
from ..cluster.planning import Part
from ..configs import Entry, StageConfig, Suite
from ..inventory import Inventory
from ..ledger import PART_NAMES
from ..records import Header, Row
from ..results import RunReader
from ..units import format_duration
from ..workloads.attempts import Failure, failures_text

CALIBRATION = "calibration"
TRIAL_STEPS = 40
TRIAL_EVERY = 5
"""Steps of the calibration, and of them between two checkpoints."""
PATIENCE = 240.0
"""Seconds that an attempt may take beyond several times the work that is asked for."""
UNASKED = 3
"""Failures in a row that nobody asked for, after which it is the cluster's own affair."""
_KILLED = "SIGKILL"
"""What the engine says of a rank that a failure struck."""
_TRAINING = [
    f", in its {PART_NAMES[part]}" for part in ("check", "warmup", "samples", "between", "meeting")
]
"""What it says of one that was past its set-up by then, for which all ranks have met."""


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """What is asked for.

    ``work``: seconds of steps that must be done in the end. ``mtbf``: mean seconds between two
    failures. ``interval``: seconds of work between two checkpoints; None: Daly's optimum for the
    time that a save takes here. ``mode``: checkpoints ``sync`` or ``async``. ``node_share``: how
    many failures take a whole node. ``most``: attempts that may be struck. ``key`` names the folder
    of the checkpoints below ``path``.
    """

    model: str = "fitting"
    batch: int = 4
    dp: str = "ddp"
    mode: str = "sync"
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
        header, rows = reader.header, list(reader.rows())
        attempts = [rows_of(header, rows, name) for name in stages[1:]]
        if attempts and self._ended(attempts[-1]):
            return None
        plan = self._steps(rows_of(header, rows, CALIBRATION))
        if plan is None:
            return None
        steps, self.every = plan
        nodes = Inventory(header.nodes, header.fleet)
        there = _there(header, nodes)
        if not self._kinds(nodes) or not self._left(there, attempts):
            return None
        failures = [
            _failure(header, name, told, self._after(number))
            for number, (name, told) in enumerate(zip(stages[1:], attempts, strict=True), 1)
        ]
        if self._unasked(failures, attempts):
            return None
        number = len(stages)
        # The model is by now what `fitting` stood for.
        axes = next(case.axes for case in header.cases if case.benchmark == BENCHMARK)
        entry = self._entry(
            {
                **self._axes(),
                "model": axes["model"],
                "key": self._wanted.key,
                "steps": steps,
                "every": self.every,
                "ranks": nodes.size,
                "failed": failures_text(failures),
            }
        )
        strike = self._strike(number, nodes, there)
        self._say(f"attempt {number}: {self._words(strike, nodes)}{_missing(nodes, there)}")
        everywhere = len(there) == sum(bool(node.devices) for node in nodes.nodes)
        return Further(
            stage=StageConfig(name=f"attempt-{number}"),
            parts=[Part([entry], None if everywhere else there)],
            strikes=[strike] if strike is not None else [],
        )

    def _kinds(self, inventory: Inventory) -> bool:
        """Whether the fleet is of one kind, so that a group has all ranks."""
        _, names = inventory.kinds()
        if len(names) > 1:
            self.stopped = f"one training needs chips of one kind, and here are {', '.join(names)}"
        return len(names) <= 1

    def _left(self, there: Sequence[int], attempts: Sequence[Mapping[str, Row]]) -> bool:
        """Whether there is a node to go on with."""
        if not there:
            why = next((row.reason for rows in attempts[-1:] for row in rows.values()), "")
            self.stopped = f"no node is left to train on{why and f': {why}'}"
        return bool(there)

    def _ended(self, last: Mapping[str, Row]) -> bool:
        """Whether the last attempt came to its end, or failed as no restart helps."""
        told = next(iter(last.values()), None)
        if told is None:
            self.stopped = "the last attempt left no rows"
        elif told.status == "failed" and _KILLED not in told.reason:
            self.stopped = told.reason
        return told is None or told.status not in ("failed", "missing") or bool(self.stopped)

    def _unasked(self, failures: Sequence[Failure], attempts: Sequence[Mapping[str, Row]]) -> bool:
        """Whether the last failures are the cluster's own, one after the other."""
        last = failures[-UNASKED:]
        if len(last) == UNASKED and all(one.struck is None for one in last):
            why = next((row.reason for row in attempts[-1].values()), "")
            self.stopped = f"{UNASKED} failures in a row that nobody asked for, the last: {why}"
        return bool(self.stopped)

    def _steps(self, trial: Mapping[str, Row]) -> tuple[int, int] | None:
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

    def _chance(self, number: int) -> tuple[float, np.random.Generator]:
        """When the failure of an attempt strikes, in seconds, and what decides whom it does."""
        chance = np.random.default_rng([self._wanted.seed, number])
        return float(chance.exponential(self._wanted.mtbf)), chance

    def _after(self, number: int) -> float | None:
        """Seconds from an attempt's beginning to its failure; None: as many have had one as may."""
        return self._chance(number)[0] if number <= self._wanted.most else None

    def _strike(self, number: int, nodes: Inventory, there: Sequence[int]) -> Strike | None:
        """The failure of an attempt on the nodes that are there."""
        if self._after(number) is None:
            return None
        after, chance = self._chance(number)
        ranks = [rank for node in there for rank in nodes.ranks_of(node)]
        rank = ranks[int(chance.integers(len(ranks)))]
        whole = bool(chance.random() < self._wanted.node_share)
        return Strike(after=after, rank=rank, whole_node=whole)

    def _words(self, strike: Strike | None, nodes: Inventory) -> str:
        if strike is None:
            return f"not struck, after {self._wanted.most} that were"
        where = f"in {format_duration(strike.after)} failure of"
        if not strike.whole_node:
            return f"{where} rank {strike.rank}"
        return f"{where} node {nodes.name(int(nodes.node_of(np.array([strike.rank]))[0]))}"

    def _axes(self) -> dict[str, Any]:
        wanted = self._wanted
        return {
            "model": wanted.model,
            "batch": wanted.batch,
            "dp": wanted.dp,
            "mode": wanted.mode,
            "path": wanted.path,
        }

    def _calibration(self) -> Entry:
        return self._entry({**self._axes(), "steps": TRIAL_STEPS, "every": TRIAL_EVERY})

    def _entry(self, axes: dict[str, Any]) -> Entry:
        limit = PATIENCE + 4 * self._wanted.work
        return Entry(benchmark=BENCHMARK, axes=axes, place={"over": "all"}, rule={"limit": limit})

    def _further(self, name: str, entry: Entry) -> Further:
        return Further(stage=StageConfig(name=name), parts=[Part([entry])])


def _there(header: Header, nodes: Inventory) -> list[int]:
    """The nodes that have devices and are not lost, as the run's events tell."""
    lost: set[int] = set()
    for event in header.events:
        if event["kind"] == "agent-lost":
            lost.add(event["place"])
        elif event["kind"] == "agent-back":
            lost.discard(event["place"])
    return [i for i, node in enumerate(nodes.nodes) if node.devices and i not in lost]


def _missing(nodes: Inventory, there: Iterable[int]) -> str:
    """Who is done without, in words."""
    away = [node.name for i, node in enumerate(nodes.nodes) if node.devices and i not in set(there)]
    return f", without node {', '.join(away)}" if away else ""


def _failure(header: Header, stage: str, told: Mapping[str, Row], after: float | None) -> Failure:
    """When an attempt failed, and when all that was lost by it was known."""
    (kept,) = [one for one in header.stages if one["name"] == stage]
    began, end = kept["began"], kept["began"] + kept["seconds"]
    lost = [
        event["time"]
        for event in header.events
        if event["kind"] == "agent-lost" and began <= event["time"] <= end
    ]
    noticed = max(*lost, *(row.time for row in told.values()))
    struck = None if after is None or began + after > noticed else began + after
    trained = any(part in row.reason for row in told.values() for part in _TRAINING)
    return Failure(struck, noticed, trained)
