"""A run's folder while somebody writes it: new rows, a newer header, and whether anybody does.

It is read only, from this host or another that shares its file system. `bench.cluster.journal`
writes it: rows by whole pages, ``run.json`` replaced at once, a lock held on the rows meanwhile.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from .errors import HengsuanError, InfraError
from .files import read_regular
from .headers import RUN, UNDECODABLE, read_header, unreadable
from .records import Row
from .results import ROWS, first_bad_line
from .runs import held

_BLOCK = 1 << 20
"""Bytes of rows that are read at once."""
_LONGEST = 1 << 26
"""Bytes of a row, whose reason may be long; what is longer is none."""


class Growing:
    """One run.

    Attributes:
        path: Its folder.
        header: ``run.json`` as it was last read.

    Raises:
        UsageError: there is no run at this path, or it is of another schema version.
        InfraError: it cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._now()
        self.header = read_header(path)
        self._place = 0
        self._line = 0

    def _now(self) -> tuple[int, int, int]:
        """What changes when ``run.json`` is replaced; zeros while it cannot be seen."""
        try:
            found = (self.path / RUN).stat()
        except OSError:  # as on NFS, in the moment in which it is replaced
            return 0, 0, 0
        return found.st_mtime_ns, found.st_size, found.st_ino

    def renewed(self) -> bool:
        """Read the header again if it was replaced; whether it was.

        One that cannot be read at this moment is read the next time.
        """
        stamp = self._now()
        if stamp == self._stamp:
            return False
        try:
            self.header = read_header(self.path)
        except HengsuanError:
            if not self.path.is_dir():
                raise
            return False
        self._stamp = stamp
        return True

    def rows(self) -> list[Row]:
        """Rows that have come since the last call, of whole lines, a block of them at most.

        Where the file became shorter, a resumed run cut off what was torn: what comes now is new.
        Raises `InfraError` for a line that is no row.
        """
        path = self.path / ROWS
        try:
            with read_regular(path) as file:
                self._place = min(self._place, file.seek(0, os.SEEK_END))
                file.seek(self._place)
                data = file.read(_BLOCK)
                if len(data) == _BLOCK and b"\n" not in data:
                    data += file.read(_LONGEST)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(path, error) from None
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) > _LONGEST:
            raise self._no_row(0, f"it is longer than {_LONGEST >> 20} MiB")
        decoder = msgspec.json.Decoder(Row)
        try:
            found = decoder.decode_lines(whole)
        except UNDECODABLE:
            raise self._no_row(*first_bad_line(decoder, whole)) from None
        self._place += len(whole)
        self._line += whole.count(b"\n")
        return found

    def _no_row(self, index: int, why: str) -> InfraError:
        where = f"{self.path / ROWS}:{self._line + index + 1}"
        return InfraError(f"this is no measurement: {why}", where=where)

    def age(self) -> float:
        """Seconds since a row was written; 0 where that is not known, or clocks of hosts differ."""
        try:
            return max(0.0, time.time() - (self.path / ROWS).stat().st_mtime)
        except OSError:
            return 0.0

    def held(self) -> bool:
        """Whether a driver holds the run; so it seems, where a file system has no locks."""
        try:
            return held(self.path / ROWS) is not False
        except OSError:
            return True
