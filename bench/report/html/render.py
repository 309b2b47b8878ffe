"""From a page to its file: templates, scripts and styles in one, plotly only where it draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import msgspec

from ...errors import InfraError, UsageError
from ...files import followed, replace_file
from ..language import Say, narrator, speaker
from ..plain import plain
from .page import Block, Cell, Chart, Columns, Figure, Fold, Page, Row, Table
from .words import DRAWN, PICTURED, SCRIPTED

STATIC = 60
"""Rows of a table that stand in the page itself; the others are shown by its script."""
_WORDED = ("text", "name", "hovertemplate", "ticktext")
"""Keys of plotly.js under which texts stand for a reader, besides titles, which are ours whole."""
_INERT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(page: Page) -> str:
    """The page as HTML: one file that asks no network for anything.

    Raises `UsageError` where it draws something and plotly is not installed.
    """
    say, tell = speaker(page.language), narrator(page.language)
    made = _environment()
    # What is ours is said; where names may stand too, sentences are told and names left.
    made.filters.update(say=say, tell=tell)
    made.filters["figures"] = lambda figures: _figures(figures, say, tell)
    made.filters["rows"] = lambda table: _rows(table, tell)
    drawn = any(isinstance(block, Chart) for one in page.sections for block in _all(one.blocks))
    template = made.get_template("page.html.j2")
    return template.render(
        page=page,
        plotly=markupsafe.Markup(_plotly()) if drawn else "",
        words={text: say(text) for text in (*SCRIPTED, *PICTURED, *DRAWN)},
    )


def write(page: Page, path: Path) -> int:
    """Put the page into a file, all of it at once; its size in bytes.

    Raises:
        UsageError: it draws something and plotly is not installed.
        InfraError: the file cannot be written.
    """
    return write_text(path, render(page))


def write_text(path: Path, text: str) -> int:
    """Put a text into a file, all of it at once; its size in bytes. Where ``path`` is a link, into
    the file that it leads to.

    Raises `InfraError` if the file cannot be written.
    """
    data = text.encode("utf-8", "replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a pipe or a device is written to, and never replaced
        else:
            replace_file(followed(path), data)
    except OSError as error:
        raise InfraError(
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="make the folder writable and free space, or choose another file with --output",
        ) from None
    return len(data)


def require_plotly() -> None:
    """Raise `UsageError`, which says which extra is missing, where plotly is not installed."""
    _plotly()


@cache
def _plotly() -> str:
    """plotly.js of the installed package: it is read from the package, never from a network."""
    # Found, not imported: what its Python side does is not needed, and takes as long as a report.
    spec = find_spec("plotly")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    for place in places:
        file = Path(place) / "package_data" / "plotly.min.js"
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            break
    else:
        raise UsageError(
            "HTML reports are drawn by plotly, which is not installed here",
            hint="pip install 'hengsuan[report]', or choose --format md",
        )
    # Nothing in it may end the element that it stands in.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _loader() -> jinja2.PackageLoader:
    return jinja2.PackageLoader("bench.report.html", "templates")


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=_loader(),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(json=embedded, plain=plain, raw=_raw)
    made.globals["STATIC"] = STATIC
    return made


def embedded(value: Any) -> markupsafe.Markup:
    """JSON that can stand in a script element: no text in it can end that, or begin another."""
    text = msgspec.json.encode(value).decode()
    for character, written in _INERT.items():
        text = text.replace(character, written)
    return markupsafe.Markup(text)


def _rows(table: Table, tell: Say) -> markupsafe.Markup:
    """A table's rows as its script reads them: what is empty at the end of a list is left out."""
    rows = [_row(row, tell) for row in table.rows]
    return embedded({"numbers": [one.number for one in table.columns], "rows": rows})


def _row(row: Row, tell: Say) -> list[Any]:
    cells = [_cell(one, tell) for one in row.cells]
    more = [plain(tell(line)) for line in row.more]
    return _short([cells, more, plain(row.command), row.group])


def _cell(one: Cell, tell: Say) -> str | list[Any]:
    found = _short([plain(tell(one.text)), one.sort, one.tone, one.node])
    return found[0] if len(found) == 1 else found


def _short(items: list[Any]) -> list[Any]:
    while len(items) > 1 and items[-1] in ("", None, []):
        items.pop()
    return items


def _figures(figures: Sequence[Figure], say: Say, tell: Say) -> list[dict[str, Any]]:
    return [
        {
            "data": [_drawn(each, say, tell) for each in one.data],
            "layout": _drawn(one.layout, say, tell),
            "caption": plain(say(one.caption)),
        }
        for one in figures
    ]


def _drawn(value: Any, say: Say, tell: Say, key: str = "") -> Any:
    """What plotly.js draws, with its texts in the page's language: titles are ours, names not."""
    if isinstance(value, str):
        return tell(value) if key in _WORDED else value
    if isinstance(value, Mapping):
        if key == "title":
            return {**value, "text": say(value.get("text", ""))}
        return {name: _drawn(one, say, tell, name) for name, one in value.items()}
    if key in _WORDED and isinstance(value, list):
        return [_drawn(one, say, tell, key) for one in value]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [_drawn(one, say, tell, key) for one in value]
    return value


def _raw(name: str) -> markupsafe.Markup:
    """A file of ours (style or script) as it is."""
    source, _, _ = _loader().get_source(jinja2.Environment(autoescape=True), name)
    return markupsafe.Markup(source)


def _all(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from _all(block.blocks)
        elif isinstance(block, Columns):
            for _, blocks in block.columns:
                yield from _all(blocks)
