"""``hengsuan report``: a run for people, as a page or Markdown, and for other systems."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .json_output import JSON, print_json, say, tell
from .parameters import Output
from .scoring import LANGUAGE, OUT, PROFILE
from .verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..report.html.source import Source
    from ..report.language import Language
    from ..results import RunReader

_OPENING = 5.0
"""Seconds that it may take to say that there is no browser."""
FORMATS = ("html", "md", "csv", "junit", "openmetrics")


@click.command(cls=Verb, name="report")
@click.argument("run")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="html",
    show_default=True,
    help="What is written.",
)
@click.option(
    "--output",
    type=Output(),
    help="File to write, - for stdout. [default: report.html in the run's folder; others: stdout]",
)
@click.option("--open", "show", is_flag=True, help="Show the page in a browser (html only).")
@PROFILE
@LANGUAGE
@OUT
@JSON
def command(
    run: str,
    kind: str,
    output: Path | None,
    show: bool,
    profile: str,
    language: Language,
    out: Path,
    as_json: bool,
) -> int:
    """Write RUN as one HTML file that opens without a network, or for another system.

    In the place of a run, the page of a file: gate.json, verdict.json, or what score, project,
    compare and backend check print with --json (- for standard input).

    The page begins with the verdict and the score, says why, and shows every measurement beside
    what was to be expected of it. `hengsuan certify --from RUN` gives it its verdict. With --json,
    which file was written, of how many bytes.

    Exit code: 0 written; 2 usage; 4 it cannot be written.
    """
    from ..errors import UsageError
    from ..results import RunReader
    from ..runs import find_run
    from .report_document import document, document_page

    if show and (kind != "html" or str(output) == "-"):
        raise UsageError("--open shows an HTML file", hint="leave out --format and --output -")
    if as_json and (str(output) == "-" or (output is None and kind != "html")):
        raise UsageError("--json says which file was written", hint="give --output FILE")
    if (file := document(run)) is not None:
        of = {"document": str(file)}
        text, place = document_page(file, kind, output, language)
        path, size = _put([text], place)
    else:
        reader = RunReader(find_run(run, out))
        of = {"run": reader.header.id}
        if kind == "html":
            path, size = _html(reader, output, profile, language)
        else:
            path, size = _put(_text(reader, kind, profile, language), output)
    if as_json:
        print_json({**of, "format": kind, "file": str(path), "bytes": size})
    elif path is not None:
        click.echo(str(path))
        say(f"{size / 1e6:.1f} MB")
    if show and path is not None and not _shown(path):
        tell(f"no browser could be started: open {path.absolute()}")
    return 0


def _shown(path: Path) -> bool:
    """Have the desktop open a file; whether it did. What it says of that stays off our stdout."""
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    nothing = subprocess.DEVNULL
    try:
        started = subprocess.Popen(
            [opener, str(path.absolute())],
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )
        return started.wait(_OPENING) == 0
    except OSError:
        return False
    except subprocess.TimeoutExpired:  # it is the browser itself
        return True


def _text(reader: RunReader, kind: str, profile: str, language: Language) -> Iterable[str]:
    """The run in one of the forms that are text, in pieces."""
    if kind == "openmetrics":
        from ..report.openmetrics import exposition

        return [exposition(reader)]
    if kind == "csv":
        from ..report.run.lines import run_lines

        return run_lines(reader)
    from ..report.run.junit import run_junit
    from ..report.run.markdown import run_markdown

    source = _source(reader, profile, language)
    return [run_markdown(source) if kind == "md" else run_junit(source)]


def _html(
    reader: RunReader, output: Path | None, profile: str, language: Language
) -> tuple[Path | None, int]:
    """Write the page; its file and bytes, no file where it went to stdout."""
    from ..report.html.render import render, require_plotly
    from ..report.html.run import run_page

    require_plotly()  # before minutes may go into reading
    page = run_page(_source(reader, profile, language))
    return _put([render(page)], output or reader.path / "report.html")


def _source(reader: RunReader, profile: str, language: Language) -> Source:
    """The run with its verdict, where it has one, and its score."""
    from ..configs import load_chips
    from ..report.html.source import Source
    from .ending import looking_again
    from .judged import verdict_beside
    from .scoring import checked_profile, scores

    chips = load_chips()
    verdict, notes = verdict_beside(reader.path)
    source = Source(reader, chips, verdict=verdict, notes=notes, language=language)
    source.again = looking_again(reader.header, reader.path)
    source.cards = scores([[source.run]], checked_profile(profile, [source.run]), chips)
    return source


def _put(pieces: Iterable[str], output: Path | None) -> tuple[Path | None, int]:
    """Where the text went, and how many bytes it has there."""
    from ..report.html.render import write_text

    if output is not None and str(output) != "-":
        return output, write_text(output, "".join(pieces))
    for piece in pieces:
        click.echo(piece, nl=False)
    return None, 0
