"""A results folder that fills up, turns read-only or vanishes while a run writes into it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import resume, start, wait_for_rows

from bench.results import RunReader

pytestmark = pytest.mark.forked

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MB for the runs."""
    runs = tmp_path / "runs"
    runs.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(runs)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    yield runs
    subprocess.run(["umount", "-l", str(runs)], check=True)


def fill(folder):
    """Take all room but a few hundred bytes, so that the next page fits in part."""
    with (folder / "others").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return file.name


def ended(process):
    """What a driver says that cannot go on."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 4, err
    assert "Traceback" not in err
    assert json.loads(out)["error"].startswith("cannot write: ")
    return err


@needs_root
def test_a_disk_that_fills_up_ends_the_run_and_resume_goes_on(tmp_path, disk):
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 3)
    os.kill(process.pid, signal.SIGSTOP)
    other = fill(disk)
    os.kill(process.pid, signal.SIGCONT)
    err = ended(process)
    assert f"{folder}: cannot write: No space left on device" in err
    assert f"hengsuan run --resume {folder}" in err
    assert not list(folder.glob(".run.json*"))
    before = list(RunReader(folder).rows())
    assert len(before) >= 3
    os.unlink(other)

    again = resume(folder)
    assert again.returncode == 0, again.stderr
    rows = list(RunReader(folder).rows())
    # A job of which half a row was written is measured again; each has one row here.
    assert rows[: len(before)] == before
    keys = [(row.case, row.group, row.repeat) for row in rows]
    assert len(keys) == len(set(keys)) == 20 * 2 + 1
    assert RunReader(folder).header.state == "complete"


@needs_root
def test_a_folder_that_turns_read_only_ends_the_run(tmp_path, disk):
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 3)
    # A file that is open can be written on; what opens another, as `run.json` does, fails.
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        assert f"{folder}: cannot write: Read-only file system" in ended(process)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    kept = list(RunReader(folder).rows())
    assert len(kept) >= 3


def test_a_folder_that_is_deleted_ends_the_run(tmp_path):
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 3)
    shutil.rmtree(folder)
    assert f"{folder}: cannot write: " in ended(process)
    assert not folder.exists()


def test_a_folder_that_is_moved_ends_the_run_and_is_kept(tmp_path):
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 3)
    moved = folder.rename(tmp_path / "runs" / "elsewhere")
    assert f"{folder}: cannot write: " in ended(process)
    assert len(list(RunReader(moved).rows())) >= 3
