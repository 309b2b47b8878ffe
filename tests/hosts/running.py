"""``hengsuan run`` on several hosts: started, awaited, its rows read."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from complete import exit_of
from hosts import Host, Hosts

from bench.errors import Exit
from bench.results import RunReader

HENGSUAN = Path(sys.executable).with_name("hengsuan")


class Measured(NamedTuple):
    """How a run ended: exit code, scorecard, what it said on standard error, its rows, seconds."""

    code: int
    card: str
    said: str
    run: RunReader
    seconds: float

    @property
    def complete(self) -> Exit:
        """The exit code that it has if all went well."""
        return exit_of(self.run)

    def rows(self, benchmark: str, metric: str):
        """Its rows of one benchmark and metric, in the order written."""
        cases = self.run.header.cases
        return [
            row
            for row in self.run.rows()
            if (cases[row.case].benchmark, cases[row.case].metric) == (benchmark, metric)
        ]


class Running:
    """``hengsuan run`` of a suite, with more options, started on the cluster's first host."""

    def __init__(self, cluster: Hosts, suite: str, folder: Path, *more: str) -> None:
        self.folder = folder / "runs"
        path = folder / "suite.yaml"
        path.write_text(suite)
        self._began = time.monotonic()
        where = ("--address", cluster.ray, "--backend", "cpu", "--out", self.folder)
        self.process = cluster[0].start(
            [HENGSUAN, "run", path, *where, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, benchmark: str, count: int = 1) -> None:
        """Until so many rows of a benchmark are in the journal."""
        stop = time.monotonic() + 120
        while time.monotonic() < stop:
            for path in self.folder.glob("*/run.json"):
                reader = RunReader(path.parent)
                cases = reader.header.cases
                if sum(cases[row.case].benchmark == benchmark for row in reader.rows()) >= count:
                    return
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.1)
        raise AssertionError(f"no rows of {benchmark} in time")

    def end(self, limit: float = 170.0) -> Measured:
        """Wait for the end of the run, so many seconds at most."""
        card, said = self.process.communicate(timeout=limit)
        seconds = time.monotonic() - self._began
        (run,) = self.folder.glob("*")
        return Measured(self.process.returncode, card, said, RunReader(run), seconds)


def clock(host: Host) -> float:
    """A host's time of day, in seconds since 1970."""
    done = host.run(["date", "+%s"])
    return float(done.stdout)
