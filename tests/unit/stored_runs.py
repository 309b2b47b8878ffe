"""Folders of runs as they lie on a disk, for tests of what is done with many of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from made_runs import case, header

from bench.cli import cli
from bench.headers import RUN
from bench.records import Row
from bench.results import ROWS, SAMPLES

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Runs:
    """Runs of two nodes with two devices each, a day apart, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def run(self, *, by=1.0, rows=None, samples=b"", **changes) -> Path:
        """One more run; its devices reach 1e14 FLOP/s, divided by ``by`` (all, or one a rank).

        ``by`` stands for the time of a launch as well; ``rows`` leaves the first so many.
        """
        number, self.count = self.count, self.count + 1
        cases = changes.pop("cases", None) or [
            case(0, title="gemm"),
            case(1, "launch", metric="time", unit="s", better="lower"),
        ]
        usual = {
            "id": f"run-{number:03d}",
            "started": (FIRST + timedelta(days=number)).isoformat(),
            "nodes": [node("gpu-0"), node("gpu-1")],
            "fleet": None,
        }
        begun = {**usual, **changes}
        groups = sum(len(each.devices) for each in begun["nodes"])
        one = header(*cases, groups=groups, **begun)
        path = self.folder / one.id
        path.mkdir(parents=True)
        (path / RUN).write_bytes(msgspec.json.encode(one))
        every = list(self.rows(one, by))
        (path / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(every[:rows]))
        (path / SAMPLES).write_bytes(samples)
        return path

    def runs(self, count, **changes) -> list[Path]:
        return [self.run(**changes) for _ in range(count)]

    @staticmethod
    def rows(one, by):
        devices = sum(len(each.devices) for each in one.nodes)
        for rank in range(devices):
            slower = by[rank] if isinstance(by, list) else by
            for number, usual in enumerate((1e14 / slower, 1e-5 * slower)[: len(one.cases)]):
                ends = usual * 0.99, usual * 1.01
                yield Row(number, rank, 0, 1.0, usual, *ends, 9, "ok", -1, one.provenance, "")


def changed(path: Path, **changes) -> None:
    """Write a run's header again with other fields."""
    found = msgspec.json.decode((path / RUN).read_bytes())
    (path / RUN).write_bytes(msgspec.json.encode({**found, **changes}))


def hengsuan(*words: object):
    """The verb's own exit code, or its error's, as ``exit_code``."""
    from click.testing import CliRunner

    done = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
    done.exit_code = getattr(done.exception, "exit", done.return_value)
    return done


@contextlib.contextmanager
def small_disk(folder: Path):
    """A file system of half a megabyte; skips where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""
    return {p.name: p.read_bytes() for p in one.iterdir()} == {
        p.name: p.read_bytes() for p in other.iterdir()
    }
