"""Reading runs from a store: lists of them, and their files back into a folder."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import shutil
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import sqlalchemy as sa

from ..errors import HengsuanError, InfraError, UsageError
from ..headers import RUN, check_schema, read_header, uid_of
from ..index import RunInfo
from ..records import SCHEMA
from ..runs import list_runs, newest, unknown_run
from .connection import Store
from .contents import NAME, PULLED
from .push import PART
from .tables import FILES, PARTS, RUNS


class Damaged(InfraError):
    """A run that a store does not hold as it was pushed: others may be whole."""


class Held(msgspec.Struct, kw_only=True, frozen=True):
    """A run in a store; ``info.path`` is empty, ``info.id`` may be that of several."""

    uid: str
    info: RunInfo


def held(store: Store) -> list[Held]:
    """The runs in a store, the oldest first.

    Raises:
        UsageError: there is no store yet, or it is of another schema version.
        InfraError: it cannot be reached.
    """
    with store.reading() as connection:
        rows = connection.execute(sa.select(RUNS)).all()
    found = [
        Held(
            uid=row.uid,
            info=RunInfo(
                schema=row.schema_version,
                id=row.id,
                suite=row.suite,
                started=_said(row.started),
                finished=_said(row.finished) or None,
                state=row.state,
                executor=row.executor,
                provenance=row.provenance,
                stands_for=row.stands_for,
                nodes=row.nodes,
                devices=row.devices,
                chips=row.chips.split(", ") if row.chips else [],
            ),
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (one.info.started, one.info.id, one.uid))


def _said(when: datetime | None) -> str:
    return "" if when is None else when.isoformat(timespec="seconds")


def named(runs: Sequence[Held], name: str) -> Held:
    """The run of that id or uid, or of the beginning of one.

    Raises `UsageError` if none or several answer to it.
    """
    exact = [one for one in runs if name in (one.info.id, one.uid)]
    begun = [one for one in runs if one.info.id.startswith(name) or one.uid.startswith(name)]
    found = exact or begun
    if len(found) == 1:
        return found[0]
    if not found or not name:
        raise unknown_run("run in the store", name, [one.info.id for one in runs])
    which = newest([f"{one.uid[:12]} ({one.info.id}, {one.info.nodes[:40]})" for one in found])
    raise UsageError(f"several runs in the store begin with {name!r}", hint=f"which of {which}?")


def here(folder: Path) -> dict[str, Path]:
    """The runs in a folder by uid; those that cannot be read are not told apart, and left out."""
    found = {}
    for info in list_runs(folder):
        if uid := _uid(Path(info.path)):
            found[uid] = Path(info.path)
    return found


def pull(store: Store, run: Held, folder: Path) -> Path:
    """Bring a run into a folder of runs, all of it at once; where it lies then.

    Of two runs with one id the later one gets a number behind its folder's name. Where another pull
    brings the same run meanwhile, the first that is done stays, for both.

    Raises:
        UsageError: the run is of another schema than ours.
        Damaged: what the store holds of it is no run.
        InfraError: the store cannot be reached, or the folder cannot be written.
    """
    # Who cannot read it could not tell either that it is here, and would bring it again and again.
    check_schema(run.info.schema, SCHEMA, f"{store.name}, run {run.info.id}")
    if not NAME.fullmatch(run.info.id):
        raise _damaged(store, run, f"{run.info.id!r} is no name of a run")
    # Not by our number: in containers one that was killed had the same.
    until = folder / f"{PULLED}{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        until.mkdir()
        try:
            _files(store, run, until)
            return _named(until, folder, run)
        finally:
            shutil.rmtree(until, ignore_errors=True)
    except OSError as error:
        raise InfraError(
            f"cannot write: {error.strerror or error}",
            where=str(folder),
            hint="make the folder writable and free space, or choose another with --out",
        ) from None


def _named(until: Path, folder: Path, run: Held) -> Path:
    for number in itertools.count():
        target = folder / (f"{run.info.id}-{number}" if number else run.info.id)
        # `rename` would put it in the place of an empty folder, which is of nobody.
        if not os.path.lexists(target):
            try:
                return until.rename(target)
            except OSError:
                if not os.path.lexists(target):
                    raise  # nobody was faster
        if _uid(target) == run.uid:
            break
    return target


def _uid(folder: Path) -> str:
    """Which run a folder is; empty where it is none, or cannot be read."""
    try:
        return uid_of(read_header(folder))
    except HengsuanError:
        return ""


def _files(store: Store, run: Held, folder: Path) -> None:
    of_run = FILES.c.uid == run.uid
    with store.reading() as connection:
        files = connection.execute(sa.select(FILES).where(of_run).order_by(FILES.c.name)).all()
        if RUN not in {file.name for file in files}:
            raise _damaged(store, run, f"it has no {RUN}")
        for file in files:
            if not NAME.fullmatch(file.name):
                raise _damaged(store, run, f"{file.name!r} is no name of a file")
            asked = sa.select(PARTS.c.content).order_by(PARTS.c.part)
            asked = asked.where(PARTS.c.uid == run.uid, PARTS.c.name == file.name)
            digest = hashlib.sha256()
            parts = connection.execution_options(yield_per=1).execute(asked).scalars()
            with (folder / file.name).open("xb") as out:
                for part in parts:
                    data = _plain(part)
                    if data is None:
                        raise _damaged(store, run, f"a part of {file.name} cannot be unpacked")
                    digest.update(data)
                    out.write(data)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != file.sha256:
                raise _damaged(store, run, f"{file.name} is not what was pushed")


def _plain(part: bytes) -> bytes | None:
    """None for what is no part, or one that unpacks to more than any."""
    unpack = zlib.decompressobj()
    try:
        data = unpack.decompress(part, PART)
    except zlib.error:
        return None
    return data if unpack.eof and not unpack.unused_data else None


def _damaged(store: Store, run: Held, why: str) -> Damaged:
    return Damaged(
        f"run {run.uid[:12]} is damaged: {why}",
        where=store.name,
        hint="push it again from where it was measured",
    )
