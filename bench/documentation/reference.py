"""All pages of the reference, and how they are written and held against what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import (
    benchmarks,
    configurations,
    formats,
    metrics,
    modules,
    scores,
    states,
    variables,
    verbs,
)
from .markdown import sections

PAGES: dict[str, tuple[str, Callable[[], str]]] = {
    "commands.md": ("every verb with its options and examples", verbs.page),
    "benchmarks.md": ("what can be measured: scope, axes, metrics", benchmarks.page),
    "metrics.md": ("every metric: definition, unit, direction, formula, source", metrics.page),
    "scores.md": ("derived metrics, and the categories of every profile", scores.page),
    "states.md": ("statuses, provenance, verdicts, exit codes", states.page),
    "formats.md": ("every file that hengsuan writes", formats.page),
    "configurations.md": (
        "every file that it reads, and those that come with it",
        configurations.page,
    ),
    "environment.md": ("environment variables", variables.page),
    "modules.md": ("every module of the code, for who changes it", modules.page),
}
"""File → what it is about, and what writes it."""
MARK = "<!-- Written by `make docs` from the code; changes belong there. -->"


def pages() -> dict[str, str]:
    """The text of every file of the reference."""
    found = {name: sections(MARK, make()) for name, (_, make) in PAGES.items()}
    listed = "\n".join(f"- [{name}]({name}): {about}" for name, (about, _) in PAGES.items())
    found["README.md"] = sections(MARK, "# Reference", listed)
    return found


def write(folder: Path) -> None:
    """Write all pages, and remove those that are none any more."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
