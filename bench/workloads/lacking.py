"""Tells features that a stack lacks, and a lack of memory, from faults, by PyTorch's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WORDS = re.compile(
    r"not (yet )?implemented|(not|no) (yet )?support|unsupported"
    r"|invalid scalar type|unconvertible \w+ type|cannot use reduceop",
    re.IGNORECASE,
)
"""What the dispatcher and the collective libraries say; the last ones are of number formats, and of
an operation of a reduction."""


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


def declared(lacking: Mapping[str, str], words: Iterable[str]) -> str:
    """Why a backend declares (`Backend.lacking`) that it lacks what ``words`` name; else empty.

    A key is one or more words, and applies where all of them are named: ``fp64`` to every case in
    it, ``fp8`` to both formats, ``gemm fp8_e4m3`` to matrix products in one, ``scatter`` to that
    collective in every dtype.
    """
    named = set(words)
    named |= {word.partition("_")[0] for word in named if word.startswith("fp8_")}
    return next((why for key, why in lacking.items() if named.issuperset(key.split())), "")
