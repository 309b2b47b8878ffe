"""``hengsuan expect``: whether a run's numbers are normal."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import click

from ..errors import Exit
from .json_output import JSON, print_json
from .scoring import OUT, read_runs
from .verbs import Verb


@click.command(cls=Verb, name="expect")
@click.argument("run")
@click.option("--only", metavar="PATTERN", help="Only cases whose name and metric fit it ('*').")
@OUT
@JSON
def command(run: str, only: str | None, out: Path, as_json: bool) -> int:
    """Say of each measurement of RUN what was to be expected, and what that rests on.

    Beside each median stands what datasheet and topology predict, with the assumption behind it;
    what the run's own ceilings and links predict, by ring, tree and direct exchange; and how the
    fleet itself scatters.

    Exit code: 0 said; 2 usage; 3 no value counts.
    """
    from ..analysis.expectation import expectations
    from ..configs import load_chips
    from ..errors import UsageError
    from ..report.expectation import print_expectations
    from ..report.terminal import console, verdict

    chips = load_chips()
    (read,) = read_runs([run], out, chips)
    found = expectations(read, chips)
    if only is not None:
        every = found
        found = [one for one in every if fnmatchcase(f"{one.name} {one.metric}", only)]
        if not found:
            named = "; ".join(f"{one.name} {one.metric}" for one in every[:3])
            raise UsageError(f"no case fits {only!r}", hint=f"of {len(every)}, for example {named}")
    code = Exit.OK if any(one.measured is not None for one in found) else Exit.INCONCLUSIVE
    if as_json:
        print_json({"run": read.header.id, "provenance": read.label, "expectations": found})
        return int(code)
    screen = console()
    verdict(screen, f"run {read.header.id}: {read.label}, {', '.join(read.kinds)}", "")
    print_expectations(screen, found)
    return int(code)
