"""Tells features that a stack lacks, and a lack of memory, from faults, by PyTorch's words."""

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


def exhausted(error: BaseException) -> bool:
    """True if ``error`` says that memory has run out: a device's typed error, or the host's words.

    The host's allocator raises a bare RuntimeError.
    """
    typed = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return typed or "allocate memory" in str(error) or "not enough memory" in str(error)
