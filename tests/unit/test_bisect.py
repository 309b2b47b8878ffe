"""The first bad revision, where some cannot be judged."""

import os
import subprocess

import pytest

from bench.campaigns.bisect import first_bad
from bench.campaigns.revisions import between, installed
from bench.errors import InfraError, UsageError


def search(bad, unknown=(), count=16):
    names = [f"r{number}" for number in range(1, count + 1)]
    asked = []

    def judge(name):
        asked.append(name)
        number = int(name[1:])
        return "unknown" if number in unknown else "bad" if number >= bad else "good"

    found = first_bad("r0", names, judge)
    assert len(asked) == len(set(asked)) == found.judged
    return found


@pytest.mark.parametrize("bad", range(1, 17))
def test_each_place_is_found_by_halving(bad):
    found = search(bad)
    assert (found.found, found.bad, found.good) == (True, f"r{bad}", f"r{bad - 1}")
    assert found.judged <= 4


def test_what_cannot_be_judged_is_passed_over():
    found = search(9, unknown={8, 4})
    assert (found.found, found.good, found.bad, found.between) == (False, "r7", "r9", ["r8"])
    assert search(9, unknown={3, 12}).found
    found = search(5, unknown=set(range(1, 16)))
    assert (found.good, found.bad, len(found.between)) == ("r0", "r16", 15)
    assert search(1, count=1).judged == 0


@pytest.fixture
def repository(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    git("init", "-q")
    for number in range(4):
        (tmp_path / "file").write_text(str(number))
        git("add", "file")
        git("commit", "-qm", str(number))
    return git


def test_what_a_build_left_that_was_killed_is_removed_by_a_later_one(repository, tmp_path):
    old, new = (tmp_path / f"cache/hengsuan/revisions/.building-{name}" for name in "ab")
    for place in (old, new):
        (place / "site").mkdir(parents=True)
    os.utime(old, (0, 0))
    with pytest.raises(InfraError, match="cannot be installed"):
        installed("HEAD")
    assert [path.name for path in old.parent.iterdir()] == [new.name]


def test_revisions_between_are_the_commits_after_the_good_one(repository):
    commits = repository("rev-list", "--reverse", "HEAD").split()
    assert between("HEAD~2", "HEAD") == commits[2:]
    assert between("HEAD", "HEAD") == []
    with pytest.raises(UsageError, match="does not follow"):
        between("HEAD", "HEAD~1")
    for name in ("none", "--all"):
        with pytest.raises(UsageError, match="no revision"):
            between("HEAD~1", name)


def test_a_revision_that_does_not_install_is_said(repository):
    with pytest.raises(InfraError, match="revision HEAD cannot be installed"):
        installed("HEAD")
