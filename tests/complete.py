"""The exit code of a real run in which all went well."""

from __future__ import annotations

from bench.errors import Exit
from bench.results import RunReader


def exit_of(run: RunReader) -> Exit:
    """0; 3 where others had the cores whenever a benchmark was measured, so that nothing of it
    counts. Where CPUs are the devices, that is nobody's fault, and no test's matter.
    """
    cases = run.header.cases
    found: dict[str, set[str]] = {}
    for row in run.rows():
        found.setdefault(cases[row.case].benchmark, set()).add(row.status)
    alone = all("ok" in one or "contended" not in one for one in found.values())
    return Exit.OK if alone else Exit.INCONCLUSIVE
