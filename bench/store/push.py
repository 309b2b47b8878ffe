"""Writing runs into a store: all of a run or nothing, each once, whoever else writes."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..analysis.summary import group_medians, medians_by, rows_by_case, summarize
from ..analysis.table import nodes_of, units_of
from ..errors import InfraError, UsageError
from ..hostlists import compress
from ..identity import identities
from ..inventory import Inventory
from ..records import DIGEST
from ..results import Columns, RunReader
from ..rounds import schedule_for
from ..verdicts import VERDICT, read_verdict
from .connection import Store
from .contents import NAME, Contents, check_ended, contents
from .tables import FILES, METRICS, NODE_METRICS, NODES, OF_A_RUN, PARTS, RUNS

PART = 4 << 20
"""Bytes of a file that are one part: memory, here and in the server, holds one at a time."""
_BATCH = 5_000
"""Rows of a statement."""

How: TypeAlias = Literal["new", "newer", "there"]
"""It was not in the store; the store had an earlier state of it; the store has it as it is."""


def push(store: Store, folder: Path) -> How:
    """Write a run into a store.

    Args:
        store: Where.
        folder: The run, which must have ended or been left by its driver.

    Raises:
        UsageError: it is being measured, the store has more rows of it, or is of a newer schema.
        InfraError: the run is damaged, or the store cannot be written. Then nothing was.
    """
    check_ended(folder)
    found = contents(folder)
    if _known(store, found.uid) == found.digest:
        return "there"
    if not NAME.fullmatch(found.header.id):
        raise InfraError(
            f"{found.header.id!r} is no name of a run: nobody could pull it", where=str(folder)
        )
    columns = RunReader(folder).columns()
    for _ in range(2):
        # It fails once where somebody else pushed the same run in this moment.
        with contextlib.suppress(IntegrityError):
            return _write(store, found, columns)
    raise InfraError(
        f"run {found.header.id} cannot be written: others change it at the same time",
        where=store.name,
        hint="push it again",
    )


def _known(store: Store, uid: str) -> str | None:
    with store.writing() as connection:
        return connection.execute(sa.select(RUNS.c.digest).where(RUNS.c.uid == uid)).scalar()


def _write(store: Store, found: Contents, columns: Columns) -> How:
    uid = found.uid
    with store.writing() as connection:
        asked = sa.select(RUNS.c.digest, RUNS.c.row_count).where(RUNS.c.uid == uid)
        before = connection.execute(asked.with_for_update()).first()
        if before is not None and before.digest == found.digest:
            return "there"
        if before is not None and before.row_count > len(columns):
            raise UsageError(
                f"the store has {before.row_count} rows of run {found.header.id}, and here are "
                f"{len(columns)}: it is left as it is",
                where=store.name,
                hint="`hengsuan results pull` into another folder brings the longer one",
            )
        values = _run(found, len(columns))
        if before is None:
            connection.execute(sa.insert(RUNS), values)
        else:
            for table in OF_A_RUN:
                connection.execute(sa.delete(table).where(table.c.uid == uid))
            connection.execute(sa.update(RUNS).where(RUNS.c.uid == uid), values)
        _files(connection, found)
        _insert(connection, NODES, _nodes(found))
        _insert(connection, METRICS, _metrics(found, columns))
        _insert(connection, NODE_METRICS, _node_metrics(found, columns))
    return "new" if before is None else "newer"


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]]) -> None:
    while batch := list(islice(rows, _BATCH)):
        connection.execute(sa.insert(table), batch)


def _run(found: Contents, rows: int) -> dict[str, Any]:
    header = found.header
    inventory = Inventory(header.nodes, header.fleet)
    return {
        "uid": found.uid,
        "id": _text(header.id),
        "digest": found.digest,
        "schema_version": header.schema,
        "suite": _text(header.suite),
        "started": _moment(header.started),
        "finished": _moment(header.finished or ""),
        "state": header.state,
        "executor": _text(header.executor),
        "provenance": header.provenance,
        "stands_for": _text(header.stands_for),
        "nodes": _text(compress(map(inventory.name, range(inventory.node_count)))),
        "devices": inventory.size,
        "chips": _text(", ".join(inventory.kinds()[1])),
        "row_count": rows,
        "pushed": datetime.now(timezone.utc),
    }


def _files(connection: sa.Connection, found: Contents) -> None:
    for one in found.files:
        row = {"uid": found.uid, "name": one.name, "size": one.size, "sha256": one.sha256}
        connection.execute(sa.insert(FILES), row)
        digest = hashlib.sha256()
        try:
            with (found.folder / one.name).open("rb") as file:
                for number, data in enumerate(iter(lambda: file.read(PART), b"")):
                    digest.update(data)
                    part = {"part": number, "content": zlib.compress(data)}
                    row = {"uid": found.uid, "name": one.name, **part}
                    connection.execute(sa.insert(PARTS), row)
        except OSError as error:
            where = str(found.folder / one.name)
            raise InfraError(f"cannot read: {error.strerror}", where=where) from None
        if digest.hexdigest() != one.sha256:
            raise InfraError(
                "it changed while it was pushed",
                where=str(found.folder / one.name),
                hint="push it again when it has ended",
            )


def _nodes(found: Contents) -> Iterator[dict[str, Any]]:
    header = found.header
    said: dict[str, str] = {}
    if any(one.name == VERDICT for one in found.files):
        said = {one.node: one.verdict for one in read_verdict(found.folder).nodes}
    inventory = Inventory(header.nodes, header.fleet)
    for node, known in enumerate(identities(header)):
        name = inventory.name(node)
        yield {
            "uid": found.uid,
            "node": node,
            "name": _text(name),
            "identity": known.key(),
            "chips": _text(", ".join(dict.fromkeys(card.chip for card in known.devices))),
            "devices": len(known.devices),
            "verdict": said.get(name),
        }


def _metrics(found: Contents, columns: Columns) -> Iterator[dict[str, Any]]:
    for one in summarize(found.header, columns):
        case = one.case
        yield {
            "uid": found.uid,
            "case_id": case.id,
            "stage": _text(case.stage),
            "benchmark": _text(case.benchmark),
            "label": _text(f"{one.name} {case.metric}"),
            "axes": _text(msgspec.json.encode(case.axes).decode()),
            "metric": _text(case.metric),
            "unit": _text(case.unit),
            "better": case.better,
            "scope": case.scope,
            "source": _text(case.source),
            "expected": case.expected,
            "row_count": one.rows,
            "ok_count": one.statuses.get("ok", 0),
            "group_count": one.groups,
            "median": one.median,
            "low": one.low,
            "high": one.high,
            "best": one.best,
            "worst": one.worst,
        }


def _node_metrics(found: Contents, columns: Columns) -> Iterator[dict[str, Any]]:
    """Of each metric, the median over the groups that lie in a node."""
    header = found.header
    inventory = Inventory(header.nodes, header.fleet)
    units: dict[int, Any] = {}
    for case, rows in zip(header.cases, rows_by_case(columns, len(header.cases)), strict=True):
        if case.unit == DIGEST:
            continue
        if case.schedule not in units:
            spec = header.schedules[case.schedule]
            units[case.schedule] = units_of(schedule_for(spec, inventory), inventory)
        groups, unit = units[case.schedule]
        mine, medians = group_medians(columns, rows)
        known = np.isin(mine, groups)
        unit = unit[np.searchsorted(groups, mine[known])]
        inside = unit >= 0
        nodes, values = medians_by(nodes_of(inventory, unit[inside]), medians[known][inside])
        for node, value in zip(nodes.tolist(), values.tolist(), strict=True):
            yield {"uid": found.uid, "case_id": case.id, "node": node, "value": value}


def _text(text: str) -> str:
    """As a database takes it: PostgreSQL has no NUL in text."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _moment(text: str) -> datetime | None:
    """A time in UTC, None where it is none: what the run says stays in its files."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):  # as the first day of year 1, east of Greenwich
        return None
