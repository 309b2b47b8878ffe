"""A program that is not ours: started under a guard, its lines with the times at which they came.

`bench.host.guard` sees to it that nothing of the program outlives this process. What it prints is
read by a thread as it comes; of what is no report only the last lines are kept, so that a program
may print without end.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..host import ended_by, guard
from .reports import is_report

LONGEST = 1 << 16
"""Bytes of a line; of what is longer the middle is left out."""
TAIL = 12
"""Lines of each stream that are kept, of those that are no reports."""
WORDS = 300
"""Characters of its last lines that an error repeats."""

Take = Callable[[list[bytes], float], None]
"""Told of whole lines that came in one piece, and when (`time.monotonic`)."""


class ProgramFailed(Exception):
    """The program did not start, or did not do what it must; the text says what it did."""


class Program:
    """A running program.

    Args:
        words: The program and its arguments, as they are: no shell reads them.
        environment: All of its environment.
        directory: Where it runs.
        cores: Those that it may use; empty: this process's.
        take: Told of every line, in a thread of its own; of long ones the end only.

    Raises:
        ProgramFailed: there is no such program or directory here.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        cores: Sequence[int],
        take: Take,
    ) -> None:
        _check(words[0], environment, directory)
        self.name = os.path.basename(words[0])
        self.began = time.monotonic()
        self._take = take
        self._lines: dict[str, deque[str]] = {"out": deque(maxlen=TAIL), "err": deque(maxlen=TAIL)}
        self._rest = {"out": b"", "err": b"", "word": b""}
        """Of each stream what came behind its last whole line."""
        self._reported = False
        self._word: dict[str, int] = {}
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        order = {
            "words": list(words),
            "environment": dict(environment),
            "directory": directory or ".",
            "cores": list(cores),
        }
        with contextlib.suppress(OSError):  # a guard that died is seen by its missing last word
            self._channel.sendall(json.dumps(order).encode() + b"\n")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        """Whether it has ended and all that it printed has been told."""
        return not self._reader.is_alive()

    @property
    def code(self) -> int | None:
        """Exit status of a program that has ended, negative for a signal; None: its guard died."""
        return self._word.get("code")

    @property
    def left(self) -> int:
        """How many processes a program that has ended left behind; they were killed."""
        return max(0, self._word.get("left", 0))

    def how(self) -> str:
        """How a program that has ended did so."""
        code = self.code
        if code is None:
            return "was lost: the process that guards it was killed"
        return ended_by(code)

    def last_words(self) -> str:
        """Its last lines, to put behind an error: of standard error, if it said anything there.

        A line that it has not ended is one of them.
        """
        text = " | ".join(self._said("err") or self._said("out"))
        if len(text) > WORDS:
            text = "... " + text[-WORDS:]
        nothing = "it printed nothing but reports" if self._reported else "it printed nothing"
        return f"; it said: {text}" if text else f"; {nothing}"

    def _said(self, name: str) -> list[str]:
        left = self._rest[name].decode(errors="replace").strip()[-WORDS:].strip()
        return [*self._lines[name].copy(), *filter(None, [left])]

    def end(self) -> None:
        """End it if it runs, first as asked, then by force; nothing of it is left."""
        with contextlib.suppress(OSError):
            self._channel.sendall(b"t")
        self._reader.join(guard.GRACE + guard.LIMIT + 2.0)
        with contextlib.suppress(OSError):
            self._channel.close()  # to a guard that has not heard, we are gone
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(guard.LIMIT + 1.0)
        if self._guard.poll() is None:
            self._guard.kill()
            self._guard.wait()
        self._reader.join(1.0)

    def _read(self) -> None:
        """Until the guard has said its last word and both streams have ended."""
        assert self._guard.stdout is not None
        assert self._guard.stderr is not None
        streams = {"out": self._guard.stdout, "err": self._guard.stderr}
        rest = self._rest
        with selectors.DefaultSelector() as selector, streams["out"], streams["err"]:
            for name, stream in streams.items():
                selector.register(stream, selectors.EVENT_READ, name)
            selector.register(self._channel, selectors.EVENT_READ, "word")
            while selector.get_map():
                for key, _ in selector.select():
                    with contextlib.suppress(OSError):
                        data = os.read(key.fd, LONGEST)
                        if data:
                            rest[key.data] = self._told(key.data, rest[key.data] + data)
                            continue
                    selector.unregister(key.fileobj)
                    if key.data == "word":
                        self._heard(rest["word"])
                    elif rest[key.data]:
                        rest[key.data] = self._told(key.data, rest[key.data] + b"\n")

    def _told(self, name: str, data: bytes) -> bytes:
        """Tell of all whole lines; what is left over."""
        if name == "word":
            return data
        now = time.monotonic()
        # Progress bars begin their line anew.
        *lines, left = data.replace(b"\r", b"\n").split(b"\n")
        self._reported = self._reported or any(map(is_report, lines))
        output = (line for line in lines[-TAIL:] if not is_report(line))
        said = (line.decode(errors="replace").strip() for line in output)
        self._lines[name].extend(line[-WORDS:] for line in said if line)
        self._take(lines, now)
        # A report is known by its head, and last words are its end.
        return left if len(left) <= LONGEST else left[: LONGEST // 2] + left[-LONGEST // 2 :]

    def _heard(self, text: bytes) -> None:
        with contextlib.suppress(ValueError):
            self._word = json.loads(text)


def _check(word: str, environment: Mapping[str, str], directory: str) -> None:
    """Raise `ProgramFailed` where the program or its directory is not here."""
    if directory and not os.path.isdir(directory):
        raise ProgramFailed(f"there is no directory {directory!r} on this node")
    if os.sep in word:
        if not os.access(Path(directory or ".", word), os.X_OK):
            raise ProgramFailed(f"{word!r} on this node is no program that can be run")
    elif shutil.which(word, path=environment.get("PATH")) is None:
        raise ProgramFailed(f"there is no program {word!r} on this node (in its PATH)")
