"""What two verdicts say, one after the other: who stands otherwise, what was found and is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from ..analysis.finding import Finding
from ..analysis.judgements import STANDINGS, Change, Changes
from .amount import most
from .evidence import together
from .language import narrated, spoken
from .terminal import WORST, line, print_table

KINDS = ("new", "gone", "stays", "waived")
"""What becomes of a finding, in the order in which it is told."""
_STYLES = {"new": "red", "gone": "green", "waived": "yellow"}


def print_changes(made: Console, found: Iterable[Changes], notes: Iterable[str]) -> None:
    """A sentence, a table of who stands otherwise, and the findings; what is the same is counted.

    Findings that stay are shown with ``--verbose``; ``notes`` say what is not compared.
    """
    for one in found:
        line(made, summary(one), "bold")
        moved = [change for change in one.changes if change.standing != "as before"]
        rows = [
            (
                called(change),
                spoken(change.standing),
                spoken(change.before or "not judged"),
                spoken(change.after or "not judged"),
                *(str(len(those) or "") for those in parted(change).values()),
            )
            for change in moved[: most(WORST)]
        ]
        if rows:
            columns = (one.of, "", "before", "after", *KINDS)
            print_table(made, columns, rows, right=(4, 5, 6, 7))
        if len(moved) > len(rows):
            line(made, f"and {len(moved) - len(rows)} more (--verbose)")
        for kind in KINDS:
            groups = together(said(one.changes, kind))
            shown = groups[: most(0 if kind == "stays" else WORST)]
            for group in shown:
                line(made, f"{kind}: {group.line()}", _STYLES.get(kind, ""))
            if shown and len(groups) > len(shown):
                line(made, f"and {len(groups) - len(shown)} more (--verbose)")
    for note in notes:
        line(made, f"note: {note}", "yellow")


def summary(one: Changes) -> str:
    """``nodes A → B: 1 worse, 2 better, 13 as before; new findings: 4; ...``."""
    counts = [f"{one.count(standing)} {standing}" for standing in STANDINGS if one.count(standing)]
    numbers = Counter[str]()
    for change in one.changes:
        numbers.update({kind: len(those) for kind, those in parted(change).items()})
    parts = [f"{one.of}s {one.before} → {one.after}: {', '.join(counts) or f'no {one.of}'}"]
    for kind, lead in (
        ("new", "new findings"),
        ("gone", "findings that are gone"),
        ("stays", "findings that stay"),
        ("waived", "findings that are waived now"),
    ):
        if numbers[kind]:
            parts.append(f"{lead}: {numbers[kind]}")
    return "; ".join(parts)


def called(change: Change) -> str:
    """Its name, with the one it had before where that is another."""
    return f"{change.name} (was {change.was})" if change.was else change.name


def parted(change: Change) -> dict[str, list[Finding]]:
    """Its findings by what became of them (`KINDS`)."""
    return dict(zip(KINDS, (change.new, change.gone, change.stay, change.waived), strict=True))


def said(changes: Sequence[Change], kind: str) -> Iterator[tuple[str, str]]:
    """(node, sentence): its worst finding of which this became, and how many more there are."""
    for change in changes:
        if those := parted(change)[kind]:
            more = f"; and {len(those) - 1} more finding(s)" if len(those) > 1 else ""
            # Said before it is put together: a sentence may have semicolons of its own.
            yield change.name, f"{narrated(told(those[0]))}{spoken(more)}"


def told(finding: Finding) -> str:
    """``gemm 8192x8192x8192 bf16 flops: 10 % below the fleet``."""
    named = not finding.name or finding.name in finding.text
    return finding.text if named else f"{finding.name}: {finding.text}"
