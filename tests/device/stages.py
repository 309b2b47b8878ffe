"""What is done on a device that is there for a while: stages that share a budget, in their order.

A stage says with which commands it is done, each time anew from what lies in the folder of results:
what an earlier call left undone is gone on with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from book import Report, load
from cases import figured
from figures import bounded, missed, rivals_of
from order import lacks
from promises import untried
from records import OURS

from bench.kernels.space import spell

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RESULTS = ROOT / "results"
"""Where the project keeps its own."""
LATEST = 20.0
"""Seconds by which a command that has a budget of its own is told to end before the stage does."""
Command = tuple[str, ...]


@dataclass
class Place:
    """Where a stage is done, and with what.

    ``out`` is the folder of results; runs lie in it, reports below ``reference``. ``device`` is the
    device's name. ``runs``: the run that a stage began, by its name. ``ended``: commands that
    ended well, by theirs. ``check``: further arguments of the check of kernels.
    """

    out: Path
    device: str
    backend: str
    arch: str
    check: Command = ()
    runs: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    @property
    def reference(self) -> Path:
        """Reports of figures."""
        return self.out / "reference"

    @property
    def table(self) -> Path:
        """The table that a search writes: the built-in one, to be looked at and committed."""
        return ROOT / "kernels" / "tuned" / f"{self.arch}.yaml"

    def bench(self, *words: str) -> Command:
        """A command of this project, and its results here."""
        return (sys.executable, "-m", "bench", *words)

    def script(self, name: str, *words: str) -> Command:
        """A script of this folder."""
        return (sys.executable, str(HERE / name), *words)


class Later(str):
    """Why a stage cannot be done before another one is."""


Commands = Callable[[Place, float], "dict[str, Command] | str"]


@dataclass(frozen=True)
class Stage:
    """A part of the work.

    ``share`` of the time, and the seconds that it takes at ``least`` (`shares`). ``commands`` takes
    the place and the seconds that there are, and gives what to do, one after the other, by name, or
    says why there is nothing to be done. ``suite`` names runs that it begins: one that was cut
    short is continued. ``after`` is done whatever came of it. ``again``: also where it was done
    before. ``left`` counts tasks that its commands left undone.
    """

    name: str
    about: str
    share: float
    least: float
    commands: Commands
    suite: str = ""
    after: Callable[[Place], list[Command]] = lambda place: []
    again: bool = False
    left: Callable[[Place], int] = lambda place: 0


def shares(stages: Sequence[Stage], left: float) -> dict[str, float]:
    """Seconds for each of the stages that are still to come, in proportion to their shares.

    Whose part is less than its least is left out, the last first, and the others share anew. What a
    stage does not need, those behind it share when they are asked for again.
    """
    kept = list(stages)
    while kept:
        whole = sum(one.share for one in kept)
        given = {one.name: left * one.share / whole for one in kept}
        short = [one for one in kept if given[one.name] < one.least]
        if not short:
            return given
        kept.remove(short[-1])
    return {}


def report_of(place: Place) -> Report | None:
    """The newest report of kernels on this device, None without one."""
    paths = sorted(place.reference.glob("*/kernels.json"), key=lambda one: -one.stat().st_mtime)
    return next(
        (one for one in map(_readable, paths) if one and one.environment["device"] == place.device),
        None,
    )


def _readable(path: Path) -> Report | None:
    """A report; None for what is none, of which the check of kernels speaks if it is its own."""
    try:
        return load(path)
    except ValueError:
        return None


def _kernels(*words: str) -> Commands:
    def commands(place: Place, seconds: float) -> dict[str, Command] | str:
        budget = f"{max(1.0, seconds - LATEST):.0f}"
        fixed = ("--resume", "--apart", "--backend", place.backend, "--budget", budget)
        out = ("--out", str(place.reference))
        return {"check": place.script("check.py", *fixed, *out, *words, *place.check)}

    return commands


SEARCHED = "autotune"
"""The rival that is found by a search, which takes longer than all others together."""


def _against_searched(place: Place, seconds: float) -> dict[str, Command] | str:
    """Time what has a bound once more, where that rival had no part so far."""
    report = report_of(place)
    if report is None:
        return Later("no kernel was timed")
    ops = {one.op for one in report.records if SEARCHED in rivals_of(one.figure) and lacks(one, ())}
    if not ops:
        return f"{SEARCHED} had its part wherever a bound names it"
    return _kernels("--no-verify", "--only", ",".join(sorted(ops)))(place, seconds)


def _retimed(place: Place, seconds: float) -> dict[str, Command] | str:
    """Time what asks for an entry that the search has just changed: its record holds no more."""
    if not place.runs.get("table"):
        return "no search has changed a table"
    return _kernels("--bounds", f"--rivals=-{SEARCHED}")(place, seconds)


def promised(arch: str, report: Report) -> dict[tuple[str, str, str], list[str]]:
    """Of which operation, variant and dtype a configuration that no device had tried was faster
    than the present one, and arguments of a search between these alone, at the shapes where it
    was."""
    found: dict[tuple[str, str, str], dict[tuple[str, str], None]] = {}
    for record in report.records:
        ours = record.cells.get(OURS)
        tried = untried(arch, record.op, record.variant)
        for name, (key, chosen) in tried.items():
            cell = record.cells.get(name)
            if cell is None or cell.status != "ok" or ours is None:
                continue
            if cell.high and ours.low and cell.high < ours.low:
                asked = found.setdefault((record.op, record.variant, record.dtype), {})
                asked["--config", spell(key, chosen)] = None
                asked["--shape", "x".join(map(str, record.shape))] = None
    return {group: [word for pair in asked for word in pair] for group, asked in found.items()}


def _tune(place: Place, seconds: float) -> dict[str, Command] | str:
    """Searches among what was faster when a device first tried it, then for what missed its bound,
    at the shapes that missed it."""
    report = report_of(place)
    if report is None:
        return Later("no kernel was timed")
    wanted = {f"try {' '.join(one)}": (one, words)
              for one, words in promised(place.arch, report).items()}  # fmt: skip
    for record in report.records:
        if record.kind == "time" and record.status == "right" and missed(record):
            group = (record.op, record.variant, record.dtype)
            _, words = wanted.setdefault(f"tune {' '.join(group)}", (group, []))
            words += ["--shape", "x".join(map(str, record.shape))]
    wanted = {name: one for name, one in wanted.items() if name not in place.ended}
    if not wanted:
        return "no kernel that was timed missed its bound, or there was a search for it"
    each = max(1.0, (seconds - LATEST) / len(wanted))
    commands = {}
    for name, ((op, variant, dtype), words) in wanted.items():
        fixed = ["--variant", variant, "--dtype", dtype, "--backend", place.backend]
        fixed += ["--budget", f"{each:.0f}s", "--out", str(place.table.parent)]
        commands[name] = place.bench("tune", op, *fixed, *words, "--results", str(place.out))
    return commands


def _suite(suite: str, verb: str = "run") -> Commands:
    """A run on this machine, or what an earlier one left of it."""

    def commands(place: Place, seconds: float) -> dict[str, Command] | str:
        fixed = ("--out", str(place.out), "--executor", "local", "--backend", place.backend)
        begun = place.runs.get(f"{verb} {Path(suite).stem}")
        if begun and state_of(place.out / begun) not in ("complete", ""):
            return {"go on": place.bench(verb, "--resume", begun, *fixed)}
        return {"begin": place.bench(verb, suite, *fixed)}

    return commands


def _against_itself(place: Place, seconds: float) -> dict[str, Command] | str:
    """Certify once more, with what was just found as the proven fleet."""
    proven = place.runs.get("certify certify", "")
    if state_of(place.out / proven) != "complete":
        return Later("there is no whole certification to compare with")
    fixed = ("--out", str(place.out), "--executor", "local", "--backend", place.backend)
    return {"begin": place.bench("certify", "certify", "--baseline", proven, *fixed)}


def state_of(folder: Path) -> str:
    """What a run says of itself: running, complete, interrupted, ...; empty where there is none."""
    try:
        return str(json.loads((folder / "run.json").read_bytes()).get("state", ""))
    except (OSError, ValueError):
        return ""


def _training(place: Place) -> list[Command]:
    run = place.runs.get("run slices")
    if run is None:
        return []
    words = (str(place.out / run), "--apart", "--out", str(place.reference))
    return [place.script("training.py", *words)]


def _missing(place: Place) -> list[str]:
    report = report_of(place)
    return report.missing if report is not None else []


def _unbound(place: Place) -> int:
    """Tasks of figures with a bound that are still to be timed."""
    names = {one.name for one in figured() if bounded(one.figure)}
    return len(names.intersection(_missing(place)))


STAGES = [
    Stage(
        "kernels", "time kernels that have a bound", 44, 20,
        _kernels("--bounds", f"--rivals=-{SEARCHED}"), again=True, left=_unbound,
    ),
    Stage("tune", "search configurations for what missed its bound", 13, 60, _tune, again=True),
    Stage(
        "retime", "time what has another configuration", 8, 30, _retimed, again=True, left=_unbound,
    ),
    Stage(
        "slices", "layers of large models, and the memory of a step", 20, 60, _suite("slices"),
        suite="run slices", after=_training,
    ),
    Stage(
        "harness", "copies, generation, steps, overlap", 8, 35,
        _suite(str(HERE / "harness.yaml")), suite="run harness",
    ),
    Stage(
        "verify", "verify all kernels, time the others", 12, 45, _kernels(f"--rivals=-{SEARCHED}"),
        again=True, left=lambda place: len(_missing(place)),
    ),
    Stage(
        "certify", "certify this node", 6, 60, _suite("certify", "certify"),
        suite="certify certify",
    ),
    Stage(
        "searched", f"time against what torch.compile finds by a search ({SEARCHED})", 10, 90,
        _against_searched, again=True,
    ),
    Stage("quick", "the suite of that name", 4, 30, _suite("quick"), suite="run quick"),
    Stage("itself", "certify it against itself", 6, 60, _against_itself),
    Stage("standard", "the suite of that name", 40, 900, _suite("standard"), suite="run standard"),
]  # fmt: skip
"""All stages, in their order."""
