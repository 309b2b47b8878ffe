"""A whole and what it is made of: one bar, and a line for every part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .page import Custom


class Part(NamedTuple):
    """A part: what it is called, how much it is, and that in words."""

    label: str
    value: float
    text: str


def parts(
    made: Sequence[Part],
    says: str,
    *,
    of: float | None = None,
    rest: str = "",
    said: Callable[[float], str] = str,
) -> Custom:
    """Parts of their sum, or of a larger whole: what is left is ``rest``, in words by ``said``.

    Parts without a value are left out. What is more than the whole widens the bar, in which the
    whole is marked then.
    """
    held = [one for one in made if one.value > 0]
    total = sum(one.value for one in held)
    width = max(total, of or 0.0) or 1.0
    drawn = [
        {
            "label": one.label,
            "text": one.text,
            "share": f"{one.value / (of or total):.1%}",
            "width": round(100 * one.value / width, 3),
            "look": f"s{index % 8}",
        }
        for index, one in enumerate(held)
    ]
    left = (of or 0.0) - total
    return Custom(
        "parts.html.j2",
        {
            "parts": drawn,
            "says": says,
            "rest": rest if left > 0 else "",
            "left": said(left) if left > 0 else "",
            "spare": f"{left / of:.1%}" if of and left > 0 else "",
            "limit": round(100 * of / width, 3) if of is not None and left < 0 else None,
        },
    )
