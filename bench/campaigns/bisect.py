"""The first bad revision of a row, by halving it, where not every revision can be judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

Told: TypeAlias = Literal["good", "bad", "unknown"]


class First(msgspec.Struct, kw_only=True, frozen=True):
    """Where the change lies: after ``good``, at ``bad`` at the latest; between them are only
    revisions that could not be judged. ``judged``: how many were."""

    good: str
    bad: str
    between: list[str]
    judged: int

    @property
    def found(self) -> bool:
        """Whether ``bad`` is the first bad one."""
        return not self.between


def first_bad(good: str, revisions: Sequence[str], judge: Callable[[str], Told]) -> First:
    """Judge as few revisions as it takes.

    Args:
        good: A revision that is good.
        revisions: Those after it in their order, at least one; the last is bad.
        judge: What a revision is against ``good``; asked once for each at most.
    """
    low, high, asked = -1, len(revisions) - 1, 0
    unknown: set[int] = set()
    while True:
        left = [one for one in range(low + 1, high) if one not in unknown]
        if not left:
            break
        middle = min(left, key=lambda one: abs(2 * one - low - high))
        told = judge(revisions[middle])
        asked += 1
        if told == "unknown":
            unknown.add(middle)
        elif told == "good":
            low = middle
        else:
            high = middle
    return First(
        good=revisions[low] if low >= 0 else good,
        bad=revisions[high],
        between=list(revisions[low + 1 : high]),
        judged=asked,
    )
