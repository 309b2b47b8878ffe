"""``hengsuan score``: what a cluster is worth, by category and as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Exit, UsageError
from .json_output import JSON, print_json, tell
from .scoring import LANGUAGE, OUT, PROFILE, checked_profile, read_runs, scores
from .verbs import Verb

if TYPE_CHECKING:
    from ..analysis.subject import Readiness
    from ..report.language import Language

_FILE = click.Path(path_type=Path)


@click.command(cls=Verb, name="score")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@PROFILE
@click.option("--system", type=_FILE, help="What is declared of the system (YAML).")
@click.option("--projection", type=_FILE, help="What `hengsuan project --json` printed.")
@LANGUAGE
@OUT
@JSON
def command(
    runs: tuple[str, ...],
    profile: str,
    system: Path | None,
    projection: Path | None,
    language: Language,
    out: Path,
    as_json: bool,
) -> int:
    """Score all RUNs of one system together: each metric against its reference, by category.

    Of what several runs measured, the latest value counts. Runs of other chips, and simulated ones
    beside measured ones, are scored apart. What nobody measured is shown as absent and lowers the
    coverage, which stands beside every score.

    Exit code: 0 scored; 1 a criterion of the profile was missed; 2 usage; 3 a criterion could not
    be judged, or nothing could be scored.
    """
    from ..analysis.lines import required_by
    from ..analysis.subject import separated
    from ..configs import load_chips, load_facility
    from ..report.language import speaker
    from ..report.plain import plain
    from ..report.score import print_score
    from ..report.terminal import console
    from . import reader_may_leave

    chips = load_chips()
    read = read_runs(runs, out, chips)
    scored_by = checked_profile(profile, read)
    lines = [line for each in scored_by.categories.values() for line in each]
    declared = load_facility(system, chips, set(required_by(lines))) if system else None
    ready = _readiness(projection) if projection else None
    groups, notes = separated(read)
    if declared is not None and len(groups) > 1:
        raise UsageError(
            f"{notes[0]}, and --system declares one system",
            hint="score the runs of one system at a time",
        )
    cards = scores(groups, scored_by, chips, declared, ready)
    codes = [card.exit for card in cards]
    codes += [Exit.INCONCLUSIVE for card in cards if card.overall is None]
    code = Exit.worst(codes)
    with reader_may_leave():
        if as_json:
            print_json({"exit": int(code), "notes": notes, "scorecards": cards})
            return int(code)
        made = console()
        for note in notes:
            tell(plain(speaker(language)(f"note: {note}")))
        for number, card in enumerate(cards):
            if number:
                made.print()
            print_score(made, card, language)
    return int(code)


def _readiness(path: Path) -> Readiness:
    """The projection of a model that a file holds: what `hengsuan project` printed as JSON."""
    import msgspec

    from ..analysis.subject import Readiness
    from ..headers import UNDECODABLE

    try:
        found = msgspec.json.decode(path.read_bytes())
        made = found.get("projection") if isinstance(found, dict) else None
        if not isinstance(made, dict):
            raise msgspec.ValidationError("it has no object `projection`")
        training = made.get("training")
        training = training if isinstance(training, dict) else {}
        return msgspec.convert({**made, **training, "devices": made.get("chips")}, Readiness)
    except FileNotFoundError:
        raise UsageError("no such file", where=str(path)) from None
    except (*UNDECODABLE, msgspec.ValidationError) as error:
        raise UsageError(
            f"no projection: {error}",
            where=f"{path}:1",
            hint="give what `hengsuan project MODEL --cluster CLUSTER.yaml --json` printed",
        ) from None
