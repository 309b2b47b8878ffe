"""Reaching a store: its URL, its transactions, what goes wrong as sentences without a password."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ..errors import InfraError, UsageError
from . import migrations

FORMS = "postgresql://USER@HOST/DATABASE or sqlite:///FILE"
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}
_SERVER: dict[str, Any] = {
    "application_name": "hengsuan",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "tcp_user_timeout": 60_000,
}
"""Parameters of libpq (seconds; the last in ms): a server that vanished must not hold us long."""
_BUSY = 60
"""Seconds that a writer waits for others that write the same."""


class Away(InfraError):
    """A store that answers nobody, or takes nothing: with the next run it fails as with this."""


class Store:
    """A store of runs, PostgreSQL or SQLite. Nothing is asked of it yet.

    Attributes:
        name: What it is called in sentences: its URL without password and parameters.
        secret: Whether its URL holds a password, and must not be repeated.

    Raises `UsageError` for what is no URL of a store.
    """

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        kind = parsed.get_backend_name()
        self.name = URL.create(
            kind, parsed.username, None, parsed.host, parsed.port, parsed.database
        ).render_as_string()
        self._secrets = _secrets(parsed)
        self.secret = bool(self._secrets)
        self._ready = False
        self._file = parsed.database if kind == "sqlite" else None
        arguments: dict[str, Any] = {"timeout": _BUSY}
        if self._file is None:
            arguments = {key: value for key, value in _SERVER.items() if key not in parsed.query}
            if "PGCONNECT_TIMEOUT" in os.environ:
                arguments.pop("connect_timeout", None)
        # Parameters of statements are whole files: errors must not print them.
        try:
            self._engine = sa.create_engine(
                parsed, poolclass=NullPool, hide_parameters=True, connect_args=arguments
            )
        except (ArgumentError, TypeError, ValueError) as error:  # parameters of the URL
            raise UsageError(
                f"the store's URL cannot be used: {self._plain(str(error))}",
                where=self.name,
                hint=f"write {FORMS}",
            ) from None
        if self._file is not None:
            sa.event.listen(self._engine, "connect", _prepare)
            sa.event.listen(self._engine, "begin", _begin)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads.

        Raises:
            UsageError: there is no store yet, or it is of another schema version.
            InfraError: it cannot be reached or read.
        """
        if self._file is not None and not Path(self._file).exists():
            raise UsageError("there is no store yet", where=self.name, hint=_FILL)
        with self._transaction(write=False) as connection:
            found = migrations.version(connection)
            migrations.check(found, self.name)
            if found < migrations.READABLE:
                why = f"the store is of schema {found}" if found else "there is no store yet"
                raise UsageError(why, where=self.name, hint=_FILL)
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes all or nothing, in a store of our schema version.

        Raises:
            UsageError: the store is of a newer version.
            InfraError: it cannot be reached or written.
        """
        if not self._ready:
            with self._transaction(write=False) as connection:
                found = migrations.version(connection)
                migrations.check(found, self.name)
            if found < len(migrations.STEPS):
                with self._transaction(write=True) as connection:
                    migrations.upgrade(connection, self.name)
            self._ready = True
        with self._transaction(write=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, *, write: bool) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(hengsuan_write=write)
                with connection.begin():
                    if write and self._file is None:
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_BUSY}s'")
                    yield connection
        except IntegrityError:
            raise  # two wrote the same run: who writes knows what to do
        except DBAPIError as error:
            said = str(error.orig).strip() or type(error.orig).__name__
            # Of what it is about, only values are those of one run.
            raise (InfraError if isinstance(error, DataError) else Away)(
                f"the store cannot be used: {self._plain(said)}",
                where=self.name,
                hint=_hint(error.orig),
            ) from None
        except SQLAlchemyError as error:
            raise InfraError(
                f"the store cannot be used: {self._plain(str(error))}", where=self.name
            ) from None

    def _plain(self, text: str) -> str:
        """One line without a password, whoever wrote it there."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())


_FILL = "`hengsuan results push` makes and fills it"
_LACKS = ("42P01", "42703", "no such table", "no such column")
_HAS = ("42P07", "already exists")
"""How PostgreSQL (by its codes) and SQLite (in words) say that a table is not there, or is."""


def _hint(error: object) -> str:
    """What to do about an error of a driver."""
    code, text = str(getattr(error, "sqlstate", "") or ""), str(error)
    if code in _LACKS or text.startswith(_LACKS):
        return (
            "somebody changed the store's tables: restore them from a backup, or give an empty "
            "database and push every run again"
        )
    if code in _HAS or text.endswith(_HAS):
        return (
            f"its tables are there, but not {migrations.TABLE}, which says of which schema they "
            "are: restore it from a backup, or give an empty database and push every run again"
        )
    return "is it running, may this user write, and is there room?"


def _parse(url: str) -> URL:
    # Whatever it is, it may hold a password: it is never repeated.
    refused = UsageError("this is no URL of a store", where="--store", hint=f"write {FORMS}")
    try:
        url.encode()
    except UnicodeEncodeError:  # bytes of a name, which stand for no character
        raise UsageError(
            "the store's URL is no text in the encoding of this locale",
            where="--store",
            hint="give its file another name, or use a locale of UTF-8",
        ) from None
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise refused from None
    if parsed.drivername not in _DRIVERS:
        raise refused
    parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
    if parsed.drivername != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        # The rest of a password, which the name of the store would show.
        raise UsageError(
            "a password in the store's URL holds a sign that URLs give another meaning",
            where="--store",
            hint="write @ as %40 and / as %2F, or leave it to PGPASSWORD or ~/.pgpass",
        )
    if not parsed.database or (parsed.drivername == "sqlite" and parsed.database == ":memory:"):
        raise UsageError(
            "the store's URL names no database", where="--store", hint=f"write {FORMS}"
        )
    return parsed


def _secrets(parsed: URL) -> list[str]:
    values: list[str] = [] if parsed.password is None else [str(parsed.password)]
    for key, value in parsed.query.items():
        if "password" in key.lower():
            values += [value] if isinstance(value, str) else list(value)
    spelled = {way for value in values if value for way in (value, quote(value), quote_plus(value))}
    return sorted(spelled, key=len, reverse=True)


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the module would begin transactions by its own rules
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    # Who reads first and writes then would be refused where another wrote between.
    write = connection.get_execution_options().get("hengsuan_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
