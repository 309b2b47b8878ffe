"""The run folder survives kills, full disks and bad folders, and reads back what was written."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cluster.executor import Event, Page
from bench.cluster.journal import Journal, _floats, trim
from bench.errors import InfraError, UsageError
from bench.records import Case, Conditions, Header, Row, Samples
from bench.results import Columns, RunReader


def header(name="run"):
    return Header(
        id=name,
        suite="s",
        started="2026-01-01T00:00:00+00:00",
        executor="local",
        provenance="stand-in",
    )


def case(number, name=""):
    """A case of a job of its own, or of the job ``name``."""
    return Case(
        id=number,
        stage="s",
        benchmark=name or f"b{number}",
        axes={},
        scope="device",
        metric=f"m{number}",
        unit="s",
        better="lower",
        source="x",
        schedule=0,
    )


def row(case=0, group=0, value=1.5, conditions=0, reason="", status="ok"):
    return Row(case, group, 0, 0.5, value, value, value, 3, status, conditions, "stand-in", reason)


def test_rows_conditions_samples_and_events_read_back(tmp_path):
    journal = Journal.create(tmp_path, header(), rows=10)
    quiet, noisy = Conditions(nice=0), Conditions(nice=15)
    journal.write(Page(rows=[row(0, conditions=0)], conditions=[quiet]))
    journal.write(
        Page(
            rows=[row(1, conditions=1, reason="été"), row(2, conditions=0)],
            conditions=[quiet, noisy],
            samples=[msgspec.Raw(msgspec.json.encode(Samples(1, 0, 0, 4, [1.0, 2.0])))],
            events=[Event(time=1.0, kind="warning", text="hot", node="n")],
        )
    )
    journal.close()
    reader = RunReader(tmp_path / "run")
    rows = list(reader.rows())
    assert [r.conditions for r in rows] == [0, 1, 0]
    assert rows[1].reason == "été"
    assert reader.header.conditions == [quiet, noisy]
    assert reader.header.events[0]["text"] == "hot"
    assert (tmp_path / "run" / "samples.jsonl").read_text() == "[1,0,0,4,[1.0,2.0]]\n"


def test_columns_are_written_as_rows_are(tmp_path):
    journal = Journal.create(tmp_path, header(), rows=10)
    value = np.array([1.23456789e9, np.nan, 0.0])
    journal.write(
        Page(
            columns=Columns(
                case=np.array([0, 1, 2], dtype=np.int32),
                group=np.array([7, 8, 9]),
                repeat=np.zeros(3, dtype=np.int32),
                time=np.full(3, 0.5),
                value=value,
                low=value,
                high=value,
                n=np.array([3, 0, 1], dtype=np.int32),
                status=np.array([0, 5, 0], dtype=np.int8),
                conditions=np.full(3, -1, dtype=np.int32),
                provenance=np.full(3, 2, dtype=np.int8),
                reasons={1: "node dead"},
            )
        )
    )
    journal.close()
    rows = list(RunReader(tmp_path / "run").rows())
    assert rows[0] == Row(0, 7, 0, 0.5, *[1.234568e9] * 3, 3, "ok", -1, "simulated", "")
    assert rows[1].value is None
    assert rows[1].status == "missing"
    assert rows[1].reason == "node dead"
    assert rows[2].value == 0.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1))
@settings(max_examples=50)
def test_floats_keep_seven_digits(values):
    for given_value, kept in zip(values, _floats(np.array(values)), strict=True):
        assert kept == pytest.approx(given_value, rel=1e-6, abs=1e-300)


def test_a_half_written_line_is_cut_off_on_resume(tmp_path):
    journal = Journal.create(tmp_path, header(), rows=10)
    journal.write(Page(rows=[row(0), row(1)], conditions=[Conditions()]))
    journal.close()
    path = tmp_path / "run" / "measurements.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert len(list(RunReader(tmp_path / "run").rows())) == 1
    trim(tmp_path / "run", [case(number) for number in range(2)])
    again = Journal.resume(tmp_path / "run", RunReader(tmp_path / "run").header)
    again.write(Page(rows=[row(1)], conditions=[Conditions()]))
    again.close()
    assert path.read_bytes() == whole


def test_conditions_go_on_where_a_kill_left_them(tmp_path):
    first, second, third = (Conditions(nice=nice) for nice in (1, 2, 3))
    journal = Journal.create(tmp_path, header(), rows=10)
    journal.write(Page(rows=[row(0)], conditions=[first]))
    journal.close()
    path = tmp_path / "run" / "conditions.jsonl"
    with path.open("ab") as file:
        file.write(msgspec.json.encode(second) + b"\n" + msgspec.json.encode(third)[:20])
    assert RunReader(tmp_path / "run").header.conditions == [first, second]
    trim(tmp_path / "run", [case(number) for number in range(3)])
    again = Journal.resume(tmp_path / "run", RunReader(tmp_path / "run").header)
    again.write(Page(rows=[row(1, conditions=1)], conditions=[second, third]))
    again.close()
    reader = RunReader(tmp_path / "run")
    assert reader.header.conditions == [first, second, third]
    assert [one.conditions for one in reader.rows()] == [0, 2]


def test_a_run_of_before_keeps_its_conditions_when_it_goes_on(tmp_path):
    """They stood in `run.json`, and what is new is counted from there."""
    old = header()
    old.conditions = [Conditions(nice=1), Conditions(nice=2)]
    Journal.create(tmp_path, old, rows=10).close()
    (tmp_path / "run" / "conditions.jsonl").unlink()
    trim(tmp_path / "run", [])
    again = Journal.resume(tmp_path / "run", RunReader(tmp_path / "run").header)
    again.write(Page(rows=[row(0, conditions=0)], conditions=[Conditions(nice=3)]))
    again.close()
    reader = RunReader(tmp_path / "run")
    assert [one.nice for one in reader.header.conditions] == [1, 2, 3]
    assert [one.conditions for one in reader.rows()] == [2]


@pytest.mark.parametrize(("kept", "left"), [(1, 0), (2, 2), (3, 2), (4, 4)])
def test_a_job_that_was_torn_is_cut_off_whole(tmp_path, kept, left):
    cases = [case(0, "one"), case(1, "one")]
    journal = Journal.create(tmp_path, header(), rows=10)
    journal.write(Page(rows=[row(c, group=g, conditions=-1) for g in (0, 1) for c in (0, 1)]))
    journal.close()
    path = tmp_path / "run" / "measurements.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]))
    trim(tmp_path / "run", cases)
    assert path.read_bytes().splitlines(keepends=True) == lines[:left]


@pytest.mark.parametrize(
    ("kept", "left"), [(3, 0), (4, 4), (5, 4), (6, 4), (7, 4), (8, 8), (12, 12), (600, 12)]
)
def test_a_torn_job_is_cut_off_with_what_its_ranks_said(tmp_path, kept, left):
    """The rows of each rank stand before their group's; of a large group they fill many blocks."""
    cases = [case(0, "step"), case(1, "step"), case(2, "step"), case(3, "step")]
    cases[2:] = [msgspec.structs.replace(one, scope="rank", schedule=1) for one in cases[2:]]
    journal = Journal.create(tmp_path, header(), rows=10)
    rows = []
    for group, ranks in ((0, range(1)), (1, range(1)), (2, range(1)), (3, range(1, 900))):
        rows += [(c, rank) for c in (2, 3) for rank in ranks] + [(0, group), (1, group)]
    journal.write(Page(rows=[row(c, group=g, conditions=-1) for c, g in rows]))
    journal.close()
    path = tmp_path / "run" / "measurements.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]))
    trim(tmp_path / "run", cases)
    assert path.read_bytes().splitlines(keepends=True) == lines[:left]


WRITER = """
    import sys
    from pathlib import Path
    from bench.cluster.executor import Page
    from bench.cluster.journal import Journal
    from bench.records import Conditions, Header, Row
    header = Header(id="run", suite="s", started="", executor="local", provenance="stand-in")
    journal = Journal.create(Path(sys.argv[1]), header, rows=10)
    number = 0
    while True:
        rows = [Row(number + i, 0, 0, 0.5, 1.0, 1.0, 1.0, 3, "ok", 0, "stand-in", "x" * 50)
                for i in range(500)]
        journal.write(Page(rows=rows, conditions=[Conditions(nice=number % 7)]))
        number += 500
        print(number, flush=True)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_sigkill_loses_at_most_the_page_under_way(tmp_path, attempt):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    reported = 0
    stop = time.monotonic() + 1.0 + attempt / 7
    while time.monotonic() < stop or not reported:
        reported = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    reported = int(rest[-1]) if rest else reported
    reader = RunReader(tmp_path / "run")
    rows = list(reader.rows())
    assert [r.case for r in rows] == list(range(len(rows)))
    assert len(rows) >= reported
    assert all(r.conditions < len(reader.header.conditions) for r in rows)


@pytest.mark.parametrize("line", [b"garbage", b"[0,0]", b"{}", bytes(msgspec.json.encode(row(9)))])
def test_a_line_that_is_no_row_is_named_by_its_reader_not_cut(tmp_path, line):
    Journal.create(tmp_path, header(), rows=10).close()
    path = tmp_path / "run" / "measurements.jsonl"
    path.write_bytes(line + b"\n")
    trim(tmp_path / "run", [case(0)])
    assert path.read_bytes() == line + b"\n"
    with pytest.raises(InfraError, match="no measurement") as raised:
        RunReader(tmp_path / "run").columns()
    assert raised.value.where.endswith("measurements.jsonl:1")


def test_an_existing_run_is_never_overwritten(tmp_path):
    """Two drivers that begin in one second have folders of their own."""
    for name in ("run", "run-1", "run-2"):
        journal = Journal.create(tmp_path, header(), rows=1)
        journal.close()
        assert journal.folder == tmp_path / name
        assert RunReader(tmp_path / name).header.id == name


def test_a_run_has_one_writer(tmp_path):
    """Two drivers would write into each other's lines; a dead one holds nothing."""
    folder = tmp_path / "run"
    journal = Journal.create(tmp_path, header(), rows=10)
    journal.write(Page(rows=[row(0)], conditions=[Conditions()]))
    before = (folder / "measurements.jsonl").read_bytes()
    for act in (
        lambda: trim(folder, [case(number) for number in range(2)]),
        lambda: Journal.resume(folder, RunReader(folder).header),
    ):
        with pytest.raises(UsageError, match="another hengsuan writes") as raised:
            act()
        assert "wait until it has ended" in raised.value.hint
        assert (folder / "measurements.jsonl").read_bytes() == before
    journal.close()
    trim(folder, [case(0)])
    again = Journal.resume(folder, RunReader(folder).header)
    again.write(Page(rows=[row(1)], conditions=[Conditions()]))
    again.close()
    assert len(list(RunReader(folder).rows())) == 2


def test_a_full_disk_is_said_before_measuring(tmp_path):
    with pytest.raises(InfraError, match="MB free"):
        Journal.create(tmp_path, header(), rows=10**15)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_said_before_measuring(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InfraError, match="cannot write"):
        Journal.create(tmp_path / "file", header(), rows=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_read_only_file_system_is_said_before_measuring(tmp_path):
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(frozen)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(InfraError, match="Read-only file system"):
            Journal.create(frozen / "results", header(), rows=1)
    finally:
        subprocess.run(["umount", str(frozen)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_fills_up_while_measuring_is_a_sentence(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        journal = Journal.create(small, header(), rows=10)
        page = Page(rows=[row(i) for i in range(500)], conditions=[Conditions()])
        with pytest.raises(InfraError, match="No space left"):
            for _ in range(1000):
                journal.write(page)
        journal.close()
        kept = list(RunReader(small / "run").rows())
        assert len(kept) >= 500
    finally:
        subprocess.run(["umount", str(small)], check=True)
