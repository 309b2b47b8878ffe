"""What a profile must say: lines that can be compared, weights that add up, metrics that exist."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .document import Document, Place
from .typed import unknown_key
from .types import Profile, ProfileMetric

WHOLE = 100.0
"""What the weights of categories add up to, in percent."""
_ROUNDING = 1e-6


def check_profile(
    document: Document, profile: Profile, known: Mapping[str, Collection[str]] | None = None
) -> None:
    """Raise `ConfigError` with ``file:line`` for what cannot be scored.

    Args:
        document: The file.
        profile: What it says.
        known: The metrics that there are, by benchmark; None: not looked at.
    """
    for category, lines in profile.categories.items():
        for index, line in enumerate(lines):
            place = ("categories", category, index)
            _check_line(document, line, place)
            if known is not None:
                _check_known(document, line, place, known)
    for key in ("weights", "categories_zh"):
        for category in getattr(profile, key):
            if category not in profile.categories:
                raise unknown_key(
                    document, "category", category, profile.categories, (key, category)
                )
    if profile.weights:
        _check_weights(document, profile)


def _check_weights(document: Document, profile: Profile) -> None:
    for category, weight in profile.weights.items():
        if weight <= 0:
            raise document.error(
                ("weights", category),
                "must be positive",
                "to show a category without scoring it, write reference: none in its lines",
            )
    if missing := [one for one in profile.categories if one not in profile.weights]:
        raise document.error(
            ("weights",), f"no weight of {', '.join(missing)}", "give every category its percent"
        )
    total = sum(profile.weights.values())
    if abs(total - WHOLE) > _ROUNDING:
        raise document.error(("weights",), f"add up to {total:g} percent, and must to {WHOLE:g}")


def _check_known(
    document: Document, line: ProfileMetric, place: Place, known: Mapping[str, Collection[str]]
) -> None:
    if line.benchmark not in known:
        raise unknown_key(document, "benchmark", line.benchmark, known, (*place, "benchmark"))
    if line.metric not in known[line.benchmark]:
        kind = f"metric of {line.benchmark}"
        raise unknown_key(document, kind, line.metric, known[line.benchmark], (*place, "metric"))


def _check_line(document: Document, line: ProfileMetric, place: Place) -> None:
    for axis, wanted in line.where.items():
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if value is None or isinstance(value, (list, dict)):
                raise document.error(
                    (*place, "where", axis), "must be a value, a list of values or largest"
                )
    if line.weight <= 0:
        raise document.error(
            (*place, "weight"),
            "must be positive",
            "to show a metric without scoring it, write reference: none",
        )
    if (line.reference == "target") != (line.target is not None):
        raise document.error(place, "give a target with reference: target, and only with it")
    if (line.reference == "threshold") != bool(line.threshold):
        raise document.error(
            place, "give a threshold's name with reference: threshold, and only with it"
        )
    if line.required and line.target is None:
        raise document.error((*place, "required"), "a criterion needs reference: target")
    if line.target is not None and line.target <= 0:
        raise document.error((*place, "target"), "must be positive")
    if line.least is not None and not 0 < line.least <= 1:
        raise document.error((*place, "least"), "must be a share of the reference, up to 1")
    if line.least is not None and line.reference == "none":
        raise document.error((*place, "least"), "needs a reference to be a share of")
