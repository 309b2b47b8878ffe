"""How much is said: the verdict alone, what matters, or all of it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal, TypeAlias

Amount: TypeAlias = Literal["verdict", "usual", "all"]

AMOUNT: ContextVar[Amount] = ContextVar("amount", default="usual")
"""Of this command: ``--quiet`` asks for the verdict, ``--verbose`` for all."""
_ALL = 1 << 62


def quiet() -> bool:
    """Whether only the verdict is wanted."""
    return AMOUNT.get() == "verdict"


def verbose() -> bool:
    """Whether nothing is to be left out."""
    return AMOUNT.get() == "all"


def most(usual: int) -> int:
    """How many of a list are shown: so many, or all of them where that was asked for."""
    return _ALL if verbose() else usual
