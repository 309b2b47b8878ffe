"""Folders at the path that is measured: private, found by all ranks, and gone afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context

from bench.errors import Unmeasurable
from bench.host import page_cache
from bench.workloads import left_behind
from bench.workloads.kept import held_at, kept_at
from bench.workloads.left_behind import PREFIX, sweep
from bench.workloads.scratch import Scratch, place_of, shared


def test_a_folder_is_private_and_gone_when_it_is_closed(tmp_path):
    made = Scratch.make(str(tmp_path))
    (folder,) = tmp_path.iterdir()
    assert str(folder) == made.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert made.there()
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    made.close()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_who_did_not_make_it_does_not_remove_it(tmp_path):
    made = Scratch.make(str(tmp_path))
    other = Scratch(made.folder)
    other.close()
    assert other.there()
    made.close()
    assert not other.there()


LEFT = """
import os, signal
from bench.workloads.scratch import Scratch
made = Scratch.make({place!r})
open(os.path.join(made.folder, "checkpoint"), "w").write("x" * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    script = LEFT.format(place=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    (left,) = tmp_path.iterdir()
    assert (left / "checkpoint").exists()
    mine = tmp_path / f"{PREFIX}of-somebody"  # our name, not our lock
    mine.mkdir()
    alive = Scratch.make(str(tmp_path))
    assert not left.exists()
    sweep(str(tmp_path))
    assert alive.there()
    assert mine.exists()
    alive.close()


DRIVER = """
import os, signal
from bench.workloads.kept import held_at, kept_at
with held_at({place!r}, {key!r}):
    kept_at({place!r}, {key!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_driver(place, key):
    """The folder of attempts that a killed driver leaves, with something in it."""
    script = DRIVER.format(place=str(place), key=key)
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    folder = place / f"hengsuan-goodput-{key}"
    (folder / "step-1").mkdir()
    return folder


def test_attempts_of_a_killed_driver_are_found_and_removed_and_nobody_elses(tmp_path):
    left = killed_driver(tmp_path, "dead")
    with held_at(str(tmp_path), "live") as found:
        assert found == [str(left)]
        assert not left.exists()
        live = Path(kept_at(str(tmp_path), "live"))
        assert sweep(str(tmp_path)) == []
        assert live.is_dir()
    # It ended, and its folder was left to be looked at: nobody removes that.
    with held_at(str(tmp_path), "next") as found:
        assert found == []
    assert list(tmp_path.iterdir()) == [live]


def test_attempts_that_cannot_be_removed_are_found_again_and_named(tmp_path, monkeypatch, capsys):
    from bench.cli.goodput_verb import _tell_found

    left = killed_driver(tmp_path, "dead")
    with monkeypatch.context() as patch:  # as where they are another user's
        patch.setattr(left_behind.shutil, "rmtree", lambda folder, ignore_errors: None)
        found = sweep(str(tmp_path))
    assert found == [str(left)]
    _tell_found(found)
    assert f"warning: {left} is left of a training whose driver was" in capsys.readouterr().err
    assert sweep(str(tmp_path)) == [str(left)]
    assert list(tmp_path.iterdir()) == []


def test_what_one_leaves_that_ends_meanwhile_is_not_touched(tmp_path, monkeypatch):
    """Between opening its lock and asking for it, the other one takes it back and lets go."""
    mine = held_at(str(tmp_path), "live")
    mine.__enter__()
    live = Path(kept_at(str(tmp_path), "live"))
    ask = left_behind.fcntl.flock

    def late(descriptor, how):
        mine.__exit__(None, None, None)
        ask(descriptor, how)

    with monkeypatch.context() as patch:
        patch.setattr(left_behind.fcntl, "flock", late)
        assert sweep(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == [live]


def test_what_another_machine_left_is_not_touched(tmp_path, monkeypatch):
    """Locks of some network file systems are each host's own: one that is free may be held."""
    attempts, scratch = tmp_path / "attempts", tmp_path / "scratch"
    attempts.mkdir()
    scratch.mkdir()
    left = killed_driver(attempts, "dead")
    script = LEFT.format(place=str(scratch))
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    (other,) = scratch.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(left_behind, "boot_id", lambda: "another")
        assert sweep(str(attempts)) == sweep(str(scratch)) == []
    assert left.is_dir()
    assert other.is_dir()
    assert sweep(str(attempts)) == [str(left)]
    assert sweep(str(scratch)) == []
    assert not [*attempts.iterdir(), *scratch.iterdir()]


def test_places_are_named_by_the_environment_of_the_node(tmp_path, monkeypatch):
    monkeypatch.setenv("WHERE", str(tmp_path))
    assert place_of("$WHERE/data") == str(tmp_path / "data")
    assert place_of("s3://bucket/$x") == "s3://bucket/$x"
    assert os.path.isdir(place_of(""))
    with pytest.raises(Unmeasurable, match="no such variable"):
        place_of("$NO_SUCH_VARIABLE/data")


def test_places_that_cannot_be_used_are_said(tmp_path):
    with pytest.raises(Unmeasurable, match="absent: there is no such directory"):
        Scratch.make(str(tmp_path / "absent"))
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, why in (
        ("file", "is no directory"),
        ("file/deeper", "cannot be used on this node: Not a directory"),
        ("loop", "cannot be used on this node: Too many levels of symbolic links"),
        ("n" * 300, "cannot be used on this node: File name too long"),
    ):
        with pytest.raises(Unmeasurable, match=f"^path {tmp_path}/{name}: {why}"):
            Scratch.make(str(tmp_path / name))
    with pytest.raises(Unmeasurable, match="/proc cannot be written"):
        Scratch.make("/proc")
    with pytest.raises(Unmeasurable, match="URLs need fsspec"):
        Scratch.make("nosuch://bucket")
    made = Scratch.make(str(tmp_path))
    made.needs(1000)
    with pytest.raises(Unmeasurable, match=r"has .* free, and .* are needed"):
        made.needs(1 << 60)
    made.close()


def test_an_address_is_a_place_too():
    import fsspec

    made = Scratch.make("memory://measured")
    assert made.there()
    made.needs(1 << 60)  # it does not say
    made.close()
    assert not made.there()
    assert fsspec.filesystem("memory").find("/measured") == []


def test_a_local_address_is_no_reason_to_make_a_directory(tmp_path):
    """Else a name that was mistyped is measured, on the disk of the root."""
    pytest.importorskip("fsspec")
    for scheme in ("file", "local"):
        with pytest.raises(Unmeasurable, match=f"^path {tmp_path}/absent: there is no such direct"):
            Scratch.make(f"{scheme}://{tmp_path}/absent")
    assert list(tmp_path.iterdir()) == []
    made = Scratch.make(f"file://{tmp_path}")
    assert made.there()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_cannot_be_written_is_called_as_it_was_given(tmp_path, monkeypatch):
    import fsspec

    def broken(self, path, exist_ok=False):
        raise OSError("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "makedirs", broken)
    with pytest.raises(Unmeasurable) as told:
        Scratch.make("memory://measured")
    assert told.value.message == "path memory://measured cannot be written: no credentials"


def test_a_rank_alone_has_a_folder_of_its_own(tmp_path):
    made = shared(context(0, 1), str(tmp_path))
    assert made.there()
    made.close()


def test_the_page_cache_forgets_a_file_where_the_kernel_lets_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(64 * page_cache.PAGE + 17))
    assert page_cache.resident(path) == 1.0
    page_cache.drop(path)
    left = page_cache.resident(path)
    if left == 1.0:
        pytest.skip("files here live in memory, or the kernel does not tell")
    assert left == 0.0
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
        os.pread(file.fileno(), 1, 8 * page_cache.PAGE)
    part = [(8 * page_cache.PAGE + 5, 10)]
    assert page_cache.resident(path, part) == 1.0
    assert page_cache.resident(path) < 1.0
    page_cache.drop(path, part)
    assert page_cache.resident(path, part) == 0.0


def test_small_parts_are_forgotten_where_the_kernel_keeps_large_pieces(tmp_path):
    path, page = tmp_path / "file", page_cache.PAGE
    path.write_bytes(bytes(page))
    page_cache.drop(path)
    if page_cache.resident(path) != 0.0:
        pytest.skip("files here live in memory, or the kernel does not tell")
    path.write_bytes(os.urandom(2048 * page))  # in large pieces, where the file system has them
    parts = [(offset * page + 5, 10) for offset in range(0, 2048, 7)]
    assert page_cache.resident(path, parts) == 1.0
    page_cache.drop(path, parts[::-1])
    assert page_cache.resident(path, parts) == 0.0


def test_what_is_forgotten_has_whole_pieces_and_each_once():
    piece = page_cache.FOLIO
    near = [(3 * piece + 1, 1), (5, 10), (piece - 1, 2), (7 * piece, piece)]
    assert page_cache._whole(near) == [
        (0, 2 * piece),
        (3 * piece, 4 * piece),
        (7 * piece, 8 * piece),
    ]
    ((first, end),) = page_cache._whole([(5, 10), (piece + 3, 0), (9 * piece, 1)])
    assert first == 0
    assert end > 1 << 62


def test_an_empty_file_has_no_pages(tmp_path):
    (tmp_path / "file").touch()
    assert page_cache.resident(tmp_path / "file") is None
