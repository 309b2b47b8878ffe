"""Heads of tables of nccl-tests: which word of a line is what."""

from __future__ import annotations

from typing import NamedTuple

_RESULTS = frozenset(
    (
        "time",
        "cputime",
        "algbw",
        "busbw",
        "#wrong",
        "error",
        "res",
        "i_min",
        "i_max",
        "i_p99",
        "i_cv%",
    )
)


class Layout(NamedTuple):
    """Where columns are: ``lead`` those before the first time, ``first`` and ``second`` those of
    each form, ``tail`` what follows."""

    lead: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    tail: tuple[str, ...]

    def counts(self) -> frozenset[int]:
        """How many words a line of the table may have.

        Where there is nothing to reduce, some versions leave ``redop`` blank; a timestamp is two
        words.
        """
        after = len(self.first) + len(self.second) + len(self.tail) + ("timestamp" in self.tail)
        return frozenset(range(after + 3, after + len(self.lead) + 1))

    def names(self, count: int) -> list[str]:
        """What each word of a line of so many is; those of a form are called ``0 time``."""
        rest = 3 + count - min(self.counts())
        found = list(self.lead if rest == len(self.lead) else (*self.lead[:3], "root")[:rest])
        for form, block in enumerate((self.first, self.second)):
            found += [f"{form} {name}" for name in block]
        for name in self.tail:
            found += ["date", "clock"] if name == "timestamp" else [name]
        return found


_FORM = ("time", "algbw", "busbw", "#wrong")
USUAL = Layout(("size", "count", "type", "redop", "root"), _FORM, _FORM, ())
"""What versions from 2.12 on print, where the head of the table is missing."""


def layout_of(names: list[str]) -> Layout:
    """Where columns are, by the head of the table; a single form is out of place."""
    times = [place for place, name in enumerate(names) if name in ("time", "cputime")]
    if not 1 <= len(times) <= 2:
        return USUAL
    end = times[-1]
    while end < len(names) and names[end] in _RESULTS:
        end += 1
    lead = ("size", "count", "type", *names[3 : times[0]])
    return Layout(
        tuple("redop" if name == "op" else name for name in lead),
        tuple(names[times[0] : times[1] if len(times) > 1 else end]),
        tuple(names[times[1] : end] if len(times) > 1 else ()),
        tuple(names[end:]),
    )
