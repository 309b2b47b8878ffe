"""``hengsuan compare``: systems side by side, ranked only where intervals allow it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Exit, UsageError
from .json_output import JSON, print_json
from .parameters import Output
from .scoring import LANGUAGE, OUT, PROFILE, checked_profile, read_runs, scores
from .verbs import Verb

if TYPE_CHECKING:
    from ..report.language import Language
    from ..report.pages.comparison import SideBySide


@click.command(cls=Verb, name="compare")
@click.argument("systems", nargs=-1, required=True, metavar="RUN...")
@PROFILE
@LANGUAGE
@OUT
@click.option("--html", type=Output(), help="Also write a page to this file.")
@JSON
def command(
    systems: tuple[str, ...],
    profile: str,
    language: Language,
    out: Path,
    html: Path | None,
    as_json: bool,
) -> int:
    """Put systems side by side: each RUN is one, or several runs of one, joined with '+'.

    A system is ahead of another where their intervals do not overlap, and nowhere else. Different
    chips are compared by their efficiency, each against its own reference. Simulated runs are not
    compared with measured ones, nor either with a stand-in. Where runs were certified or gated,
    what their verdicts say otherwise follows.

    Exit code: 0 compared; 2 usage; 3 nothing could be ranked.
    """
    from ..analysis.comparison import compare
    from ..analysis.subject import separated
    from ..configs import load_chips
    from ..headers import uid_of
    from ..report.comparison import print_comparison
    from ..report.judgements import print_changes
    from ..report.language import speaker
    from ..report.pages.comparison import SideBySide
    from ..report.terminal import console
    from ..runs import find_run
    from . import reader_may_leave
    from .judged import changes

    if len(systems) < 2:
        raise UsageError("a comparison needs two systems or more", hint="compare RUN_A RUN_B")
    chips = load_chips()
    read = [read_runs(system.split("+"), out, chips) for system in systems]
    for runs in read:
        _, notes = separated(runs)
        if notes:
            raise UsageError(notes[0].removesuffix(": they are scored apart") + ": no one system")
    firsts = [runs[0] for runs in read]
    for other in firsts[1:]:
        if other.label != firsts[0].label:
            raise UsageError(
                f"run {firsts[0].header.id} is {firsts[0].label} and run {other.header.id} is "
                f"{other.label}: they are not compared"
            )
    used: set[str] = set()
    for runs in read:
        for one in runs:
            if (uid := uid_of(one.header)) in used:
                raise UsageError(f"run {one.header.id} is in two systems")
            used.add(uid)
    scored_by = checked_profile(profile, [one for runs in read for one in runs])
    found = compare(scores(read, scored_by, chips), scored_by.weights)
    every = (found.overall, *found.categories, *found.metrics)
    code = Exit.OK if any(not one.unranked for one in every) else Exit.INCONCLUSIVE
    folders = [[find_run(run, out) for run in system.split("+")] for system in systems]
    verdicts, notes = changes(folders)
    told = SideBySide(
        exit=int(code),
        profile=profile,
        provenance=firsts[0].label,
        comparison=found,
        verdicts=verdicts,
        notes=notes,
    )
    if html is not None:
        _page(html, told, folders, language)
    with reader_may_leave():
        if as_json:
            print_json(told)
            return int(code)
        screen = console()
        say = speaker(language)
        screen.print(f"{say(told.provenance)}, {say('profile')} {profile}")
        print_comparison(screen, found, language)
        print_changes(screen, verdicts, notes)
    return int(code)


def _page(
    path: Path, told: SideBySide, systems: Sequence[Sequence[Path]], language: Language
) -> None:
    """The comparison with what the runs' own pages show, beside each other."""
    from ..configs import load_chips
    from ..report.html.render import require_plotly, write
    from ..report.html.source import Source
    from ..report.pages.beside import beside
    from ..report.pages.comparison import comparison_page
    from ..results import RunReader
    from .judged import verdict_beside

    require_plotly()
    chips = load_chips()

    def source(folder: Path) -> Source:
        verdict, notes = verdict_beside(folder)
        return Source(RunReader(folder), chips, verdict=verdict, notes=notes, language=language)

    sources = [[source(folder) for folder in folders] for folders in systems]
    write(comparison_page(told, language, beside(sources)), path)
