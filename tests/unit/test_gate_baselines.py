"""`gate check`: which stored runs a run is compared with, and which it is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.headers import RUN
from bench.records import Device, Node, Row
from bench.results import ROWS

GATE = "name: g\nmetrics: [{match: 'gemm flops', margin: 20%}]\n"


@pytest.fixture
def runs(tmp_path):
    """Call to write a run of one device: its name, what it reached and what is unusual of it."""
    (tmp_path / "g.yaml").write_text(GATE)

    def write(name, *, value=100.0, day=1, driver="550.1", chip="acme-1", raw=None, **changes):
        facts = {"versions": {"driver": driver}} if driver else {}
        device = Device(index=0, backend="acme", name=chip, chip=chip)
        node = Node(id="a", name="a", devices=(device,), facts=facts)
        usual = {
            "id": name,
            "started": f"2026-01-{day:02d}T00:00:00+00:00",
            "nodes": [node],
            "fleet": None,
        }
        one = header(case(0, title="gemm"), groups=1, **{**usual, **changes})
        path = tmp_path / "runs" / name
        path.mkdir(parents=True)
        (path / RUN).write_bytes(raw or msgspec.json.encode(one))
        row = Row(0, 0, 0, 1.0, value, value, value, 9, "ok", -1, one.provenance, "")
        (path / ROWS).write_bytes(msgspec.json.encode(row) + b"\n")
        return path

    return write


def check(run, *baselines, options=()):
    """Exit code, report (None where there is none), and everything that was said."""
    words = [word for path in baselines for word in ("--baseline", str(path))]
    gate = run.parents[1] / "g.yaml"
    command = ["gate", "check", str(run), *words, "--gate", str(gate), "--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *command],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    made = json.loads(done.stdout) if done.stdout.startswith("{") else None
    return done.returncode, made and made.get("report"), done.stdout + done.stderr


def test_a_folder_gives_the_newest_runs_of_the_same_chip_and_driver(runs):
    for number in range(4):
        runs(f"same-{number}", value=100.0 + number, day=2 + number)
    runs("other-driver", value=500.0, day=3, driver="535.9")
    runs("other-chip", value=500.0, day=3, chip="acme-2")
    runs("other-suite", value=500.0, day=3, suite="slow")
    runs("cut-short", value=500.0, day=3, state="interrupted")
    runs("later", value=500.0, day=20)
    runs("broken", raw=b"{", day=3)
    run = runs("now", day=10)
    code, report, _ = check(run, run.parent)
    assert code == 0, report
    assert report["judged"][0]["blocks"] == 4
    assert [Path(one).name for one in report["baseline"].split(", ")] == [
        f"same-{number}" for number in range(4)
    ]
    assert any("broken is left out: run.json is damaged" in note for note in report["notes"])


def test_a_run_whose_rows_are_cut_off_is_no_baseline_and_is_not_judged(runs):
    counted = [{"name": "device", "began": 0.0, "seconds": 1.0, "rows": {"ok": 1, "skipped": 1}}]
    for number in range(3):
        runs(f"whole-{number}", day=2 + number)
    runs("cut", value=500.0, day=3, stages=counted)
    code, report, _ = check(runs("now", day=10), runs("now-2", day=11).parent)
    assert code == 0, report
    assert report["judged"][0]["blocks"] == 3
    assert "cut" not in [Path(one).name for one in report["baseline"].split(", ")]
    (note,) = report["notes"]
    assert "cut is left out: 1 of its 2 rows are not in measurements.jsonl any more" in note
    half = runs("half", day=12, stages=counted)
    code, report, said = check(half, half.parent)
    assert (code, report) == (4, None)
    assert "1 of its 2 rows are not in measurements.jsonl any more" in said


def test_a_run_of_the_same_second_in_another_folder_is_another(runs, tmp_path):
    for number in range(3):
        runs(f"same-{number}", day=2 + number)
    one = runs("same-3", day=10, value=90.0)
    elsewhere = tmp_path / "tonight" / one.name
    elsewhere.parent.mkdir()
    one.rename(elsewhere)
    runs(one.name, day=10, id=one.name, command=["hengsuan", "run", "slow"])
    _, report, _ = check(elsewhere, one.parent, options=["--gate", str(tmp_path / "g.yaml")])
    assert report["judged"][0]["blocks"] == 4
    code, _, said = check(elsewhere, elsewhere)
    assert code == 2
    assert "cannot be its own baseline" in said


def test_without_any_that_fits_it_is_said_what_there_is(runs):
    runs("old", driver="535.9")
    run = runs("now", day=10)
    code, report, _ = check(run, run.parent)
    assert code == 3
    assert [one["state"] for one in report["judged"]] == ["NO_BASELINE"]
    (note,) = report["notes"]
    assert "has no earlier run of suite quick on acme-1, driver 550.1 (measured)" in note
    assert "it has 1 of acme-1, driver 535.9 (measured)" in note


def test_a_run_that_was_named_is_refused_where_it_does_not_fit(runs):
    run = runs("now", day=10)
    for changes, said in (
        ({"driver": "535.9"}, "if the driver is what is judged, say --any-driver"),
        ({"driver": ""}, "driver unknown (measured)"),
        ({"chip": "acme-2"}, "a baseline is of the same kind of chip"),
        ({"provenance": "simulated"}, "(simulated)"),
    ):
        old = runs(f"old-{'-'.join(changes)}-{changes.get('driver')}", **changes)
        code, _, output = check(run, old)
        assert (code, said in output) == (2, True), output
    code, _, output = check(run, run)
    assert (code, "cannot be its own baseline" in output) == (2, True)


def test_a_driver_can_be_what_is_judged(runs):
    old = runs("old", driver="535.9", value=200.0)
    run = runs("now", day=10)
    code, report, _ = check(run, old, options=("--any-driver",))
    assert (code, report["judged"][0]["state"]) == (1, "REGRESSED")
    assert "baselines under driver 535.9, the run under driver 550.1" in report["notes"]


def test_a_run_given_thrice_counts_once(runs):
    old, run = runs("old"), runs("now", value=99.0, day=10)
    code, report, _ = check(run, old, old, old.parent)
    assert (code, report["judged"][0]["blocks"]) == (0, 1), report
    assert "2% of noise between sessions is assumed" in report["notes"][-1]


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        (b'{"schema": 99}', 2, "results of schema 99; this hengsuan reads schema 1"),
        (b'{"schema": 0}', 2, "the older hengsuan that wrote it"),
        (b"{", 4, "run.json is damaged"),
        (b"\xff", 4, "run.json is damaged"),
    ],
)
def test_a_baseline_that_cannot_be_read_is_a_sentence(runs, raw, code, said):
    old, run = runs("old", raw=raw), runs("now", day=10)
    found, _, output = check(run, old)
    assert (found, said in output) == (code, True), output
    found, _, output = check(old, run)
    assert (found, said in output) == (code, True), output


def test_what_is_no_run_is_a_usage_error(runs, tmp_path):
    run = runs("now", day=10)
    code, _, output = check(run, tmp_path / "none")
    assert (code, "no run here" in output) == (2, True)
    (tmp_path / "empty").mkdir()
    code, report, _ = check(run, tmp_path / "empty")
    assert code == 3
    assert "has no earlier run of suite quick" in report["notes"][0]


@pytest.mark.parametrize(
    ("value", "state", "code"),
    [(0.0, "INVALID", 4), (None, "INVALID", 4), (-5.0, "INVALID", 4), (100.0, "PASS", 0)],
)
def test_values_that_have_no_ratio_are_invalid(runs, value, state, code):
    old, run = runs("old"), runs("now", value=value, day=10)
    found, report, output = check(run, old)
    assert found == code, output
    assert report["judged"][0]["state"] == state


def test_who_does_not_read_to_the_end_gets_the_verdict_all_the_same(runs):
    old, run = runs("old", value=200.0), runs("now", day=10)
    words = [
        "gate",
        "check",
        str(run),
        "--baseline",
        str(old),
        "--gate",
        str(run.parents[1] / "g.yaml"),
    ]
    for options in ([], ["--json"]):
        reads, writes = os.pipe()
        os.close(reads)
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words, *options],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=writes,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writes)
        assert (done.returncode, done.stderr) == (1, "")
