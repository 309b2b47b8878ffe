"""What a table says of itself: which entries were tuned, on what, when and by which command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from .entries import Tuned

_FIRST = "Configurations of {arch}, written by `hengsuan tune`: it keeps what it did not search."
_BEFORE = "Of the other entries, the table before this one said:"
_TUNED = "tuned "


class Made(msgspec.Struct, frozen=True):
    """How entries were tuned: name of the device, version of Triton, day, words of the command."""

    device: str
    triton: str
    day: str
    command: list[str]

    def line(self, entry: Tuned) -> str:
        """What the table says of an entry."""
        cases = "; ".join(entry.shapes)
        return (
            f"{_TUNED}{entry.label}: on {self.device}, Triton {self.triton}, {self.day}, "
            f"with {cases}; by `{shlex.join(self.command)}`"
        )


def header(arch: str, lines: Sequence[str], before: Sequence[str]) -> list[str]:
    """The comment lines of a table: ours, then what the table before it said of other entries.

    Args:
        arch: The table's architecture.
        lines: `Made.line` of every entry that was tuned now.
        before: The comment lines of the table before it.
    """
    first = _FIRST.format(arch=arch)
    labels = tuple(line.partition(": ")[0] + ": " for line in lines)
    earlier = [line for line in before if line.startswith(_TUNED) and not line.startswith(labels)]
    others = [line for line in before if line and not line.startswith((_TUNED, _BEFORE, first))]
    return [first, *lines, *earlier, *([_BEFORE] if others else []), *others]
