"""``hengsuan gate bisect``: the first slower revision between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import Exit, InfraError, UsageError
from .json_output import JSON, print_json, say
from .measuring import places
from .scoring import SPEAKING
from .verbs import Verb


@click.command(cls=Verb)
@click.argument("good")
@click.argument("bad")
@click.option("--gate", "gate_name", default="default", show_default=True, metavar="NAME|FILE")
@places
@SPEAKING
@JSON
def command(good: str, bad: str, gate_name: str, out: Path, as_json: bool, **where: Any) -> int:
    """Find the first revision after GOOD, up to BAD, that `gate pair` calls REGRESSED.

    Every revision is installed into a folder of its own and measured against GOOD in turn; the
    working tree is left alone. One that does not install or is not decided is passed over. BAD is
    judged first: if it is not slower, there is nothing to find.

    Exit code: 1 it is named; 3 BAD is not slower, or only a range can be named; 2 usage; 4 lost.
    """
    from ..campaigns.bisect import First, Told, first_bad
    from ..campaigns.pair import compare
    from ..campaigns.revisions import between
    from ..configs import load_gate
    from ..report.plain import plain_lines
    from ..report.terminal import console, verdict
    from . import reader_may_leave
    from .gate_pair_verb import both

    gate = load_gate(gate_name)
    revisions = between(good, bad)
    if not revisions:
        raise UsageError(f"there is no revision after {good} up to {bad}")

    def judge(revision: str) -> Told:
        try:
            with both(gate, [f"git:{good}"], [f"git:{revision}"], out / revision, where) as sides:
                judged = compare(gate, sides).judged
        except (InfraError, UsageError) as error:
            say(f"{revision[:12]} cannot be judged: {plain_lines(error.message)}")
            return "unknown"
        states = {one.state for one in judged}
        told: Told = "unknown"
        if "REGRESSED" in states:
            told = "bad"
        elif states and states <= {"PASS", "IMPROVED"}:
            told = "good"
        say(f"{revision[:12]} is {told}")
        return told

    last = judge(revisions[-1])
    found: First | None = None
    if last == "bad":
        found = first_bad(good, revisions, judge)
    code = Exit.FINDING if found is not None and found.found else Exit.INCONCLUSIVE
    with reader_may_leave():
        if as_json:
            print_json({"exit": int(code), "newest": last, "first": found})
        elif found is None:
            verdict(console(), f"{bad} is {last}: there is no slower revision to look for")
        elif found.found:
            verdict(console(), f"first slower revision: {found.bad}, after {found.good}")
        else:
            verdict(
                console(),
                f"the first slower revision is {found.bad} or one of {len(found.between)} before "
                f"it that could not be judged, after {found.good}",
            )
    return int(code)
