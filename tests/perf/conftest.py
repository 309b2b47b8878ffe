"""`make perf` prints each figure beside its bound; it measures and judges nobody's patience.

A figure is a test that takes the ``figure`` fixture and reports one or more values. Select with
``--figures=name,...``; ``--figures-out FILE`` writes the table as Markdown.
"""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

import pytest

_FOUND: list[tuple[str, str, str, str]] = []


def pytest_addoption(parser):
    parser.addoption("--figures", default="", help="comma-separated names of figures")
    parser.addoption("--figures-out", default="", help="write the table to this Markdown file")


def pytest_collection_modifyitems(config, items):
    wanted = {name for name in config.getoption("--figures").split(",") if name}
    if not wanted:
        return
    chosen = [item for item in items if item.name.removeprefix("test_").split("[")[0] in wanted]
    known = sorted({item.name.removeprefix("test_").split("[")[0] for item in items})
    unknown = wanted - set(known)
    if unknown:
        raise pytest.UsageError(
            f"no figure {', '.join(sorted(unknown))}; known: {', '.join(known)}"
        )
    items[:] = chosen


@pytest.fixture
def figure():
    """Call with (what, value, unit, low=..., high=...): the bound is low ≤ value ≤ high.

    ``contended`` says what others did to the cores meanwhile; it stands beside the judgement and
    never in its place. A figure with ``limits`` is met where both are, missed where neither is
    and it lies outside, undecided between.
    """

    def report(what, value, unit="", *, low=None, high=None, limits=None, contended=""):
        least, most = limits or (value, value)
        met = (low is None or least >= low) and (high is None or most <= high)
        missed = (low is not None and most < low) or (high is not None and least > high)
        bounds = [f"{sign} {b:g}" for sign, b in (("≥", low), ("≤", high)) if b is not None]
        text = f"{value:.4g} {unit}".strip()
        if limits:
            text += f" ({least:.4g} to {most:.4g})"
        bound = " and ".join(bounds) + (f" {unit}" if unit else "")
        judged = "met" if met else "MISSED" if missed else "UNDECIDED"
        _FOUND.append((what, text, bound, f"{judged} ({contended})" if contended else judged))

    return report


def _table():
    rows = [("figure", "measured", "bound", ""), *_FOUND]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]


def pytest_terminal_summary(terminalreporter, config):
    if not _FOUND:
        return
    lines = _table()
    terminalreporter.section("figures and their bounds")
    for line in lines:
        terminalreporter.write_line(line)
    out = config.getoption("--figures-out")
    if out:
        rule = "|" + "|".join("-" * (len(cell)) for cell in lines[0].split("|")[1:-1]) + "|"
        where = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
            f"{datetime.now(timezone.utc).date()}"
        )
        body = "\n".join([lines[0], rule, *lines[1:]])
        Path(out).write_text(
            f"# Overheads of the harness\n\nWritten by `make perf`. {where}.\n\n{body}\n",
            encoding="utf-8",
        )
