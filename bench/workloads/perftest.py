"""Runs the RDMA measuring programs of linux-rdma/perftest, and reads what they print.

One side waits, the other connects; both print a table whose header names its units. Version 4.5
writes JSON that no JSON reader takes (names without quotes), so the table is read.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time

import msgspec

PROGRAMS = ("ib_write_bw", "ib_write_lat")
LIMIT = 60.0
"""Seconds that one run may take, both sides together."""
_HEADER = re.compile(r"^\s*#bytes\s+#iterations\s+(.*)$")
_COLUMN = re.compile(r"(\S[^\[\]]*?)\s*\[([^\[\]]+)\]")
_UNITS = {
    "Gb/sec": 1e9 / 8,
    "MB/sec": 1 << 20,  # perftest counts 2^20 bytes, whatever it calls them
    "MiB/sec": 1 << 20,
    "usec": 1e-6,
    "Mpps": 1e6,
}


class Report(msgspec.Struct, kw_only=True, frozen=True):
    """One line of a table: message size in bytes, iterations, and the values by column.

    Values are in B/s, seconds and messages/s; columns are called as perftest calls them
    (``BW average``, ``t_typical``).
    """

    size: int
    iterations: int
    values: dict[str, float]


def parse(text: str) -> Report:
    """The last line of the last table. Raises ValueError with what was printed instead."""
    columns: list[tuple[str, str]] | None = None
    found: Report | None = None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            columns = _COLUMN.findall(header[1])
            continue
        words = line.split()
        if columns is None or len(words) != 2 + len(columns) or not words[0].isdigit():
            continue
        values = {
            name: float(word) * _UNITS[unit]
            for (name, unit), word in zip(columns, words[2:], strict=True)
        }
        found = Report(size=int(words[0]), iterations=int(words[1]), values=values)
    if found is None:
        raise ValueError(f"printed no result{last_words(text)}")
    return found


def missing() -> str:
    """Which programs are not installed and how they would be; empty if all are."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not found (Debian: apt install perftest)" if absent else ""


def command(program: str, card: str, card_port: int, size: int, iterations: int) -> list[str]:
    """The words that both sides share."""
    where = ["-d", card, "-i", str(card_port), "-s", str(size), "-n", str(iterations)]
    # -F: a changing clock of the processor is noted among the conditions, not complained of.
    return [program, *where, "-F", *(["--report_gbits"] if program.endswith("_bw") else [])]


def serve(words: list[str], port: int) -> tuple[int, str]:
    """Wait for the other side: (exit status, what was printed)."""
    return _run([*words, "-p", str(port)], LIMIT)


def connect(words: list[str], port: int, address: str) -> tuple[int, str]:
    """Measure with the side at ``address``, which may not listen yet."""
    until = time.monotonic() + LIMIT / 2
    while True:
        status, text = _run([*words, "-p", str(port), address], LIMIT)
        early = status and "connect" in text.lower() and time.monotonic() < until
        if not early:
            return status, text
        time.sleep(0.1)


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])


def reachable(addresses: list[str], port: int) -> str | None:
    """The first of another host's addresses at which its port answers; None: none does."""
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=2).close()
        except OSError:
            continue
        return address
    return None


def last_words(text: str) -> str:
    """The last line that says something, to put behind an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" -\t")]
    return f": {lines[-1][:200]}" if lines else ""


def _run(words: list[str], limit: float) -> tuple[int, str]:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        said = error.output.decode(errors="replace") if isinstance(error.output, bytes) else ""
        return -1, f"{said}\ndid not end within {limit:g} s"
    return done.returncode, done.stdout
