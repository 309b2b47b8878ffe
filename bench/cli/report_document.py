"""``hengsuan report FILE``: the page of what a command wrote or printed; and where pages go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from ..report.html.page import Page
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


def report_document(
    path: Path, kind: str, output: Path | None, show: bool, language: Language
) -> int:
    """Write the page of a file beside it, or where ``output`` says.

    Raises `UsageError` for another form than a page, and of standard input without ``output``.
    """
    from ..report.pages.documents import page_of, read

    if kind != "html":
        raise UsageError(
            f"--format {kind} is a form of runs: {path} is none",
            hint="leave it out for a page; the command that wrote the file has its other forms",
        )
    if str(path) == STDIN:
        if output is None:
            raise UsageError("say by --output where the page of standard input goes")
        return give(page_of(sys.stdin.buffer.read(), "standard input", language), output, show)
    return give(page_of(read(path), str(path), language), output or path.with_suffix(".html"), show)


def give(page: Page, path: Path, show: bool = False) -> int:
    """Write a page, or print it where the path is ``-``; say where it is, and open it if asked."""
    from ..report.html.render import render, write

    if str(path) == "-":
        click.echo(render(page), nl=False)
        return 0
    size = write(page, path)
    click.echo(f"{path} ({size / 1e6:.1f} MB)")
    if show and click.launch(str(path)) != 0:
        click.echo(f"no browser could be started: open {path}", err=True)
    return 0
