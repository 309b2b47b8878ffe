"""The tables of a store, as the steps that make them: step n leads to schema version n.

A step is never changed once a store may have it: another one follows. Every store goes through all
steps that it has not had, in one transaction, while others wait.
"""

from __future__ import annotations

from datetime import datetime, timezone

import sqlalchemy as sa

from ..errors import UsageError

TABLE = "hengsuan_schema"
_LOCK = 0x48454E47
"""Of PostgreSQL's advisory locks, ours: two first writers must not both make the tables."""

FIRST = (
    """CREATE TABLE hengsuan_runs (
        uid TEXT PRIMARY KEY, id TEXT NOT NULL, digest TEXT NOT NULL,
        schema_version INTEGER NOT NULL, suite TEXT NOT NULL,
        started TIMESTAMP WITH TIME ZONE, finished TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL, executor TEXT NOT NULL, provenance TEXT NOT NULL,
        stands_for TEXT NOT NULL, nodes TEXT NOT NULL, devices BIGINT NOT NULL,
        chips TEXT NOT NULL, row_count BIGINT NOT NULL,
        pushed TIMESTAMP WITH TIME ZONE NOT NULL)""",
    "CREATE INDEX hengsuan_runs_id ON hengsuan_runs (id)",
    "CREATE INDEX hengsuan_runs_started ON hengsuan_runs (started)",
    """CREATE TABLE hengsuan_files (
        uid TEXT NOT NULL REFERENCES hengsuan_runs ON DELETE CASCADE,
        name TEXT NOT NULL, size BIGINT NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (uid, name))""",
    """CREATE TABLE hengsuan_parts (
        uid TEXT NOT NULL REFERENCES hengsuan_runs ON DELETE CASCADE,
        name TEXT NOT NULL, part INTEGER NOT NULL, content {bytes} NOT NULL,
        PRIMARY KEY (uid, name, part))""",
    """CREATE TABLE hengsuan_nodes (
        uid TEXT NOT NULL REFERENCES hengsuan_runs ON DELETE CASCADE,
        node INTEGER NOT NULL, name TEXT NOT NULL, identity TEXT NOT NULL,
        chips TEXT NOT NULL, devices INTEGER NOT NULL, verdict TEXT,
        PRIMARY KEY (uid, node))""",
    "CREATE INDEX hengsuan_nodes_name ON hengsuan_nodes (name)",
    """CREATE TABLE hengsuan_metrics (
        uid TEXT NOT NULL REFERENCES hengsuan_runs ON DELETE CASCADE,
        case_id INTEGER NOT NULL, stage TEXT NOT NULL, benchmark TEXT NOT NULL,
        label TEXT NOT NULL, axes TEXT NOT NULL, metric TEXT NOT NULL, unit TEXT NOT NULL,
        better TEXT NOT NULL, scope TEXT NOT NULL, source TEXT NOT NULL,
        expected DOUBLE PRECISION, row_count BIGINT NOT NULL, ok_count BIGINT NOT NULL,
        group_count BIGINT NOT NULL, median DOUBLE PRECISION, low DOUBLE PRECISION,
        high DOUBLE PRECISION, best DOUBLE PRECISION, worst DOUBLE PRECISION,
        PRIMARY KEY (uid, case_id))""",
    "CREATE INDEX hengsuan_metrics_label ON hengsuan_metrics (label)",
    """CREATE TABLE hengsuan_node_metrics (
        uid TEXT NOT NULL REFERENCES hengsuan_runs ON DELETE CASCADE,
        case_id INTEGER NOT NULL, node INTEGER NOT NULL, value DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (uid, case_id, node))""",
)
OF_ANY_LENGTH = (
    "DROP INDEX hengsuan_metrics_label",
    "CREATE INDEX hengsuan_metrics_label ON hengsuan_metrics {hash} (label)",
    "DROP INDEX hengsuan_nodes_name",
    "CREATE INDEX hengsuan_nodes_name ON hengsuan_nodes {hash} (name)",
)
"""PostgreSQL's usual index takes 2.7 kB of a text, and refuses a row with a longer one: the label
of a command, or what an imported log calls a node. One of hashes takes any, to find what is equal.
"""
STEPS: list[tuple[str, ...]] = [FIRST, OF_ANY_LENGTH]
"""SQL that PostgreSQL and SQLite understand; ``{bytes}`` is their type of bytes, ``{hash}`` asks
for an index of hashes where there is one."""
READABLE = 1
"""The oldest schema version whose tables are read as ours: later steps changed only indices."""


def version(connection: sa.Connection) -> int:
    """The schema version of a store; 0 where there is none yet."""
    if not sa.inspect(connection).has_table(TABLE):
        return 0
    found = connection.execute(sa.text(f"SELECT max(version) FROM {TABLE}")).scalar()
    return int(found or 0)


def check(found: int, where: str) -> None:
    """Raises `UsageError` for a store of a version that this hengsuan does not know."""
    if found > len(STEPS):
        raise UsageError(
            f"the store is of schema {found}; this hengsuan knows schema {len(STEPS)}",
            where=where,
            hint="use the newer hengsuan that wrote it",
        )


def upgrade(connection: sa.Connection, where: str) -> None:
    """Make the tables, or bring them to our version, inside the connection's transaction.

    Raises `UsageError` for a store of a newer version.
    """
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    found = version(connection)
    check(found, where)
    kinds = {
        "bytes": "BYTEA" if postgresql else "BLOB",
        "hash": "USING HASH" if postgresql else "",
    }
    if not found:
        connection.execute(
            sa.text(f"CREATE TABLE {TABLE} (version INTEGER PRIMARY KEY, applied TEXT NOT NULL)")
        )
    for number, step in enumerate(STEPS[found:], start=found + 1):
        for statement in step:
            connection.execute(sa.text(statement.format(**kinds)))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        connection.execute(
            sa.text(f"INSERT INTO {TABLE} (version, applied) VALUES (:version, :applied)"),
            {"version": number, "applied": now},
        )
