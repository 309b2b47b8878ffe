"""Where a Ray of our own keeps its files: what is said where it cannot, and where it must not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """\
name: tiny
rule: {budget: 10ms, warmup: 0s}
stages: [{name: device, benchmarks: [{launch: {op: empty, view: host}}]}]
"""


@pytest.fixture
def run(tmp_path):
    """Runs a small suite under a Ray of its own, from an empty folder, with these variables."""
    (tmp_path / "tiny.yaml").write_text(SUITE)
    (tmp_path / "work").mkdir()

    def ran(**variables):
        words = ["run", "../tiny.yaml", "--executor", "ray", "--out", "../runs", "--quiet"]
        kept = {name: value for name, value in os.environ.items() if name != "RAY_TMPDIR"}
        return subprocess.run(
            [sys.executable, "-m", "bench", *words],
            cwd=tmp_path / "work",
            env={**kept, **variables},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return ran


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_cannot_be_written_is_named(run, tmp_path, name):
    (tmp_path / "file").touch()  # nobody makes a folder in a file, root included
    done = run(**{name: str(tmp_path / "file")})
    assert done.returncode == 4, done.stderr
    assert f"below {tmp_path}/file/ray: it needs room there" in done.stderr
    assert "ray status" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_variable_is_not_the_folder_of_the_caller(run, tmp_path):
    done = run(TMPDIR="")
    assert done.returncode in (0, 3), done.stderr  # 3: other work was on these cores
    assert list(Path(tmp_path, "work").iterdir()) == []
