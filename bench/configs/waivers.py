"""Waivers: findings that somebody answers for until a day.

A file of them::

    waivers:
      - {node: "gpu-[07-08]", metric: "stream*", reason: "ticket 4711", until: 2026-12-31}
      - {node: gpu-09, metric: corruption, corruption: true, reason: ..., until: 2026-06-30}
"""

from __future__ import annotations

from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from ..hostlists import SEPARATOR
from .document import Document, Place, read_document
from .labels import expanded
from .typed import convert


class _Line(msgspec.Struct, kw_only=True, frozen=True):
    node: str
    """Name of the node."""
    metric: str
    """Metrics whose label fits; ``*`` stands for anything."""
    reason: str
    """Who answers for it, and why."""
    until: str
    """Last day, ``YYYY-MM-DD``."""
    corruption: bool = False


class _File(msgspec.Struct, kw_only=True, frozen=True):
    waivers: list[_Line]


class Waiver(msgspec.Struct, kw_only=True, frozen=True):
    """One line of the file: findings about ``metric`` on ``nodes`` do not reject.

    ``metric`` is the finding's metric, or what it is held against where it is no measurement
    (``fault``, ``drift``); ``*`` and ``?`` stand for any characters and one, in ``nodes`` too.
    ``until`` is the last day, in UTC. ``corruption``: wrong results are waived as well, which they
    are by no pattern alone. ``where`` is ``file:line``.
    """

    nodes: tuple[str, ...]
    metric: str
    reason: str
    until: date
    corruption: bool = False
    where: str = ""

    def covers(self, node: str, metric: str) -> bool:
        """Whether it is about this metric of this node."""
        return fnmatchcase(metric, self.metric) and any(
            fnmatchcase(node, pattern) for pattern in self.nodes
        )


def load_waivers(path: str | Path) -> list[Waiver]:
    """The waivers of a file, in the order written.

    Raises `ConfigError` with ``file:line`` for one without a reason, nodes, metric or date.
    """
    document = read_document(Path(path))
    lines = convert(document, _File).waivers
    return [_waiver(document, line, ("waivers", index)) for index, line in enumerate(lines)]


def _waiver(document: Document, line: _Line, place: Place) -> Waiver:
    for key in ("node", "metric", "reason"):
        if not getattr(line, key).strip():
            raise document.error(
                (*place, key), "must not be empty", "a waiver says for what and why it is"
            )
    try:
        until = date.fromisoformat(line.until)
    except ValueError:
        raise document.error(
            (*place, "until"), f"{line.until!r} is no date", "write for example 2026-12-31"
        ) from None
    names = [
        name
        for text in SEPARATOR.split(line.node)
        for name in expanded(document, text.strip(), (*place, "node"))
    ]
    return Waiver(
        nodes=tuple(names),
        metric=line.metric.strip(),
        reason=line.reason.strip(),
        until=until,
        corruption=line.corruption,
        where=document.where(place),
    )
