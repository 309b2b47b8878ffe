"""Logs as they come: what launchers, collectors and the tools put between the figures."""

from __future__ import annotations

import json
import math
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import made_logs
from read_back import imported, rows, run

PLAIN = made_logs.nccl(["n1", "n2"], each=2)
INFO = "10-4-3-3:97:97 [0] NCCL INFO Channel 00/1 : 3[3] -> 1[1] via P2P"
"""What the library says meanwhile; a host may be called after its address."""


def figures(tmp_path, text, *options, name="log", code=0):
    """(rows of an imported text, what was printed)."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    reader, said = imported(tmp_path, "nccl-tests", tmp_path / name, code=code, options=[*options])
    return rows(reader), said


PREFIXES = {
    "kubectl logs --prefix": "[pod/nccl-launcher-x7/nccl] ",
    "kubectl logs --prefix --timestamps": "[pod/nccl-x7/nccl] 2026-01-02T03:04:05.123456789Z ",
    "kubectl logs --prefix, mpirun": "[pod/nccl-launcher-x7/nccl] [1,0]<stdout>:",
    "stern": "nccl-launcher-x7 nccl ",
    "a runtime's file": "2026-01-02T03:04:05.123456789Z stdout F ",
    "compose": "nccl-1  | ",
    "Ray": "(head, rank=0, pid=3808) [1,0]<stdout>:",
    "mpirun 4, timestamps": "Fri Jan  2 03:04:05 2026[1,0]<stdout>:",
    "mpirun 5": "[prterun-n1-123@1,0]<stdout>: ",
    "mpirun 5, in detail": "[prterun-n1-123@1,0][n1:4242]<stdout>: ",
    "logging": "2026-01-02 03:04:05,123 - INFO - ",
    "logging, named": "2026-01-02 03:04:05,123 - perf.nccl - INFO - ",
    "a date": "[2026-01-02 03:04:05] ",
    "Jenkins": "[2026-01-02T03:04:05.123Z] ",
    "GitHub": "nccl\tRun tests\t2026-01-02T03:04:05.1234567Z ",
    "GitLab": "2026-01-02T03:04:05.123456Z 00O ",
    "journald": "Jan  2 03:04:05 n1 all_reduce_perf[4242]: ",
    "srun": " 0: ",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=[*PREFIXES])
def test_what_stands_before_lines_is_read_away(tmp_path, prefix):
    wanted, _ = figures(tmp_path / "plain", PLAIN)
    found, said = figures(tmp_path, "".join(f"{prefix}{line}\n" for line in PLAIN.splitlines()))
    assert found == wanted
    assert "not understood" not in said


def test_pods_that_print_at_a_time_are_told_apart(tmp_path):
    logs = [made_logs.nccl([node], each=2).splitlines() for node in ("n1", "n2")]
    mixed = [
        f"[pod/nccl-{pod}/nccl] {line}\n"
        for lines in zip(*logs, strict=True)
        for pod, line in enumerate(lines)
    ]
    found, said = figures(tmp_path, "".join(mixed))
    assert "2 node(s), 4 device(s)" in said
    assert {len(values) for values in found.values()} == {2}
    assert {value[3] for values in found.values() for value in values} == {(0, 1), (2, 3)}


@pytest.mark.parametrize(
    ("time", "started"),
    [
        ("2026-01-02T03:04:05.123456789Z ", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.1+0800 ", "2026-01-01T19:04:05+00:00"),
        ("2026-01-02 03:04:05,123 ", "2026-01-02T03:04:05+00:00"),
    ],
)
def test_a_time_before_lines_says_when_it_was_measured(tmp_path, time, started):
    (tmp_path / "log").write_text("".join(f"{time}{line}\n" for line in PLAIN.splitlines()))
    reader, said = imported(tmp_path, "nccl-tests", tmp_path / "log")
    assert reader.header.started == started
    assert "file's own time" not in said


def pieces(line: str, how: str) -> list[str]:
    """A line of the table with what the library says in it."""
    lead, out = line.index("-1") + 2, len(line.rstrip()) - (len(line.rstrip()) - 52) // 2
    first, second, third = line[:lead], line[lead:out], line[out:]
    return {
        "first": [first + INFO, INFO, second + third],
        "both": [first + INFO, INFO, second + INFO, INFO, third],
        "second": [first + second + INFO, third],
        "whole lines": [first, INFO, second, INFO, third],
        "labelled": [f"{first}[0] {INFO}", second + third],
    }[how]


@pytest.mark.parametrize("how", ["first", "both", "second", "whole lines", "labelled"])
def test_lines_that_the_library_breaks_are_put_together(tmp_path, how):
    wanted, _ = figures(tmp_path / "plain", PLAIN)
    text = ""
    for line in PLAIN.splitlines():
        broken = pieces(line, how) if line.lstrip()[:1].isdigit() else [line]
        text += "".join(f"{one}\n" for one in broken)
    found, said = figures(tmp_path, text)
    assert found == wanted
    assert "not understood" not in said


def test_a_broken_line_whose_rest_is_missing_is_counted(tmp_path):
    lines = PLAIN.splitlines()
    (at,) = [place for place, line in enumerate(lines) if line.split()[:1] == ["16384"]]
    lines[at] = lines[at][: lines[at].index("-1") + 2] + INFO
    found, said = figures(tmp_path, "\n".join(lines))
    assert not any("16KiB" in key for key in found)
    assert f"log:{at + 1}: 16384" in said and "1 of" in said


def test_broken_lines_that_were_not_checked_stay_so(tmp_path):
    text = PLAIN
    for size in ("1024", "16384"):
        (line,) = [one for one in PLAIN.splitlines() if one.split()[:1] == [size]]
        lead = line.index("-1") + 2
        parts = line[lead:].rsplit("0", 1)[0].split("       0")
        broken = f"{line[:lead]}{INFO}\n{parts[0]}    N/A{INFO}\n{parts[1].rstrip()}       7"
        text = text.replace(line, broken)
    found, _ = figures(tmp_path, text, code=1)
    ((_, status, why, _),) = found["collectives all_reduce 1KiB fp32 out_of_place busbw"]
    assert (status, why) == ("invalid", "the tool did not check what was received")
    ((_, status, why, _),) = found["collectives all_reduce 1KiB fp32 busbw"]
    assert (status, why) == ("invalid", "7 wrong elements")


def sendrecv(each=4, wrong=("0", "N/A"), *, version=False):
    """sendrecv_perf names a reduction, and checks out of place alone."""
    sizes = [(1 << power, *made_logs.times(1 << power), wrong) for power in (20, 24, 28)]
    text = made_logs.nccl(["n1"], "sendrecv", each, sizes, version=version)
    return text.replace("    none      -1", "     sum      -1")


@pytest.mark.parametrize("how", ["version", "name", "figures", "figures of two"])
def test_a_send_that_names_a_reduction_is_one(tmp_path, how):
    text = sendrecv(2 if how == "figures of two" else 4, version=how == "version")
    found, _ = figures(tmp_path, text, name="sendrecv_perf.log" if how == "name" else "log")
    ((value, status, _, _),) = found["collectives send_recv 256MiB fp32 busbw"]
    assert status == "ok" and value == pytest.approx(250e9, rel=0.02)
    ((value, status, why, _),) = found["collectives send_recv 256MiB fp32 in_place busbw"]
    assert (value, status, why) == (None, "skipped", "send_recv has no form in place")


def test_two_ranks_without_checks_may_have_sent_or_reduced(tmp_path):
    (tmp_path / "log").write_text(sendrecv(2, ("N/A", "N/A")))
    code, _, err = run("import", "nccl-tests", tmp_path / "log", "--out", tmp_path / "runs")
    assert code == 2 and "all_reduce or send_recv fits" in err and "--op" in err


def unnamed(op, *wrong):
    rows_ = [(1 << power, *made_logs.times(1 << power), *wrong) for power in (20, 24, 28)]
    return made_logs.nccl(["n1"], op, 8, rows_, version=False)


def tagged(text):
    return "".join(f"[1,0]<stdout>:{line}\n" for line in text.splitlines())


@pytest.mark.parametrize("prefix", [str, tagged])
def test_each_table_is_of_the_command_before_it(tmp_path, prefix):
    text = ""
    for op in ("reduce_scatter", "all_reduce", "all_gather", "reduce"):
        text += f"+ mpirun -np 8 {op}_perf -b 1M\n" + prefix(unnamed(op))
    # What was exchanged cannot be told from what was gathered, but by the command.
    text += "+ mpirun -np 8 alltoall_perf -b 1M\n" + prefix(unnamed("alltoall", ("0", "0")))
    found, said = figures(tmp_path, text)
    ops = {key.split()[1] for key in found}
    assert ops == {"reduce_scatter", "all_reduce", "all_gather", "reduce", "all_to_all"}
    assert {len(values) for values in found.values()} == {1}
    assert "invalid" not in said


def test_what_was_checked_tells_an_exchange_from_a_gather(tmp_path):
    text = "+ mpirun all_gather_perf -b 1M\n" + unnamed("alltoall", ("0", "N/A"))
    found, said = figures(tmp_path, text)
    assert {key.split()[1] for key in found} == {"all_to_all"}
    assert "only all_to_all fits" in said


def test_a_program_that_nobody_knows_has_its_own_name_and_figures(tmp_path):
    text = "+ mpirun alltoall_perf -b 1M\n" + unnamed("alltoall", ("0", "N/A"))
    text += "+ mpirun alltoallv_perf -b 1M\n" + unnamed("alltoall", ("0", "N/A"))
    found, _ = figures(tmp_path, text, code=1)
    ((value, status, _, _),) = found["alltoallv_perf 256MiB float none -1 out_of_place busbw"]
    assert status == "ok" and value == pytest.approx(250e9 * 7 / 8, rel=0.02)
    assert len(found["collectives all_to_all 256MiB fp32 busbw"]) == 1


def test_a_hypercube_counts_as_it_prints(tmp_path):
    text = unnamed("hypercube").replace(
        "# nThread", "# Collective test starting: hypercube_perf\n# nThread"
    )
    found, _ = figures(tmp_path, text)
    for metric in ("algbw", "busbw"):
        ((value, status, _, _),) = found[f"hypercube_perf 256MiB float none -1 in_place {metric}"]
        assert status == "ok" and value == pytest.approx(250e9 * 7 / 8, rel=0.02)


def test_a_table_of_one_form(tmp_path):
    text = "".join(
        f"{line[:85] if line.lstrip()[:1].isdigit() or '#wrong' in line else line}\n"
        for line in PLAIN.splitlines()
    )
    assert text.count("#wrong") == 1
    found, said = figures(tmp_path, text)
    assert "not understood" not in said and len(found) == 18
    ((value, status, _, _),) = found["collectives all_reduce 1GiB fp32 out_of_place busbw"]
    assert status == "ok" and value == pytest.approx(375e9, rel=0.02)


def test_another_library_of_the_kind_says_what_it_is(tmp_path):
    says = "xccl-tests: Version develop:ae3e635\nXCCL version : 2.22.3-HEAD:7d8d67c\n"
    says += "DRV version  : 6.4.4\nHostname     : n1\nLibxccl path : /opt/lib/libxccl.so.1\n"
    says += "n1:1:1 [0] XCCL INFO ring\n"
    (tmp_path / "log").write_text(PLAIN.replace("# Using devices\n", says + "# Using devices\n"))
    reader, said = imported(tmp_path, "nccl-tests", tmp_path / "log")
    assert "not understood" not in said
    assert reader.header.environment["versions"]["library"] == "2.22.3-HEAD"


def osu(tmp_path, text, *options):
    """(rows, the run's header) of OSU tables of eight ranks on two nodes."""
    (tmp_path / "osu.out").write_text(text)
    options = ["--node", "a", "--node", "b", "--ranks", 8, *options]
    reader, _ = imported(tmp_path, "osu", tmp_path / "osu.out", options=options)
    return rows(reader), reader.header


ALLREDUCE = (
    "# OSU {} Allreduce Latency Test v7.3\n{}# Size       Avg Latency(us)\n{}1048576    {}\n"
)


@pytest.mark.parametrize("behind", [False, True], ids=["before the head", "behind the head"])
def test_the_type_of_elements_is_said_before_or_behind_the_head(tmp_path, behind):
    said = "# Datatype: MPI_INT.\n"
    text = ALLREDUCE.format("MPI", "" if behind else said, said if behind else "", 95.0)
    found, _ = osu(tmp_path, text)
    ((value, *_),) = found["collectives all_reduce 1MiB int32 out_of_place time"]
    assert value == pytest.approx(95e-6)


def test_a_type_that_we_have_not_is_taken_for_no_other(tmp_path):
    found, _ = osu(tmp_path, ALLREDUCE.format("MPI", "# Datatype: MPI_DOUBLE.\n", "", 95.0))
    assert [*found] == ["osu_allreduce 1MiB host latency"]


def test_tables_of_several_types_are_kept_apart(tmp_path):
    text = "# OSU MPI Bandwidth Test v7.5\n"
    for kind, rate in (("MPI_CHAR", 2.5), ("MPI_FLOAT", 3.5)):
        text += f"# Datatype: {kind}.\n# Size      Bandwidth (MB/s)\n8      {rate}\n"
    found, _ = osu(tmp_path, text)
    ((char, *_),) = found["osu_bw 8B host bandwidth"]
    ((real, *_),) = found["osu_bw 8B host MPI_FLOAT bandwidth"]
    assert (char, real) == (2.5e6, 3.5e6)


def test_collectives_of_hosts_devices_and_libraries_are_kept_apart(tmp_path):
    text = "".join(
        ALLREDUCE.format(library, "", "", time)
        for library, time in (("MPI", 400.0), ("MPI-CUDA", 200.0), ("NCCL-CUDA", 100.0))
    )
    found, header = osu(tmp_path, text)
    ((value, *_),) = found["osu_nccl_allreduce 1MiB device latency"]
    assert value == pytest.approx(100e-6)
    times = found["collectives all_reduce 1MiB fp32 out_of_place time"]
    assert sorted(value for value, *_ in times) == pytest.approx([100e-6, 200e-6, 400e-6])
    cases = [one for one in header.cases if one.metric == "time"]
    assert {one.stage for one in cases} == {
        "osu_allreduce-host",
        "osu_allreduce-device",
        "osu_nccl_allreduce-device",
    }


def superbench(tmp_path, said, code=0):
    """Rows of a summary of one node."""
    (tmp_path / "results-summary.jsonl").write_text(json.dumps({"node": "n1", **said}))
    reader, told = imported(tmp_path, "superbench", tmp_path / "results-summary.jsonl", code=code)
    return rows(reader), told


def test_a_check_that_did_not_hold_is_no_good_figure(tmp_path):
    said = {
        "gpu-burn/gpu_0_pass": 1,
        "gpu-burn/gpu_1_pass": 0,
        "gpu-burn/abort": 0,
        "cublas-function/name_f_time:0": 5.0,
        "cublas-function/name_f_correctness:0": 0,
        "cublas-function/name_f_time:1": 5.0,
        "cublas-function/name_f_correctness:1": 1,
        "cpu-hpl/throughput": 900.0,
        "cpu-hpl/tests_pass": 0,
        "gpu-hpcg/0/final_gflops": 90.0,
        "gpu-hpcg/0/is_valid": 1,
        "gpu-hpcg/1/final_gflops": 90.0,
        "gpu-hpcg/1/is_valid": 0,
    }
    found, told = superbench(tmp_path, said, code=1)
    assert "not understood" not in told
    states = {key: [(status, why) for _, status, why, _ in each] for key, each in found.items()}
    assert states["gpu-burn gpu_0_pass"] == states["gpu-burn abort"] == [("ok", "")]
    ((status, why),) = states["gpu-burn gpu_1_pass"]
    assert status == "invalid" and "gpu_1_pass 0" in why
    wrong = "what was worked out is wrong: "
    assert states["cublas-function name_f_time"] == [
        ("invalid", f"{wrong}name_f_correctness is 0"),
        ("ok", ""),
    ]
    assert states["cpu-hpl throughput"] == [("invalid", f"{wrong}tests_pass is 0")]
    assert states["gpu-hpcg final_gflops"] == [("ok", ""), ("invalid", f"{wrong}is_valid is 0")]


@pytest.mark.parametrize(
    ("name", "printed", "value"),
    [
        ("kernel-launch/launch_throughput_mkps:0", 0.5, 5e5),
        ("nvbandwidth/host_to_device_memcpy_ce_cpu0_gpu0_bw", 55.0, 55e9),
        ("ib-traffic/ib_write_bw_8388608_gpu-to-gpu_0_0:n1_n2", 49.0, 49e9),
        ("ib-traffic/ib_write_lat_8_cpu-to-cpu_0_0:n1_n2", 2.0, 2e-6),
        ("disk-benchmark/nvme0n1_rand_read_write_read_iops", 8e5, 8e5),
        ("disk-benchmark/nvme0n1_rand_read_write_read_lat_ns_99.9", 9e4, 9e-5),
        ("pytorch-computation-communication-overlap/mul_time", 3.0, 3e-3),
        ("pytorch-computation-communication-overlap/mul_cost:0", 3.0, 3e-3),
        ("dist-inference/pytorch-dist-inference/step_times_99.9", 3.0, 3e-3),
    ],
)
def test_documented_units_are_known(tmp_path, name, printed, value):
    found, told = superbench(tmp_path, {name: printed})
    assert "not understood" not in told
    (((got, status, _, _),),) = found.values()
    assert status == "ok" and got == pytest.approx(value)


@pytest.mark.parametrize("where", ["extra_info", "stats"])
def test_numbers_that_only_python_writes_lose_no_test(tmp_path, where):
    test = {"fullname": "t.py::test_a", "stats": {"median": 0.5, "rounds": 5}, "extra_info": {}}
    test[where]["share"], test[where]["ops"] = math.nan, math.inf
    document = {"machine_info": {"node": "m1"}, "benchmarks": [test], "version": "5.1.0"}
    (tmp_path / "b.json").write_text(json.dumps(document))
    reader, _ = imported(tmp_path, "pytest-benchmark", tmp_path / "b.json")
    ((value, status, *_),) = rows(reader)["pytest t.py::test_a time"]
    assert (value, status) == (0.5, "ok")


@pytest.mark.parametrize("what", ["tar", "tar.gz", "zip", "zstd"])
def test_what_has_to_be_unpacked_is_said_to_be_that(tmp_path, what):
    log, packed = tmp_path / "log", tmp_path / f"packed.{what}"
    log.write_text(PLAIN)
    if what == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(log)
    elif what == "zstd":
        packed.write_bytes(b"\x28\xb5\x2f\xfd\x04\x00" + bytes(40))
    else:
        with tarfile.open(packed, "w:gz" if what == "tar.gz" else "w") as archive:
            archive.add(log)
    code, _, err = run("import", "nccl-tests", packed, "--out", tmp_path / "runs")
    assert code == 2
    assert f"{what.removesuffix('.gz')}" in err and "unpack it" in err


def begun(text):
    """A log up to its table, and the table's head."""
    lines = text.splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if "out-of-place" in line)
    return "".join(lines[:at]), "".join(lines[at:])


@pytest.mark.parametrize("op", ["all_reduce", "broadcast"])
@pytest.mark.parametrize("head", [False, True], ids=["before the table", "behind its head"])
def test_what_failed_before_adds_no_devices(tmp_path, op, head):
    # The bus bandwidth of a broadcast is the same over however many ranks.
    rows_ = [(1 << power, *made_logs.times(1 << power)) for power in (20, 28)]
    text = made_logs.nccl(["n1", "n2"], op, 2, rows_)
    first = begun(made_logs.nccl(["n8", "n1"], op, 2, rows_))[0]
    failed = first + (made_logs.HEAD if head else "")
    found, said = figures(tmp_path, f"{failed}n8: Test NCCL failure common.cu:958\n{text}")
    assert "1 of" in said and "Test NCCL failure" in said
    for values in found.values():
        ((_, status, _, ranks),) = values
        assert (status, len(ranks)) == ("ok", 4)


@pytest.mark.parametrize("mixed", ["all lines", "tables"])
def test_processes_that_know_nothing_of_each_other_are_refused(tmp_path, mixed):
    one, other = (
        begun(made_logs.nccl([node], "broadcast", 2, version=False)) for node in ("n1", "n2")
    )
    pairs = [
        zip(*(part.splitlines() for part in parts), strict=True)
        for parts in zip(one, other, strict=True)
    ]
    heads, tables = ["".join(f"{a}\n{b}\n" for a, b in pair) for pair in pairs]
    text = "+ mpirun -np 2 broadcast_perf -g 2\n"
    text += (heads if mixed == "all lines" else one[0] + other[0]) + tables
    (tmp_path / "log").write_text(text)
    code, _, err = run("import", "nccl-tests", tmp_path / "log", "--out", tmp_path / "runs")
    assert code == 2 and "whose a line is nobody can tell" in err and "MPI=1" in err


def test_each_osu_table_is_of_the_command_before_it(tmp_path):
    text = ""
    for ranks, buffers in ((4, "D D"), (8, "H D")):
        text += f"+ mpirun -np {ranks} -host a,b osu_allreduce -d cuda {buffers}\n"
        table = ALLREDUCE.format("MPI-CUDA", "", "", 100.0 * ranks)
        text += "".join(f"[1,0]<stdout>:{line}\n" for line in table.splitlines())
    (tmp_path / "osu.out").write_text(text)
    reader, _ = imported(tmp_path, "osu", tmp_path / "osu.out")
    found = rows(reader)
    for ranks, memory in ((4, "device"), (8, "host-device")):
        ((value, _, _, members),) = found[f"osu_allreduce 1MiB {memory} latency"]
        assert (value, len(members)) == (pytest.approx(1e-4 * ranks), ranks)
