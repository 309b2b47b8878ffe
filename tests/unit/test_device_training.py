"""What a run of the suite ``slices`` comes to: read off its rows, and only off an accelerator's."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.records import Device, Node

SCRIPT = Path(__file__).parents[1] / "device" / "training.py"
FIRST, SECOND = "2026-01-01T00:00:00+00:00", "2026-02-02T00:00:00+00:00"
NODE = Node(
    id="n", name="n", machine="n", address="", backend="acme", collectives="",
    devices=(Device(index=0, backend="acme", name="Acme One", memory=1 << 30),),
)  # fmt: skip


def run(
    folder,
    speed=110.0,
    estimate=95.0,
    lacking=(),
    started="2026-01-01T00:00:00+00:00",
    interval=True,
    **changes,
):
    """A folder with a matrix product, steps in two ways and the memory of one; cases that are
    ``lacking`` have a reason in place of a value, or no row where that is None."""
    made = [
        (case(0, axes={"impl": "torch"}, expected=200.0), 100.0),
        *(
            (case(n, "train", {"ops": ops}, metric, title=f"train {ops}"), value)
            for n, ops, metric, value in (
                (1, "triton", "tokens_per_second", speed),
                (2, "compile", "tokens_per_second", 100.0),
                (3, "triton", "mfu", 0.3),
                (4, "torch", "peak_memory", 100.0),
                (5, "torch", "memory_estimate", estimate),
            )
        ),
    ]
    lacking = dict(lacking)
    told = {"nodes": [NODE], "fleet": None, "environment": {"versions": {"torch": "1"}}, **changes}
    told["started"] = started
    whole = header(*(one for one, _ in made), groups=1, **told)
    folder.mkdir()
    (folder / "run.json").write_bytes(msgspec.json.encode(whole))
    rows = [
        [n, 0, 0, 0.0, v, *(2 * [v if interval else None]), 1, "ok", -1, "measured", ""]
        if n not in lacking
        else [n, 0, 0, 0.0, None, None, None, 0, "skipped", -1, "measured", lacking[n]]
        for n, (_, v) in enumerate(made)
        if lacking.get(n, "") is not None
    ]
    (folder / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return folder


def judged(*words, out):
    words = [sys.executable, str(SCRIPT), *map(str, words), "--out", str(out)]
    return subprocess.run(words, capture_output=True, text=True)


def verdicts(done):
    lines = [line for line in done.stdout.splitlines()[2:] if line.startswith("|")]
    return [line.split("|")[-2].strip() for line in lines]


def test_ratios_stand_beside_their_bounds(tmp_path):
    done = judged(run(tmp_path / "met"), out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert verdicts(done) == ["met", "met", "met"]
    # 30 % of a datasheet's 200 are 60 of the 100 that a product reached.
    assert [text for text in ("1.100", "0.600", "0.950") if text not in done.stdout] == []
    assert (tmp_path / "acme-one" / "training.md").read_text().count("met |") == 3
    missed = judged(run(tmp_path / "missed", speed=99.0, estimate=120.0), out=tmp_path)
    assert verdicts(missed) == ["MISSED", "met", "MISSED"]


@pytest.mark.parametrize("provenance", ["stand-in", "simulated"])
def test_what_is_of_no_accelerator_is_refused(tmp_path, provenance):
    done = judged(run(tmp_path / "run", provenance=provenance), out=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"is {provenance}: these bounds are of accelerators" in done.stderr
    assert not (tmp_path / "acme-one").exists()


def test_no_run_is_said(tmp_path):
    done = judged(tmp_path / "none", out=tmp_path)
    assert done.returncode == 2
    assert "holds no run.json" in done.stderr


def test_a_case_without_a_value_says_why(tmp_path):
    done = judged(run(tmp_path / "run", lacking={4: None, 5: "it does not fit"}), out=tmp_path)
    assert verdicts(done) == ["met", "met", "no figure"]
    assert "skipped: it does not fit" in done.stdout
    done = judged("--alone", run(tmp_path / "cut", lacking={4: None, 5: None}), out=tmp_path)
    assert verdicts(done) == ["met", "met", "no figure"]
    assert "not reached" in done.stdout


def test_runs_are_merged_and_each_value_says_when_it_was_measured(tmp_path):
    first = run(tmp_path / "first", lacking={4: None, 5: None})
    second = run(
        tmp_path / "second",
        lacking={1: "lost", 2: None, 3: None},
        started=SECOND,
    )
    assert judged(first, out=tmp_path).returncode == 0
    done = judged(second, out=tmp_path)  # onto what lies there
    assert verdicts(done) == ["met", "met", "met"]
    text = (tmp_path / "acme-one" / "training.md").read_text()
    assert f"- run of {FIRST}: 4 values" in text
    assert f"- run of {SECOND}: 3 values" in text
    both = judged("--alone", first, second, out=tmp_path / "both")
    assert verdicts(both) == verdicts(done)


def test_only_what_one_run_measured_is_compared(tmp_path):
    first = run(tmp_path / "first")
    second = run(tmp_path / "second", speed=300.0, lacking={2: "contended"}, started=SECOND)
    done = judged(first, second, out=tmp_path)
    assert "1.100" in done.stdout
    assert "3.000" not in done.stdout
    text = (tmp_path / "acme-one" / "training.md").read_text()
    assert f"- run of {FIRST}: 6 values" in text
    assert f"- run of {SECOND}: 5 values" in text
    third = run(tmp_path / "third", speed=120.0, started="2026-03-03T00:00:00+00:00")
    done = judged(third, out=tmp_path)
    assert "1.200" in done.stdout
    text = (tmp_path / "acme-one" / "training.md").read_text()
    assert FIRST not in text  # nothing of it is told any more
    assert SECOND not in text


def test_an_estimate_stands_beside_the_peak_of_its_own_run(tmp_path):
    whole = run(tmp_path / "whole", estimate=95.0)
    later = run(tmp_path / "later", estimate=300.0, lacking={4: None}, started=SECOND)
    for words in ([whole], [later]):
        done = judged(*words, out=tmp_path)
    assert verdicts(done) == ["met", "met", "met"]
    assert "0.950" in done.stdout
    # What that is of stays, whatever else is newer.
    kept = msgspec.json.decode((tmp_path / "acme-one" / "training.json").read_bytes())
    assert {row["at"] for row in kept["rows"]} == {FIRST, SECOND}


def test_the_device_of_a_run_is_the_first_that_a_node_has(tmp_path):
    head = msgspec.structs.replace(NODE, id="h", name="h", machine="h", devices=())
    done = judged(run(tmp_path / "run", nodes=[head, NODE]), out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "acme-one" / "training.md").is_file()


def test_a_report_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = judged("--alone", run(tmp_path / "run"), out=tmp_path / "file")
    assert (done.returncode, done.stdout) == (4, "")
    assert "cannot be written" in done.stderr


def test_values_of_few_samples_have_no_interval_and_are_read_again(tmp_path):
    first = run(tmp_path / "first", interval=False)
    assert "1.100 " in judged(first, out=tmp_path).stdout
    kept = json.loads((tmp_path / "acme-one" / "training.json").read_text())
    assert kept["rows"][0]["low"] is None
    done = judged(run(tmp_path / "second", speed=120.0, started=SECOND), out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1.200 " in done.stdout


def test_another_environment_is_not_merged(tmp_path):
    assert judged(run(tmp_path / "first"), out=tmp_path).returncode == 0
    kept = (tmp_path / "acme-one" / "training.json").read_bytes()
    other = run(tmp_path / "other", environment={"versions": {"torch": "2"}})
    done = judged(other, out=tmp_path)
    assert done.returncode == 2
    assert "was measured with torch '1', this run with '2'" in done.stderr
    done = judged("--apart", other, out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "acme-one-torch-2" / "training.md").exists()
    assert (tmp_path / "acme-one" / "training.json").read_bytes() == kept
    done = judged("--alone", tmp_path / "first", other, out=tmp_path)
    assert done.returncode == 2
    assert "is of another device, driver or compiler than the first run" in done.stderr
