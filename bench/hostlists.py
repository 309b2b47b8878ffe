"""Lists of hosts as Slurm writes them: ``node-[001-016,020],gpu-7``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MOST = 1_000_000
"""Names that one list may stand for."""
SEPARATOR = re.compile(r",(?![^\[]*\])")
"""A comma that is not inside brackets."""
_RANGES = re.compile(r"\[([0-9,\-]*)\]")
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
_NUMBERED = re.compile(r"([^.]*?)([0-9]{1,18})([^.0-9]*(?:\..*)?)", re.DOTALL)
"""The last number of a name's part before the first dot, of a long one its end, and what is around
it."""


def expand(text: str) -> list[str]:
    """Every name that one item of a list stands for; of several ranges each with each.

    Raises ValueError for brackets that hold no ranges.
    """
    found = _RANGES.search(text)
    if found is None:
        if "[" in text or "]" in text:
            raise ValueError(f"{text!r} has brackets that hold no ranges")
        return [text]
    rest = expand(text[found.end() :])
    names: list[str] = []
    for part in found[1].split(","):
        numbers = _RANGE.fullmatch(part)
        first, last = (numbers[1], numbers[2] or numbers[1]) if numbers else ("1", "0")
        count = int(last) - int(first) + 1
        if not 0 < count * len(rest) <= MOST - len(names):
            raise ValueError(f"{part!r} in {text!r} is no range")
        names += (
            f"{text[: found.start()]}{number:0{len(first)}d}{tail}"
            for number in range(int(first), int(last) + 1)
            for tail in rest
        )
    return names


def compress(names: Iterable[str]) -> str:
    """The shortest list in ranges, each name once: ``gpu-01``, ``gpu-02`` → ``gpu-[01-02]``."""
    numbers: dict[tuple[str, str], set[str]] = {}
    for name in dict.fromkeys(names):
        found = _NUMBERED.fullmatch(name)
        prefix, number, suffix = found.groups() if found else (name, "", "")
        numbers.setdefault((prefix, suffix), set()).add(number)
    return ",".join(
        item
        for (prefix, suffix), digits in numbers.items()
        for item in _items(prefix, suffix, digits)
    )


def _items(prefix: str, suffix: str, digits: set[str]) -> Iterator[str]:
    if "" in digits:  # the name has no number, and is the prefix alone
        yield f"{prefix}{suffix}"
    ranges = list(_ranges(digits - {""}))
    if len(ranges) == 1 and "-" not in ranges[0]:
        yield f"{prefix}{ranges[0]}{suffix}"
    elif ranges:
        yield f"{prefix}[{','.join(ranges)}]{suffix}"


def _ranges(digits: set[str]) -> Iterator[str]:
    first = last = ""
    for text in sorted(digits, key=lambda digits: (int(digits), len(digits))):
        if first and text == f"{int(last) + 1:0{len(first)}d}":
            last = text
            continue
        if first:
            yield first if first == last else f"{first}-{last}"
        first = last = text
    if first:
        yield first if first == last else f"{first}-{last}"
