"""What `score`, `expect` and `compare` share: runs by name, profiles whose metrics exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..report.language import SPOKEN, Language

if TYPE_CHECKING:
    from ..analysis.scores import Scorecard
    from ..analysis.subject import Readiness, Run
    from ..configs import Chip, Facility, Profile

F = TypeVar("F", bound=Callable[..., Any])

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds runs.",
)
PROFILE = click.option(
    "--profile", default="cluster", show_default=True, help="Profile of the scores."
)


def _speaking(expose: bool) -> Callable[[F], F]:
    def speak(context: click.Context, _: click.Parameter, value: Language) -> Language:
        # What a run was begun with is parsed as well (`begun`), and nobody asks for that now.
        if not context.resilient_parsing:
            before = SPOKEN.set(value)
            context.call_on_close(lambda: SPOKEN.reset(before))
        return value

    return click.option(
        "--lang",
        "language",
        type=click.Choice(["en", "zh"]),
        default="en",
        show_default=True,
        callback=speak,
        expose_value=expose,
        help="Language of what is printed.",
    )


LANGUAGE = _speaking(True)
SPEAKING = _speaking(False)
"""The same for verbs that print on the terminal only, which speaks it by itself."""

_NEEDED = ("repeat", "value", "low", "high", "n", "status", "provenance", "reasons")
"""Columns that scores rest on: not when and under which conditions a value was taken."""


def read_runs(names: Sequence[str], out: Path, chips: Mapping[str, Chip]) -> list[Run]:
    """The runs of these names, each once, in the order given."""
    from ..analysis.subject import Run
    from ..results import RunReader
    from ..runs import find_run

    found = {}
    for name in names:
        path = find_run(name, out)
        if path.resolve() not in found:
            reader = RunReader(path)
            found[path.resolve()] = Run(reader.header, reader.columns(_NEEDED), chips)
    return list(found.values())


def checked_profile(name: str, runs: Sequence[Run]) -> Profile:
    """A profile, all of whose metrics are ones that a benchmark has, or a run, or are derived."""
    from ..analysis.derived import derived_metrics
    from ..configs import load_profile
    from ..workloads.base import registry

    known = {name: {one.name for one in cls.measures} for name, cls in registry().items()}
    for benchmark, metrics in derived_metrics().items():
        known.setdefault(benchmark, set()).update(metrics)
    for run in runs:  # of a plugin that is not installed here
        for case in run.header.cases:
            known.setdefault(case.benchmark, set()).add(case.metric)
    return load_profile(name, known)


def scores(
    groups: Sequence[Sequence[Run]],
    profile: Profile,
    chips: Mapping[str, Chip],
    facility: Facility | None = None,
    readiness: Readiness | None = None,
) -> list[Scorecard]:
    """A scorecard of each group of runs, with who pulls its categories down."""
    from ..analysis.culprits import culprits
    from ..analysis.scorecard import score
    from ..analysis.subject import Subject

    cards = []
    for group in groups:
        subject = Subject(group, chips, facility, readiness)
        # Who makes pairs slow takes as long as all the rest: `hengsuan certify` says it.
        card = score(subject, profile, chain=True, culprits=False)
        card.findings += culprits(subject.runs, card.categories)
        cards.append(card)
    return cards
