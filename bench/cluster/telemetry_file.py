"""Writes ``telemetry.jsonl`` of a run folder: whole lines, and never more than a disk can take."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..telemetry import TELEMETRY, TelemetryHeader

PART = 64_000_000
"""Bytes after which half as many rows are kept as before: a day of a thousand nodes would be tens
of gigabytes, and is a few hundred megabytes this way."""


class TelemetryFile:
    """The open file. Raises OSError where it cannot be written.

    Args:
        folder: The run's.
        period: Seconds between two looks at a node, for the header.
        part: As `PART`.
    """

    def __init__(self, folder: Path, period: float, part: int = PART) -> None:
        self._part = part
        self._seen: Counter[bytes] = Counter()
        self._file = (folder / TELEMETRY).open("ab")
        self._size = self._file.seek(0, os.SEEK_END)
        self._append([msgspec.json.encode(TelemetryHeader(period=period))])

    def write(self, rows: Sequence[msgspec.Raw]) -> None:
        """Append rows; of a long file some of each node's, evenly."""
        every = 1 << (self._size // self._part)
        kept = []
        for row in map(bytes, rows):
            node = row[: row.index(b",")]
            if self._seen[node] % every == 0:
                kept.append(row)
            self._seen[node] += 1
        if kept:
            self._append(kept)

    def _append(self, lines: Sequence[bytes]) -> None:
        text = b"\n".join(lines) + b"\n"
        self._file.write(text)
        self._file.flush()
        self._size += len(text)

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
