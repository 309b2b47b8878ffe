"""fio: its report as recorded and as the real program prints it; and work on names.

The recorded text is of fio 3.33 (Debian 12), by the options of `storage`, on an ext4 file system.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.errors import UsageError
from bench.timing import Rule
from bench.workloads import fio
from bench.workloads.base import make
from bench.workloads.runner import run
from bench.workloads.storage import Metadata

RECORDED = (Path(__file__).parent / "recorded" / "fio-3.33.json").read_text()
RULE = Rule(budget=0.01, warmup=0.0, min_samples=3)
needs_fio = pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
OPS = ["seq_read", "seq_write", "rand_read", "rand_write"]


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


def changed(**more):
    """The recorded report with other figures of its one job."""
    found = json.loads(RECORDED)
    found["jobs"][0].update(more)
    return json.dumps(found)


def test_a_recorded_report():
    (job,) = json.loads(RECORDED)["jobs"]
    report = fio.parse(RECORDED)
    assert report.bandwidth == job["read"]["bw_bytes"]
    assert report.iops == pytest.approx(job["read"]["iops"])
    assert report.operations == job["read"]["total_ios"]
    assert report.bandwidth == pytest.approx(4096 * report.iops, rel=0.01)
    assert 0 < report.p50 < report.p99 < report.p999 < 1


def test_warnings_before_a_report_are_no_part_of_it():
    assert fio.parse(f"fio: this is a warning\nnote: {{}}\n{RECORDED}") == fio.parse(RECORDED)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "printed no report"),
        ("fio: engine libaio not loadable\n", "printed no report"),
        (RECORDED[: len(RECORDED) // 2], "printed no report"),
        (changed(error=5), "reported error 5"),
        (changed(read={"total_ios": 0}), "did 0 of reading and writing"),
        (changed(write={"total_ios": 3}), "did 2 of reading and writing"),
        (changed(read={"total_ios": 3}), "printed no report"),
        ('{"jobs": []}', "printed no report"),
    ],
)
def test_what_is_no_report_is_refused(text, why):
    with pytest.raises(fio.FioError, match=why):
        fio.parse(text)


SMALL = {"size": "4MiB", "duration": "50ms"}


def stored(op, path, **axes):
    return make("storage", {"op": op, "path": str(path), **SMALL, **axes})


@needs_fio
@pytest.mark.parametrize("op", OPS)
def test_the_real_program_measures(tmp_path, op):
    outcome = run(stored(op, tmp_path), context(0, 1), RULE)
    assert outcome.status == "ok", outcome.reason
    found = values(outcome)
    block = 4096 if op.startswith("rand") else 1 << 20
    assert found["bandwidth"] == pytest.approx(block * found["iops"], rel=0.05)
    assert 0 < found["latency_p50"] <= found["latency_p99"] <= found["latency_p999"]
    assert len(outcome.seconds) >= 3
    assert outcome.reason.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@needs_fio
def test_memory_has_no_direct_access_or_it_is_used():
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK):
        pytest.skip("no /dev/shm here")
    outcome = run(stored("rand_read", place, jobs=2), context(0, 1), RULE)
    assert outcome.status == "ok", outcome.reason
    assert re.fullmatch(r"/dev/shm(; no direct I/O there: through the page cache)?", outcome.reason)


@needs_fio
def test_what_the_storage_changes_is_invalid(tmp_path):
    bench = stored("seq_write", tmp_path)

    def flip():
        path = Path(bench.scratch.folder, fio.FILE)
        with path.open("r+b") as file:
            file.seek(100_000)
            byte = file.read(1)[0]
            file.seek(100_000)
            file.write(bytes([byte ^ 1]))
            file.flush()
            os.fsync(file.fileno())

    bench.between = flip
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert "what was written is not what is read: fio ended with" in outcome.reason


@needs_fio
def test_options_that_fio_refuses_are_a_sentence(tmp_path):
    with pytest.raises(fio.FioError, match=r"fio ended with 1: .*nonsense"):
        fio.run(str(tmp_path), {"rw": "nonsense", "size": 4096})


@needs_fio
def test_the_program_dies_with_who_started_it(tmp_path):
    script = (
        "from bench.workloads import fio\n"
        f"fio.run({str(tmp_path)!r}, {{'rw': 'read', 'size': 4096, 'time_based': 1, "
        "'runtime': 60, 'ioengine': 'psync'})"
    )
    starter = subprocess.Popen([sys.executable, "-c", script])
    found = _until(lambda: _children("fio", starter.pid))
    starter.kill()
    starter.wait()
    assert found
    assert _until(lambda: not any(map(_alive, found)))


def _until(wanted, seconds=50.0):
    import time

    stop = time.monotonic() + seconds
    while not (found := wanted()) and time.monotonic() < stop:
        time.sleep(0.02)
    return found


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(name, parent):
    from bench import host

    return [pid for pid in host.process_tree(parent) if host.process_name(pid) == name]


def test_without_fio_storage_is_skipped_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = run(stored("seq_read", tmp_path), context(0, 1), RULE)
    assert outcome.status == "skipped"
    assert "fio not found (Debian: apt install fio)" in outcome.reason
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_measured_are_skipped(tmp_path):
    for name in ("storage", "metadata"):
        outcome = run(make(name, {"path": str(tmp_path / "absent")}), context(0, 1), RULE)
        assert outcome.status == "skipped"
        assert "no such directory" in outcome.reason


@needs_fio
def test_a_file_that_has_no_room_is_skipped(tmp_path):
    outcome = run(stored("seq_read", tmp_path, size="1000TiB"), context(0, 1), RULE)
    assert outcome.status == "skipped"
    assert "free, and 1.154 PB are needed" in outcome.reason


def test_bad_axes_are_refused_before_anything_starts():
    for axes, why in (
        ({"depth": 0}, "depth must be 1 to 65536, not 0"),
        ({"depth": 99_999_999}, "depth must be 1 to 65536, not 99999999"),
        ({"jobs": 0}, "jobs must be 1 to 4096, not 0"),
        ({"jobs": 99_999}, "jobs must be 1 to 4096, not 99999"),
        ({"block": 1000}, "multiple of 512"),
        ({"size": "4KiB"}, "has no block of 1048576"),
        ({"path": "s3://bucket"}, "path must be a directory"),
    ):
        with pytest.raises(UsageError, match=why):
            make("storage", axes)
    with pytest.raises(UsageError, match="files must be 1 to 8388608, not 99999999999"):
        make("metadata", {"files": 99_999_999_999})
    with pytest.raises(UsageError, match="files must be 1 to 8388608, not 0"):
        make("metadata", {"files": 0})


def test_more_files_than_there_may_be_are_none(tmp_path):
    if not os.statvfs(tmp_path).f_files:
        pytest.skip("this file system does not say how many files it may have")
    bench = make("metadata", {"path": str(tmp_path)})
    bench.files = 10**15  # more than a suite may ask for, and than any file system has
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "skipped"
    assert "more files, and 1000000000000000 are created" in outcome.reason
    assert list(tmp_path.iterdir()) == []


# ---- names ----


def test_names_are_created_looked_up_and_removed(tmp_path):
    bench = make("metadata", {"path": str(tmp_path), "files": 50})
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "ok", outcome.reason
    found = values(outcome)
    assert set(found) == {"create_rate", "stat_rate", "remove_rate"}
    # Each part is shorter than the whole.
    assert min(found.values()) > np.min(50 / np.array(outcome.seconds))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "why"),
    [("create", "3 of 50 files are not there"), ("remove", "1 files are there that were removed")],
)
def test_names_that_are_lost_or_stay_are_invalid(tmp_path, what, why):
    class Losing(Metadata):
        def create(self):
            super().create()
            if what == "create":
                for name in self.names[:3]:
                    os.unlink(name)
            else:
                Path(self.place, "more").touch()

        def step(self):
            try:
                super().step()
            except FileNotFoundError:
                self.spans.append((1.0, 1.0, 1.0))

    outcome = run(Losing(path=str(tmp_path), files=50), context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert why in outcome.reason
    assert list(tmp_path.iterdir()) == []


@needs_fio
def test_one_rank_measures_for_its_node(tmp_path):
    jobs = [
        ("storage", {"path": str(tmp_path), **SMALL}, None),
        ("metadata", {"path": str(tmp_path), "files": 20}, None),
    ]
    for first, second in several(jobs, rule=RULE):
        assert first.status == second.status == "ok", first.reason
        assert all(value > 0 for value in values(first).values())
        assert second.values == []
