"""Tells a feature that a stack does not have from a fault, by the words PyTorch uses."""

from __future__ import annotations

import re

_WORDS = re.compile(
    r"not (yet )?implemented|(not|no) (yet )?support|unsupported"
    r"|invalid scalar type|unconvertible \w+ type",
    re.IGNORECASE,
)
"""What the dispatcher and the collective libraries say; the last two are of number formats."""


def lacks(error: BaseException) -> bool:
    """True if ``error`` says that the stack has no such operation or number format.

    Everything else (a lost peer, no memory, a timeout) is a fault, to be reported as one.
    """
    return isinstance(error, NotImplementedError) or bool(_WORDS.search(str(error)))
