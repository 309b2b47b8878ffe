"""Files that verbs write: never one that a run, or what is being read, is read by."""

import json
import os
import sys
from pathlib import Path

import click
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from report_runs import written
from verbs import walked

from bench.cli import cli
from bench.cli.json_output import print_json
from bench.cli.parameters import Output

OURS = (
    "run.json",
    "conditions.jsonl",
    "measurements.jsonl",
    "samples.jsonl",
    "telemetry.jsonl",
    "verdict.json",
    "gate.json",
    "certificates.json",
)


def refused(*words):
    with pytest.raises(click.UsageError) as error:
        cli.main([*map(str, words)], prog_name="hengsuan", standalone_mode=False)
    return error.value.message


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", ["csv", "md"])
def test_a_report_overwrites_no_file_of_a_run(tmp_path, name, kind):
    folder = written(tmp_path, ["a"])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    link = tmp_path / "link"
    link.symlink_to(folder / name)
    for output in (folder / name, link, folder / ".." / folder.name / name):
        said = refused("report", folder, "--format", kind, "--output", output)
        assert "a run's own file" in said
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_every_verb_that_writes_a_named_file_refuses_those_of_runs(tmp_path, monkeypatch):
    folder = written(tmp_path, ["a"])
    monkeypatch.chdir(folder)
    options = {
        "report": "--output",
        "compare": "--html",
        "certify": "--markdown",
        "run": "--metrics-file",
        "backend check": "--junit",
        "submission pack": "--out",
        "results export": "",
        "tokens new": "",
    }
    found = {path: context.command for path, _, context in walked()}
    for path, option in options.items():
        command = found[path]
        names = [option] if option else ["file"]
        (param,) = [one for one in command.params if {one.name, *one.opts} & set(names)]
        assert isinstance(param.type, Output), path
        with pytest.raises(click.BadParameter, match="choose another name"):
            param.type.convert("measurements.jsonl", param, None)
    for path, command in found.items():
        for param in command.params:
            written_here = isinstance(param.type, click.Path)  # not as `deploy` prints it
            if written_here and {"--output", "--html", "--markdown", "--junit"} & set(param.opts):
                assert isinstance(param.type, Output), (path, param.opts)


def test_other_files_are_written(tmp_path):
    folder = written(tmp_path, ["a"])
    for name in (folder / "rows.csv", tmp_path / "measurements.jsonl"):
        cli.main(["report", str(folder), "--format", "csv", "--output", str(name)],
                 prog_name="hengsuan", standalone_mode=False)  # fmt: skip
        assert os.path.getsize(name)


def test_a_page_does_not_take_the_place_of_what_it_shows(tmp_path):
    file = tmp_path / "score.json"
    file.write_text("{}")
    with pytest.raises(Exception, match="the file that is read"):
        cli.main(["report", str(file), "--output", str(tmp_path / "." / "score.json")],
                 prog_name="hengsuan", standalone_mode=False)  # fmt: skip
    assert file.read_text() == "{}"


def test_json_of_names_that_are_no_text_is_the_json_of_others(capsys):
    """Names of files keep their bytes; numbers that JSON does not have are null beside them too."""
    name = os.fsdecode(b"runs/a\xff")
    for path in ("runs/a", name):
        print_json({path: [{"file": path, "value": float("nan")}, float("inf"), 1.5, None, True]})
        text = capsys.readouterr().out
        found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert found == {path: [{"file": path, "value": None}, None, 1.5, None, True]}
        (key,) = found
        assert os.fsencode(key) == os.fsencode(path)
