"""``hengsuan report FILE``: the page of what a command wrote or printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..report.language import Language

STDIN = "-"


def document(name: str) -> Path | None:
    """The file that a name means, where it means no run: a file, a folder with a gate's reports, or
    `STDIN`."""
    from ..gates import GATE
    from ..headers import RUN

    path = Path(name)
    if name == STDIN:
        return path
    if path.is_dir():
        gate = path / GATE
        return gate if gate.is_file() and not (path / RUN).exists() else None
    return path if path.is_file() and path.name != RUN else None


def document_page(
    path: Path, kind: str, output: Path | None, language: Language
) -> tuple[str, Path]:
    """The page of a file as HTML, and where it goes: beside the file, or as ``output`` says.

    Raises `UsageError` for another form than a page, for the file itself, and of standard input
    without ``output``.
    """
    from ..report.html.render import render
    from ..report.pages.documents import page_of, read

    if kind != "html":
        raise UsageError(
            f"--format {kind} is a form of runs: {path} is none",
            hint="leave it out for a page; the command that wrote the file has its other forms",
        )
    if str(path) != STDIN:
        if output is not None and output.exists() and output.samefile(path):
            raise UsageError(f"--output {output} is the file that is read: choose another name")
        page = page_of(read(path), str(path), language)
        return render(page), output or path.with_suffix(".html")
    if output is None:
        raise UsageError("say by --output where the page of standard input goes")
    given = sys.stdin.buffer.read() if sys.stdin else b""  # it was closed (`<&-`)
    return render(page_of(given, "standard input", language)), output
