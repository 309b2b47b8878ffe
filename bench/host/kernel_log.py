"""The kernel's log: which new lines speak of links, PCI Express, memory or drivers.

``/dev/kmsg`` gives one record a read: ``priority,sequence,microseconds,flags;text`` and indented
lines of detail (Documentation/ABI/testing/dev-kmsg). Backends add patterns of their own drivers.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from .files import ROOT

PATTERNS: dict[str, str] = {
    "link": r"\blink (?:is )?(?:down|up|becomes ready)\b|lost carrier"
    r"|\bport \d+ .*\b(?:down|active)",
    "pcie": r"\bAER\b|PCIe Bus Error|pcieport .*error|Downstream Port Containment|\bDPC:"
    r"|available PCIe bandwidth|surprise (?:down|removal)",
    "memory": r"\bmce:|Machine check|Hardware Error|\bEDAC\b|Memory failure:|soft.?offlin"
    r"|Out of memory: Killed",
    "driver": r"NETDEV WATCHDOG|transmit queue \d+ timed out|firmware .*(?:error|fatal|crash|hang)"
    r"|(?:device|adapter|gpu|controller) .*\breset\b|I/O error|soft lockup|hard LOCKUP"
    r"|blocked for more than \d+ seconds|DMAR: .*fault|IO_PAGE_FAULT",
}
"""What a line is about → regular expression, whatever its case; the first that fits counts."""
KEPT = 20
"""Lines that are kept of one stretch of time; a flood is counted."""


def problem(root: Path = ROOT) -> str:
    """Why the kernel's log cannot be read; empty if it can."""
    try:
        os.close(_open(root))
    except OSError as error:
        return error.strerror or str(error)
    return ""


class KernelLog:
    """New lines of the kernel's log since this was made, or since the last `take`.

    Args:
        patterns: More of `PATTERNS`, from backends; they are asked first.
        root: Below which ``dev/kmsg`` is read.
    """

    def __init__(self, patterns: Mapping[str, str] | None = None, root: Path = ROOT) -> None:
        # Two of a backend's patterns may be about the same thing as ours: a list, not a mapping.
        every = [*(patterns or {}).items(), *PATTERNS.items()]
        self._patterns = [(about, re.compile(text, re.IGNORECASE)) for about, text in every]
        self._file: int | None = None
        try:
            self._file = _open(root)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError:
            self.close()

    def take(self) -> list[tuple[str, str]]:
        """(what it is about, text) of every new line that a pattern fits."""
        found = []
        for line in self._records():
            if line.startswith((" ", "\t")) or not line:
                continue  # detail of the record above: device names, not words
            text = line.partition(";")[2] or line
            about = next((about for about, one in self._patterns if one.search(text)), None)
            if about is not None:
                found.append((about, text))
        return found

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _records(self) -> list[str]:
        lines: list[str] = []
        while self._file is not None:
            try:
                record = os.read(self._file, 8192)
            except BlockingIOError:  # nothing new
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten before we came: the next is there
                    continue
                break
            if not record:
                break
            lines.extend(record.decode(errors="replace").splitlines())
        return lines


def _open(root: Path) -> int:
    return os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
