"""The search for configurations: turns of measurements on one device, decided by `halving`.

A turn is a run of its own through the engine: a suite whose stages are the candidates, one each,
in random order. A candidate that crashes, hangs or computes wrong results costs itself alone.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ..cluster.agent import AgentSpec, new_token
from ..cluster.agents import AgentExecutor
from ..cluster.engine import execute
from ..cluster.executor import Page
from ..cluster.local import LocalHub
from ..cluster.observer import Several
from ..configs import Chip, suite_from_text
from ..records import Device, Node
from ..results import RunReader
from .compiled import compilable, rejected
from .entries import Tuned
from .halving import Score, Verdict, decide, next_round

RULES = ({"budget": 0.05, "warmup": 0.02, "min_samples": 3}, {"budget": 0.2, "warmup": 0.05})
"""How long a candidate is measured in a turn: of the first round, of all later ones."""
LIMIT = 120.0
"""Seconds after which a candidate that does not end is given up."""
TOGETHER = 8
"""Candidates of a turn at most: between two turns the time is looked at."""
COMPILING = 0.25
"""Share of an entry's time that compiling candidates beforehand may take."""


class Found(msgspec.Struct, kw_only=True):
    """How the search for one entry ended. ``complete``: it was not interrupted."""

    entry: Tuned
    verdict: Verdict
    scores: dict[str, Score]
    runs: int
    seconds: float
    complete: bool = True

    @property
    def new(self) -> bool:
        """Whether the table changes."""
        return self.complete and self.verdict.chosen != self.entry.candidates[0]


class OneDevice(LocalHub):
    """The first device of this machine, kept with its warm rank from run to run."""

    def __init__(self, backend: str, *, share: bool) -> None:
        super().__init__(AgentSpec(token=new_token(), backend=backend, share=share, samples="none"))
        self._found: list[Node] = []

    def nodes(self) -> list[Node]:
        """This machine, with one device; asked once."""
        if not self._found:
            self._found = [
                msgspec.structs.replace(node, devices=node.devices[:1]) for node in super().nodes()
            ]
        return self._found

    @property
    def device(self) -> Device | None:
        """The device; None if there is none that can be used."""
        return next((device for node in self.nodes() for device in node.devices), None)

    def close(self) -> None:
        """Nothing: the engine closes its executor after every run."""

    def release(self) -> None:
        """End the agent and its rank."""
        super().close()


class Surroundings(msgspec.Struct, kw_only=True):
    """What runs are made with: where they are kept, and what they remember.

    ``say`` is told what happens, in lines.
    """

    results: Path
    chips: Mapping[str, Chip]
    command: list[str]
    environment: Mapping[str, Any]
    say: Callable[[str], None]


def search(
    entries: Sequence[Tuned], hub: OneDevice, around: Surroundings, budget: float
) -> Iterator[Found]:
    """Tune entries one after the other; ends after one that was interrupted.

    Args:
        entries: What to tune.
        hub: The device.
        around: What runs are made with.
        budget: Seconds for all of them: each gets an equal share of what is left.

    Raises:
        InfraError: no device can be used, or results cannot be written.
    """
    end = time.monotonic() + budget
    executor = AgentExecutor(hub, around.chips)
    for number, entry in enumerate(entries):
        share = max(0.0, end - time.monotonic()) / (len(entries) - number)
        around.say(f"{entry.label}: {len(entry.candidates)} candidates, {share:.0f} s")
        found = _Search(entry, executor, around, share).run(number)
        around.say(f"{entry.label}: {found.verdict.why}")
        yield found
        if not found.complete:
            return


class _Search:
    def __init__(
        self, entry: Tuned, executor: AgentExecutor, around: Surroundings, seconds: float
    ) -> None:
        self.entry = entry
        self.executor = executor
        self.around = around
        self.seconds = seconds
        self.scores = {name: Score() for name in entry.candidates}
        self.turns = 0
        self.interrupted = False

    def run(self, number: int) -> Found:
        began = time.monotonic()
        end = began + self.seconds
        incumbent = self.entry.candidates[0]
        if len(self.scores) > 1 and compilable(self.entry.arch):
            try:
                for name, why in rejected(self.entry, self.seconds * COMPILING).items():
                    self.scores[name].problem = why
            except KeyboardInterrupt:
                self.interrupted = True
        done, names = 0, self.entry.candidates
        chance = random.Random(self.entry.label)
        while not self.interrupted:
            following = next_round(done, names, self.scores, incumbent)
            if following is None:
                break
            names = following.names
            for turn in _turns(following.names, following.turns, incumbent, chance):
                if self.interrupted or (self.turns and time.monotonic() > end):
                    break
                self._turn(f"{number:02d}-{self.entry.key}-{self.turns:03d}", turn, done)
            done += 1
            if time.monotonic() > end:
                break
        return Found(
            entry=self.entry,
            verdict=decide(self.scores, incumbent),
            scores=self.scores,
            runs=self.turns,
            seconds=time.monotonic() - began,
            complete=not self.interrupted,
        )

    def _turn(self, run: str, names: Sequence[str], done: int) -> None:
        names = [name for name in names if not self.scores[name].problem]
        if not names:
            return
        suite = suite_from_text(suite_of(self.entry, names, done), "the suite of a turn")
        finished = execute(
            suite,
            self.executor,
            self.around.results,
            run,
            chips=self.around.chips,
            command=self.around.command,
            environment=self.around.environment,
            observer=_Heartbeat(self.around.say, self.entry.label, len(names), self.turns),
        )
        if finished.header.state == "interrupted":
            self.interrupted = True
            return
        record(self.scores, self.turns, RunReader(finished.folder), len(self.entry.uses))
        self.turns += 1


def _turns(
    names: Sequence[str], times: int, incumbent: str, chance: random.Random
) -> Iterator[list[str]]:
    """All names so many times, in turns of at most `TOGETHER` with the incumbent in each.

    Turns of one pass hold neighbours of the list, those most like the present entry first, so
    that a search which runs out of time has tried these; inside a turn the order is random.
    """
    others = [name for name in names if name != incumbent]
    size = TOGETHER - 1
    parts = [others[start : start + size] for start in range(0, len(others), size)] or [[]]
    for _ in range(times):
        for part in parts:
            turn = [*part, incumbent] if incumbent in names else list(part)
            chance.shuffle(turn)
            yield turn


def suite_of(entry: Tuned, names: Sequence[str], done: int) -> str:
    """The suite of a turn, as YAML: a stage a candidate, in it every case of the entry.

    ``done`` is how many rounds came before.
    """
    stages = [
        {
            "name": f"candidate-{number}",
            "benchmarks": [
                {use.benchmark: {**use.axes, "impl": "triton", "config": name}}
                for use in entry.uses
            ],
        }
        for number, name in enumerate(names)
    ]
    rule = {**RULES[min(done, len(RULES) - 1)], "limit": LIMIT}
    found = {"name": f"tune-{entry.key}", "rule": rule, "stages": stages}
    text: str = yaml.safe_dump(found, sort_keys=False, width=10_000)
    return text


def record(scores: Mapping[str, Score], turn: int, reader: RunReader, uses: int) -> None:
    """Add a turn's times: the geometric mean over the entry's cases, where all have one.

    Contended values count here: what is compared was measured under the same conditions, in
    random order, and no figure leaves the search. A candidate with any other trouble is out.
    """
    times: dict[str, list[float]] = {}
    for row in reader.rows():
        case = reader.header.cases[row.case]
        if case.metric != "time":
            continue
        score = scores[case.axes["config"]]
        if row.status in ("ok", "contended") and row.value:
            times.setdefault(case.axes["config"], []).append(row.value)
        elif not score.problem:
            score.problem = row.reason or row.status
    for name, seconds in times.items():
        if len(seconds) == uses:
            scores[name].turns[turn] = math.exp(sum(map(math.log, seconds)) / uses)


class _Heartbeat(Several):
    """Says how far a turn is."""

    def __init__(self, say: Callable[[str], None], label: str, total: int, turn: int) -> None:
        super().__init__()
        self._say, self._label, self._total, self._turn = say, label, total, turn
        self._done = 0

    def page(self, page: Page) -> None:
        """Say when something is lost: the rest is quick enough."""
        for event in page.events:
            if event.kind.endswith("-lost"):
                self._say(f"{self._label}, turn {self._turn}: {event.text}")
