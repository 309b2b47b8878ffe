"""Goodput in the terminal: where the time went, and what the interval lets expect."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..analysis.goodput import Goodput
from ..units import format_duration
from .terminal import print_table, verdict

_WORDS = {
    "productive": "steps that count",
    "saving": "checkpoints",
    "lost_work": "work that failures undid",
    "detection": "until the failure was noticed",
    "relaunch": "new processes, until they train",
    "restoring": "model built, checkpoint read",
}


def print_goodput(made: Console, found: Goodput) -> None:
    """Seconds by what they went to, of the whole and of one failure; then the optimum."""
    rows = []
    for name, seconds in {"productive": found.productive, **found.losses}.items():
        once = "–"
        if found.failures and name not in ("productive", "saving"):
            once = format_duration(seconds / found.failures)
        share = f"{seconds / found.total:.1%}"
        rows.append((_WORDS[name], format_duration(seconds), share, once))
    columns = ("time went to", "seconds", "share", "each failure")
    print_table(made, columns, rows, right=(1, 2, 3))
    verdict(
        made,
        f"goodput {found.goodput:.1%} of {format_duration(found.total)}, "
        f"{found.failures} failure(s), one in {format_duration(found.mtbf)} on average"
        + (f", {found.interrupted} before it went on" if found.interrupted else ""),
    )
    for line in _interval(found):
        made.print(Text(line), soft_wrap=True)


def _interval(found: Goodput) -> list[str]:
    used = f"a checkpoint every {found.every} step(s), {format_duration(found.interval)} of work"
    if found.daly is None or found.young is None or found.expected is None:
        return [f"{used}; without a failure and a checkpoint there is no optimum to compare with"]
    said = (
        f"optimum {format_duration(found.daly)} (Daly 2006), "
        f"{format_duration(found.young)} (Young 1974)"
    )
    best = "" if found.best is None else f", {found.best:.1%} at the optimum"
    return [f"{used}; {said}", f"expected goodput {found.expected:.1%}{best}"]
