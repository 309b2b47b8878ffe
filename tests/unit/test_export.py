"""Runs in one file: an archive that is unpacked into a folder of runs, and tables of all rows."""

import csv
import json
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from stored_runs import Runs, changed, hengsuan, same

from bench.store.export import FORMS
from bench.store.export import export as exported


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


def export(made, *words):
    return hengsuan("results", "export", *words, "--out", made.folder)


def test_an_archive_is_unpacked_into_the_same_runs(made, tmp_path):
    made.runs(3, samples=b"[0,0,0,1,[1.0]]\n")
    file = tmp_path / "runs.tar.gz"
    assert export(made, "run-000", "run-002", file).exit_code == 0
    with tarfile.open(file) as archive:
        assert {member.mtime for member in archive} == {0}
        archive.extractall(tmp_path / "other", filter="data")
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["run-000", "run-002"]
    for name in ("run-000", "run-002"):
        assert same(made.folder / name, tmp_path / "other" / name)
    # Equal runs, equal bytes, in whatever order they are named.
    again = tmp_path / "again.tgz"
    assert export(made, "run-002", "run-000", again).exit_code == 0
    assert again.read_bytes() == file.read_bytes()


def test_what_is_no_file_of_a_run_is_said(made, tmp_path):
    path = made.run()
    (path / "folder").mkdir()
    (path / "link").symlink_to("/etc/passwd")
    (path / ".half").write_text("")
    done = export(made, "run-000", tmp_path / "x.tar.gz")
    assert "folder, link is left out" in done.stderr
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        assert len(archive.getnames()) == 3


def test_rows_in_full_words(made, tmp_path):
    made.run()
    made.run(provenance="stand-in", by=2.0)
    assert export(made, "run-000", "run-001", tmp_path / "x.jsonl").exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    last = rows[-1]
    assert (last["run"], last["provenance"], last["schema"]) == ("run-001", "stand-in", 1)
    assert (last["case"], last["metric"], last["unit"]) == ("launch", "time", "s")
    assert (last["nodes"], last["ranks"], last["value"]) == ("gpu-1", "3", 2e-5)
    assert export(made, "run-000", "run-001", tmp_path / "x.csv").exit_code == 0
    with (tmp_path / "x.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(one["value"]) for one in table] == [one["value"] for one in rows]
    assert table[0]["axes"] == "{}"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run-000", "x.zip"], 2, "which form is meant"),
        (["nope", "x.csv"], 2, "unknown run 'nope'"),
        (["run-000", "there.csv"], 2, "there.csv exists"),
        (["run-000", "no/folder/x.csv"], 4, "cannot write: No such file"),
        (["damaged", "x.jsonl"], 4, "this line is no measurement"),
        (["damaged", "run-000", "x.csv"], 4, "this line is no measurement"),
        (["run-000", "/proc/x.csv"], 4, "cannot write"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_a_sentence_and_no_file(
    made, tmp_path, monkeypatch, words, code, message
):
    made.run()
    (made.run(id="damaged") / "measurements.jsonl").write_text("[1]\n")
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    done = export(made, *words)
    assert done.exit_code == code
    assert message in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "there.csv"]
    assert Path("there.csv").read_text() == "mine"


def test_a_run_that_is_named_by_a_dot_has_its_name(made, tmp_path, monkeypatch):
    path = made.run()
    monkeypatch.chdir(path)
    done = hengsuan("results", "export", ".", "--", tmp_path / "x.tar.gz")
    assert done.exit_code == 0, done.output
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"run-000"}


def test_half_a_file_never_has_the_name(made, tmp_path, monkeypatch):
    file = tmp_path / "x.csv"
    seen = []

    def killed(folders, whole):
        whole.write(b"half")
        whole.flush()
        seen.append(file.exists())
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMS, ".csv", killed)
    with pytest.raises(KeyboardInterrupt):
        exported([made.run()], file)
    assert seen == [False]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_table_of_no_rows_has_its_columns(made, tmp_path):
    made.run(rows=0)
    made.run()
    assert export(made, "run-000", tmp_path / "none.csv").exit_code == 0
    assert export(made, "run-001", tmp_path / "some.csv").exit_code == 0
    (head,) = (tmp_path / "none.csv").read_text().splitlines()
    assert head == (tmp_path / "some.csv").read_text().splitlines()[0]
    assert export(made, "run-001", tmp_path / "rows.jsonl").exit_code == 0
    first = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    assert head.split(",") == list(first)


def test_no_spreadsheet_computes_what_a_run_says(made, tmp_path):
    names = ['=HYPERLINK("http://x")', "+1", "-1", "@x", "\t=1", "\r=1", "\uff1d1", "plain=1"]
    path = made.run(nodes=[node(name) for name in names], suite="=1+1")
    row = json.loads((path / "measurements.jsonl").read_text().splitlines()[0])
    row[4:7] = [-1.5, -2.0, -1.0]
    (path / "measurements.jsonl").write_text(
        "".join(json.dumps([0, 2 * index, *row[2:]]) + "\n" for index in range(len(names)))
    )
    changed(path, schedules=[{"kind": "devices", "scope": "device", "groups": 2 * len(names)}])
    assert export(made, "run-000", tmp_path / "x.csv").exit_code == 0
    with (tmp_path / "x.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [one["nodes"] for one in table] == [*(f"'{name}" for name in names[:-1]), "plain=1"]
    for one in table:
        assert one["suite"] == "'=1+1"
        assert (one["value"], one["low"], one["high"]) == ("-1.5", "-2.0", "-1.0")
    # Programs read what the run says.
    assert export(made, "run-000", tmp_path / "x.jsonl").exit_code == 0
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [json.loads(one)["nodes"] for one in lines] == names
