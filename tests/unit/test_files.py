"""Files that are replaced: at once, with the permissions asked for, through no link of others."""

import os

import pytest

from bench.files import replace_file


def test_a_link_that_somebody_laid_where_the_new_file_is_made_is_not_followed(tmp_path):
    victim, file = tmp_path / "victim", tmp_path / "run.prom"
    victim.write_text("precious")
    (tmp_path / f".run.prom.{os.getpid()}").symlink_to(victim)
    replace_file(file, b"new")
    assert victim.read_text() == "precious"
    assert file.read_bytes() == b"new"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run.prom", "victim"]


def test_permissions_are_there_with_the_name(tmp_path):
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "open", b"x", mode=0o644)
        replace_file(tmp_path / "own", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o600


def test_who_is_interrupted_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    (tmp_path / "page").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "page", b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page").read_bytes() == b"old"
