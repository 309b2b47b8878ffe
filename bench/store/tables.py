"""The tables of a store as statements are made of them; `bench.store.migrations` makes the tables.

``hengsuan_files`` and ``hengsuan_parts`` hold a run's files as they are, in compressed parts: the
truth, with all rows. The others say of each run what SQL asks for, and are made of the files.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

METADATA = sa.MetaData()


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite has no zones, and gives back what it was given without one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """With its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value


def _table(name: str, /, **columns: Any) -> sa.Table:
    return sa.Table(name, METADATA, *(sa.Column(key, kind) for key, kind in columns.items()))


RUNS = _table(
    "hengsuan_runs",
    uid=sa.Text,
    id=sa.Text,
    digest=sa.Text,
    schema_version=sa.Integer,
    suite=sa.Text,
    started=Moment,
    finished=Moment,
    state=sa.Text,
    executor=sa.Text,
    provenance=sa.Text,
    stands_for=sa.Text,
    nodes=sa.Text,
    devices=sa.BigInteger,
    chips=sa.Text,
    row_count=sa.BigInteger,
    pushed=Moment,
)
FILES = _table("hengsuan_files", uid=sa.Text, name=sa.Text, size=sa.BigInteger, sha256=sa.Text)
PARTS = _table("hengsuan_parts", uid=sa.Text, name=sa.Text, part=sa.Integer, content=sa.LargeBinary)
NODES = _table(
    "hengsuan_nodes",
    uid=sa.Text,
    node=sa.Integer,
    name=sa.Text,
    identity=sa.Text,
    chips=sa.Text,
    devices=sa.Integer,
    verdict=sa.Text,
)
METRICS = _table(
    "hengsuan_metrics",
    uid=sa.Text,
    case_id=sa.Integer,
    stage=sa.Text,
    benchmark=sa.Text,
    label=sa.Text,
    axes=sa.Text,
    metric=sa.Text,
    unit=sa.Text,
    better=sa.Text,
    scope=sa.Text,
    source=sa.Text,
    expected=sa.Double,
    row_count=sa.BigInteger,
    ok_count=sa.BigInteger,
    group_count=sa.BigInteger,
    median=sa.Double,
    low=sa.Double,
    high=sa.Double,
    best=sa.Double,
    worst=sa.Double,
)
NODE_METRICS = _table(
    "hengsuan_node_metrics", uid=sa.Text, case_id=sa.Integer, node=sa.Integer, value=sa.Double
)
OF_A_RUN = (NODE_METRICS, METRICS, NODES, PARTS, FILES)
"""All but `RUNS`: what is replaced when a run went on."""
