"""The page of scores: derived metrics, and what every profile asks."""

from __future__ import annotations

from collections.abc import Iterator

from ..analysis.derived import DERIVED
from ..configs import Profile, ProfileMetric, load_profile
from .configurations import built_in
from .markdown import code, inline, sections, table

_REFERENCES = {
    "datasheet": "what datasheet and topology predict",
    "ceiling": "the best matrix product, or STREAM operation, that the run itself measured",
    "target": "a number of the profile",
    "threshold": "a number that the user gives by name in SYSTEM.yaml",
    "none": "nothing: shown, not scored",
}


def page() -> str:
    """Derived metrics and profiles."""
    return sections(
        "# Scores",
        "A metric's score is what it reached of its reference. A category's is the weighted "
        "geometric mean of its metrics, the overall score that of the categories. What nobody "
        "measured, or nothing can be held against, is listed as absent and lowers the coverage; it "
        "never counts as good.",
        table(
            ("reference", "a value is held against"), ((code(k), v) for k, v in _REFERENCES.items())
        ),
        "## Derived metrics",
        "What no single case holds. A profile names them as it names a benchmark's; `hengsuan show "
        "derived` lists them.",
        table(
            ("metric", "unit", "better", "definition", "formula", "source"),
            (
                (
                    code(f"{benchmark} {metric}"),
                    one.unit or "–",
                    one.better,
                    inline(one.about),
                    inline(one.formula) or "–",
                    one.source or "–",
                )
                for (benchmark, metric), one in DERIVED.items()
            ),
        ),
        *(part for name in built_in("profiles") for part in _profile(load_profile(name))),
    )


def _profile(profile: Profile) -> Iterator[str]:
    yield f"## Profile {profile.name}"
    yield inline(profile.description) + "." * (not profile.description.endswith("."))
    yield inline(profile.note)
    for category, lines in profile.categories.items():
        weight = profile.weights.get(category)
        yield f"### {profile.name}: {category}" + (f" ({weight:g} %)" if weight else "")
        yield table(("metric", "of", "held against", "weight", "besides"), map(_line, lines))


def _line(line: ProfileMetric) -> tuple[str, str, str, str, str]:
    where = ", ".join(f"{key}={_axis(wanted)}" for key, wanted in line.where.items())
    against = {
        "target": f"target {line.target:g}" if line.target is not None else "",
        "threshold": f"threshold `{line.threshold}`",
    }.get(line.reference, line.reference)
    besides = [
        *(["a criterion"] if line.required else []),
        *(["left out where there is no such group"] if line.optional else []),
        *([f"at least {line.least:.0%} of it to be accepted"] if line.least is not None else []),
        *(["total of all pairs"] if line.statistic == "total" else []),
        *([inline(line.clause)] if line.clause else []),
    ]
    name = code(f"{line.benchmark} {line.metric}")
    return name, inline(where), against, f"{line.weight:g}", "; ".join(besides)


def _axis(wanted: object) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
