"""SIGTERM, SIGHUP or kill -9 for verbs that start others: none of them goes on, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid

import processes
import pytest

BUILD = """\
import pathlib, tempfile, time
pathlib.Path(tempfile.mkdtemp(), "half-built").touch()
pathlib.Path({begun!r}).touch()
time.sleep(600)
"""
"""What builds a package, without end; it has written into its temporary folder by then."""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a verb with a temporary folder and a cache of its own; kills what is left of it."""
    # Other tests of this worker have processes of their own, which stay for those that follow.
    monkeypatch.setenv(processes.NAME, uuid.uuid4().hex)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for one in ("tmp", "cache", "work"):
        (tmp_path / one).mkdir()

    def started(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *words],
            cwd=tmp_path / "work",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # As from a terminal: who runs the tests with nohup ignores it.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    yield started
    for one in processes.ours():
        os.kill(one.pid, signal.SIGKILL)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_check_that_is_stopped_leaves_no_run(start, tmp_path, sent):
    verb = start("backend", "check", "cpu", "--only", "benchmark-train")
    until(lambda: any(one.is_rank for one in processes.ours()), verb)
    # Whoever starts a process is there twice until the other is what it will be.
    found = [one for one in processes.ours() if "bench run" in one.words]
    (driver,) = [one for one in found if one.parent not in {each.pid for each in found}]
    os.kill(driver.pid, signal.SIGSTOP)  # nor does it end by itself
    ended(verb, sent)
    if sent != signal.SIGKILL:
        assert list((tmp_path / "tmp").iterdir()) == []


def test_a_gate_that_is_stopped_while_a_revision_is_built_leaves_none_of_it(start, tmp_path):
    begun = tmp_path / "begun"
    work = tmp_path / "work"
    (work / "setup.py").write_text(BUILD.format(begun=str(begun)))
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], check=True, cwd=work)
    verb = start("gate", "pair", "--baseline", "git:HEAD", "--executor", "local")
    until(begun.exists, verb)
    ended(verb, signal.SIGTERM)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "cache" / "hengsuan" / "revisions").iterdir()) == []


def until(holds, verb):
    end = time.monotonic() + 240
    while not holds():
        assert verb.poll() is None, verb.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(verb, sent):
    """Send it; it says so and ends, and with it whoever it started."""
    verb.send_signal(sent)
    said = verb.communicate(timeout=120)[1]
    killed = sent == signal.SIGKILL
    assert verb.returncode == (-sent if killed else 130), said
    assert killed or said.splitlines()[-1] == "interrupted"
    assert processes.staying() == []
