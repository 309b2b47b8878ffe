"""The command line: exit codes, sentences instead of tracebacks, machine-readable output."""

import json
import os
import subprocess
import sys

import forked
import pytest

from bench.results import RunReader


def hengsuan(*words, cwd=None, **environment):
    """In a forked process; where it is asked how one starts or ends, tests start their own."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **forked.commands(), **environment},
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nope"], "unknown suite 'nope'"),
        (["run", "quik"], "did you mean quick"),
        (["run", "--backend", "nope", "--executor", "local"], "unknown backend 'nope'"),
        (["run", "--cluster", "nope"], "unknown cluster 'nope'"),
        (["run", "--profile", "nope"], "unknown profile 'nope'"),
        (["run", "--resume", "nope"], "unknown run 'nope'"),
        (["run", "--cluster", "small", "--executor", "ray"], "--cluster does not go with"),
        (["run", "--cluster", "small", "--nodes", "a"], "--nodes does not go with executor sim"),
        (["run", "--backend", "sim", "--address", "a:1"], "--address does not go with executor"),
        (["run", "--executor", "sim", "--backend", "cpu"], "--backend does not go with executor"),
        (["run", "--executor", "local", "--nodes", "a"], "--nodes does not go with executor local"),
        (["run", "--dry-run", "--nodes", "a"], "--nodes goes with --address"),
        (["run", "--dry-run", "--address", "a"], "'a' is not the address of a Ray cluster"),
        (["run", "--dry-run", "--resume", "nope"], "--dry-run does not go with it"),
        (["run", "standard", "--resume", "nope"], "SUITE does not go with it"),
        (["run", "--address", "nonsense"], "not the address of a Ray cluster"),
        (["run", "--executor", "magic"], "magic"),
        (["frobnicate"], "No such command"),
        (["results", "show", "nope"], "unknown run 'nope'"),
        (["run", "missing.yaml"], "no such file"),
        (["run", "/"], "not a YAML file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_a_sentence_and_exit_2(tmp_path, words, message):
    done = hengsuan(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("      - gemm: {shpae: 8x8x8}", "did you mean shape"),
        ("      - gem: {}", "unknown benchmark 'gem'"),
        ("      - gemm: {shape: 8x8x8, over: node}", "over"),
        ("      - gemm: {shape: [8x8]}\n        over: node", "one benchmark with its axes"),
        ("      - gemm: {shape: 8x0x8}", "must be positive"),
        ("      - collectives: {over: nowhere}", "no node carries the label 'nowhere'"),
        ("      - pairs: {of: rack}", "unknown of 'rack'"),
        ("      - pairs: {matchings: -1}", "integer of at least 1"),
        ("      - stream: {size: 4KiB..1KiB}", "not a sweep"),
        ("      - gemm: {dtype: []}", "empty list"),
        ("      - gemm: {rule: {budgt: 1s}}", "budget"),
    ],
)
def test_a_bad_suite_names_file_and_line(tmp_path, line, message):
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: bad\nstages:\n  - name: one\n    benchmarks:\n{line}\n")
    done = hengsuan("run", path, "--dry-run", "--backend", "cpu")
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert f"{path}:5" in done.stderr or f"{path}:6" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_without_a_limit_of_timing_promises_none(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text(
        "name: training\nstages:\n  - name: one\n    benchmarks:\n"
        "      - resumable: {model: tiny, over: all}\n"
    )
    done = hengsuan("run", path, "--dry-run", "--backend", "cpu")
    assert done.returncode == 0, done.stderr
    assert "resumable tiny" in done.stdout
    assert "at most" not in done.stdout


@pytest.mark.parametrize("path", ["made/here", "~/made", "$SCRATCH/made", "s3://made", ""])
def test_a_path_of_goodput_is_meant_from_where_it_is_called(path, monkeypatch, tmp_path):
    """Agents of a given cluster run elsewhere: a path of theirs would lie there."""
    from bench.cli import goodput_verb

    seen = []

    class Seen(Exception):
        pass

    def measured(task, chips, *, campaign, **where):
        seen.append(campaign.suite.stages[0].entries[0].axes["path"])
        raise Seen

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(goodput_verb, "measured", measured)
    with pytest.raises(Seen):
        goodput_verb.command.main(["--path", path], standalone_mode=False)
    assert seen == [str(tmp_path / path) if path == "made/here" else path]


def test_a_simulated_run_from_beginning_to_results(tmp_path):
    done = hengsuan("run", "quick", "--cluster", "small", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["state"] == "complete"
    assert found["scorecard"]["provenance"] == "simulated"
    assert "stage 1/3 device" in done.stderr
    assert "stage device ended" in done.stderr

    listed = json.loads(hengsuan("results", "list", "--json", cwd=tmp_path).stdout)
    assert [one["id"] for one in listed] == [found["run"]]
    shown = hengsuan("results", "show", found["run"][:8], cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "gemm" in shown.stdout
    rows = hengsuan("results", "show", found["run"], "--rows", "--json", cwd=tmp_path)
    full = [json.loads(line) for line in rows.stdout.splitlines()]
    assert len(full) == sum(found["rows"].values())
    assert full[0]["case"]["benchmark"] == "gemm"
    assert full[0]["status"] == "ok"
    words = hengsuan("results", "show", found["run"], "--rows", cwd=tmp_path).stdout.splitlines()
    assert len(words) == len(full)
    assert "node-00000/0" in words[0]
    assert "simulated" in words[0]


@pytest.mark.parametrize(
    ("target", "measured", "code", "said"),
    [
        ("1e9", "link", 0, ""),
        ("1e18", "link", 1, "criterion: link 256MiB there of nodes across site alone"),
        ("1e9", "stability", 3, "undecided: stability"),
    ],
)
def test_a_criterion_decides_the_exit_code(tmp_path, target, measured, code, said):
    line = f"benchmark: {measured}, metric: bandwidth, reference: target, target: {target}"
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"name: mine\ncategories:\n  a:\n    - {{{line}, required: true}}\n")
    words = ["run", "sites", "--cluster", "two-sites", "--profile", profile, "--quiet"]
    done = hengsuan(*words, "--json", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert found["exit"] == code
    told = [f"{one['kind']}: {one['name']}" for one in found["scorecard"]["findings"]]
    judged = [one for one in told if one.startswith(("criterion", "undecided"))]
    assert judged[:1] == ([said] if said else [])


def test_a_real_run_without_ray(tmp_path):
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    repeats: 2\n    benchmarks:\n"
        "      - gemm: {shape: 64x64x64, dtype: fp32}\n"
    )
    done = hengsuan("run", suite, "--executor", "local", "--backend", "cpu", cwd=tmp_path)
    assert "results in results/" in done.stdout, done.stderr
    assert "stand-in" in done.stdout
    (folder,) = (tmp_path / "results").iterdir()
    reader = RunReader(folder)
    rows = list(reader.rows())
    assert {row.repeat for row in rows} == {0, 1}
    # On a busy machine all may be contended, and such a run does not pass.
    assert {row.status for row in rows} <= {"ok", "contended"}
    assert done.returncode == (0 if any(row.status == "ok" for row in rows) else 3)
    assert reader.header.environment["versions"]["torch"]
    assert reader.header.nodes[0].machine
    condition = reader.header.conditions[0]
    assert condition.threads >= 1
    assert condition.affinity
    assert condition.nice is not None
    assert len(condition.frequency) == 2


def test_a_results_folder_that_cannot_be_written_stops_before_measuring(tmp_path):
    (tmp_path / "results").write_text("a file")
    done = hengsuan("run", "quick", "--cluster", "small", cwd=tmp_path)
    assert done.returncode == 4
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["doctor"],
        ["show", "benchmarks"],
        ["show", "suites"],
        ["show", "chips"],
        ["show", "profiles"],
        ["show", "config"],
        ["run", "quick", "--dry-run", "--backend", "cpu"],
    ],
    ids=" ".join,
)
def test_tables_and_json_of_what_can_be_asked(words, tmp_path):
    table = hengsuan(*words, cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert table.stdout.strip()
    found = hengsuan(*words, "--json", cwd=tmp_path)
    assert json.loads(found.stdout)


def test_benchmarks_that_are_named_show_axes_and_metrics():
    every, two = (
        hengsuan("show", "benchmarks").stdout,
        hengsuan("show", "benchmarks", "gemm", "link"),
    )
    assert "layout=nn" not in every
    assert "stream" in every
    assert "layout=nn" in two.stdout
    assert "flops [FLOP/s] higher" in two.stdout
    assert "stream" not in two.stdout
    wrong = hengsuan("show", "benchmarks", "gem")
    assert wrong.returncode == 2
    assert "unknown benchmark 'gem'" in wrong.stderr


def test_the_schema_is_json_schema():
    found = json.loads(hengsuan("show", "schema").stdout)
    assert found == json.loads(hengsuan("show", "schema", "--json").stdout)
    names = {"run.json", "conditions.jsonl", "measurements.jsonl", "samples.jsonl"}
    names |= {"ledger.jsonl", "telemetry.jsonl", "telemetry.jsonl header"}
    names |= {"verdict.json", "certificate.json", "manifest.json", "system.json"}
    assert set(found) == names
    assert "$ref" in found["run.json"]
    assert json.loads(hengsuan("show", "schema", "verdict.json").stdout) == found["verdict.json"]
    wrong = hengsuan("show", "schema", "verdict")
    assert wrong.returncode == 2
    assert "did you mean verdict.json" in wrong.stderr


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
@pytest.mark.parametrize("width", ["40", "200"])
def test_narrow_terminals_and_old_locales_lose_nothing(tmp_path, encoding, width):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "quick", "--cluster", "small"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": width, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "overall" in text
    assert "results in" in text


def test_no_color_and_pipes_give_plain_text(tmp_path):
    done = hengsuan("run", "quick", "--cluster", "small", cwd=tmp_path, NO_COLOR="1")
    assert "\x1b" not in done.stdout + done.stderr


def left_by_its_reader(words, cwd):
    """(exit code, stderr) of a command whose reader has gone before it prints."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["show", "suites"], ["show", "schema"]])
def test_a_reader_that_has_enough_is_no_error(words, tmp_path):
    assert left_by_its_reader(words, tmp_path) == (0, "")


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_a_reader_that_leaves_does_not_change_the_exit_code_of_a_run(how, tmp_path):
    suite = tmp_path / "alone.yaml"
    suite.write_text("name: alone\nstages:\n  - name: a\n    benchmarks:\n      - launch: {}\n")
    words = ["run", str(suite), "--cluster", "small", "--quiet", *how]
    assert hengsuan(*words, cwd=tmp_path).returncode == 3  # nothing predicts it: all skipped
    assert left_by_its_reader(words, tmp_path) == (3, "")


def test_a_reader_that_leaves_does_not_change_what_was_verified(tmp_path):
    for verb, name in (("certificate", "a.json"), ("submission", "a.tar")):
        (tmp_path / name).write_text("{}")
        words = [verb, "verify", name, "--quiet"]
        code = hengsuan(*words, cwd=tmp_path).returncode
        assert code != 0
        assert left_by_its_reader(words, tmp_path)[0] == code


def test_an_exit_by_somebody_elses_signal_handler_is_an_interruption(tmp_path):
    script = (
        "import sys\nfrom bench import cli\n"
        "cli.cli.main = lambda **_: sys.exit(int(sys.argv[1]))\ncli.main()\n"
    )
    for code in ("1", "15"):
        done = subprocess.run([sys.executable, "-c", script, code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_signal_in_the_midst_of_an_import_is_no_defect_of_ours():
    """While a class is made, Python before 3.12 wraps it."""
    script = (
        "from bench import cli\n"
        "class Late:\n"
        "    def __set_name__(self, owner, name):\n"
        "        raise KeyboardInterrupt\n"
        "cli.cli.main = lambda **_: type('Owner', (), {'late': Late()})\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [["--help"], ["show", "suites"], ["show", "suites", "--json"], ["completion", "bash"]]
)
def test_output_that_cannot_be_written_is_no_defect_of_ours(words, unbuffered):
    """Found when it is written, or only when it is flushed; by click, by rich and by neither."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 4
    assert done.stderr == "error: standard output: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_error_keeps_its_exit_code_where_nothing_can_be_written(unbuffered, tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "results", "show", "nope", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Exception" not in done.stderr


def test_a_complete_run_is_resumed_whole(tmp_path):
    words = ("--cluster", "small", "--json", "--quiet")
    first = json.loads(hengsuan("run", "quick", *words, cwd=tmp_path).stdout)
    again = hengsuan("run", "--resume", first["run"], *words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == first["rows"]
    assert "stay as they are" not in again.stderr


def test_a_run_that_lost_rows_says_so_and_is_whole_once_it_was_resumed(tmp_path):
    """As a host leaves it that lost power: more rows were counted than are in the file."""
    words = ("--cluster", "small", "--json", "--quiet")
    first = json.loads(hengsuan("run", "quick", *words, cwd=tmp_path).stdout)
    file = tmp_path / first["folder"] / "measurements.jsonl"
    rows = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(rows[: len(rows) * 2 // 3]))
    lost = len(rows) - len(rows) * 2 // 3
    show = ("results", "show", first["run"])
    said = f"incomplete: {lost} of its {len(rows)} rows are not in measurements.jsonl any more"
    assert said in hengsuan(*show, cwd=tmp_path).stdout
    assert hengsuan("certify", "--from", first["run"], cwd=tmp_path).returncode == 4
    assert hengsuan("run", "--resume", first["run"], *words, cwd=tmp_path).returncode == 0
    assert len(file.read_bytes().splitlines()) == len(rows)
    assert "incomplete" not in hengsuan(*show, cwd=tmp_path).stdout
    done = hengsuan("certify", "--from", first["run"], "-q", cwd=tmp_path)
    assert "nodes rejected" in done.stdout, done.stderr
    stages = json.loads((file.parent / "run.json").read_text())["stages"]
    assert sum(sum(one["rows"].values()) for one in stages) == len(rows)


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "note: {} values that do not count stay as they are ("),
        ("zh", "说明：{} 个不计入的值（失败、缺失、无效或受干扰）保持不变；"),
    ],
)
def test_a_resumed_run_says_of_how_many_values_nothing_is_tried_again(lang, said, tmp_path):
    words = ("--cluster", "sim-mixed-faults-64")
    first = json.loads(hengsuan("run", "quick", *words, "--json", "-q", cwd=tmp_path).stdout)
    rest = ("failed", "missing", "invalid", "contended")
    count = sum(first["rows"].get(status, 0) for status in rest)
    assert first["rows"]["missing"] > 0
    again = hengsuan("run", "--resume", first["run"], *words, "--lang", lang, cwd=tmp_path)
    assert again.stderr.startswith(said.format(count)), again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "is of a simulated fleet"),
        (["--executor", "local"], "was made with executor sim, not local"),
    ],
)
def test_a_run_is_resumed_where_it_began(words, message, tmp_path):
    hengsuan("run", "quick", "--cluster", "small", "--quiet", cwd=tmp_path)
    (run,) = (tmp_path / "results").iterdir()
    done = hengsuan("run", "--resume", run.name, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_run_of_another_simulated_fleet_is_told_how_large_both_are(tmp_path):
    first = json.loads(
        hengsuan(
            "certify", "--cluster", "small", "--json", "-q", "--only", "gemm*", cwd=tmp_path
        ).stdout
    )
    done = hengsuan("certify", "--resume", first["run"], "--cluster", "sim-rack-16", cwd=tmp_path)
    assert done.returncode == 2
    assert "was made on 16 device(s), here are 128 or others" in done.stderr


def test_a_training_under_failures_is_not_resumed(tmp_path):
    first = json.loads(
        hengsuan("run", "quick", "--cluster", "small", "--json", "-q", cwd=tmp_path).stdout
    )
    header = tmp_path / first["folder"] / "run.json"
    told = json.loads(header.read_text())
    told |= {"command": ["hengsuan", "--debug", "goodput"], "suite_text": "", "state": "running"}
    header.write_text(json.dumps(told))
    before = {path: path.read_bytes() for path in header.parent.iterdir()}
    for verb in ("run", "certify"):
        done = hengsuan(verb, "--resume", first["run"], "--cluster", "small", cwd=tmp_path)
        assert done.returncode == 2
        assert "was begun by `hengsuan goodput`, and is not continued" in done.stderr
    assert {path: path.read_bytes() for path in header.parent.iterdir()} == before


def test_a_defect_of_ours_is_a_sentence_and_debug_shows_the_traceback(tmp_path):
    script = (
        "import sys\nfrom bench import cli\nfrom bench.configs import load\n"
        "import bench.configs\n"
        "def broken(*_):\n    raise ZeroDivisionError('oops')\n"
        "bench.configs.load_chips = broken\n"
        "sys.argv = ['hengsuan', *sys.argv[1:], 'run', 'quick']\ncli.main()\n"
    )
    for more, shown in (([], False), (["--debug"], True)):
        done = subprocess.run(
            [sys.executable, "-c", script, *more], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 4
        assert "ZeroDivisionError: oops" in done.stderr
        assert ("Traceback" in done.stderr) == shown


def test_the_configuration_says_where_it_looked_and_what_won(tmp_path):
    (tmp_path / "suites").mkdir()
    mine = tmp_path / "suites" / "quick.yaml"
    mine.write_text("name: quick\nstages: []\n")
    done = hengsuan("show", "config", "--json", HENGSUAN_CONFIG_PATH=str(tmp_path))
    found = json.loads(done.stdout)
    assert found["searched"][0] == {"folder": str(tmp_path), "exists": True}
    files = {(one["kind"], one["name"]): one["file"] for one in found["files"]}
    assert files["suites", "quick"] == str(mine)
    assert files["suites", "standard"] != str(mine)
