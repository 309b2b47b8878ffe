"""What storage gives: bandwidth, operations and latency through fio, and work on names."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Literal

import msgspec
import numpy as np

from ..errors import UsageError
from ..records import Measure
from ..timing import Rule, Timing
from . import fio
from .base import Benchmark, Bytes, Check, Context, Metric, Seconds, Unmeasurable, benchmark
from .runner import all_or_none
from .scratch import Scratch, is_url

RUNS = 3
"""Runs of fio at least, so that a median says something."""
AROUND = 0.5
"""Seconds of a run in which fio starts, and ends its threads."""
TRIAL = 16 << 20
"""Bytes that are written and compared, at most."""
ALIGNED = 4096
DEEPEST, MOST_JOBS, MOST_FILES = 1 << 16, 1 << 12, 1 << 23
"""Operations at a time in a thread, threads, and files, at most: of more the host's memory would be
what is measured."""


class _OnOneRank(Benchmark):
    """What rank 0 does for its node, on its own cores, while the others wait."""

    path: str = ""
    """A directory; empty: the folder for temporary files, which may lie in memory."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if is_url(self.path):
            raise UsageError(f"{self.name}: path must be a directory, not {self.path}")

    def clock(self) -> Literal["device", "host"]:
        """Files are the host's."""
        return "host"

    def setup(self, context: Context) -> None:
        """Find a place. Raises `Unmeasurable` on all ranks where one cannot."""
        self.context = context
        self.scratch: Scratch | None = None
        problem = ""
        if context.rank == 0:
            try:
                self.scratch = Scratch.make(self.path)
                self.prepare(self.scratch)
            except Unmeasurable as error:
                problem = error.message
        all_or_none(context, problem)

    def prepare(self, scratch: Scratch) -> None:
        """Make ready what is measured, on rank 0. Raises `Unmeasurable`."""

    def where(self) -> str:
        """The directory that was measured."""
        return os.path.dirname(self.scratch.folder) if self.scratch is not None else ""

    def teardown(self) -> None:
        """Remove all files."""
        scratch = self.__dict__.get("scratch")
        if scratch is not None:
            scratch.close()
        super().teardown()


@benchmark(scope="node")
class Storage(_OnOneRank):
    """Bandwidth, operations/s and latency of one file at ``path``, by fio.

    Direct, past the page cache, where the file system allows it; else the row says that it does
    not, reading begins with a page cache that has forgotten the file, and writing ends when
    everything is on the storage.

    Checked by fio itself: what was written with checksums is read back, before and after. fio runs
    on the cores of the node's first device and times itself.
    """

    measures = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="bytes read or written in a second",
            formula="as fio reports it",
            source="fio, bw",
        ),
        Measure(
            "iops",
            "op/s",
            "higher",
            about="operations in a second",
            formula="as fio reports it",
            source="fio, iops",
        ),
        Measure(
            "latency_p50",
            "s",
            "lower",
            about="median time from submitting an operation until it is complete",
            source="fio, lat_ns",
        ),
        Measure("latency_p99", "s", "lower", about="99th percentile of it", source="fio, lat_ns"),
        Measure(
            "latency_p999", "s", "lower", about="99.9th percentile of it", source="fio, lat_ns"
        ),
    )
    per_sample = True
    fitting = {"size": ("16GiB", "256MiB")}
    worded = {"duration": {"1s": ""}, "jobs": {1: ""}}

    op: Literal["seq_read", "seq_write", "rand_read", "rand_write"] = "seq_read"
    """Sequential or random, reading or writing."""
    size: Bytes = Bytes(256 << 20)
    """Bytes of the file."""
    block: Bytes | None = None
    """Bytes of an operation; without it 1 MiB sequentially, 4 KiB at random."""
    depth: int | None = None
    """Operations at a time in each thread; without it 16 sequentially, 32 at random."""
    jobs: int = 1
    """Threads."""
    duration: Seconds = Seconds(1.0)
    """Of a run."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        super().__post_init__()
        for name, most in (("depth", DEEPEST), ("jobs", MOST_JOBS)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise UsageError(f"storage: {name} must be 1 to {most}, not {value}")
        if self.block is not None and self.block % 512:
            raise UsageError(f"storage: block must be a multiple of 512 bytes, not {self.block}")
        if self.size < self.jobs * self._block():
            raise UsageError(f"storage: size {self.size} has no block of {self._block()} for each")

    def rule(self, rule: Rule) -> Rule:
        """Time for a few runs; each is long by itself."""
        budget = max(rule.budget, RUNS * (self.duration + AROUND))
        return msgspec.structs.replace(rule, min_samples=RUNS, budget=budget, warmup=0.0)

    def prepare(self, scratch: Scratch) -> None:
        """Write the file, once, with data that no storage can shrink."""
        if absent := fio.missing():
            raise Unmeasurable(absent)
        scratch.needs(int(self.size))
        self.direct = _takes_direct(scratch.folder)
        fio.run(scratch.folder, {**self._file(), "rw": "write", "bs": "1M", "end_fsync": 1})
        self.reports: list[fio.Report] = []

    def step(self) -> None:
        """One run."""
        if self.scratch is None:
            return
        part = int(self.size) // self.jobs // self._block() * self._block()
        writes = self.op.endswith("write")
        options = {
            **self._file(),
            "rw": fio.PATTERNS[self.op],
            "bs": self._block(),
            "iodepth": self.depth or (32 if self.op.startswith("rand") else 16),
            "numjobs": self.jobs,
            "size": part,
            "offset_increment": part,
            "time_based": 1,
            "runtime": f"{round(self.duration * 1e6)}us",  # bare numbers are whole seconds
            "randrepeat": 0,
            "norandommap": 1,
            "group_reporting": 1,
            "lat_percentiles": 1,
            "percentile_list": "50:99:99.9",
            "output-format": "json",
            **({"end_fsync": 1} if writes and not self.direct else {}),
        }
        self.reports.append(fio.parse(fio.run(self.scratch.folder, options, float(self.duration))))

    def check(self) -> Check:
        """What fio writes with checksums is what it reads; the runs before did something."""
        if self.scratch is None:
            return Check(True, "rank 0 checks")
        size = min(TRIAL, int(self.size)) // self._block() * self._block()
        options = {**self._file(), "rw": "write", "bs": self._block(), "verify": "crc32c"}
        options["size"] = size or int(self.size)
        try:
            fio.run(self.scratch.folder, {**options, "do_verify": 0})
            self.between()
            fio.run(self.scratch.folder, {**options, "verify_only": 1, "verify_fatal": 1})
        except fio.FioError as error:
            return Check(False, f"what was written is not what is read: {error}")
        return Check(True, f"{options['size']} bytes read as written")

    def between(self) -> None:
        """Called when a trial is written and not yet read: a test damages it here."""

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """What fio reported of the timed runs. Only rank 0 has any."""
        if self.scratch is None:
            return
        kept = timing.kept(self.reports)
        yield Metric("bandwidth", samples=np.array([one.bandwidth for one in kept]))
        yield Metric("iops", samples=np.array([one.iops for one in kept]))
        yield Metric("latency_p50", samples=np.array([one.p50 for one in kept]))
        yield Metric("latency_p99", samples=np.array([one.p99 for one in kept]))
        yield Metric("latency_p999", samples=np.array([one.p999 for one in kept]))

    def note(self) -> str:
        """Which directory, and whether the page cache lay between."""
        if self.scratch is None:
            return ""
        cached = "" if self.direct else "; no direct I/O there: through the page cache"
        return f"{self.where()}{cached}"

    def _block(self) -> int:
        return int(self.block or (ALIGNED if self.op.startswith("rand") else 1 << 20))

    def _file(self) -> dict[str, Any]:
        """Options of every run. Only direct I/O can have several operations at a time."""
        engine = "libaio" if self.direct else "psync"
        return {
            "size": int(self.size),
            "direct": int(self.direct),
            "ioengine": engine,
            "refill_buffers": 1,
            "invalidate": 1,
            "fallocate": "none",
        }


@benchmark(scope="node")
class Metadata(_OnOneRank):
    """How many empty files a second are created, looked up and removed in a directory at ``path``.

    One process does one after the other, as an untarred data set does.
    Nothing is synced: a file system answers as soon as it likes, local ones from memory.
    """

    measures = (
        Measure(
            "create_rate",
            "op/s",
            "higher",
            about="empty files created in a second",
            formula="files / seconds",
        ),
        Measure(
            "stat_rate",
            "op/s",
            "higher",
            about="files looked up in a second",
            formula="files / seconds",
        ),
        Measure(
            "remove_rate",
            "op/s",
            "higher",
            about="files removed in a second",
            formula="files / seconds",
        ),
    )
    per_sample = True

    files: int = 1000
    """Files in the directory."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        super().__post_init__()
        if not 1 <= self.files <= MOST_FILES:
            raise UsageError(f"metadata: files must be 1 to {MOST_FILES}, not {self.files}")

    def prepare(self, scratch: Scratch) -> None:
        """A directory of its own, and names. Raises `Unmeasurable` where it has too few."""
        room = os.statvfs(scratch.folder)
        # A file system without a table of them says that it has none at all.
        if room.f_files and self.files > room.f_favail:
            raise Unmeasurable(
                f"path {os.path.dirname(scratch.folder)} has room for {room.f_favail} more files, "
                f"and {self.files} are created"
            )
        self.place = os.path.join(scratch.folder, "names")
        os.mkdir(self.place)
        self.names = [os.path.join(self.place, f"file-{n:08d}") for n in range(self.files)]
        self.spans: list[tuple[float, float, float]] = []

    def step(self) -> None:
        """Create all, look all up, remove all."""
        if self.scratch is None:
            return
        begin = perf_counter()
        self.create()
        created = perf_counter()
        for name in self.names:
            os.stat(name)
        seen = perf_counter()
        for name in self.names:
            os.unlink(name)
        self.spans.append((created - begin, seen - created, perf_counter() - seen))

    def create(self) -> None:
        """Create all files."""
        for name in self.names:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def check(self) -> Check:
        """All files are there when they were created, and none when they were removed."""
        if self.scratch is None:
            return Check(True, "rank 0 checks")
        if left := len(os.listdir(self.place)):
            return Check(False, f"{left} files are there that were removed")
        self.create()
        found = {os.path.join(self.place, name) for name in os.listdir(self.place)}
        lost = len(set(self.names) - found)
        for name in found:
            os.unlink(name)
        if lost:
            return Check(False, f"{lost} of {self.files} files are not there that were created")
        return Check(True, f"{self.files} files created and removed")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """From the parts of a step. Only rank 0 has any."""
        if self.scratch is None:
            return
        parts = np.array(timing.kept(self.spans)).T
        for name, seconds in zip(("create_rate", "stat_rate", "remove_rate"), parts, strict=True):
            yield Metric(name, samples=self.files / seconds)

    def note(self) -> str:
        """Which directory."""
        return self.where()


def _takes_direct(folder: str) -> bool:
    """Whether a file here can be written past the page cache."""
    path = os.path.join(folder, "direct")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
        try:
            with mmap.mmap(-1, ALIGNED) as page:  # aligned, as direct I/O asks
                return os.write(descriptor, page) == ALIGNED
        finally:
            os.close(descriptor)
    except OSError:
        return False
    finally:
        if os.path.exists(path):
            os.unlink(path)
