"""The terminal: plans, tables, the scorecard, and how a run ended.

Colour never carries meaning alone, and nothing is lost without it. Where a table would be too
narrow to read, its rows become lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..analysis.finding import Finding
from ..files import silence
from ..records import Header, Status, labelled
from ..units import format_duration, format_value
from .amount import most, quiet
from .language import SPOKEN, narrated, spoken
from .plain import FIGURE, plain

if TYPE_CHECKING:
    # Whoever prints these has them: NumPy, which they import, is half of what a command costs.
    from ..analysis.scores import Category, MetricScore, Scorecard
    from ..inventory import Inventory

STYLES: dict[str, str] = {
    "ok": "green",
    "failed": "red",
    "invalid": "red",
    "missing": "red",
    "contended": "yellow",
    "skipped": "dim",
}
WORST = 10
"""Lines of losses that are shown; the rest is counted."""
UNFOLDED = 10_000
"""Columns of a table at most where nobody's screen bounds them."""
NARROW = 72
"""Columns below which tables become lines."""


class Terminal(Console):
    """A console whose reader may leave: what nobody reads any more is no reason to end."""

    def on_broken_pipe(self) -> None:
        """Write on, to nobody; whoever measures measures on."""
        silence(self.file)


def console(*, stderr: bool = False) -> Console:
    """A console that respects ``NO_COLOR`` and draws plain lines where UTF-8 is missing.

    On stdout it prints nothing but the `verdict` where only that is wanted.
    """
    stream = sys.stderr if stderr else sys.stdout
    made = Terminal(
        stderr=stderr,
        highlight=False,
        soft_wrap=False,
        markup=False,
        emoji=False,
        quiet=quiet() and not stderr,
    )
    if not stream.isatty() and "COLUMNS" not in os.environ:
        made.width = 120
    return made


def verdict(made: Console, text: str, style: str = "bold", label: str = "") -> None:
    """The line that says what was found: with ``--quiet`` it is the only one.

    ``label`` is what the values are, for where no further line says so.
    """
    if label and quiet():
        text = f"{text} ({label})"
    usual, made.quiet = made.quiet, False
    made.print(Text(plain(narrated(text)), style=style), soft_wrap=True)
    made.quiet = usual


def box_of(made: Console) -> box.Box:
    """The lines of a table: plain ones where UTF-8 is missing."""
    return box.SIMPLE_HEAD if made.encoding.lower().startswith("utf") else box.ASCII2


def said_counts(counts: Mapping[Any, int]) -> str:
    """``118 ok, 2 contended``."""
    said = (f"{number} {spoken(status)}" for status, number in counts.items())
    return spoken(", ".join(said)) or spoken("no rows yet")


def print_scorecard(made: Console, card: Scorecard) -> None:
    """The scorecard: what has a value as a table by category, what has none with its reason."""
    # A category of which nothing has a value is among what is absent, below.
    shown = [category for category in card.categories if _achieved(category)]
    if shown:
        (_narrow if made.width < NARROW else _wide)(made, shown)
    line(made, overall_line(card), "bold")
    absent = _absent(card)
    for text in _merged(absent):
        line(made, text, "dim")
    said = tuple(one.text for one in absent)
    rest = [f for f in card.findings if f.kind != "skipped" or not f.text.endswith(said)]
    print_findings(made, rest)


def overall_line(card: Scorecard) -> str:
    """``overall score 82/100, coverage 93% (simulated; profile default)``."""
    overall = f"{card.overall:.0f}/100" if card.overall is not None else "none"
    return (
        f"overall score {overall}, coverage {card.coverage:.0%} "
        f"({labelled(card.provenance, card.stands_for)}; profile {card.profile})"
    )


def print_findings(made: Console, findings: Sequence[Finding]) -> None:
    """Findings by kind; those that say the same are one line."""
    for kind in dict.fromkeys(finding.kind for finding in findings):
        for text in _merged([finding for finding in findings if finding.kind == kind]):
            line(made, text, _style(kind))


def _wide(made: Console, shown: Sequence[Category]) -> None:
    table = Table(box=box_of(made), pad_edge=False)
    table.add_column(spoken("case"), overflow="fold")
    table.add_column(spoken("metric"), overflow="fold")
    for name in ("achieved", "reference", "efficiency"):
        table.add_column(spoken(name), justify="right", overflow="fold")
    for category in shown:
        score, coverage = map(spoken, _standing(category))
        table.add_row(_title(category), "", "", coverage, score, style="bold")
        for metric in _achieved(category):
            case, *cells = map(plain, _cells(metric))
            # Indented as a block: the rest of a long name must not look like a category.
            table.add_row(Padding(Text(case), (0, 0, 0, 2)), *map(Text, cells))
    made.print(table)


def _narrow(made: Console, shown: Sequence[Category]) -> None:
    for category in shown:
        line(made, f"{_title(category)}: {', '.join(_standing(category))}", "bold")
        for metric in _achieved(category):
            case, name, achieved, reference, efficiency = _cells(metric)
            form = "，{1} 的 {0}" if SPOKEN.get() == "zh" else ", {} of {}"
            against = form.format(efficiency, reference) if metric.efficiency is not None else ""
            line(made, f"  {case}")
            line(made, f"    {name} {achieved}{against}")


def _title(category: Category) -> str:
    return (SPOKEN.get() == "zh" and category.title_zh) or spoken(category.name)


def _standing(category: Category) -> tuple[str, str]:
    score = f"{category.score:.0f}" if category.score is not None else "–"
    return f"score {score}", f"coverage {category.coverage:.0%}"


def _achieved(category: Category) -> list[MetricScore]:
    return [metric for metric in category.metrics if metric.achieved is not None]


def _absent(card: Scorecard) -> list[Finding]:
    """What the profile wants to score or show and has no value or no score, with the reason."""
    return [
        Finding(
            kind="no value" if metric.achieved is None else "no score",
            name=f"{metric.name} {metric.metric}",
            text=metric.absent.removeprefix("skipped: "),
        )
        for category in card.categories
        for metric in category.metrics
        if metric.absent and (metric.scored or metric.achieved is None)
    ]


def _merged(findings: Sequence[Finding]) -> list[str]:
    """One line for all that say the same, or the same but for figures (``waited 3.1%``)."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.kind, FIGURE.sub("#", finding.text)), []).append(finding)
    lines = []
    for (kind, _), group in alike.items():
        first = group[0]
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        same = all(one.text == first.text for one in group)
        lines.append(f"{kind}: {first.name}{more}: {'' if same else 'for example, '}{first.text}")
    return lines


def line(made: Console, text: str, style: str = "") -> None:
    """A line, however long, in the language of this command."""
    made.print(Text(plain(narrated(text)), style=style), soft_wrap=True)


def _style(kind: str) -> str:
    return STYLES.get(kind, "yellow")


def _cells(metric: MetricScore) -> list[str]:
    part = "" if metric.coverage == 1 else f" ({metric.coverage:.0%} of groups)"
    return [
        f"{metric.name}{part}",
        metric.metric,
        format_value(metric.achieved, metric.unit),
        format_value(metric.reference, metric.unit),
        f"{metric.efficiency:.1%}" if metric.efficiency is not None else "–",
    ]


def print_outcome(
    made: Console, header: Header, folder: str, counts: Mapping[Status, int], lost: Sequence[str]
) -> None:
    """How the run ended and where it lies."""
    made.print()
    noisy = counts.get("contended", 0)
    if noisy:
        line(
            made,
            f"warning: {noisy} of {sum(counts.values())} values were measured while other "
            "work ran on their cores; they do not count (`hengsuan doctor` says how quiet it is)",
            "yellow",
        )
    unique = list(dict.fromkeys(lost))
    for text in unique[: most(WORST)]:
        line(made, f"lost: {text}", "red")
    if rest := unique[most(WORST) :]:
        line(made, f"lost: {len(rest)} more; see `hengsuan results show`", "red")
    line(made, f"run {header.id} {header.state}: {said_counts(counts)}")
    line(made, f"results in {folder}")


def print_next(made: Console, commands: Sequence[tuple[str, str]]) -> None:
    """Commands to go on with, and what each is for: on lines of their own, to be copied."""
    if not commands:
        return
    made.print(spoken("next:"))
    said = [(command, spoken(why)) for command, why in commands]
    width = max(cell_len(command) for command, _ in said)
    # Reasons stand in a column where there is room for it: one that folds is none.
    wide = made.width >= NARROW and width + max(cell_len(why) for _, why in said) + 6 <= made.width
    for command, why in said:
        room = " " * (width - cell_len(command)) if wide else ""
        made.print(Text(plain(f"  {command}{room}  # {why}")), soft_wrap=True)


def print_plan(
    made: Console,
    suite: str,
    inventory: Inventory,
    stages: list[dict[str, Any]],
    notes: list[str],
) -> None:
    """A plan: whom it is for, stages, their blocks, and how long they take at most."""
    total = sum(block["seconds"] for stage in stages for block in stage["blocks"])
    timing = f": at most {format_duration(total)} of timing" if total else ""
    line(
        made,
        f"suite {suite} on {inventory.node_count} node(s), {inventory.size} device(s){timing}",
    )
    print_labels(made, inventory)
    for stage in stages:
        after = f" after {', '.join(stage['needs'])}" if stage["needs"] else ""
        made.print()
        line(made, f"stage {stage['name']}{after}, {stage['repeats']} repeat(s)", "bold")
        for block in stage["blocks"]:
            who = f"{block['scope']} {block['members']}".strip()
            library = f", in {block['library']}" if block["library"] else ""
            limit = f", at most {format_duration(block['seconds'])}" if block["seconds"] else ""
            line(
                made,
                f"  {who}{library}: {block['groups']} group(s) in {block['rounds']} round(s)"
                f"{limit}",
            )
            for job in block["jobs"]:
                made.print(Text(f"    {job}"), soft_wrap=True)
    for note in notes:
        line(made, f"note: {note}", "yellow")


def _listed(items: list[str]) -> str:
    """``a, b and 638 more``."""
    rest = len(items) - most(WORST)
    return ", ".join(items[: most(WORST)]) + (spoken(f" and {rest} more") if rest > 0 else "")


def print_labels(made: Console, inventory: Inventory) -> None:
    """A line a label: which values there are, on how many nodes each."""
    for label, counts in inventory.label_counts().items():
        form = "{}（{}）" if SPOKEN.get() == "zh" else "{} on {}"
        said = _listed([form.format(value, count) for value, count in counts.items()])
        line(made, f"label {label}: {said} node(s)")


def print_list(
    made: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    names: Sequence[int] = (),
) -> None:
    """A table of what there is; with ``--quiet`` the names in its first column."""
    for row in rows if made.quiet else ():
        verdict(made, row[0], "")
    print_table(made, columns, rows, names=names)


def print_table(
    made: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    names: Sequence[int] = (),
) -> None:
    """A plain table.

    Columns whose index is in ``right`` are right-aligned; those in ``names`` hold what somebody
    types or is called, which is the same in every language.
    """
    if made.quiet:
        return
    told = [[_cell(cell, index in names) for index, cell in enumerate(row)] for row in rows]
    if made.width < NARROW:
        titles = [f"{spoken(name)}{spoken(': ')}" if name else "" for name in columns]
        for row in told:
            for title, cell in zip(titles, row, strict=True):
                if cell:
                    made.print(Text(f"{title}{plain(cell)}"), soft_wrap=True)
            made.print()
        return
    table = Table(box=box_of(made), pad_edge=False)
    for index, name in enumerate(columns):
        title = spoken(name)
        table.add_column(title, justify="right" if index in right else "left", overflow="fold")
    for row in told:
        table.add_row(*map(Text, row))
    if not made.is_terminal and "COLUMNS" not in os.environ:
        # A file or a pipe has no width, and who searches it finds no sentence that is folded.
        usual, made.width = made.width, UNFOLDED
        made.width = Measurement.get(made, made.options, table).maximum
        made.print(table)
        made.width = usual
        return
    made.print(table)


def _cell(text: str, name: bool) -> str:
    """Its lines, each of them safe; what is no name in the language of this command."""
    return "\n".join(plain(one if name else narrated(one)) for one in text.split("\n"))
