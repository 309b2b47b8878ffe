"""Terminals that are narrow, dumb, colourless or not there: useful, and none a traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from growing_run import SUITE, complete, going, row, write
from terminals import Terminal

RUN = ["run", "quick", "--cluster", "small"]


@pytest.mark.parametrize(
    ("columns", "changes"),
    [
        (40, {}),
        (80, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}),
        (80, {"TERM": "dumb"}),
        (100, {"NO_COLOR": "1"}),
    ],
    ids=["40 columns", "ascii", "dumb", "no color"],
)
def test_a_run_on_a_bad_terminal_says_the_same(tmp_path, columns, changes):
    seen = Terminal(RUN, tmp_path, columns=columns, rows=50, **changes)
    assert seen.end() == 0
    (run,) = (tmp_path / "results").iterdir()
    text = " ".join(seen.text.split())
    assert "Traceback" not in text
    assert "TFLOP/s" in text
    assert "overall score" in text
    assert f"run {run.name}: measured, every check held" in text
    assert f"hengsuan expect {run.name}" in text
    if changes.get("LC_ALL") == "C":
        assert seen.raw.isascii()
    if changes.get("TERM") == "dumb":
        assert b"\x1b" not in seen.raw
        assert "stage 1/3 device" in text
    if "NO_COLOR" in changes:
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", seen.raw)


@pytest.mark.parametrize("words", [["--help"], ["certify", "--help"], ["show", "suites"]])
@pytest.mark.parametrize("columns", ["40", "80"])
def test_what_is_read_fits_narrow_terminals_without_utf8(tmp_path, words, columns):
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": columns, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.isascii()


def shell(line, cwd):
    """(exit code of the first command, its output) of a line that bash runs."""
    program = f"{sys.executable} -m bench"
    done = subprocess.run(
        ["bash", "-c", line.replace("hengsuan", program) + "; exit ${PIPESTATUS[0]}"],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("hengsuan run quick --cluster small 2>&1 | head -1", 0, "quick on 4 node(s)"),
        ("hengsuan results show RUN --rows | head -1", 0, "gemm"),
        ("hengsuan run quick --cluster small 2>/dev/full", 0, "every check held"),
        ("hengsuan run quick --cluster small >/dev/full", 4, "No space left on device"),
        ("hengsuan show suites >/dev/full", 4, "No space left on device"),
        ("hengsuan show suites >&-", 0, ""),
        ("hengsuan show nothing 2>&-", 2, ""),
        ("hengsuan watch RUN >/dev/full 2>&1", 4, ""),
    ],
)
def test_output_that_goes_nowhere(tmp_path, line, code, said):
    journal = going(tmp_path / "results")
    write(journal, *(row(0, group) for group in range(128)))
    complete(journal)
    found, text = shell(line.replace("RUN", journal.folder.name), tmp_path)
    assert found == code, text
    assert said in text
    assert "Traceback" not in text
    assert "Exception ignored" not in text


def test_who_stops_looking_does_not_stop_the_run(tmp_path):
    """The reader of the display leaves at once; all is measured, and the exit code is the run's."""
    suite = tmp_path / "quick.yaml"
    suite.write_text(SUITE)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", str(suite), "--cluster", "small"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 0
    assert "complete: " in done.stdout
