"""A side that measures what tests of pytest-benchmark time, in a process a block.

Any project that has such tests gets the gate: nothing of this package need be installed there. What
each test gives is the median of its rounds.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..analysis.gate.series import Series
from ..errors import InfraError, UsageError
from ..headers import UNDECODABLE
from ..host import ended_by, fixed_places
from ..records import Provenance
from .sides import Started

_ENDED = (0, 1)
"""Exit codes of pytest that leave results: all passed, some failed."""
_PYTEST = """
import json, os, sys
import pytest

file, elsewhere, *words = sys.argv[1:]
failed = []

def last():
    here = [one for one in sys.path if os.path.abspath(one) == os.getcwd()]
    sys.path[:] = [one for one in sys.path if one not in here] + here

class Failed:
    def pytest_runtest_logreport(self, report):
        if report.failed:
            failed.append(report.nodeid)

class Elsewhere:
    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self, early_config):
        self.append(early_config.known_args_namespace)
    def pytest_configure(self, config):
        self.append(config.option)
    def append(self, options):
        last()
        if options.importmode == "prepend":
            options.importmode = "append"

plugins = [Failed()]
if elsewhere == "elsewhere":
    last()
    plugins.append(Elsewhere())
code = pytest.main(words, plugins=plugins)
with open(file, "w", encoding="utf-8") as out:
    json.dump(failed, out)
sys.exit(code)
"""
"""pytest, and which tests failed: pytest-benchmark gives times of these too. In an environment
``elsewhere`` the working directory comes last: Python and pytest look there first, where the tests
are and may be another version of what they time than the side's own."""


class _Stats(msgspec.Struct):
    median: float


class _Test(msgspec.Struct):
    fullname: str
    stats: _Stats


class _Found(msgspec.Struct):
    benchmarks: list[_Test]


class PytestSide:
    """One of them.

    Args:
        started: In which environment; its interpreter is asked for pytest.
        paths: Files, folders or names of tests, as pytest takes them.
        folder: Where results go, a file a stage.
    """

    def __init__(self, started: Started, paths: Sequence[str], folder: Path) -> None:
        if tuple(started.words[1:]) != ("-m", "bench") or started.options:
            raise UsageError(
                f"the {started.name} is no environment: with --pytest a side is env:, git:, var: "
                "or lib:"
            )
        self.name, self._started, self._folder = started.name, started, folder.absolute()
        self._paths = paths
        self._series: dict[str, Series] = {}

    def ready(self) -> None:
        """See that pytest-benchmark is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        code, said = self._python(["-c", "import pytest_benchmark"], 120.0)
        if code:
            raise InfraError(f"the {self.name} has no pytest-benchmark", hint=said)

    def measure(self, stage: str, limit: float) -> None:
        """Run the tests once."""
        file, failed = (self._folder / f"{stage}{end}.json" for end in ("", "-failed"))
        for old in (file, failed):  # of a gate before, whose figures are not this one's
            old.unlink(missing_ok=True)
        where = "here" if self._started.directory is None else "elsewhere"
        words = ["-c", _PYTEST, str(failed), where, "-q", "--benchmark-only"]
        words += [f"--benchmark-json={file}", *self._paths]
        code, said = self._python(words, limit)
        if code not in _ENDED:
            raise InfraError(f"the {self.name}: pytest {ended_by(code)}", hint=said)
        try:
            wrong = msgspec.json.decode(failed.read_bytes(), type=list[str])
            # Without a benchmark that ran to its end there is no file, and pytest does not mind.
            found = _Found([])
            if file.exists() or not wrong:
                found = msgspec.json.decode(file.read_bytes(), type=_Found)
        except (OSError, *UNDECODABLE) as error:
            raise InfraError(f"the {self.name} left no results: {error}", hint=said) from None
        for test in found.benchmarks:
            self._of(test.fullname).stages[stage] = {(0, 0): test.stats.median}
        for name in wrong:
            one = self._of(name)
            one.why = one.wrong = one.wrong or f"failed: the test did not pass in {stage}"

    def _of(self, test: str) -> Series:
        made = Series(name=test, unit="s", better="lower", source="pytest", stages={})
        return self._series.setdefault(test, made)

    def _python(self, words: Sequence[str], limit: float) -> tuple[int, str]:
        """Exit code, and what was said last."""
        started = self._started
        try:
            with fixed_places():
                process = subprocess.Popen(
                    [started.words[0], *words],
                    env={**_inherited(), **started.environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
        except OSError as error:
            raise InfraError(f"the {self.name} does not start: {error.strerror}") from None
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise InfraError(f"the {self.name} was not done after {limit:.0f} s") from None
        finally:
            # Whatever it has started would go on beside the other side, and hold our pipes.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode, (out + err).strip()[-600:]

    def series(self) -> dict[str, Series]:
        """Every test that was timed."""
        return self._series

    def devices(self) -> list[str]:
        """This machine."""
        return [platform.node()]

    def kinds(self) -> list[str]:
        """Its architecture: pytest-benchmark knows no devices."""
        return [platform.machine()]

    def provenance(self) -> Provenance | None:
        """Nobody says whether a test ran on what it is meant for."""
        return None

    def close(self) -> None:
        """Nothing runs between blocks."""


def _inherited() -> dict[str, str]:
    """This process's variables, but for what pytest would take for options: a CI that adds some to
    every run of its own (workers side by side, no benchmarks) does not mean the gate's."""
    return {name: one for name, one in os.environ.items() if not name.startswith("PYTEST_")}
