"""`hengsuan report FILE`: recognised by what it holds; what is no document is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
import made_pages
from judged_runs import judged, judged_run

from bench.cli import cli
from bench.errors import HengsuanError
from bench.gates import GateReport, write_gate
from bench.report.html.intervals import Line, Mark, changes, shares
from bench.report.html.parts import Part, parts
from bench.report.pages.documents import KINDS, page_of
from bench.report.pages.score import Scores
from bench.verdicts import VERDICT, Certification, write_verdict


def report(*words: object, **how):
    """The verb's own exit code, or its error's, as ``exit_code``."""
    done = CliRunner().invoke(cli, ["report", *map(str, words)], standalone_mode=False, **how)
    done.exit_code = getattr(done.exception, "exit", done.return_value)
    return done


@pytest.fixture
def gate(tmp_path):
    path = tmp_path / "gate.json"
    write_gate(path, made_pages.gate())
    return path


def test_the_page_of_a_gate_lies_beside_it_whatever_it_is_called(gate, tmp_path):
    done = report(gate)
    assert done.exit_code == 0, done.exception
    page = (tmp_path / "gate.html").read_text(encoding="utf-8")
    assert "gate kernels failed: of " in page
    assert "throttled in every block of the candidate" in page
    assert 'id="plotly"' not in page
    other = gate.rename(tmp_path / "what-came-of-it.txt")
    assert report(other).exit_code == 0
    assert (tmp_path / "what-came-of-it.html").exists()


def test_a_folder_with_the_reports_of_a_gate_is_that_gate(gate, tmp_path):
    assert report(tmp_path, "--output", tmp_path / "x.html").exit_code == 0
    assert "gate kernels failed" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_standard_input_and_standard_output(gate):
    piped = report("-", "--output", "-", input=gate.read_bytes())
    assert piped.exit_code == 0
    assert piped.stdout.rstrip().endswith("</html>")
    refused = report("-", input=gate.read_bytes())
    assert refused.exit_code == 2
    assert "--output" in str(refused.exception)


def test_a_run_keeps_its_own_page(tmp_path):
    run = judged_run(tmp_path / "run", ("gpu-01", "accept"), ("gpu-02", "reject"))
    page = tmp_path / "verdict.html"
    assert report(run / VERDICT, "--output", page).exit_code == 0
    assert "1 of 2 nodes rejected, 1 accepted" in page.read_text(encoding="utf-8")


def test_what_gate_prints_is_read_as_what_it_writes(gate):
    told = {"exit": 1, "folder": "out", "report": json.loads(gate.read_bytes())}
    written, printed = (page_of(raw, "x") for raw in (gate.read_bytes(), msgspec.json.encode(told)))
    assert written == printed


def test_no_two_kinds_are_taken_for_each_other():
    for one in KINDS:
        for other in KINDS:
            if one is not other:
                assert not one.keys <= other.keys, (one.said, other.said)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"not json", "no JSON"),
        (b"[]", "holds nothing that has a page"),
        (b"null", "holds nothing that has a page"),
        (b'{"a": 1}', "there are pages of runs, gate.json of `hengsuan gate`"),
        (b'{"gate": 1, "how": 2, "baseline": 3, "candidate": 4}', "says no schema"),
        (b'{"gate": 1, "how": 2, "baseline": 3, "candidate": 4, "schema": 99}', "newer hengsuan"),
        (b'{"gate": 1, "how": 2, "baseline": 3, "candidate": 4, "schema": 1}', "is damaged"),
        (b'{"report": [], "folder": ""}', "says no schema"),
        (b'{"scorecards": 7}', "is damaged"),
        (b'{"projection": null}', "is damaged"),
        (b'{"comparison": {}, "profile": ""}', "is damaged"),
        (b'{"backend": "x", "results": [{}], "counts": {}}', "is damaged"),
    ],
    ids=range(15),
)
def test_what_is_no_document_is_said(tmp_path, raw, said):
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    done = report(path)
    assert isinstance(done.exception, HengsuanError), done.exception
    assert said in str(done.exception)
    assert str(path) in str(done.exception)
    assert done.exit_code in (2, 4)
    assert list(tmp_path.iterdir()) == [path]


def test_other_forms_are_of_runs(gate):
    for kind in ("csv", "junit", "md", "openmetrics"):
        done = report(gate, "--format", kind)
        assert done.exit_code == 2
        assert "is a form of runs" in str(done.exception)


def test_a_disk_that_is_full_and_a_folder_that_is_a_file(gate, tmp_path):
    (tmp_path / "file").write_text("x")
    done = report(gate, "--output", tmp_path / "file" / "page.html")
    assert done.exit_code == 4
    assert "cannot write" in str(done.exception)
    before = sorted(tmp_path.iterdir())
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from bench.cli import main\nmain()"
    )
    words = [sys.executable, "-c", script, "report", str(gate)]
    root = str(Path(__file__).parents[2])
    full = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert full.returncode == 4
    assert "cannot write" in full.stderr
    assert "Traceback" not in full.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_documents_without_anything_in_them(tmp_path):
    nothing = GateReport(
        gate="g", how="pair", baseline="a", candidate="b", created="2026-01-01", alpha=0.01
    )
    write_gate(tmp_path / "gate.json", nothing)
    _, found = judged()
    write_verdict(tmp_path, found)
    (tmp_path / "score.json").write_text('{"exit": 3, "scorecards": []}')
    (tmp_path / "check.json").write_bytes(
        msgspec.json.encode({"backend": "x", "exit": 3, "devices": [], "counts": {}, "results": []})
    )
    said = {
        "gate": "there is no metric that gates",
        "verdict": "no nodes were judged",
        "score": "nothing could be scored",
        "check": "backend x may keep the contract: nobody could try all of it here",
    }
    for name, text in said.items():
        done = report(tmp_path / f"{name}.json")
        assert done.exit_code == 0, done.exception
        assert text in (tmp_path / f"{name}.html").read_text(encoding="utf-8")


def test_ten_thousand_nodes_have_a_page_that_opens(tmp_path):
    names = [(f"gpu-{number:05d}", "accept") for number in range(10_000)]
    _, found = judged(*names)
    write_verdict(tmp_path, found)
    assert report(tmp_path / VERDICT).exit_code == 0
    page = tmp_path / "verdict.html"
    assert page.stat().st_size < 5e6
    assert "10000 of 10000 nodes accepted" in page.read_text(encoding="utf-8")
    assert isinstance(found, Certification)


def test_changes_are_drawn_on_the_axis_of_ratios():
    drawn = changes(
        [Line("a", [Mark(1.0, 0.5, float("inf"))], limit=0.05), Line("b", [Mark(-0.5)])], ""
    )
    at = {line["label"]: line["marks"][0] for line in drawn.data["lines"]}
    zero = next(one["at"] for one in drawn.data["axis"] if one["text"] == "0")
    assert at["a"]["at"] - zero == pytest.approx(zero - at["b"]["at"], abs=0.05)
    assert at["a"]["high"] == 100
    assert at["b"]["low"] is None
    places = [one["at"] for one in drawn.data["axis"]]
    assert places == sorted(places)
    assert 3 <= len(places) <= 7


def test_scores_are_drawn_from_nothing_to_all_of_it():
    drawn = shares([Line("a", [Mark(50.0, 40.0, 60.0)])], "", whole=100.0, unit="")
    (line,) = drawn.data["lines"]
    (mark,) = line["marks"]
    assert mark["low"] < mark["at"] < mark["high"]
    assert mark["at"] == pytest.approx(49.0, abs=1)
    assert [one["text"] for one in drawn.data["axis"]] == ["0", "25", "50", "75", "100"]


def test_parts_fill_their_whole_and_no_more():
    made = [Part("a", 30.0, "30"), Part("none", 0.0, "0"), Part("b", 10.0, "10")]
    drawn = parts(made, "", of=80.0, rest="free").data
    assert [one["label"] for one in drawn["parts"]] == ["a", "b"]
    assert sum(one["width"] for one in drawn["parts"]) == pytest.approx(50)
    assert (drawn["rest"], drawn["left"], drawn["limit"]) == ("free", "40.0", None)
    over = parts(made, "", of=20.0, rest="free").data
    assert sum(one["width"] for one in over["parts"]) == pytest.approx(100)
    assert over["limit"] == 50
    assert over["rest"] == ""


def test_values_that_do_not_go_together_are_said(tmp_path):
    """Each has its type: only who makes the page finds out."""
    compared = msgspec.to_builtins(made_pages.compared())
    compared["comparison"]["kinds"].pop()
    score = msgspec.to_builtins(Scores(exit=0, scorecards=[made_pages.card()]))
    score["scorecards"][0] |= {"low": 1.0, "high": None}
    for name, found in {"compare": compared, "score": score}.items():
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(found))
        done = report(tmp_path / f"{name}.json")
        assert isinstance(done.exception, HengsuanError), done.exception
        assert "is damaged" in str(done.exception)
        assert done.exit_code == 4
