"""Runs fio, the Flexible I/O Tester, and reads the JSON that it prints.

``man fio``: bandwidth in bytes/s, latencies in nanoseconds, of all jobs together where
``group_reporting`` is asked for. Options are those of fio 3.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import msgspec

from .. import host

PATTERNS = {"seq_read": "read", "seq_write": "write", "rand_read": "randread",
            "rand_write": "randwrite"}  # fmt: skip
"""fio's words for what is done."""
FILE = "data"
"""Name of the file in the folder in which fio runs: fio takes colons in a path for separators."""
PATIENCE = 120.0
"""Seconds beyond its running time after which fio is given up."""


class Report(msgspec.Struct, kw_only=True, frozen=True):
    """What one run did: bytes/s, operations/s, operations, and latencies in seconds.

    Latency is from when fio submitted an operation until it was complete.
    """

    bandwidth: float
    iops: float
    operations: int
    p50: float
    p99: float
    p999: float


class FioError(RuntimeError):
    """fio ended with an error, or printed something else than a report."""


def missing() -> str:
    """That fio is not installed and how it would be; empty if it is."""
    return "" if shutil.which("fio") else "fio not found (Debian: apt install fio)"


def parse(text: str) -> Report:
    """The report of one group of jobs that only read or only wrote. Raises `FioError`."""
    begin = text.find("\n{") + 1 if not text.startswith("{") else 0  # warnings come first
    try:
        (job,) = json.loads(text[begin:])["jobs"]
        if job["error"]:
            raise FioError(f"fio reported error {job['error']}")
        ways = [job[way] for way in ("read", "write") if job[way]["total_ios"]]
        if len(ways) != 1:
            raise FioError(f"fio did {len(ways)} of reading and writing, and should do one")
        latency = ways[0]["lat_ns"]["percentile"]
        return Report(
            bandwidth=float(ways[0]["bw_bytes"]),
            iops=float(ways[0]["iops"]),
            operations=int(ways[0]["total_ios"]),
            p50=latency["50.000000"] * 1e-9,
            p99=latency["99.000000"] * 1e-9,
            p999=latency["99.900000"] * 1e-9,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FioError(f"fio printed no report ({type(error).__name__}: {error})") from None


def run(folder: str, options: dict[str, Any], seconds: float = 0.0) -> str:
    """What fio prints when it runs in ``folder`` with these options, each ``--name=value``.

    It dies with this process. Raises `FioError` with its last words if it fails, or has not ended
    `PATIENCE` after ``seconds``.
    """
    words = [f"--{name}={value}" for name, value in options.items()]
    try:
        done = subprocess.run(
            # Threads, for fio's processes would leave our session and outlive us.
            ["fio", "--name=hengsuan", f"--filename={FILE}", "--thread", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + PATIENCE,
            preexec_fn=host.die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise FioError(f"fio did not end within {seconds + PATIENCE:g} s") from None
    if done.returncode:
        raise FioError(f"fio ended with {done.returncode}: {_last_words(done.stderr, done.stdout)}")
    return done.stdout


def _last_words(*texts: str) -> str:
    """The first line of an error, to put behind it."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return next((line[:300] for line in lines if line.startswith(("fio:", "verify:"))), "no reason")
