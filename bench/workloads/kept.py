"""The checkpoints of a training in a folder: of which the last whole one is known."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..files import replace_file
from ..headers import UNDECODABLE
from ..units import format_value
from .attempts import Log
from .base import Context, Unmeasurable
from .left_behind import ATTEMPTS, lock_of, sweep, take
from .runner import all_or_none
from .saved import StateError, Training, Writing, state_bytes, together
from .scratch import must_be_directory, place_of

LATEST = "latest.json"
_NAME = "step-"


class Latest(msgspec.Struct, frozen=True):
    """What `LATEST` says: the steps that the last whole checkpoint has, and its folder's name."""

    step: int
    folder: str


def kept_at(path: str, key: str) -> str:
    """The folder of attempts that share a key, below a path of this node; the first makes it.

    Raises `Unmeasurable` for a path that is no directory or cannot be written.
    """
    place = place_of(path)
    must_be_directory(place)
    folder = os.path.join(place, f"{ATTEMPTS}{key}")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    except OSError as error:
        raise Unmeasurable(f"path {place} cannot be written: {error.strerror}") from None
    must_be_directory(folder)
    return folder


def left_at(path: str, key: str) -> str:
    """The folder of attempts that share a key, as this host sees it; empty where it sees none."""
    with contextlib.suppress(Unmeasurable):  # it has not the variable that the nodes have
        folder = os.path.join(place_of(path), f"{ATTEMPTS}{key}")
        return folder if os.path.isdir(folder) else ""
    return ""


@contextlib.contextmanager
def held_at(path: str, key: str) -> Iterator[list[str]]:
    """Hold the lock of attempts that share a key while they are made, if this host sees their path.

    What killed drivers of this host left there is removed first: gives the folders that were found.
    What these attempts leave behind in the end, nobody removes.
    """
    lock, found = None, []
    with contextlib.suppress(Unmeasurable, OSError):  # ranks will say what is wrong with it
        place = place_of(path)
        must_be_directory(place)
        found = sweep(place)
        beside = lock_of(os.path.join(place, f"{ATTEMPTS}{key}"))
        lock = take(beside)
    try:
        yield found
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            os.close(lock)


def latest_of(folder: str) -> Latest | None:
    """The last whole checkpoint of a training's folder; None before the first. Raises `StateError`
    for a `LATEST` that cannot be read or is damaged."""
    latest = Path(folder, LATEST)
    try:
        said = msgspec.json.decode(latest.read_bytes(), type=Latest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{latest} cannot be read: {error.strerror}") from None
    except UNDECODABLE as error:
        raise StateError(f"{latest} is damaged: {error}") from None
    if not said.folder.startswith(_NAME) or os.path.basename(said.folder) != said.folder:
        raise StateError(f"{latest} is damaged: {said.folder!r} is no checkpoint beside it")
    return said


def remove_partial(folder: str) -> None:
    """Remove what attempts that failed have left of checkpoints that were never whole: they take
    the room of the next. Nothing, where it is not known which is whole: reading that will tell."""
    with contextlib.suppress(StateError):
        said = latest_of(folder)
        for one in Path(folder).glob(f"{_NAME}*"):
            if said is None or one.name != said.folder:
                shutil.rmtree(one, ignore_errors=True)


def check_room(context: Context, folder: str, model: str) -> None:
    """Raise `Unmeasurable`, on every rank, where one sees no room for two checkpoints of a model:
    one is kept until the next is whole. What is there already is room for those that follow."""
    together(context)  # behind whoever removes
    free, need = _room(folder), 2 * state_bytes(model)
    problem = (
        f"path {os.path.dirname(folder)} has {format_value(free, 'B')} for checkpoints, and two of "
        f"{model} need {format_value(need, 'B')}"
    )
    all_or_none(context, problem if need > free else "")


def _room(folder: str) -> int:
    """Bytes that checkpoints of a training may take: what is free, and what those there have."""
    held = 0
    for file in Path(folder).glob(f"{_NAME}*/*"):
        with contextlib.suppress(OSError):  # removed meanwhile
            held += file.stat().st_size
    return shutil.disk_usage(folder).free + held


class Checkpoints:
    """What one attempt of a training saves, and finds saved by those before it.

    Args:
        training: Whose state it is.
        folder: That all ranks see.
        attempt: The attempt's number: what an earlier one could not end is not written over.
        log: Of the first rank, which says what is the latest; the others have none.
    """

    def __init__(self, training: Training, folder: str, attempt: int, log: Log | None) -> None:
        self._training, self._folder, self._attempt, self._log = training, folder, attempt, log
        self._writing: tuple[Writing, int] | None = None

    def restore(self) -> int:
        """Read the last one; its steps, 0 where there is none. Raises `StateError`."""
        said = latest_of(self._folder)
        if said is None:
            return 0
        place = os.path.join(self._folder, said.folder)
        try:
            self._training.restore(place)
        except StateError as error:
            raise StateError(f"the checkpoint {place} cannot be read back: {error}") from error
        return said.step

    def save(self, step: int, *, beside: bool) -> None:
        """Save what so many steps gave; ``beside``: copied when this returns, and written later.

        Raises `StateError`, also for the one before, which is written by then: one at a time is.
        """
        self.land()
        place = os.path.join(self._folder, self._name(step))
        with self._placed(step):
            if beside:
                self._writing = self._training.save_beside(place), step
            else:
                self._training.save(place)
                self._whole(step)
        if self._log is not None:
            self._log.write("saved", step=step)

    def look(self) -> None:
        """Take in what was written beside the training, if it is. Raises `StateError`."""
        if self._writing is not None and self._writing[0].done():
            self.land()

    def land(self) -> None:
        """Wait for what is written beside the training, if anything. Raises `StateError`."""
        if self._writing is None:
            return
        writing, step = self._writing
        self._writing = None
        with self._placed(step):
            writing.wait()
            self._whole(step)
        if self._log is not None:
            self._log.write("landed", step=step)

    def _name(self, step: int) -> str:
        return f"{_NAME}{step:08d}-{self._attempt:05d}"

    @contextlib.contextmanager
    def _placed(self, step: int) -> Iterator[None]:
        """Have errors say which checkpoint it was, and where."""
        try:
            yield
        except (StateError, OSError) as error:
            where, said = os.path.dirname(self._folder), str(error)
            if isinstance(error, OSError) and error.strerror:
                said = error.strerror
            raise StateError(
                f"the checkpoint of step {step} cannot be written to {where}: {said}"
            ) from error

    def _whole(self, step: int) -> None:
        """A checkpoint is whole before it is the latest; those before it are removed then."""
        if self._log is None:
            return
        name = self._name(step)
        replace_file(Path(self._folder, LATEST), msgspec.json.encode(Latest(step, name)))
        for old in Path(self._folder).glob(f"{_NAME}*"):
            if old.name < name:
                shutil.rmtree(old, ignore_errors=True)
