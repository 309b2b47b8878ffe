"""A real pseudo-terminal with a program in it, and a terminal emulator that looks at it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pyte


class Terminal:
    """``python -m bench WORDS`` on a terminal of so many columns and rows.

    ``raw`` is every byte that it got; ``lines`` what stands on its screen now.
    """

    def __init__(self, words, cwd, columns=80, rows=24, **environment):
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.child, self._terminal = pty.fork()
        if self.child == 0:
            os.chdir(cwd)
            # Whoever runs tests in the background has it ignored, and children would inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment})
            time.sleep(0.1)  # until the terminal has its size
            program = [sys.executable, "-m", "bench", *map(str, words)]
            # Readline, which pytest loads, says COLUMNS behind Python's back.
            os.execve(sys.executable, program, dict(os.environ))
        self._size(columns, rows)

    def _size(self, columns, rows):
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows=24):
        """As somebody pulls at the window's corner."""
        self._size(columns, rows)
        os.kill(self.child, signal.SIGWINCH)
        self.screen.resize(rows, columns)

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def text(self):
        """What was written, without what a terminal obeys."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace"))

    def until(self, wanted, seconds=120.0):
        """Read on until ``wanted()`` holds; it must within the time."""
        end = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < end, self.lines
            self._read(0.2)

    def rest(self, seconds):
        """Read on for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read(0.1)

    def _read(self, seconds):
        if not select.select([self._terminal], [], [], seconds)[0]:
            return True
        try:
            part = os.read(self._terminal, 65536)
        except OSError:  # the other end has been closed
            return False
        self.raw += part
        self._stream.feed(part)
        return bool(part)

    def press(self, keys):
        """Press keys."""
        os.write(self._terminal, keys)

    def end(self):
        """Read all that is still to come; the exit code."""
        while self._read(1.0):
            pass
        _, status = os.waitpid(self.child, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)
