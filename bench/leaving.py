"""Calls into libraries that may hang: nobody waits for them, not even the end of the process."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

_LEFT: list[threading.Thread] = []


def within(limit: float, call: Callable[[], object]) -> bool:
    """Whether a call has ended, well or not, in ``limit`` seconds; else it is left to itself."""

    def work() -> None:
        with contextlib.suppress(Exception):
            call()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        _LEFT.append(thread)
    return not thread.is_alive()


def leave(code: int) -> NoReturn:
    """End the process with an exit code.

    Where a call was left that still hangs, at once: a library of C++ takes down at the end what
    that call uses, and the process would crash, or hang in its turn.
    """
    if any(thread.is_alive() for thread in _LEFT):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    sys.exit(code)
