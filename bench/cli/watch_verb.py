"""``hengsuan watch``: looks at a run that another process measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from .json_output import JSON, print_json
from .scoring import OUT, SPEAKING
from .verbs import Verb

if TYPE_CHECKING:
    from ..growing import Growing


@click.command(cls=Verb, name="watch")
@click.argument("run", required=False)
@OUT
@SPEAKING
@JSON
def command(run: str | None, out: Path, as_json: bool) -> int:
    """Look at RUN while it is measured, by default the newest that has not ended; end with it.

    What it shows is read from the run's folder, which may lie on a file system that hosts share.
    Ctrl-C ends the looking, not the run.

    Exit code: 0 it is complete; 1 a sanity check did not hold; 4 a node, rank or benchmark was
    lost, or its driver died; 130 it was interrupted, or this was.
    """
    from ..growing import Growing
    from ..records import STATUSES
    from ..report.terminal import console, print_outcome
    from ..results import RunReader
    from ..runs import find_run
    from .ending import WORDS, ended, next_after_run, print_end

    folder = find_run(run, out) if run is not None else _newest(out)
    growing = Growing(folder)
    died = not _watch(growing)
    header = growing.header
    reader = RunReader(folder)
    status = reader.columns(("status",)).status
    counts = {one: int((status == code).sum()) for code, one in enumerate(STATUSES)}
    counts = {one: number for one, number in counts.items() if number}
    code, lost = ended(folder, header, counts)
    following = next_after_run(header, folder, counts)
    if as_json:
        found = {
            "run": header.id,
            "folder": str(folder),
            "state": header.state,
            "died": died,
            "exit": int(code),
            "rows": counts,
            "lost": lost,
            "next": [one for one, _ in following],
        }
        print_json(found)
        return int(code)
    screen = console()
    print_outcome(screen, header, str(folder), counts, lost)
    said = "its driver died: nobody measures any more" if died else WORDS[code]
    print_end(screen, f"run {header.id}: {said}", following)
    return int(code)


def _newest(out: Path) -> Path:
    """The newest run that has not ended, one that somebody measures before all that died.

    Raises `UsageError` where there is none.
    """
    from ..runs import DIED, list_runs, shown_state

    runs = list_runs(out)
    going = [one for one in runs if one.state == "running" and not one.problem]
    living = [one for one in going if shown_state(one.path, one.state) != DIED]
    if going:
        return Path((living or going)[-1].path)
    last = f"the last was {runs[-1].id}; `hengsuan results list` has all" if runs else ""
    raise UsageError(f"no run in {out} is in progress", hint=last or "name its folder with --out")


def _watch(growing: Growing) -> bool:
    """Show a run until it has ended; whether it did, or its driver died."""
    from ..inventory import Inventory
    from ..report.amount import quiet
    from ..report.screen import Screen
    from ..report.terminal import console
    from ..report.watched import Watched
    from .following import follow
    from .live import expect

    made = console(stderr=True)
    made.quiet = quiet()
    header = growing.header
    with Screen(made) as screen:
        watched = Watched(screen, header, Inventory(header.nodes, header.fleet))
        inventory = watched.inventory
        watched.picture.unit = "rows"
        screen.begin(
            f"{header.suite} on {inventory.node_count} node(s), {inventory.size} device(s) "
            f"({', '.join(inventory.backends())}; {header.label}), since {header.started} "
            f"→ {growing.path}"
        )
        expect(watched.picture, growing.path.parent, header)
        return follow(growing, watched)
