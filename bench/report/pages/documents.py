"""A file that a command wrote or printed, recognised by what it holds, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...analysis.projection.project import Projection
from ...conformity import Conformity
from ...errors import InfraError, UsageError
from ...gates import GATE, GATE_SCHEMA, GateReport
from ...headers import RUN, UNDECODABLE, check_schema, unreadable
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
    Kind("`hengsuan project --ranks N --json`", frozenset({"provenance", "steps"}), Steps, steps_page),
    Kind(
        "`hengsuan project --validate --json`",
        frozenset({"rows", "errors", "constants"}),
        Validated,
        validation_page,
    ),
    Kind("`hengsuan compare --json`", frozenset({"comparison", "profile"}), SideBySide, comparison_page),
    Kind(
        "`hengsuan backend check --json`",
        frozenset({"backend", "results", "counts"}),
        Conformity,
        conformity_page,
    ),
)


def document(name: str) -> Path | None:
    """The file that a name means, where it is no run: a file, or a folder with a gate's reports."""
    path = Path(name)
    if path.is_dir():
        gate = path / GATE
        return gate if gate.is_file() and not (path / RUN).exists() else None
    return path if path.is_file() and path.name != RUN else None


def page_of(path: Path, language: Language = "en") -> Page:
    """The page of a file.

    Raises:
        UsageError: it is no JSON, none of `KINDS`, or of another version.
        InfraError: it cannot be read, or is damaged.
    """
    found = _read(path)
    keys = found.keys() if isinstance(found, dict) else frozenset()
    kind = next((one for one in KINDS if one.keys <= keys), None)
    if kind is None:
        raise UsageError(
            "is nothing that has a page",
            where=str(path),
            hint=f"there are pages of {', '.join(one.said for one in KINDS)}, and of a run's folder",
        )
    held = found[kind.inside] if kind.inside else found
    if kind.schema:
        _check(held, kind, path)
    try:
        return kind.page(msgspec.convert(held, kind.holds), language)
    except msgspec.ValidationError as error:
        raise InfraError(f"looks like {kind.said}, and is damaged: {error}", where=str(path)) from None


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError("is too large for what has a page", where=str(path))
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from None
    except UNDECODABLE as error:
        raise UsageError(
            f"is no JSON: {error}",
            where=str(path),
            hint="give a run, or a file that a command of hengsuan wrote or printed with --json",
        ) from None


def _check(held: Any, kind: Kind, path: Path) -> None:
    version: Mapping[str, Any] = held if isinstance(held, dict) else {}
    if not isinstance(version.get("schema"), int):
        raise InfraError(f"looks like {kind.said}, and says no schema", where=str(path))
    check_schema(version["schema"], kind.schema, path)
