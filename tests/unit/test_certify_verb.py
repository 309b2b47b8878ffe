"""``hengsuan certify``: exit codes, options, what it writes, and its mistakes in sentences."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from bench.records import STATUSES
from bench.results import RunReader
from bench.verdicts import read_verdict

pytestmark = pytest.mark.warm

SUITE = """
name: short
stages:
  - name: device
    repeats: 2
    benchmarks:
      - gemm: {shape: 8192x8192x8192, dtype: bf16}
      - stream: {op: triad, size: 1GiB}
"""
GOOD = "name: good\nchip: sim-a\nnodes: 16\ndevices: 2\nseed: 1\nbetween: 0.004\n"
BAD = f"{GOOD}faults:\n  - {{kind: slow-chip, node: 3, device: 1, factor: 0.8}}\n".replace(
    "name: good", "name: bad"
)
ALL = f"{GOOD}faults:\n  - {{kind: slow-chip, of: node, share: 1, factor: 0.3}}\n".replace(
    "name: good", "name: all"
)
BUSY = f"{GOOD}faults:\n  - {{kind: contended-host, node: 5}}\n".replace("name: good", "name: busy")


@pytest.fixture
def here(tmp_path):
    """A folder with a suite and fleets; commands run in it."""
    (tmp_path / "short.yaml").write_text(SUITE)
    for name, text in (("good", GOOD), ("bad", BAD), ("all", ALL), ("busy", BUSY)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def certify(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "bench", "certify", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "120"},
    )


def runs(folder):
    return sorted((folder / "results").iterdir())


def test_exit_codes_and_verdict(here):
    for fleet, code, said in (
        ("good", 0, "16 of 16 nodes accepted"),
        ("bad", 1, "1 of 16 nodes rejected"),
        ("busy", 3, "1 of 16 nodes inconclusive"),
    ):
        done = certify(here, "short.yaml", "--sim", f"{fleet}.yaml", "--quiet", "--out", fleet)
        assert done.returncode == code, done.stderr
        assert said in done.stdout
        (run,) = (here / fleet).iterdir()
        found = read_verdict(run)
        assert found.provenance == "simulated"
        assert len(found.nodes) == 16
        assert found.results
        assert found.version


def test_a_rejected_node_comes_with_everything(here):
    done = certify(
        here, "short.yaml", "--sim", "bad.yaml", "--json", "--quiet", "--markdown", "v.md",
        "--max-drain", "10%",
    )  # fmt: skip
    found = json.loads(done.stdout)
    bad = found["nodes"][0]
    assert (bad["node"], bad["verdict"]) == ("node-00003", "reject")
    one = bad["evidence"][0]
    assert one["device"] == "node-00003/1"
    assert 0.15 < one["effect"] < 0.25
    assert one["cause"]
    assert "node-00003" in "".join(found["drain"]["slurm"])
    assert "node-00003" in (here / "v.md").read_text()


def test_a_verdict_that_cannot_be_written_beside_is_printed_all_the_same(here):
    (here / "v.md").mkdir()
    done = certify(here, "short.yaml", "--sim", "bad.yaml", "--json", "-q", "--markdown", "v.md")
    assert done.returncode == 4
    found = json.loads(done.stdout)
    assert found["nodes"][0]["verdict"] == "reject"
    assert "error: v.md: cannot write: Is a directory" in done.stderr
    assert f"hint: hengsuan certify --from {found['run']} --markdown FILE" in done.stderr


def test_what_a_budget_left_no_time_for_is_of_the_run_not_of_its_suite(here):
    done = certify(here, "certify", "--sim", "good.yaml", "--only", "stream*", "--json", "-q")
    said = [note for note in json.loads(done.stdout)["notes"] if "the profile asks for" in note]
    assert said
    assert all("which this run of the suite certify did not measure" in note for note in said)


def test_a_fault_of_most_drains_nobody(here):
    done = certify(here, "short.yaml", "--sim", "all.yaml", "--json", "--quiet")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert len([one for one in found["nodes"] if one["verdict"] == "reject"]) == 16
    assert found["drain"] == {}
    assert any("no drain commands" in note for note in found["notes"])


def test_a_run_that_is_there_is_judged_again(here):
    first = certify(here, "short.yaml", "--sim", "bad.yaml", "--json", "--quiet")
    again = certify(here, "--from", runs(here)[0].name, "--json")
    assert again.returncode == first.returncode == 1
    before, after = json.loads(first.stdout), json.loads(again.stdout)
    assert [one["verdict"] for one in before["nodes"]] == [one["verdict"] for one in after["nodes"]]


def test_a_waived_finding_does_not_reject_and_is_shown(here):
    (here / "w.yaml").write_text(
        "waivers:\n  - {node: node-00003, metric: '*', reason: replaced on Monday, "
        "until: 2999-01-01}\n"
    )
    done = certify(here, "short.yaml", "--sim", "bad.yaml", "--waivers", "w.yaml", "--json", "-q")
    assert done.returncode == 0
    found = {one["node"]: one for one in json.loads(done.stdout)["nodes"]}
    assert found["node-00003"]["verdict"] == "accept"
    assert found["node-00003"]["waived"][0]["reason"] == "replaced on Monday"


def test_a_node_that_passes_again_is_brought_back(here):
    certify(here, "short.yaml", "--sim", "bad.yaml", "--quiet")
    (here / "bad.yaml").write_text(GOOD)  # the same nodes, repaired
    run = runs(here)[0] / "run.json"
    text = json.loads(run.read_text())
    text["started"] = "2025-01-01T00:00:00+00:00"
    run.write_text(json.dumps(text))
    verdict = runs(here)[0] / "verdict.json"
    said = json.loads(verdict.read_text())
    said["began"] = text["started"]
    verdict.write_text(json.dumps(said))
    done = certify(here, "short.yaml", "--sim", "bad.yaml", "--json", "--quiet")
    assert "node-00003" in "".join(json.loads(done.stdout)["undrain"]["slurm"])


def test_an_interrupted_certification_goes_on(here):
    """As a driver that was killed leaves it: half of its rows, no verdict."""
    certify(here, "short.yaml", "--sim", "bad.yaml", "--quiet")
    (run,) = runs(here)
    whole = (run / "measurements.jsonl").read_text().splitlines(keepends=True)
    (run / "measurements.jsonl").write_text("".join(whole[: len(whole) // 2]))
    (run / "verdict.json").unlink()
    header = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(header | {"state": "running", "stages": []}))
    wrong = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--resume", run.name, "--sim", "bad.yaml"],
        capture_output=True, text=True, cwd=here,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert f"hengsuan certify --resume results/{run.name}" in wrong.stderr
    done = certify(here, "--resume", run.name, "--sim", "bad.yaml", "--quiet")
    assert done.returncode == 1, done.stderr
    assert read_verdict(run).count("reject") == 1
    rows = RunReader(run).columns()
    assert len(rows) == len(whole)
    assert set(rows.status.tolist()) == {STATUSES.index("ok"), STATUSES.index("skipped")}


def test_one_check_alone(here):
    done = certify(
        here, "short.yaml", "--sim", "good.yaml", "--only", "stream *", "--json", "--quiet"
    )
    assert done.returncode == 0, done.stderr
    cases = RunReader(runs(here)[0]).header.cases
    assert {case.benchmark for case in cases} == {"stream"}


def test_the_command_of_a_finding_repeats_it_and_no_other_check_takes_it_back(here):
    done = certify(here, "--sim", "bad.yaml", "--json", "--quiet")
    node = json.loads(done.stdout)["nodes"][0]
    assert (node["node"], node["verdict"]) == ("node-00003", "reject")
    first = node["evidence"][0]
    # As it is copied from the page: through a shell.
    again = first["command"].replace("hengsuan", shlex.join([sys.executable, "-m", "bench"]), 1)
    done = subprocess.run(
        ["bash", "-c", f"{again} --json -q"], cwd=here, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["only"] == first["metric"]
    (repeated,) = (one for one in found["nodes"] if one["verdict"] == "reject")
    assert repeated["node"] == "node-00003"
    assert repeated["evidence"][0]["metric"] == first["metric"]
    # What it does well is no reason to let it in again.
    done = certify(here, "--sim", "bad.yaml", "--only", "stream *", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["undrain"] == {}
    assert any(
        "node-00003 stood rejected by the suite certify and was measured by the check stream *"
        in one
        for one in found["notes"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "unknown suite 'nope'"),
        (["--profile", "nope"], "unknown profile 'nope'"),
        (["--from", "nope"], "unknown run 'nope'"),
        (["--baseline", "nope"], "unknown run 'nope'"),
        (["--retest", "much"], "is not a share"),
        (["--retest", "150%"], "is not a share"),
        (["--max-drain", "-1%"], "is not a share"),
        (["--budget", "soon"], "not a duration"),
        (["--soak", "-3m"], "not a duration"),
        (["--waivers", "none.yaml"], "none.yaml"),
        (["short.yaml", "--only", "fft", "--sim", "good.yaml"], "unknown check of suite short"),
        (["--resume", "nope", "--dry-run"], "--dry-run does not go with it"),
        (["--resume", "nope", "--from", "x"], "--from does not go with it"),
        (["--sim", "good.yaml", "--markdown", "no/v.md"], "no/v.md: there is no folder no"),
        (["--sim", "good.yaml", "--nodes", "a"], "--nodes does not go with executor sim"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_a_sentence(here, words, message):
    done = certify(here, *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (here / "results").exists()


def test_results_of_another_schema_are_refused(here):
    certify(here, "short.yaml", "--sim", "good.yaml", "--quiet")
    (run,) = runs(here)
    text = (run / "run.json").read_text().replace('"schema":1', '"schema":9', 1)
    text = text.replace('"schema": 1', '"schema": 9', 1)
    (run / "run.json").write_text(text)
    done = certify(here, "--from", run.name)
    assert done.returncode == 2
    assert "schema 9" in done.stderr


def test_a_soak_goes_on_with_a_resumed_run(here):
    """Killed before it: judged as it is, it is missing; resumed, it is done without being asked."""
    words = ["short.yaml", "--sim", "good.yaml", "--soak", "60s", "--quiet"]
    certify(here, *words)
    (run,) = runs(here)
    header = json.loads((run / "run.json").read_text())
    whole = (run / "measurements.jsonl").read_text().splitlines(keepends=True)
    kept = [row for row in whole if header["cases"][json.loads(row)[0]]["stage"] == "device"]
    assert 0 < len(kept) < len(whole)
    (run / "measurements.jsonl").write_text("".join(kept))
    header["stages"] = header["stages"][:1]
    header["cases"] = [case for case in header["cases"] if case["stage"] == "device"]
    (run / "run.json").write_text(json.dumps(header))
    judged = certify(here, "--from", run.name)
    assert judged.returncode == 3
    assert "not measured: stage(s) soak" in judged.stdout
    done = certify(here, "--resume", run.name, "--sim", "good.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    assert len((run / "measurements.jsonl").read_text().splitlines()) == len(whole)


def test_an_interrupted_run_that_is_judged_later_was_not_interrupted_now(here):
    certify(here, "short.yaml", "--sim", "good.yaml", "--quiet")
    (run,) = runs(here)
    header = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(header | {"state": "interrupted"}))
    assert certify(here, "--from", run.name).returncode == 0
    (run / "run.json").write_text(json.dumps(header | {"state": "running", "stages": []}))
    found = certify(here, "--from", run.name)
    assert found.returncode == 3
    assert "the run is running" in found.stdout


def test_a_run_of_no_node_is_no_pass(here):
    certify(here, "short.yaml", "--sim", "good.yaml", "--quiet")
    (run,) = runs(here)
    header = json.loads((run / "run.json").read_text())
    empty = {"fleet": None, "nodes": [], "cases": [], "stages": []}
    (run / "run.json").write_text(json.dumps(header | empty))
    (run / "measurements.jsonl").write_text("")
    found = certify(here, "--from", run.name)
    assert found.returncode == 3
    assert "no nodes were judged" in found.stdout


def test_a_waived_node_is_measured_to_the_end(here):
    (here / "two.yaml").write_text(
        f"{SUITE}  - name: later\n    benchmarks:\n      - stream: {{op: copy, size: 1GiB}}\n"
    )
    (here / "w.yaml").write_text(
        "waivers:\n  - {node: node-00003, metric: 'gemm*', reason: known, until: 2999-01-01}\n"
    )
    words = ["two.yaml", "--sim", "bad.yaml", "--quiet", "--json"]
    without = {one["node"]: one for one in json.loads(certify(here, *words).stdout)["nodes"]}
    assert any("later" in one["text"] for one in without["node-00003"]["evidence"])
    done = certify(here, *words, "--waivers", "w.yaml", "--out", "waived")
    found = {one["node"]: one for one in json.loads(done.stdout)["nodes"]}["node-00003"]
    assert not any("not measured" in one["text"] for one in found["evidence"])
    (run,) = (here / "waived").iterdir()
    header = RunReader(run).header
    later = next(case for case in header.cases if case.stage == "later")
    assert "nodes" not in header.schedules[later.schedule].arguments


def test_several_checks_of_one_entry_alone_with_their_retests(here):
    """They share the entry's rule and place; what is doubtful of them is measured again."""
    done = certify(here, "--sim", "bad.yaml", "--only", "gemm *", "--json", "--quiet")
    assert done.returncode == 1, done.stderr
    cases = RunReader(runs(here)[0]).header.cases
    assert {case.benchmark for case in cases} == {"gemm"}
    assert len({case.axes["dtype"] for case in cases}) == 4
    assert any(case.stage == "device+1" for case in cases)
    assert json.loads(done.stdout)["nodes"][0]["node"] == "node-00003"


def test_a_run_whose_rows_are_cut_off_says_so_and_proves_nothing(here):
    for _ in range(2):
        assert certify(here, "short.yaml", "--sim", "good.yaml", "--quiet").returncode == 0
    whole, half = runs(here)
    rows = half / "measurements.jsonl"
    lines = rows.read_bytes().splitlines(keepends=True)
    rows.write_bytes(b"".join(lines[:-5]))
    lost = f"5 of its {len(lines)} rows are not in measurements.jsonl any more"
    again = certify(here, "--from", half)
    assert (again.returncode, again.stdout) == (4, "")
    assert f"no verdict: {lost}" in again.stderr
    held = certify(here, "--from", whole, "--baseline", half)
    assert (held.returncode, held.stdout) == (2, "")
    assert lost in held.stderr
    scored = subprocess.run(
        [sys.executable, "-m", "bench", "score", half],
        capture_output=True,
        text=True,
        cwd=here,
        check=False,
    )
    assert f"incomplete: {half.name}: {lost}" in scored.stdout
