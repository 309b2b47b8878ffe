"""``hengsuan gate pair``: baseline and candidate in turn on the same devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..errors import UsageError
from .json_output import JSON, say
from .measuring import places
from .scoring import SPEAKING
from .verbs import Verb

if TYPE_CHECKING:
    from ..campaigns.sides import Side
    from ..configs import Gate

SIDE = "env:FOLDER|git:REVISION|image:IMAGE|run:COMMAND|var:NAME=VALUE|lib:FOLDER|axis:AXIS=VALUE"


@click.command(cls=Verb)
@click.option("--baseline", multiple=True, metavar="SIDE", help=f"What was: {SIDE}.")
@click.option("--candidate", multiple=True, metavar="SIDE", help="What is to be judged.")
@click.option("--gate", "gate_name", default="default", show_default=True, metavar="NAME|FILE")
@click.option("--suite", metavar="NAME|FILE", help="What a block measures.  [default: the gate's]")
@click.option("--budget", metavar="TIME", help="Wall time of measuring.  [default: the gate's]")
@click.option(
    "--pytest",
    multiple=True,
    metavar="PATH",
    help="What tests of pytest-benchmark measure, in place of a suite.",
)
@places
@SPEAKING
@JSON
def command(
    baseline: tuple[str, ...],
    candidate: tuple[str, ...],
    gate_name: str,
    suite: str | None,
    budget: str | None,
    pytest: tuple[str, ...],
    out: Path,
    as_json: bool,
    **where: Any,
) -> int:
    """Measure baseline and candidate in turn, and say whether the candidate is slower.

    A SIDE is a Python environment (env:), a git revision (git:, installed into a folder of its
    own), a container of an image (image:; HENGSUAN_CONTAINER holds further words for docker or
    podman, as for devices), a command that is hengsuan elsewhere (run:), a variable (var:),
    libraries (lib:), or an axis of the suite, as an operation's implementation (axis:). Several
    make one side; none, or a dot, is what runs this. Both stay warm and measure block after
    block on the same devices.

    Exit code: 0 passed; 1 regressed; 2 usage; 3 inconclusive, missing or nothing to compare with;
    4 a side was lost, or what it measured is invalid.
    """
    from ..campaigns.pair import compare
    from ..campaigns.selftests import known, refuse, untested
    from ..configs import load_gate
    from ..units import parse_duration
    from .gate_outputs import give, reported
    from .gate_sides import AS_IT_IS

    gate = load_gate(gate_name)
    changes: dict[str, Any] = {}
    if suite is not None:
        changes["suite"] = suite
    if budget is not None:
        try:
            changes["budget"] = parse_duration(budget)
        except ValueError as error:
            raise UsageError(f"--budget: {error}") from None
        if changes["budget"] <= 0:
            raise UsageError("--budget: must be positive")
    if changes:
        gate = msgspec.structs.replace(gate, **changes)
    if not {*baseline, *candidate} - {AS_IT_IS}:
        raise UsageError(
            "both sides are the same", hint="give --baseline or --candidate, or `gate selftest`"
        )
    with both(gate, baseline, candidate, out, where, pytest) as sides:
        noise = known(sides[0].devices())
        refuse(gate, noise)
        found = compare(
            gate,
            sides,
            say=say,
            aligned=any(one.startswith("axis:") for one in (*baseline, *candidate)),
        )
    said = (" ".join(baseline) or "as it is", " ".join(candidate) or "as it is")
    notes = [one for one in (found.stopped, untested(noise, found.judged)) if one]
    made = reported(gate, "pair", said, found.judged, found.kinds, found.provenance, notes)
    return give(made, out, as_json)


@contextmanager
def both(
    gate: Gate,
    baseline: Sequence[str],
    candidate: Sequence[str],
    out: Path,
    where: dict[str, Any],
    pytest: Sequence[str] = (),
) -> Iterator[list[Side]]:
    """Both sides, started and ready; they are ended whatever happens.

    ``pytest``: what plain pytest-benchmark measures, in place of the gate's suite.
    """
    from ..campaigns.pytest_side import PytestSide
    from ..campaigns.sides import RunSide
    from .gate_sides import started

    pair = [
        started(name, words, out / name)
        for name, words in (("baseline", baseline), ("candidate", candidate))
    ]
    sides: list[Side] = []
    try:
        # One by one: what has started is ended if another does not.
        for one in pair:
            if pytest:
                sides.append(PytestSide(one, pytest, out / one.name))
            else:
                sides.append(RunSide(one, _arguments(gate.suite, out / one.name, where)))
        for side in sides:
            side.ready()
        yield sides
    finally:
        for side in sides:
            side.close()


def _arguments(suite: str, out: Path, where: dict[str, Any]) -> list[str]:
    """The options of the places, for `gate side`."""
    from ..configs.search import is_path

    names = {"executor_name": "executor", "stand_in": "stand-in"}
    # A side may have another working directory.
    words = [str(Path(suite).absolute()) if is_path(suite) else suite]
    words += ["--out", str(out.absolute())]
    for name, value in where.items():
        option = f"--{names.get(name, name)}"
        if value is True:
            words.append(option)
        elif value not in (None, False) and (name, value) != ("address", "local"):
            words += [option, str(value)]
    return words
