"""The pages' own words in Chinese; sentences of analysis are those of `bench.report.language`."""

from __future__ import annotations

from typing import Protocol

from ..language import Language, Say, english
from ..language import chinese as analysed
from .document_words import WORDS as DOCUMENTS

SCRIPTED = (
    "copied",
    "copy",
    "details",
    "filter",
    "select and copy by hand",
    "show more",
)
"""What the page's script says by itself."""

WORDS: dict[str, str] = {
    "skip to content": "跳到正文",
    "light or dark": "浅色或深色",
    "contents": "目录",
    "report": "报告",
    "table": "表格",
    "show": "显示",
    "copied": "已复制",
    "copy": "复制",
    "details": "详情",
    "filter": "筛选",
    "select and copy by hand": "请手动选择并复制",
    "show more": "显示更多",
}


class Speaks(Protocol):
    """What says words in a page's language."""

    @property
    def language(self) -> Language:
        """The page's."""
        ...

    @property
    def say(self) -> Say:
        """A text in it."""
        ...


class Voice:
    """Speaks a language, where there is no run that does."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.say = speaker(language)


def speaker(language: Language) -> Say:
    """What says a text of a page in a language."""
    return chinese if language == "zh" else english


def chinese(text: str) -> str:
    """The text in Chinese where it is known, else itself."""
    return WORDS.get(text) or DOCUMENTS.get(text) or analysed(text)
