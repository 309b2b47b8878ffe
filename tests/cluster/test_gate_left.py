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
SUITE = f"""\
name: long
stages:
  - name: device
    benchmarks:
      - launch: {{op: empty, view: host, rule: {{precision: 0.5, budget: 10ms, warmup: 0s}}}}
      - launch: {{op: add, view: host, rule: {{precision: 1e-9, budget: {BLOCK}s, warmup: 0s}}}}
"""
"""The first says by its rows that a block has begun."""
GATE = "name: g\nsuite: long.yaml\nblocks: [4]\nmetrics: [{match: '*', margin: 20%}]\n"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_sides_end_in_the_midst_of_a_block(tmp_path, monkeypatch, sent):
    # Other tests of this worker have processes of their own, which stay for those that follow.
    monkeypatch.setenv(processes.NAME, uuid.uuid4().hex)
    (tmp_path / "long.yaml").write_text(SUITE)
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
        assert until(lambda: gate.poll() is not None or begun(tmp_path)), said_by(tmp_path)
        assert gate.poll() is None, said_by(tmp_path)
        os.kill(gate.pid, sent)
        code = gate.wait(BLOCK / 2)
        assert code == (130 if sent == signal.SIGINT else -sent), said_by(tmp_path)
        # The side that measures ends as one that is interrupted: nobody had to kill it.
        assert until(lambda: not processes.ours()), processes.ours()
        (run,) = (tmp_path / "out" / "baseline").iterdir()
        assert json.loads((run / "run.json").read_bytes())["state"] == "interrupted"
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


def begun(folder):
    return any(file.stat().st_size for file in folder.glob("out/baseline/*/measurements.jsonl"))
