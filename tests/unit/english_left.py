"""English that is left in what was said in Chinese: words that are nobody's name."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bench.analysis.alphabeta import links
from bench.analysis.derived import DERIVED
from bench.analysis.pairs import pair_fabrics
from bench.analysis.subject import Run
from bench.configs import load_chips
from bench.results import RunReader
from bench.workloads.base import registry

SHOWN = ("title", "text", "name", "hovertemplate", "ticktext", "caption")
"""Keys of plotly.js, and of a figure, under which texts stand for a reader."""
SPOKEN = ("title", "aria-label", "placeholder", "alt")
"""Attributes that a reader is told."""
UNREAD = ("style", "script", "code", "textarea")
TERMS = frozenset(
    re.findall(
        r"\S+",
        "FLOPs PaLM PyTorch Roofline Triton Express token logits goodput micro incast barrier "
        "Python Ray perftest fio nice tp pp dp cp ep Escape hengsuan slurm kubernetes yaml Daly "
        # Works that assumptions cite.
        "Amdahl sim busbw "
        "Llama Hoffmann Grattafiori Training Compute-Optimal Large Language Models",
    )
)
"""Terms that engineers write in English in a Chinese sentence, and names of tools and people."""
UNITS = frozenset(re.findall(r"\S+", "ms ns min bit bits count ratio kB KiB MiB GiB TiB MWh MHz"))
_AFTER = re.compile(
    r"(?:套件|评分方案|阶段|运行|门禁|后端|模型|阈值|未申报|驱动工具)"
    r"[ ：]?[\w.-]+(?:(?:, |、)[\w.-]+)*"
)
"""Words behind which a name stands."""
_BEFORE = re.compile(r"\w+ (?=相对典型配对|要求)")
"""A metric before what is said of it."""
_VALUED = re.compile(r"(\w+)(?:\[[^\]]*\] \w+| (?=\d)|(?=[:：]))")
"""A benchmark with the number behind it, or its metric over several of its cases."""
WORD = re.compile(r"[A-Za-z]+")
GLUE = re.compile(
    r"[\w./\\%@$+*=:#<>{}\[\]()|~^&-]*[\d_./\\%@$=#<>{}|~^-][\w./\\%@$+*=:#<>{}\[\]()|~^&-]*"
)
"""What no sentence has: words with digits, underscores, paths, options, names with dashes."""


class _Texts(HTMLParser):
    """Texts of a page that a reader sees, and the JSON that its scripts show."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.data: list[str] = []
        self._inside: list[str] = []
        self._json = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.texts += [value for key in SPOKEN if (value := held.get(key))]
        if tag in UNREAD:
            self._inside.append(tag)
            self._json = held.get("type") == "application/json" and held.get("id") != "words"

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.texts += [line for line in data.split("\n") if line.strip()]
        elif self._json and self._inside == ["script"]:
            self.data.append(data)


def shown(page: str) -> list[str]:
    """Every text of a page's HTML, and of the JSON that stands in it."""
    read = _Texts()
    read.feed(page)
    texts = read.texts
    for data in read.data:
        texts += _of(json.loads(data))
    return texts


def _of(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping) and "rows" in data:
        for row in data["rows"]:
            yield from (cell if isinstance(cell, str) else cell[0] for cell in row[0])
            yield from row[1] if len(row) > 1 else ()
    elif isinstance(data, Mapping) and "said" in data:
        for one in data["said"].values():
            yield from one["lines"]
    elif isinstance(data, Mapping) and "topologies" in data:
        for one in data["figures"]:
            yield from (one["name"], *(usual["name"] for usual in one["usual"]))
    elif isinstance(data, list):
        for figure in data:
            yield from _drawn(figure)


def _drawn(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, str):
        if key in SHOWN:
            yield from re.split(r"<br>|<extra>.*", value)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _drawn(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _drawn(one, key)


def english(text: str, named: Collection[str] = ()) -> list[str]:
    """The words of a text that are no name, no unit and no term; ``named``: whole names."""
    if text.strip() in named:
        return []
    for name in named:
        if " " in name:
            text = text.replace(name, " ")
    text = _AFTER.sub(" ", _BEFORE.sub(" ", text))
    text = _VALUED.sub(lambda one: " " if one[1] in named else one[0], text)
    first = re.match(r"[\w.-]+", text)
    if first and first[0] in named:
        text = text[first.end() :]
    bare = GLUE.sub(" ", re.sub(r"`[^`]*`|\S*(?:\d|_)\S*", " ", text))
    return [
        word
        for word in WORD.findall(bare)
        if len(word) > 1 and not word.isupper() and word not in TERMS and word not in UNITS
    ]


@cache
def phrases(folder: Path) -> frozenset[str]:
    """What a run calls its cases, and what it says that others wrote: longest names first."""
    reader = RunReader(folder)
    run = Run(reader.header, reader.columns(), load_chips())
    found = {reader.header.id, reader.header.suite, shlex.join(reader.header.command)}
    for name, cls in registry().items():
        found |= {name, *(f"{name} {one.name}" for one in cls.measures)}
    for name, metric in DERIVED:
        found |= {name, metric, f"{name} {metric}"}
    for one in run.summaries:
        short = one.case.short()
        for name in (one.name, short, f"{one.name} ({one.case.stage})"):
            found |= {
                name,
                f"{name} {one.case.metric}",
                f"{name} {one.case.metric} ({one.case.stage})",
            }
        found |= {one.case.metric, one.case.stage}
    for link in links(reader.header, reader.columns()):
        found |= {link.name, link.op, link.name.removeprefix(link.op).strip()}
    found |= set(reader.header.suite_text.split("\n"))
    for one in run.scalings:
        found.add(one.name)
    for metric in {one.case.metric for one in run.summaries if one.case.scope == "pair"}:
        for one in pair_fabrics(reader.header, reader.columns(), run.summaries, metric):
            found.add(f"{one.name} {one.metric}")
    return frozenset(found)
