"""A file that a command wrote or printed, recognised by what it holds, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...analysis.projection.project import Projection
from ...conformity import Conformity
from ...errors import InfraError, UsageError
from ...gates import GATE_SCHEMA, GateReport
from ...headers import UNDECODABLE, check_schema, unreadable
from ...verdicts import VERDICT_SCHEMA, Certification
from ..html.page import Page
from ..language import Language
from .certification import certification_page
from .comparison import SideBySide, comparison_page
from .conformity import conformity_page
from .gate import gate_page
from .projection import Steps, projection_page, steps_page
from .score import Scores, score_page
from .validation import Validated, validation_page

MOST_BYTES = 1 << 30
"""Of a file that is looked into: a verdict on 10,000 nodes has a few per cent of it."""


_DAMAGED = (msgspec.ValidationError, ArithmeticError, LookupError, TypeError, ValueError)
"""What a document raises whose values have their types, and do not go together."""


class Kind(NamedTuple):
    """A kind of document: ``said`` names what writes it, ``keys`` are ones that only it has all of.

    ``inside``: the document is what stands under this key. ``schema`` is the version that is read,
    0 of what has none.
    """

    said: str
    keys: frozenset[str]
    holds: Any
    page: Callable[[Any, Language], Page]
    inside: str = ""
    schema: int = 0


KINDS: tuple[Kind, ...] = (
    Kind(
        "gate.json of `hengsuan gate`",
        frozenset({"gate", "how", "baseline", "candidate"}),
        GateReport,
        gate_page,
        schema=GATE_SCHEMA,
    ),
    Kind(
        "`hengsuan gate ... --json`",
        frozenset({"report", "folder"}),
        GateReport,
        gate_page,
        inside="report",
        schema=GATE_SCHEMA,
    ),
    Kind(
        "verdict.json of `hengsuan certify`",
        frozenset({"run", "profile", "nodes", "provenance"}),
        Certification,
        certification_page,
        schema=VERDICT_SCHEMA,
    ),
    Kind("`hengsuan score --json`", frozenset({"scorecards"}), Scores, score_page),
    Kind(
        "`hengsuan project --json`",
        frozenset({"projection"}),
        Projection,
        projection_page,
        inside="projection",
    ),
    Kind(
        "`hengsuan project --ranks N --json`", frozenset({"provenance", "steps"}), Steps, steps_page
    ),
    Kind(
        "`hengsuan project --validate --json`",
        frozenset({"rows", "errors", "constants"}),
        Validated,
        validation_page,
    ),
    Kind(
        "`hengsuan compare --json`",
        frozenset({"comparison", "profile"}),
        SideBySide,
        comparison_page,
    ),
    Kind(
        "`hengsuan backend check --json`",
        frozenset({"backend", "results", "counts"}),
        Conformity,
        conformity_page,
    ),
)


def read(path: Path) -> bytes:
    """What a file holds.

    Raises:
        UsageError: it is larger than anything that has a page.
        InfraError: it cannot be read.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError("is too large for what has a page", where=str(path))
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def page_of(raw: bytes, where: str, language: Language = "en") -> Page:
    """The page of what a file holds; errors name it by ``where``.

    Raises:
        UsageError: it is no JSON, none of `KINDS`, or of another version.
        InfraError: it is one of them, and damaged.
    """
    try:
        found = msgspec.json.decode(raw)
    except UNDECODABLE as error:
        raise UsageError(
            f"is no JSON: {error}",
            where=where,
            hint="give a run, or a file that a command of hengsuan wrote or printed with --json",
        ) from None
    keys = found.keys() if isinstance(found, dict) else frozenset()
    kind = next((one for one in KINDS if one.keys <= keys), None)
    if kind is None:
        raise UsageError(
            "holds nothing that has a page",
            where=where,
            hint=f"there are pages of runs, {', '.join(one.said for one in KINDS)}",
        )
    held = found[kind.inside] if kind.inside else found
    if kind.schema:
        _check(held, kind, where)
    try:
        return kind.page(msgspec.convert(held, kind.holds), language)
    except _DAMAGED as error:
        why = f"looks like {kind.said}, and is damaged: {error}"
        raise InfraError(why, where=where) from error


def _check(held: Any, kind: Kind, where: str) -> None:
    version = held.get("schema") if isinstance(held, dict) else None
    if not isinstance(version, int):
        raise InfraError(f"looks like {kind.said}, and says no schema", where=where)
    check_schema(version, kind.schema, where)
