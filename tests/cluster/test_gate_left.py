"""A gate that is interrupted or killed in the midst of a block: its sides end with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import processes
import pytest

BLOCK = 600
"""Seconds that a block takes: far more than any wait here."""
PROGRAM = f"""\
import pathlib, time
pathlib.Path(__file__).with_name("begun").touch()
time.sleep({BLOCK})
"""
"""What a block measures, which says that one has begun: its rows come at its end."""
SUITE = """\
name: long
stages:
  - name: device
    benchmarks:
      - command: {{program: "{{python}} {program}", deadline: {block}s}}
"""
GATE = "name: g\nsuite: long.yaml\nblocks: [4]\nmetrics: [{match: '*', margin: 20%}]\n"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_sides_end_in_the_midst_of_a_block(tmp_path, monkeypatch, sent):
    # Other tests of this worker have processes of their own, which stay for those that follow.
    monkeypatch.setenv(processes.NAME, uuid.uuid4().hex)
    program, begun = tmp_path / "program.py", tmp_path / "begun"
    program.write_text(PROGRAM)
    (tmp_path / "long.yaml").write_text(SUITE.format(program=program, block=BLOCK))
    (tmp_path / "g.yaml").write_text(GATE)
    words = ["gate", "pair", "--candidate", "var:A=1", "--gate", "g.yaml", "--executor", "local"]
    with (tmp_path / "said").open("w") as said:
        gate = subprocess.Popen(
            [sys.executable, "-m", "bench", *words, "--out", "out"],
            cwd=tmp_path,
            stdout=said,
            stderr=said,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        assert until(lambda: gate.poll() is not None or begun.exists()), said_by(tmp_path)
        assert gate.poll() is None, said_by(tmp_path)
        os.kill(gate.pid, sent)
        code = gate.wait(BLOCK / 2)
        assert code == (130 if sent == signal.SIGINT else -sent), said_by(tmp_path)
        # The side that measures ends as one that is interrupted: nobody had to kill it.
        assert until(lambda: not processes.ours()), processes.ours()
        # The other one, which waits for its turn, has done all that it was asked.
        runs = (tmp_path / "out").glob("*/*/run.json")
        states = sorted(json.loads(one.read_bytes())["state"] for one in runs)
        assert states == ["complete", "interrupted"]
    finally:
        for one in processes.ours():
            os.kill(one.pid, signal.SIGKILL)


def until(holds, seconds=120.0):
    """Whether it holds before so many seconds are over."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def said_by(folder):
    return (folder / "said").read_text()
