"""Training by any program: launched on a group's devices, timed by when its steps are reported."""

from __future__ import annotations

import gc
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from ..configs import load_model
from ..errors import UsageError
from ..kernels.model_costs import ModelShape, flops_per_token, palm_flops_per_token, parameters
from ..records import Measure
from ..timing import Rule, Timing, stopped
from ..units import format_value
from .base import Benchmark, Check, Context, Facts, Metric, Seconds, benchmark
from .launched import TICK, Launched
from .rendezvous import KINDS, check, filled, inherited, meet, told
from .reports import Come, Reports, compiled
from .runner import all_or_none
from .steps import TIMES, UTILISATION, times, utilisation

LEAST = 3
"""Steps without which there is no figure, however long they take."""
APART = 0.1
"""Relative difference from which it is said that the program's own figure is another."""
PAUSE = 1.0
"""Seconds between two looks at the programs, at most: so soon a failure is seen."""
PATIENCE = 3.0
"""Seconds that a rank's program has to end by itself when that of the rank that counts has."""
_REASONS = ("", "precision", "budget", "samples", "ended")


@benchmark(scope="group")
class Command(Benchmark):
    """Training by a program of any framework, one process a device or one launcher a node.

    The program is started on every node of the group with the variables by which its ``kind`` of
    launcher lets ranks find each other, and reports its steps in lines of JSON
    (`bench.workloads.reports`) or in its own, which ``pattern`` reads. A step takes from one line
    to the next, on this machine's clock; what the program itself claims is ``claimed``. Ranks must
    say that they are who they were launched as, steps rise, losses be numbers and fall. When enough
    is known, at ``deadline``, or when anything fails, the program ends with all that it started.

    ``program`` is the whole command line, split into words as a shell would, without one;
    ``environment`` is ``NAME=VALUE`` words. Both, and ``directory``, may hold names in braces: of
    `Place.names`, as ``{local_rank}`` or ``{python}``, and of the node's environment, as
    ``{PADDLE_PYTHON}``; where that is not set the case is skipped. ``tokens`` are those of the
    whole job in one step, ``tokens_per_device`` of one device; without either the program says it.
    ``counted``: whose steps are measured. ``warmup_steps`` come first and do not count. ``model``
    is the shape that the program trains, in ``dtype``: then there is ``mfu``, as of `Train`.

    Limits: the programs meet over their own library, which the record does not know; a device that
    allows one process only is held by this rank already.
    """

    measures = (
        Measure(
            "tokens_per_second",
            "token/s",
            "higher",
            about="tokens of the whole job in a second",
            formula="tokens of a step / its seconds",
        ),
        *TIMES,
        *UTILISATION,
        Measure(
            "tokens",
            "token",
            "higher",
            about="tokens of the whole job in one step, as given or as the program says",
        ),
        Measure("claimed", "s", "lower", about="seconds of a step as the program itself says"),
        Measure(
            "start", "s", "lower", about="from starting the program until its first step is done"
        ),
    )
    worded = {"launch": {"device": "", "node": "by node"}}
    titled = ("label", "launch", "model", "dtype")
    alone = True

    label: str = ""
    """What rows and reports call it; empty: the program."""
    program: str = "{python} {commands}/torch_decoder.py"
    """The whole command line, split into words as a shell would, without one; names in braces, as
    ``{python}`` or ``{local_rank}``, are filled in."""
    kind: Literal["torch", "paddle", "mindspore", "mpi"] = "torch"
    """By which variables ranks find each other: those of this launcher."""
    launch: Literal["device", "node"] = "device"
    """A process for each device, or one launcher on each node."""
    directory: str = ""
    """Where it runs; empty: a folder for temporary files."""
    environment: str = ""
    """``NAME=VALUE`` words, added to the rank's environment."""
    pattern: str = ""
    """A regular expression that reads steps from the program's own lines; empty: it writes lines of
    JSON."""
    counted: Literal["first", "last"] = "first"
    """Whose steps are measured: those of the first or of the last rank."""
    tokens: int = 0
    """Tokens of the whole job in one step; 0: see ``tokens_per_device``."""
    tokens_per_device: int = 0
    """Tokens of one device in one step; 0 for both: the program says it."""
    warmup_steps: int = 3
    """Steps that come first and do not count."""
    deadline: Seconds = Seconds(120)
    """Time after which the program is ended."""
    model: str = ""
    """The shape that it trains, a file of ``configs/models``: then there is ``mfu``."""
    dtype: str = ""
    """In which it multiplies matrices, given with ``model``."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        self.label = self.label or self.program
        words = _words("program", self.program)
        if not words:
            raise UsageError("command: program is empty")
        for text in (*words, self.directory):
            check(text)
        for name, value in _assignments(self.environment):
            if not name:
                raise UsageError(f"command: environment holds {value!r}, which is no NAME=VALUE")
            check(value)
        compiled(self.pattern)
        if min(self.tokens, self.tokens_per_device, self.warmup_steps) < 0:
            raise UsageError("command: tokens and warmup_steps cannot be negative")
        if self.tokens and self.tokens_per_device:
            raise UsageError("command: tokens are of the whole job, or of each device: give one")
        if bool(self.model) != bool(self.dtype):
            raise UsageError("command: model and dtype say what mfu is computed from: give both")
        if self.model:
            load_model(self.model)

    def rule(self, rule: Rule) -> Rule:
        """Few looks: what the device is asked between them runs beside the program."""
        return msgspec.structs.replace(rule, block=max(rule.block, rule.budget / 8))

    def patience(self) -> float:
        """The program's own deadline comes first: it knows more to say."""
        return float(self.deadline) + 60.0

    def cores(self) -> Sequence[int] | None:
        """Of one launcher a node all of its ranks', else this rank's own."""
        if self.launch == "device":
            return None
        return self.place.cores if self.group.programs else ()

    def reported(self) -> tuple[Measure, ...]:
        """Without a model there is no utilisation."""
        return tuple(one for one in self.measures if self.model or not one.name.startswith("mfu"))

    def setup(self, context: Context) -> None:
        """Start the program. Raises `Unmeasurable` where a variable that it names is not set."""
        self.context = context
        self.place = place = meet(context)
        self.root = 0 if self.counted == "first" else context.size - 1
        self.lines: list[Come] = []
        leads = self.launch == "device" or place.local_rank == 0
        # Local rank 0 of the program is the group's first device here, not the node's.
        visible = context.backend.visible_devices
        here = inherited()
        if visible:
            here[visible] = ",".join(map(str, place.devices))
        problem, orders = "", []
        try:
            orders = list(self._orders(here)) if leads else []
        except UsageError as error:
            problem = error.message
        all_or_none(context, problem)
        ranks = [context.rank] if self.launch == "device" else list(place.here)
        reports = Reports(ranks, context.size, self.root, compiled(self.pattern))
        if leads:
            gc.collect()
            context.backend.release(context.device)
        self.group = Launched(context, reports, self.warmup_steps, self.deadline)
        cores = [] if self.launch == "device" else list(place.cores)
        for words, environment, directory in orders:
            self.group.start(words, environment, directory, cores)

    def _orders(self, here: Mapping[str, str]) -> Iterator[tuple[list[str], dict[str, str], str]]:
        """Words, environment and directory of each program that this rank starts.

        Raises `UsageError` where they name a variable that ``here`` lacks.
        """
        place, kind = self.place, KINDS[self.kind]
        words = [filled(word, place, here) for word in _words("program", self.program)]
        directory = filled(self.directory, place, here)
        given = _assignments(self.environment)
        own = {name: filled(value, place, here) for name, value in given}
        dialects = [kind.device if self.launch == "device" else kind.node]
        if kind.beside and self.launch == "device" and place.rank == 0:
            dialects.append(kind.beside)
        for dialect in dialects:
            spoken = {name: filled(value, place, {}) for name, value in dialect.items()}
            yield words, {**here, **spoken, **own}, directory

    def check(self) -> Check:
        """Before: all are who they should be, and warm. After: what was reported makes sense."""
        if not self.lines:
            problem = self.group.await_begin() or self._strange()
            return Check(not problem, problem or "every rank is who it was launched as")
        problem = self._wrong()
        return Check(not problem, problem or f"{len(self.lines)} steps were reported")

    def observe(self, rule: Rule, throttled: Callable[[], bool] | None) -> Timing:
        """Seconds of each step from line to line, until the rule is met or the program has ended.

        All ranks get the samples of the one whose steps count.
        """
        began = time.monotonic()
        group, pause = self.group, min(max(rule.block, TICK), PAUSE)
        good: list[int] = []
        seen, reason = 0, 0
        while not reason:
            time.sleep(pause)
            ended = group.ended  # asked first: what it printed before has been read then
            ends = max(seen, len(group.counted()) - 1)
            if throttled is None or not throttled():
                good.extend(range(seen, ends))
            seen = ends
            if group.counts:
                why = self._enough(good, time.monotonic() - began, rule)
                reason = _REASONS.index(why or ("ended" if ended else ""))
            words = group.look([reason, bool(group.reports.problem)], LEAST)
            wrong = any(problem for _, problem in words)
            reason = _REASONS.index("ended") if wrong else int(words[self.root][0])
        group.end(PATIENCE if _REASONS[reason] == "ended" else 0.0)
        mine = (group.counted()[: seen + 1], good, self._first()) if group.counts else None
        self.lines, good, (self.start, self.first_loss) = told(self.context, self.root, mine)
        places = np.array(good, dtype=np.int64)
        return Timing(
            seconds=durations(self.lines)[places],
            calls=1,
            stopped=_REASONS[reason],
            timer="lines",
            throttled=len(self.lines) - 1 - len(good),
            taken=len(self.lines) - 1,
            places=places,
        )

    def _enough(self, good: list[int], elapsed: float, rule: Rule) -> str:
        """Why the steps so far are enough; empty where they are not."""
        if len(good) >= LEAST:
            seconds = durations(self.group.counted())[good]
            if why := stopped([seconds], len(good), elapsed, rule):
                return why
        return "budget" if self.group.late else ""

    def _first(self) -> tuple[float, float | None]:
        """Seconds from the launch to the end of the first step, and its loss."""
        first = self.group.reports.steps[0]
        return first.time - self.group.programs[0].began, first.loss

    def _strange(self) -> str:
        """What a hello says that does not fit the model; empty if nothing."""
        if not self.model:
            return ""
        wanted = parameters(ModelShape.of(load_model(self.model)))
        for rank, one in self.group.reports.hellos.items():
            if one.parameters not in (None, wanted):
                return (
                    f"rank {rank} trains a model of {one.parameters} weights, "
                    f"and {self.model} has {wanted}"
                )
        return ""

    def _wrong(self) -> str:
        """What was reported that cannot be, as a sentence; empty if nothing."""
        group, lines = self.group, self.lines
        if group.reports.problem:
            return group.reports.problem
        if group.by_itself:
            if group.programs[0].code != 0:
                return f"{group.programs[0].name} {group.programs[0].how()}"
            if silent := group.reports.silent():
                return silent
        tokens = {one.tokens for one in lines}
        if len(tokens) > 1:
            return "steps of unequal tokens have no common rate: let each report as many"
        given = self._given(self.context.size)
        if given and tokens not in ({None}, {given}):
            return f"the program reports {tokens.pop():g} tokens a step, the suite says {given}"
        first, last = self.first_loss, self._last_loss()
        if first is not None and last is not None and not last < first:
            return f"loss went from {first:.4f} to {last:.4f}"
        return ""

    def _last_loss(self) -> float | None:
        """The mean of the last steps' losses; None where none was reported."""
        losses = [one.loss for one in self.lines[-4:] if one.loss is not None]
        return float(np.mean(losses)) if losses else None

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Rates by this machine's clock, and what the program claims."""
        kept = timing.kept(self.lines[1:])
        tokens = self._given(self.context.size) or kept[0].tokens
        beside = {"tokens": float(tokens)} if tokens else {}
        yield from self.derived(timing.seconds, self.context.facts, beside)
        if tokens:
            yield Metric("tokens", value=float(tokens))
        claims = [one.seconds for one in kept if one.seconds is not None]
        if claims:
            yield Metric("claimed", samples=np.array(claims))
            claimed, came = float(np.median(claims)), float(np.median(timing.seconds))
            if abs(claimed / came - 1) > APART:
                self.apart = (
                    f"the program claims {format_value(claimed, 's')} a step, "
                    f"and its lines come every {format_value(came, 's')}"
                )
        yield Metric("start", value=self.start)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Tokens and times of a step; against the datasheet's peak, if there is one."""
        yield from times(seconds)
        tokens = self._given(facts.ranks) or beside.get("tokens")
        if not tokens:
            return
        rate = tokens / seconds
        yield Metric("tokens_per_second", samples=rate)
        if self.model:
            shape = ModelShape.of(load_model(self.model))
            yield from utilisation(rate, shape, self.dtype, facts)

    def expected(self, facts: Facts) -> dict[str, float]:
        """Bounds at the datasheet's peak, of a program whose model is known."""
        peak = facts.chip.peak(self.dtype) if facts.chip and self.model else None
        if not peak:
            return {}
        shape = ModelShape.of(load_model(self.model))
        rate = facts.ranks * peak / flops_per_token(shape)
        found = {
            "tokens_per_second": rate,
            "mfu": 1.0,
            "mfu_palm": palm_flops_per_token(shape) / flops_per_token(shape),
        }
        if tokens := self._given(facts.ranks):
            found.update(dict.fromkeys(("step_p50", "step_p95", "step_p99"), tokens / rate))
        return found

    def note(self) -> str:
        """What ran, how its loss went, and where its word and our clock differ."""
        hello = self.group.reports.hellos.get(self.context.rank)
        said = [f"{hello.framework} {hello.version}"] if hello is not None else []
        first, last = self.first_loss, self._last_loss()
        if first is not None and last is not None:
            said.append(f"loss fell from {first:.4g} to {last:.4g}")
        else:
            said.append("no loss was reported, so that nobody knows whether it learns")
        said.append(self.__dict__.get("apart", ""))
        left = sum(one.left for one in self.group.programs) if self.group.by_itself else 0
        if left:
            said.append(f"it left {left} process{'es' * (left > 1)} behind, which were killed")
        return "; ".join(filter(None, said))

    def teardown(self) -> None:
        """End the program, whatever happened."""
        if group := self.__dict__.get("group"):
            group.end()
        super().teardown()

    def _given(self, ranks: int) -> int:
        """Tokens of the whole job in one step, as the suite says; 0 where it does not."""
        return self.tokens or self.tokens_per_device * ranks


def durations(lines: Sequence[Come]) -> Any:
    """Seconds a step between neighbouring lines: float64[lines - 1]."""
    times = np.array([one.time for one in lines], dtype=np.float64)
    steps = np.array([one.step for one in lines], dtype=np.float64)
    return np.diff(times) / np.diff(steps)


def _words(axis: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"command: {axis} cannot be split into words: {error}: {text}") from None


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of each ``NAME=VALUE``; an empty name where it is none."""
    for word in _words("environment", text):
        name, equals, value = word.partition("=")
        yield (name, value) if equals and name else ("", word)
