"""JUnit XML, which every continuous integration reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

Kind = Literal["", "failure", "error", "skipped"]
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold (§2.2, Char)."""


class Case(NamedTuple):
    """A test case. ``kind`` is empty where it passed; ``text`` then is its output."""

    name: str
    seconds: float
    kind: Kind = ""
    text: str = ""


def write(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write one test suite. Raises `OSError` if the file cannot be written."""
    path.write_text(document(suite, cases), encoding="utf-8")


def document(suite: str, cases: Sequence[Case]) -> str:
    """One test suite as XML."""
    kinds = [one.kind for one in cases]
    top = ElementTree.Element("testsuites")
    root = ElementTree.SubElement(
        top,
        "testsuite",
        name=_clean(suite),
        tests=str(len(cases)),
        time=f"{sum(one.seconds for one in cases):.3f}",
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
    )
    for one in cases:
        case = ElementTree.SubElement(
            root,
            "testcase",
            name=_clean(one.name),
            classname=_clean(suite),
            time=f"{one.seconds:.3f}",
        )
        text = _clean(one.text)
        if one.kind:
            first = text.partition("\n")[0]
            ElementTree.SubElement(case, one.kind, message=first).text = text
        elif text:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(top)
    body = ElementTree.tostring(top, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
