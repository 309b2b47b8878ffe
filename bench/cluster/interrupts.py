"""Ctrl-C and its kin: they end a run, flushed and with nobody left behind, however often sent."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a run. The last comes when the terminal is gone, as when a connection breaks."""
PATIENCE = 10.0
"""Seconds that a run has to come to a place where it may end; from then on it ends anywhere."""


class Interrupts:
    """Inside, the first of `NUMBERS` raises `KeyboardInterrupt`, but for those that were ignored,
    as by ``nohup``.

    It does so where it arrives, or, while something is in hand that must not be lost (`held`), at
    the next `check`. Further ones of the impatient change nothing, unless `PATIENCE` has passed.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._held = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        minded = [one for one in NUMBERS if signal.getsignal(one) != signal.SIG_IGN]
        with contextlib.suppress(ValueError):  # not the main thread: who runs us there handles them
            self._old = {number: signal.signal(number, self._arrived) for number in minded}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, before in self._old.items():
            signal.signal(number, before)

    def _arrived(self, number: int, frame: object) -> None:
        now = time.monotonic()
        first = self._since is None
        if self._since is None:
            self._since = now
        if (first and not self._held) or now - self._since > PATIENCE:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, only `check` raises; whoever holds calls it every second or so."""
        self._held = True
        try:
            yield
            self.check()
        finally:
            self._held = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if one has arrived."""
        if self._since is not None:
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """From now on none is minded: a second one must not leave ranks behind."""
        for number in self._old:
            signal.signal(number, signal.SIG_IGN)
