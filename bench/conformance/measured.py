"""Checks that are measurements: a run of the local executor, whose rows say what held.

The harness's own agent, ranks and sanity checks are at work: an operation that hangs or crashes
is a row with a reason, and the run goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..backends.base import Backend
from ..cluster.ranks import rank_environment
from ..conformity import WORST, Result
from ..errors import HengsuanError
from ..host import die_with_parent, ended_by
from ..records import Case, Row
from ..results import RunReader
from ..runs import list_runs
from ..workloads.lacking import declared
from .cases import Stages, suite

LIMIT = 1800.0
"""Seconds that a part may take in all."""
_HELD = ("ok", "contended")
"""What other work on the cores changed is the time, not the values."""


def run_part(backend: Backend, devices: int, stages: Stages) -> list[Result]:
    """Run these checks' entries; a result for each. Never raises for what the plugin does."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hengsuan-check-") as name:
        folder = Path(name)
        ended = _run(backend.name, stages, folder)
        rows, seconds = _rows(folder / "runs")
    found = []
    for check in stages:
        result = _judged(check, rows.get(check, []), backend, devices, ended)
        result.seconds = seconds.get(check, 0.0)
        found.append(result)
    if not seconds and found:
        found[0].seconds = round(time.monotonic() - start, 3)
    return found


def _run(backend: str, stages: Stages, folder: Path) -> str:
    """Run ``hengsuan run`` on them; empty if it came to its end, else what became of it."""
    given = folder / "conformance.yaml"
    given.write_text(suite(stages).text)
    words = ["run", str(given), "--executor", "local", "--backend", backend, "--share", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *words, "--out", str(folder / "runs")],
        env=rank_environment({}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        _, said = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"the run took more than {LIMIT:g} s"
    finally:
        # Its ranks die with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode < 0:
        return f"the run {ended_by(process.returncode)}"
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    return lines[0].removeprefix("error: ") if lines else ""


def _rows(runs: Path) -> tuple[dict[str, list[tuple[Case, Row]]], dict[str, float]]:
    """Rows by stage with their cases, as far as the run came, and the stages' seconds."""
    found: dict[str, list[tuple[Case, Row]]] = {}
    infos = list_runs(runs)
    if not infos:
        return found, {}
    reader = RunReader(runs / infos[0].id)
    cases = reader.header.cases
    with contextlib.suppress(HengsuanError):  # cut short in the midst of a line
        for row in reader.rows():
            found.setdefault(cases[row.case].stage, []).append((cases[row.case], row))
    return found, {str(one["name"]): float(one["seconds"]) for one in reader.header.stages}


def _judged(
    check: str, rows: list[tuple[Case, Row]], backend: Backend, devices: int, ended: str
) -> Result:
    """The worst of a check's rows, with how many of its cases held."""
    if not rows:
        few = "needs two devices, this node has one" if devices < 2 and not ended else ""
        reason = few or f"not measured: {ended or 'no row'}"
        return Result(check=check, verdict="skipped", reason=reason)
    # A metric without a value (no datasheet, say) is no gap where others of the same call have one.
    measured = {(case.short(), row.group) for case, row in rows if row.status in _HELD}
    by_title: dict[str, list[Result]] = {}
    for case, row in rows:
        if row.status != "skipped" or (case.short(), row.group) not in measured:
            one = _of_row(check, case, row, backend, devices)
            by_title.setdefault(case.short(), []).append(one)
    verdicts = {title: min(several, key=_badness) for title, several in by_title.items()}
    worst = min(verdicts.values(), key=_badness)
    alike = [title for title, one in verdicts.items() if one.verdict == worst.verdict]
    if worst.verdict != "pass":
        more = f" (and {len(alike) - 1} more case(s))" if len(alike) > 1 else ""
        worst.reason = f"{alike[0]}: {worst.reason}{more}"
        return worst
    absent = [one.reason for one in verdicts.values() if one.verdict == "unsupported"]
    said = f"; {len(absent)} declared not supported: " + "; ".join(dict.fromkeys(absent))
    worst.reason = f"{len(alike)} case(s){said if absent else ''}"
    return worst


def _badness(one: Result) -> int:
    return WORST.index(one.verdict)


def _of_row(check: str, case: Case, row: Row, backend: Backend, devices: int) -> Result:
    """What a row says of the plugin."""
    if row.status in _HELD:
        return Result(check=check, verdict="pass")
    if row.status in ("skipped", "invalid"):
        why = _absent(case, backend, devices)
        if why:
            return Result(check=check, verdict="unsupported", reason=why)
    if row.status == "skipped":
        hint = "implement it, or declare it in `lacking` with the reason"
        return Result(check=check, verdict="skipped", reason=row.reason, hint=hint)
    reason = f"{row.status}: {row.reason}"
    return Result(check=check, verdict="fail", reason=reason, hint=_HINTS[row.status])


_HINTS = {
    "invalid": "the values are wrong: compare the operation with PyTorch's on the host",
    "failed": "repeat it alone: hengsuan backend check NAME --only CHECK",
    "missing": "the process that measured it was lost",
}


def _absent(case: Case, backend: Backend, devices: int) -> str:
    """Why there is no such thing on these devices; empty if there should be."""
    if why := declared(backend.lacking, [case.benchmark, *map(str, case.axes.values())]):
        return why
    if case.axes.get("impl") == "triton" and backend.triton:
        return backend.triton
    if case.benchmark == "transfer" and backend.device_type == "cpu":
        return "the device is the host"
    if case.benchmark == "incast" and devices == 2:
        # All that it asks of a plugin is sending and receiving.
        return "two devices are no incast; collective-send_recv tries what it is made of"
    return ""
