"""What command lines of the OSU micro-benchmarks say of the tables behind them."""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Sequence
from typing import TypeVar

from ..hostlists import SEPARATOR, expand

_PLACES = re.compile(r"\s([DHM]) ([DHM])\s*$")
_RANKS = re.compile(r"\b(?:mpirun|mpiexec|srun|jsrun|aprun)\b.*?\s(?:-n|-np|--ntasks)[ =]?(\d+)\b")
_HOSTS = re.compile(r"\s(?:-H|-host|-hosts|--host|-w|--nodelist)[ =](\S+)")
_Said = TypeVar("_Said")


class Told:
    """What command lines in the log say, whichever process printed them: of the tables behind each,
    up to the next line that says otherwise."""

    def __init__(self) -> None:
        self._nodes: list[tuple[int, tuple[str, ...]]] = []
        self._ranks: list[tuple[int, int]] = []
        self._memory: list[tuple[int, str]] = []

    def take(self, text: str, arguments: str, number: int) -> None:
        """A command line, and what follows the program in it."""
        places = _PLACES.search(arguments)
        bisect.insort(self._memory, (number, memory_of(places[1], places[2]) if places else ""))
        if ranks := _RANKS.search(text):
            bisect.insort(self._ranks, (number, int(ranks[1])))
        if hosts := _HOSTS.search(text):
            with contextlib.suppress(ValueError):
                listed = [expand(one.partition(":")[0]) for one in SEPARATOR.split(hosts[1])]
                names = tuple(dict.fromkeys(name for names in listed for name in names))
                bisect.insort(self._nodes, (number, names))

    def nodes(self, line: int) -> tuple[str, ...]:
        """On which nodes a table is that begins at a line; empty where nobody says."""
        return _before(self._nodes, line) or ()

    def ranks(self, line: int) -> int | None:
        """Over how many ranks."""
        return _before(self._ranks, line)

    def memory(self, after: int, line: int) -> str:
        """Where its buffers lie, if the command says so that stands behind the table before it."""
        return _before([one for one in self._memory if one[0] > after], line) or ""


def _before(said: Sequence[tuple[int, _Said]], line: int) -> _Said | None:
    """What was said last before a line."""
    place = bisect.bisect_left(said, line, key=lambda one: one[0])
    return said[place - 1][1] if place else None


def memory_of(one: str, other: str) -> str:
    """``device``, ``host``, or where the two ends differ, both."""
    names = {"D": "device", "H": "host", "M": "managed"}
    ends = [names.get(word[:1].upper(), word.lower()) for word in (one, other)]
    return ends[0] if ends[0] == ends[1] else "-".join(ends)
