"""`hengsuan import`: logs of other tools become runs, whole, marked, and with nothing dropped."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import made_logs
from read_back import imported, rows, run

from bench.errors import InfraError, UsageError
from bench.importing.formats import FORMATS, format_of
from bench.importing.found import Asked
from bench.importing.source import Source
from bench.results import RunReader
from bench.runs import list_runs
from bench.runs import names as names_of

LOGS = Path(__file__).parent / "recorded" / "logs"


def test_a_log_under_mpirun_becomes_a_run(tmp_path):
    reader, said = imported(
        tmp_path,
        "nccl-tests",
        LOGS / "nccl-tests-2.13-mpirun.log",
        code=1,
        options=("--time", "2026-03-01"),
    )
    header = reader.header
    assert (header.provenance, header.state, header.executor) == ("imported", "complete", "import")
    assert header.started == "2026-03-01T00:00:00+00:00"
    assert [node.name for node in header.nodes] == ["sw53", "sw54"]
    assert {device.chip for node in header.nodes for device in node.devices} == {"h100-sxm"}
    found = rows(reader)
    # In place is what torch.distributed does, and our usual form.
    ((value, status, reason, ranks),) = found["collectives all_reduce 256MiB fp32 busbw"]
    assert (status, reason, ranks) == ("ok", "", (0, 1, 2, 3))
    assert value == pytest.approx(268435456 / 1376.1e-6 * 1.5, rel=1e-6)
    ((value, *_),) = found["collectives all_reduce 8B fp32 algbw"]
    assert value == pytest.approx(8 / 16.26e-6, rel=1e-6)  # printed as 0.00
    ((value, status, reason, _),) = found["collectives all_reduce 1GiB fp32 out_of_place time"]
    assert (value, status, reason) == (pytest.approx(5210.4e-6), "invalid", "3 wrong elements")
    assert all(row.provenance == "imported" for row in reader.rows())
    assert "  1 of 22 lines are not understood" in said
    assert "nccl-tests-2.13-mpirun.log:1: Authorization required" in said
    assert "1 values out of bounds" in said


def test_old_tables_with_errors_and_blank_reductions(tmp_path):
    log = LOGS / "nccl-tests-2.8-alltoall_perf.log"
    reader, _ = imported(tmp_path, "nccl-tests", log, code=1)
    found = rows(reader)
    ((value, status, _, ranks),) = found["collectives all_to_all 2MiB fp32 busbw"]
    assert (status, len(ranks)) == ("ok", 4)
    assert value == pytest.approx(2097152 / 60.9e-6 * 0.75)
    ((_, status, reason, _),) = found["collectives all_to_all 4MiB fp32 busbw"]
    assert (status, reason) == ("invalid", "1 wrong elements")  # an error of 3e-02
    ((value, status, reason, _),) = found["collectives all_to_all 4MiB fp32 in_place busbw"]
    assert (value, status) == (None, "skipped")
    assert reason == "all_to_all has no form in place"
    assert reader.header.nodes[0].name == "dgx-07"


def test_what_nccl_tests_writes_as_json(tmp_path):
    reader, _ = imported(tmp_path, "nccl-tests", LOGS / "nccl-tests-2.17.json", code=1)
    header = reader.header
    assert header.started == "2026-03-04T05:06:07+00:00"
    (node,) = header.nodes
    assert (node.name, len(node.devices), node.devices[7].index) == ("gpu-11", 8, 7)
    assert node.devices[0].chip == "h200-sxm"
    found = rows(reader)
    ((value, status, _, _),) = found["collectives all_reduce 8MiB bf16 busbw"]
    assert (value, status) == (pytest.approx(8388608 / 60.5e-6 * 1.75), "ok")
    ((_, status, reason, _),) = found["collectives all_reduce 64MiB bf16 busbw"]
    assert (status, reason) == ("invalid", "the tool did not check what was received")


def test_a_json_that_was_cut_off_keeps_what_is_whole(tmp_path):
    text = (LOGS / "nccl-tests-2.17.json").read_text()
    cut = tmp_path / "all_reduce_perf.json"
    cut.write_text(text[: text.rindex('"out_of_place"') + 20])
    reader, _ = imported(tmp_path, "nccl-tests", cut)
    sizes = {case.axes["size"] for case in reader.header.cases}
    assert sizes == {"1MiB", "8MiB"}
    cut.write_text(text[:300])
    code, _, err = run("import", "nccl-tests", cut, "--out", tmp_path / "others")
    assert code == 2
    assert "cut off before the first" in err
    assert not (tmp_path / "others").exists()


def test_values_that_were_not_checked_are_taken_on_demand(tmp_path):
    log = tmp_path / "log"
    log.write_text(made_logs.nccl(["a"], rows=[(1 << 20, 1e-4, 1e-4, ("N/A", "N/A"))]))
    reader, said = imported(tmp_path, "nccl-tests", log, code=1)
    assert {row.status for row in reader.rows()} == {"invalid"}
    assert "6 of them are invalid, most of all: the tool did not check" in said
    reader, _ = imported(tmp_path / "b", "nccl-tests", log, options=("--unchecked",))
    assert {(row.status, row.reason) for row in reader.rows()} == {
        ("ok", "the tool did not check what was received")
    }


def test_many_nodes_and_days_become_a_run_a_day(tmp_path):
    names = ["gpu-2", "gpu-10", "gpu-1"]
    for name in names:
        for day in (1, 2):
            log = tmp_path / f"{name}-{day}.log"
            log.write_text(made_logs.nccl([name]))
            moment = datetime(2026, 3, day, 4, 0, tzinfo=timezone.utc).timestamp()
            __import__("os").utime(log, (moment, moment))
    files = sorted(tmp_path.glob("*.log"))
    assert run("import", "nccl-tests", *files, "--out", tmp_path / "runs")[0] == 0
    first, second = list_runs(tmp_path / "runs")
    assert [first.started[:10], second.started[:10]] == ["2026-03-01", "2026-03-02"]
    header = RunReader(first.path).header
    assert [node.name for node in header.nodes] == ["gpu-1", "gpu-2", "gpu-10"]
    assert [(spec.kind, spec.groups) for spec in header.schedules] == [("nodes", 3)]
    run("import", "nccl-tests", *files, "--out", tmp_path / "each", "--each")
    assert len(list_runs(tmp_path / "each")) == 6
    # At one given time they are of one day: what was measured twice is a repeat.
    run("import", "nccl-tests", *files, "--out", tmp_path / "one", "--time", "2026-03-03")
    (info,) = list_runs(tmp_path / "one")
    assert set(RunReader(info.path).columns().repeat.tolist()) == {0, 1}


def test_processes_that_print_at_a_time_are_told_apart(tmp_path):
    texts = {name: made_logs.nccl([name], op="all_gather") for name in ("n1", "n2")}
    lines = [text.splitlines() for text in texts.values()]
    mixed = [f"{k}: {pair[k]}" for pair in zip(*lines, strict=True) for k in (0, 1)]
    (tmp_path / "srun.log").write_text("\n".join(mixed))
    reader, said = imported(tmp_path, "nccl-tests", tmp_path / "srun.log")
    assert [node.name for node in reader.header.nodes] == ["n1", "n2"]
    assert "not understood" not in said
    values = rows(reader)["collectives all_gather 4MiB fp32 busbw"]
    assert [ranks[0] for *_, ranks in values] == [0, 8]


@pytest.mark.parametrize("dressed", ["gzip", "utf-16", "crlf", "ansi", "kubectl", "bom"])
def test_dressed_logs_read_alike(tmp_path, dressed):
    text = made_logs.nccl(["a"])
    made = {
        "gzip": gzip.compress(text.encode()),
        "utf-16": text.encode("utf-16"),
        "crlf": text.replace("\n", "\r\n").encode(),
        "ansi": f"\x1b[32m{text}\x1b[0m".encode(),
        "bom": text.encode("utf-8-sig"),
        "kubectl": "".join(
            f"2026-03-01T10:00:00.123Z {line}\n" for line in text.splitlines()
        ).encode(),
    }[dressed]
    log = tmp_path / "log"
    log.write_bytes(made)
    reader, said = imported(tmp_path, "nccl-tests", log)
    assert len(reader.columns()) == 36
    assert "not understood" not in said


def test_what_was_cut_off_keeps_the_rest(tmp_path):
    text = made_logs.nccl(["a"], rows=[(1 << p, 1e-4, 1e-4) for p in range(10, 30)] * 40)
    packed = gzip.compress(text.encode())
    (tmp_path / "log.gz").write_bytes(packed[: len(packed) * 2 // 3])
    reader, said = imported(tmp_path, "nccl-tests", tmp_path / "log.gz", code=1)
    assert len(reader.columns()) > 1000
    assert "its compression ends early" in said


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no figure"),
        (b"\n\n", "no figure"),
        (b"\x7fELF\x02\x01\x00\x00" * 100, "is no text: it holds zero bytes"),
        (b"hello\nworld\n", "2 lines, none of them understood: expected tables of nccl-tests"),
        (b"\xff\xfe\xfa\xfb" * 7, "expected tables of nccl-tests"),
        (b"x" * 3_000_000, "none of them understood"),
        (
            b"       1024       256     float     sum      -1  1.0 1.0 1.0 0 1.0 1.0 1.0 0\n",
            "does not say which devices took part",
        ),
    ],
    ids=["empty", "blank", "binary", "prose", "latin", "one-line", "headless"],
)
def test_what_is_no_log_is_said(tmp_path, data, told):
    log = tmp_path / "log"
    log.write_bytes(data)
    code, _, err = run("import", "nccl-tests", log, "--out", tmp_path / "runs")
    assert code == 2, err
    assert told in err
    assert not (tmp_path / "runs").exists()


def test_a_gigantic_file_is_refused_before_it_is_read(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(1 << 43)
    code, _, err = run("import", "nccl-tests", log, "--out", tmp_path / "runs")
    assert code == 2
    assert "8TiB of logs take about 48TiB of memory" in err
    assert "import fewer files at a time" in err


def test_one_bad_file_loses_none_of_the_others(tmp_path):
    (tmp_path / "good.log").write_text(made_logs.nccl(["a"]))
    (tmp_path / "bad.log").write_text("nothing here\n")
    files = (tmp_path / "good.log", tmp_path / "bad.log", tmp_path / "gone.log")
    _, said = imported(tmp_path, "nccl-tests", *files, code=2)
    assert "bad.log: 1 lines, none of them understood" in said
    assert "gone.log: no such file" in said


def test_a_table_without_its_head_needs_to_be_told_where_it_is(tmp_path):
    text = "".join(
        made_logs.line("all_reduce", 8, 1 << p, made_logs.times(1 << p)) + "\n"
        for p in (20, 24, 28)
    )
    (tmp_path / "log").write_text(text)
    options = ("--node", "gpu-[1-2]", "--ranks", 8)
    reader, said = imported(tmp_path, "nccl-tests", tmp_path / "log", options=options)
    assert [len(node.devices) for node in reader.header.nodes] == [4, 4]
    assert "only all_reduce fits its figures" in said
    code, _, err = run(
        "import",
        "nccl-tests",
        tmp_path / "log",
        "--node",
        "a",
        "--ranks",
        4,
        "--op",
        "all_reduce",
        "--out",
        tmp_path / "four",
    )
    assert code == 1  # over four ranks the printed bandwidths would be others
    (info,) = list_runs(tmp_path / "four")
    assert {row.status for row in RunReader(info.path).rows()} == {"invalid"}
    code, _, err = run("import", "nccl-tests", tmp_path / "log", "--node", "a,b,c", "--ranks", 8)
    assert code == 2
    assert "8 ranks do not divide evenly over 3 nodes" in err


def cut_as_printed(nodes, each, chip):
    """A log whose processes have a node's devices each: the tool cuts the list of each."""
    lines = made_logs.devices(nodes, each, chip).splitlines(keepends=True)
    parts = ["".join(lines[start : start + each]) for start in range(0, len(lines), each)]
    assert max(map(len, parts)) > 2047
    log = made_logs.nccl(nodes, each=each, rows=[(1 << 20, 1e-4, 1e-4)])
    whole = made_logs.devices(nodes, each)
    assert whole in log
    return log.replace(whole, "".join(part[:2047] for part in parts))


def test_a_list_of_devices_that_the_tool_cut_is_completed(tmp_path):
    """Wherever it was cut: in a number, in a name, at the end of a line."""
    nodes = ["gpu-1", "gpu-2"]
    wanted = {(node, str(index)) for node in nodes for index in range(32)}
    file = tmp_path / "log"
    for length in range(1, 100):
        file.write_text(cut_as_printed(nodes, 32, "x" * length))
        log = format_of("nccl-tests").read(Source(str(file)), Asked())
        (group,) = log.groups
        assert {tuple(place) for place in group} == wanted, length
        assert {part.name for part in log.devices.values()} == {"x" * length}
        assert any("of 64: the others are taken to follow on their hosts" in n for n in log.notes)


def test_figures_are_over_all_ranks_of_a_list_that_was_cut(tmp_path):
    file = tmp_path / "log"
    file.write_text(cut_as_printed(["gpu-1"], 64, made_logs.CHIP))
    reader, said = imported(tmp_path, "nccl-tests", file)
    assert [len(node.devices) for node in reader.header.nodes] == [64]
    ((value, status, reason, ranks),) = rows(reader)["collectives all_reduce 1MiB fp32 busbw"]
    assert (status, reason, ranks) == ("ok", "", tuple(range(64)))
    assert value == pytest.approx((1 << 20) / 1e-4 * 2 * 63 / 64)
    assert "its lists of devices were cut, and name" in said


@pytest.mark.parametrize("head", ["nThread 99999 nGpus 99999", "nThread: 1 nGpus: 4"])
def test_a_head_says_how_many_devices_a_process_has(tmp_path, head):
    """As RCCL's own tool writes it too; not where it is more than any machine has."""
    log = made_logs.nccl(["gpu-1"], each=3, rows=[(1 << 20, 1e-4, 1e-4)])
    file = tmp_path / "log"
    file.write_text(log.replace("nThread 1 nGpus 3", head))
    (group,) = format_of("nccl-tests").read(Source(str(file)), Asked()).groups
    assert len(group) == (4 if "99999" not in head else 3)


def test_an_operation_that_nobody_names_is_asked_for(tmp_path):
    (tmp_path / "log").write_text(made_logs.nccl(["a"], op="all_gather", version=False))
    code, _, err = run("import", "nccl-tests", tmp_path / "log", "--out", tmp_path / "runs")
    assert code == 2
    assert "all_gather or all_to_all fits" in err
    imported(tmp_path, "nccl-tests", tmp_path / "log", options=("--op", "all_gather"))


def test_osu_pairs(tmp_path):
    reader, said = imported(tmp_path, "osu", LOGS / "osu-5.6-pt2pt.log")
    found = rows(reader)
    ((value, status, reason, ranks),) = found["pairs 8B unidirectional host latency"]
    assert (value, status, ranks) == (pytest.approx(1.24e-6), "ok", (0, 1))
    assert reason == "not checked: the program ran without validation"
    ((value, *_),) = found["pairs 1MiB unidirectional host bandwidth"]
    assert value == pytest.approx(1048576 / 96.08e-6)
    # A window of messages at a time is not what our pairs send: it keeps its own name.
    ((value, *_),) = found["osu_bw 1MiB host bandwidth"]
    assert value == pytest.approx(12136.51e6)
    ((value, *_),) = found["osu_bibw 1MiB host bandwidth"]
    assert value == pytest.approx(23011.9e6)
    ((value, *_),) = found["osu_latency 0B host latency"]
    assert value == pytest.approx(1.21e-6)
    assert [node.name for node in reader.header.nodes] == ["n1", "n2"]
    assert "not understood" not in said


def test_osu_collectives(tmp_path):
    log = LOGS / "osu-7.4-collectives.log"
    code, _, err = run("import", "osu", log, "--out", tmp_path / "runs")
    assert code == 2
    assert "on which nodes osu_allreduce was measured, the log does not say" in err
    reader, _ = imported(tmp_path, "osu", log, code=1, options=("--node", "a", "--node", "b"))
    found = rows(reader)
    ((value, status, reason, ranks),) = found["collectives all_reduce 4B int32 out_of_place time"]
    assert (value, status, reason) == (pytest.approx(7.93e-6), "ok", "")
    assert ranks == (0, 1, 2, 3)  # `-n 4` stands in the log
    ((_, status, reason, _),) = found["collectives all_reduce 1MiB int32 out_of_place busbw"]
    assert (status, reason) == ("invalid", "what arrived was wrong")
    # What each rank gives is 1 KiB: the whole array has four times that.
    ((value, *_),) = found["collectives all_gather 4KiB uint8 algbw"]
    assert value == pytest.approx(4096 / 12.5e-6)
    ((value, *_),) = found["osu_allreduce 4B host latency_max"]
    assert value == pytest.approx(8.1e-6)
    ((value, *_),) = found["collectives barrier 1B fp32 time"]
    assert value == pytest.approx(8.32e-6)


def test_superbench_summaries(tmp_path):
    log = LOGS / "superbench-results-summary.jsonl"
    reader, said = imported(tmp_path, "superbench", log)
    header, found = reader.header, rows(reader)
    assert [(node.name, len(node.devices)) for node in header.nodes] == [("sb-01", 4), ("sb-02", 4)]
    values = found["gemm 4096x4096x8192 fp16 nn vendor flops"]
    assert [value for value, *_ in values] == pytest.approx(
        [612.5e12 + k * 1e12 for k in range(4)] * 2
    )
    assert [ranks for *_, ranks in values] == [(k,) for k in range(8)]
    ((value, status, _, _), _) = [found["gemm-flops fp16_tc_flops"][k] for k in (0, 1)]
    assert (value, status) == (pytest.approx(279474e9), "ok")
    value, _, reason, ranks = found["collectives all_reduce 8GiB fp32 out_of_place busbw"][0]
    assert value == pytest.approx(203.36e9, rel=1e-3)
    assert ranks == (0, 1, 2, 3)
    assert "SuperBench's defaults" in reason
    assert found["stream triad 4GiB fp64 vendor bandwidth"][0][0] == pytest.approx(1390.5e9)
    assert found["model-benchmarks:gpt/pytorch-gpt2-large fp16_train_step_time"][0][0] == 0.1432
    codes = found["gpu-burn return_code"]
    assert [(value, status) for value, status, *_ in codes] == [(0.0, "ok"), (None, "failed")]
    assert codes[1][2] == "gpu-burn ended with code 124"
    assert "monitor/gpu_temperature:0: nobody documents its unit" in said
    assert 'some-benchmark/score: "fast"' in said


def test_a_figure_that_nobody_can_have_measured_is_none(tmp_path):
    log = tmp_path / "results.jsonl"
    text = (LOGS / "superbench-results-summary.jsonl").read_text()
    assert "279474.0" in text  # GFLOP/s
    log.write_text(text.replace("279474.0", "1e+290"))
    reader, _ = imported(tmp_path, "superbench", log, code=1)
    first, second, *_ = rows(reader)["gemm-flops fp16_tc_flops"]
    assert first[:3] == (None, "invalid", "1e+299 is beyond all that can be measured")
    assert second[:2] == (279475e9, "ok")


def test_devices_that_no_log_names_are_told(tmp_path):
    log = LOGS / "superbench-results-summary.jsonl"
    reader, _ = imported(tmp_path, "superbench", log, options=("--device", "h100-sxm"))
    assert {d.chip for node in reader.header.nodes for d in node.devices} == {"h100-sxm"}
    case = next(one for one in reader.header.cases if one.benchmark == "gemm")
    assert case.expected == pytest.approx(9.89e14)  # the fp16 peak of its datasheet


def test_superbench_raw_results_need_a_node(tmp_path):
    log = LOGS / "superbench-results.json"
    code, _, err = run("import", "superbench", log, "--out", tmp_path / "runs")
    assert code == 2
    assert "does not say of which node it is" in err
    reader, _ = imported(tmp_path, "superbench", log, options=("--node", "n"))
    values = rows(reader)["gemm-flops fp64_flops"]
    assert [value for value, *_ in values] == pytest.approx([9031.23e9, 9030.2e9])


def test_pytest_benchmark_keeps_intervals_and_samples(tmp_path):
    reader, _ = imported(tmp_path, "pytest-benchmark", LOGS / "pytest-benchmark.json")
    assert reader.header.started == "2026-03-04T05:06:07+00:00"
    (node,) = reader.header.nodes
    assert (node.name, node.devices[0].name) == ("ci-runner-3", "Example CPU @ 2.00GHz")
    first = next(reader.rows())
    assert (first.value, first.low, first.high, first.n) == (2.0e-6, 1.9e-6, 2.2e-6, 7)
    assert (reader.path / "samples.jsonl").read_text().startswith("[0,0,0,10,[1.9e-6,2")
    code, _, err = run(
        "import", "pytest-benchmark", LOGS / "osu-5.6-pt2pt.log", "--out", tmp_path / "none"
    )
    assert code == 2
    assert "is not the JSON of pytest-benchmark" in err


def test_pytest_benchmark_as_it_is_written(tmp_path):
    tests = tmp_path / "test_it.py"
    tests.write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [10, 1000])\n"
        "def test_sum(benchmark, n):\n"
        "    assert benchmark(sum, range(n)) >= 0\n"
    )
    made = tmp_path / "out.json"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    words += [f"--benchmark-json={made}", "--benchmark-max-time=0.05", tests]
    # A run of many workers would tell it not to measure.
    own = {name: one for name, one in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(words, check=True, capture_output=True, cwd=tmp_path, env=own)
    reader, _ = imported(tmp_path, "pytest-benchmark", made)
    told = json.loads(made.read_text())
    assert reader.header.started[:16] == told["datetime"][:16]
    assert reader.header.nodes[0].name == told["machine_info"]["node"]
    for test in told["benchmarks"]:
        ((value, status, *_),) = rows(reader)[f"pytest {test['fullname']} time"]
        assert (value, status) == (pytest.approx(test["stats"]["median"], rel=1e-6), "ok")
    columns = reader.columns()
    assert (columns.low <= columns.value).all()
    assert columns.n.tolist() == [one["stats"]["rounds"] for one in told["benchmarks"]]
    samples = [json.loads(line) for line in (reader.path / "samples.jsonl").open()]
    assert samples[0][4] == pytest.approx(told["benchmarks"][0]["stats"]["data"])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A run of ten nodes, one of which is a fifth slower, and of one log over all of them."""
    folder = tmp_path_factory.mktemp("fleet")
    names = [f"gpu-{k:02}" for k in range(10)]
    files = []
    for number, name in enumerate(names):
        rate = 200e9 if number == 7 else 250e9
        sizes = [1 << power for power in range(12, 31, 3)]
        made = [(size, *made_logs.times(size, rate, seed=number)) for size in sizes]
        files.append(folder / f"{name}.log")
        files[-1].write_text(made_logs.nccl([name], rows=made))
    files.append(folder / "all.log")
    files[-1].write_text(made_logs.nccl(names, op="reduce_scatter"))
    assert run("import", "nccl-tests", *files, "--out", folder / "runs")[0] == 0
    (info,) = list_runs(folder / "runs")
    return Path(info.path)


def test_certify_finds_the_slow_node_and_says_imported(fleet):
    code, out, err = run("certify", "--from", fleet)
    assert code == 1, err
    assert "1 of 10 nodes rejected, 9 accepted" in out
    assert "\nimported; suite nccl-tests" in out
    assert "gpu-07     collectives all_reduce 1GiB fp32" in out
    assert "# imported from logs of another tool" in out
    assert "hengsuan certify nccl-tests" not in out  # there is no such suite to repeat


def test_every_report_says_imported(fleet):
    for words in (("results", "show", fleet), ("score", fleet), ("expect", fleet)):
        code, out, err = run(*words)
        assert code in (0, 3), err
        assert "imported" in out, words
        assert "warning: : " not in out  # of no node
    code, out, _ = run("score", fleet, "--json")
    card = json.loads(out)["scorecards"][0]
    inside = next(one for one in card["categories"] if one["name"] == "intra-node fabric")
    assert inside["score"] > 90  # of the datasheet's link
    code, out, _ = run("results", "links", fleet, "--json")
    names = {(one["name"], one["ranks"]) for one in json.loads(out)["links"]}
    assert ("all_reduce fp32 over node", 8) in names
    assert ("reduce_scatter fp32 over all", 80) in names
    assert {one["provenance"] for one in json.loads(out)["links"]} == {"imported"}


def test_expectations_are_those_of_measured_cases(fleet):
    header = RunReader(fleet).header
    case = next(
        one
        for one in header.cases
        if (one.axes["op"], one.axes["size"], one.axes["buffers"], one.metric)
        == ("all_reduce", "1GiB", "", "busbw")
    )
    assert case.expected == pytest.approx(450e9)  # the link of h100-sxm
    assert case.title == "collectives all_reduce 1GiB fp32"


def test_nobody_takes_it_for_measured(fleet, tmp_path):
    system = tmp_path / "system.yaml"
    part = "{product: a, vendor: a, origin: a, version: a}"
    system.write_text(
        f"name: s\nsubmitter: s\nedition: '2026.1'\nchip: {part}\nframework: {part}\n"
        f"switch: {part}\n"
    )
    code, _, err = run("submission", "pack", fleet, "--system", system, "--out", tmp_path / "x")
    assert code == 2
    assert "imported: only what was measured can be submitted" in err
    other = tmp_path / "runs"
    assert run("run", "quick", "--backend", "sim", "--cluster", "small", "--out", other, "-q")[
        0
    ] in (0, 1)
    (simulated,) = list_runs(other)
    code, _, err = run("compare", fleet, simulated.path)
    assert code == 2
    assert "is imported and" in err
    code, _, err = run("gate", "check", fleet, "--baseline", simulated.path)
    assert code == 2
    code, _, err = run("certify", "--from", fleet, "--baseline", simulated.path)
    assert code == 2
    assert "never compared" in err


def test_it_is_neither_continued_nor_signed(fleet, tmp_path):
    code, _, err = run("run", "--resume", fleet)
    assert code == 2
    assert "imported" in err
    assert run("certify", "--from", fleet)[0] == 1
    assert run("certificate", "keygen", tmp_path / "key")[0] == 0
    words = ("certificate", "sign", fleet, "--key", tmp_path / "key", "--out", tmp_path / "signed")
    code, _, err = run(*words)
    assert code == 1
    assert "gets no certificate: nothing identifies its hardware" in err
    assert not list((tmp_path / "signed").glob("*"))


def test_a_command_line_for_another_table_is_not_believed(tmp_path):
    log = tmp_path / "log"
    tables = made_logs.nccl(["a"], op="reduce_scatter", version=False)
    log.write_text(f"+ ./all_gather_perf -g 8\n{tables}")
    reader, said = imported(tmp_path, "nccl-tests", log)
    assert {case.axes["op"] for case in reader.header.cases} == {"reduce_scatter"}
    assert "only reduce_scatter fits its figures" in said


def test_pairs_of_nodes_show_the_slow_one(tmp_path):
    names = [f"n{k}" for k in range(8)]
    files = []
    for one in range(8):
        for two in range(one + 1, 8):
            slow = 5 in (one, two)
            us = (96.0 + 0.1 * ((7 * one + 3 * two) % 5)) * (1.25 if slow else 1.0)
            log = tmp_path / f"{names[one]}-{names[two]}.log"
            log.write_text(
                f"+ mpirun -np 2 -host {names[one]},{names[two]} osu_latency\n"
                f"# OSU MPI Latency Test v5.6.3\n# Size          Latency (us)\n"
                f"1048576 {us:20.2f}\n"
            )
            files.append(log)
    reader, _ = imported(tmp_path, "osu", *files, options=("--time", "2026-03-01"))
    assert len(reader.header.cases) == 2
    code, out, err = run("results", "fabric", reader.path, "--json")
    assert code == 0, err
    (fabric,) = json.loads(out)["fabrics"]
    assert [(one["kind"], one["names"]) for one in fabric["suspects"]] == [("slow-node", ["n5"])]
    assert (fabric["where"], fabric["pairs"]) == ("between nodes", 28)


SIZES = st.lists(
    st.integers(6, 33).map(lambda power: 1 << power), min_size=1, max_size=6, unique=True
)


@given(
    sizes=SIZES,
    op=st.sampled_from(sorted(made_logs.FACTORS)),
    each=st.sampled_from([2, 4, 8]),
    nodes=st.integers(1, 3),
    kind=st.sampled_from(["float", "half", "bfloat16"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50)
def test_what_is_printed_is_read_again(tmp_path_factory, sizes, op, each, nodes, kind, seed):
    made = [(size, *made_logs.times(size, seed=seed)) for size in sorted(sizes)]
    names = [f"h{number}" for number in range(nodes)]
    log = tmp_path_factory.mktemp("p") / "log"
    log.write_text(made_logs.nccl(names, op, each, made, kind=kind))
    found = format_of("nccl-tests").read(Source(str(log)), Asked())
    assert (found.strange, len(found.devices)) == (0, each * nodes)
    whats = {number: what for what, number in found.whats.items()}
    got = {}
    for part in found.rows:
        for what, value, status in zip(part.what, part.value, part.status, strict=True):
            axes = dict(whats[what].axes)
            got[axes["size"], axes["buffers"], whats[what].metric] = value, status
    usual = ("in_place",) if op in ("all_reduce", "broadcast", "reduce") else ("out_of_place",)
    for size, *seconds in made:
        for form, one in zip(("out_of_place", "in_place"), seconds, strict=True):
            value, status = got[size, "" if form in usual else form, "time"]
            if not (status == 5 or status == 4 or status == 0):
                raise AssertionError(status)
            if math.isfinite(value):
                assert value == pytest.approx(one, rel=1e-3)  # as many digits as are printed
                rate = got[size, "" if form in usual else form, "busbw"][0]
                factor = made_logs.FACTORS[op](each * nodes)
                assert rate == pytest.approx(size / one * factor, rel=1e-3)
                assert status == 0


def _mutated(data: bytes, changes) -> bytes:
    found = bytearray(data)
    for place, what, with_ in changes:
        at = int(place * len(found))
        if what == "cut":
            del found[at : at + 1 + len(with_) * 7]
        elif what == "put":
            found[at:at] = with_
        else:
            found[at : at + len(with_)] = with_
    return bytes(found)


FIXTURES = {
    "nccl-tests": [
        "nccl-tests-2.13-mpirun.log",
        "nccl-tests-2.17.json",
        "nccl-tests-2.8-alltoall_perf.log",
    ],
    "osu": ["osu-5.6-pt2pt.log", "osu-7.4-collectives.log"],
    "superbench": ["superbench-results-summary.jsonl", "superbench-results.json"],
    "pytest-benchmark": ["pytest-benchmark.json"],
}


@pytest.mark.parametrize("form", sorted(FORMATS))
@given(
    which=st.integers(0, 2),
    changes=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.sampled_from(["cut", "put", "set"]),
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from(
                    [
                        b"\n",
                        b" ",
                        b"nan",
                        b"1e999",
                        b"-1",
                        b"0",
                        b"99999999999999999999",
                        b"\x00",
                        b"{",
                        b"]",
                        b'"',
                        b"N/A",
                        b"# ",
                        b"1: ",
                        "½²".encode(),
                    ]
                ),
            ),
        ),
        min_size=1,
        max_size=6,
    ),
)
@settings(max_examples=80)
def test_damage_never_gives_a_traceback(tmp_path_factory, form, which, changes):
    names = FIXTURES[form]
    folder = tmp_path_factory.mktemp("d")
    log = folder / "log"
    log.write_bytes(_mutated((LOGS / names[which % len(names)]).read_bytes(), changes))
    said = {"node": "a", "ranks": 4, "op": "all_reduce"}
    options = [
        word
        for key, value in said.items()
        if key in format_of(form).takes
        for word in (f"--{key}", value)
    ]
    code, out, _ = run("import", form, log, "--out", folder / "runs", "--json", *options)
    assert code in (0, 1, 2)
    for info in list_runs(folder / "runs"):
        assert not info.problem
        reader = RunReader(info.path)
        columns = reader.columns()
        assert len(columns) == json.loads(out)["runs"][0]["rows"]
        good = columns.status == 0
        assert np.isfinite(columns.value[good]).all()


def test_formats_and_bad_options_are_sentences(tmp_path):
    log = LOGS / "nccl-tests-2.17.json"
    for words, told in (
        (("import", "nccltests", log), "unknown format 'nccltests'"),
        (("import", "nccl-tests", log, "--time", "tomorrow"), "--time tomorrow: is no date"),
        (("import", "nccl-tests", log, "--op", "allreduse"), "unknown operation 'allreduse'"),
        (("import", "nccl-tests", log, "--suite", "../x"), "--suite '../x'"),
        (("import", "nccl-tests", log, "--node", "a,b"), "the log names 1 nodes"),
        (("import", "nccl-tests", tmp_path), "is a folder"),
        (("import", "osu", log, "--op", "all_reduce"), "--op does not go with osu"),
    ):
        code, _, err = run(*words, "--out", tmp_path / "runs")
        assert code == 2, words
        assert told in err
    with pytest.raises(UsageError, match="unknown format"):
        format_of("x")


OSU = "# OSU MPI Allreduce Latency Test v7.4\n# Size       Avg Latency(us)\n"


@pytest.mark.parametrize(
    ("form", "text", "told"),
    [
        ("osu", f"mpirun -np 99999999999 -H a,b osu_allreduce\n{OSU}8 1.0\n", "more than any"),
        ("osu", f"mpirun -np {'9' * 5000} -H a,b osu_allreduce\n{OSU}8 1.0\n", "digits"),
        ("superbench", f'{{"node": "n", "gemm-flops/fp16_flops:0": 1{"0" * 400}}}\n', "is damaged"),
    ],
    ids=["ranks", "digits", "value"],
)
def test_numbers_that_no_machine_has_lose_none_of_the_other_files(tmp_path, form, text, told):
    bad = tmp_path / "bad.log"
    bad.write_text(text)
    good = tmp_path / "good.log"
    good.write_text(text.replace("9" * 5000, "4").replace("99999999999", "4").replace("0" * 99, ""))
    code, out, err = run("import", form, bad, good, "--out", tmp_path / "runs", "--json")
    found = json.loads(out)
    assert code == 2, err
    assert told in found["problems"][0]
    assert "sys." not in found["problems"][0]
    assert len(found["runs"]) == 1


def test_names_in_which_numbers_are_longer_than_any_integer_are_ordered(tmp_path):
    long = "9" * 5000
    names = [f"n{long}2", f"n{long}10", "n7", "n07b", "n12"]
    log = tmp_path / "all.log"
    log.write_text(made_logs.nccl(list(reversed(names)), each=1))
    reader, _ = imported(tmp_path, "nccl-tests", log)
    assert [node.name for node in reader.header.nodes] == ["n7", "n07b", "n12", *names[:2]]
    assert set(names) == set().union(*(names_of(info) for info in list_runs(tmp_path / "runs")))


def test_a_size_that_no_message_has_is_a_line_that_is_not_understood(tmp_path):
    log = tmp_path / "osu.log"
    log.write_text(f"{OSU}8 1.0\n{'9' * 30} 1.0\n")
    _, said = imported(tmp_path, "osu", log, options=("--node", "a", "--ranks", "2"))
    assert "1 of 4 lines are not understood" in said


def test_files_whose_names_are_no_text(tmp_path):
    log = tmp_path / os.fsdecode(b"all_reduce\xff.log")
    log.write_bytes((LOGS / "nccl-tests-2.17.json").read_bytes())
    reader, _ = imported(tmp_path, "nccl-tests", log, code=1)
    (name,) = reader.header.environment["imported"]["files"]
    assert name.endswith(r"all_reduce\xff.log")


def test_the_first_day_of_all_is_no_date_or_unknown(tmp_path):
    text = json.dumps(
        {
            "machine_info": {"node": "n"},
            "datetime": "0001-01-01T00:00:00+14:00",
            "benchmarks": [{"fullname": "t", "stats": {"median": 1.0}}],
        }
    )
    (tmp_path / "b.json").write_text(text)
    reader, _ = imported(tmp_path, "pytest-benchmark", tmp_path / "b.json")
    assert reader.header.started > "2000"
    time = ("--time", "0001-01-01T00:00+14:00")
    code, _, err = run("import", "osu", tmp_path / "b.json", *time, "--out", tmp_path / "runs")
    assert code == 2
    assert "is no date" in err


def test_what_was_written_before_the_disk_was_full_is_told(tmp_path, monkeypatch):
    from bench.importing import writing

    write, written = writing.write, []

    def full(made, results):
        if written:
            raise InfraError("cannot write: No space left on device")
        written.append(write(made, results))
        return written[0]

    monkeypatch.setattr(writing, "write", full)
    logs = [tmp_path / f"{name}.json" for name in "ab"]
    for log in logs:
        log.write_bytes((LOGS / "nccl-tests-2.17.json").read_bytes())
    options = ("--each", "--op", "all_reduce", "--json", "--out", tmp_path / "runs")
    code, out, _ = run("import", "nccl-tests", *logs, *options)
    assert code == 4
    found = json.loads(out)
    assert [one["path"] for one in found["runs"]] == [str(written[0])]
    assert "No space left" in found["problems"][0]


def test_a_standard_input_that_was_closed_is_a_sentence(tmp_path):
    command = f"{sys.executable} -m bench import osu - --out {tmp_path} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr


@pytest.mark.parametrize("name", ["nccl-tests-2.17.json", "superbench-results.json"])
@pytest.mark.parametrize("how", ["-", "<(cat)", "compressed"])
def test_what_comes_through_a_pipe_is_read_whole(tmp_path, name, how):
    form = name[: name.index("-2.17") if "2.17" in name else name.index("-results")]
    data = (LOGS / name).read_bytes()
    ask = "--op all_reduce" if form == "nccl-tests" else "--node n"
    where = {"compressed": "-"}.get(how, how)
    command = f"{sys.executable} -m bench import {form} {where} {ask} --json --out {tmp_path}/piped"
    done = subprocess.run(
        ["bash", "-c", command],
        input=gzip.compress(data) if how == "compressed" else data,
        capture_output=True,
    )
    assert done.returncode in (0, 1), done.stderr
    imported(tmp_path, form, LOGS / name, code=done.returncode, options=ask.split())
    piped, plain = (list_runs(tmp_path / one)[0].path for one in ("piped", "runs"))
    assert RunReader(piped).columns().value.tolist() == pytest.approx(
        RunReader(plain).columns().value.tolist(), nan_ok=True
    )
