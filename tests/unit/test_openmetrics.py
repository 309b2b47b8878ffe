"""Runs as metrics: what parsers of both formats read of them, however hostile their names."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_classic

sys.path.insert(0, str(Path(__file__).parent))
from certified import certify
from made_runs import case, columns, header

from bench.cli.metrics import Exported, Place, exported
from bench.cluster.executor import Event, Page, Progress
from bench.cluster.plan import Stage
from bench.configs import Cluster, Fault, load_suite
from bench.errors import InfraError, UsageError
from bench.records import Device, Node, Row, ScheduleSpec
from bench.report.openmetrics import LONGEST, exposition, results, text
from bench.results import RunReader
from bench.telemetry import TelemetryRow

HOSTILE = 'a"b\\c\nd{e="f"} 1\n# EOF'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A certified fleet with a slow chip."""
    fleet = Cluster(
        name="t",
        chip="sim-a",
        nodes=16,
        devices=2,
        seed=1,
        between=0.004,
        faults=[Fault(kind="slow-chip", node=3, device=1, factor=0.8)],
    )
    from bench.configs import suite_from_text
    from bench.verdicts import write_verdict

    suite = suite_from_text(
        "name: short\nstages:\n  - name: device\n    repeats: 2\n    benchmarks:\n"
        "      - gemm: {shape: 8192x8192x8192, dtype: bf16}\n"
        "      - stream: {op: triad, size: 1GiB}\n"
        "      - pairs: {of: node, schedule: full}\n",
        "short.yaml",
    )
    found = certify(tmp_path_factory.mktemp("runs"), fleet, suite=suite)
    write_verdict(found.folder, found.made)
    return found


def series(text, parse=parse_open):
    """(name, labels) → value of every series; none is told twice."""
    found = {}
    for family in parse(text):
        for one in family.samples:
            key = one.name, tuple(sorted(one.labels.items()))
            assert key not in found, key
            found[key] = one.value
    return found


def of(found, name, **labels):
    """Values of the series of a name that have these labels."""
    return [
        value
        for (mine, theirs), value in found.items()
        if mine == name and labels.items() <= dict(theirs).items()
    ]


def test_a_run_is_what_parsers_read(run):
    told = exposition(RunReader(run.folder))
    assert told.endswith("# EOF\n")
    found = series(told)
    (info,) = (dict(labels) for (name, labels) in found if name == "hengsuan_run_info")
    assert info["run"] == run.folder.name
    assert info["provenance"] == "simulated"
    devices = of(found, "hengsuan_measurement", metric="flops")
    assert len(devices) == 32, "16 nodes of two devices, and one implementation"
    slow = of(found, "hengsuan_measurement", node="node-00003", device="1", metric="flops")
    assert slow
    assert min(slow) < 0.9 * sorted(devices)[16]
    assert of(found, "hengsuan_benchmark", statistic="worst", metric="flops")
    assert of(found, "hengsuan_node_verdict", node="node-00003", verdict="reject") == [1]
    assert len(of(found, "hengsuan_node_verdict", verdict="accept")) == 15
    assert of(found, "hengsuan_left_out_series") == [0]
    # Pairs are of nobody: their spread alone is told.
    assert of(found, "hengsuan_benchmark", metric="bandwidth", statistic="median")
    assert sum(of(found, "hengsuan_rows")) == len(RunReader(run.folder).columns())
    finished = of(found, "hengsuan_run_finished_timestamp_seconds")
    assert finished[0] >= of(found, "hengsuan_run_started_timestamp_seconds")[0] > 1.7e9


def test_the_file_of_node_exporter_says_the_same(run):
    families = results(RunReader(run.folder))
    classic = text(families, classic=True)
    assert " info" not in "".join(line for line in classic.splitlines() if "# TYPE" in line)
    assert series(classic, parse_classic) == series(text(families))


def test_too_many_series_are_left_out_and_counted(run):
    found = series(text(results(RunReader(run.folder), most=20)))
    assert of(found, "hengsuan_measurement") == []
    assert of(found, "hengsuan_left_out_series")[0] >= 64
    assert of(found, "hengsuan_benchmark", statistic="median")
    assert len(of(found, "hengsuan_node_verdict")) <= 20


def hostile():
    """A header whose every name is out to break the format."""
    devices = tuple(Device(index=i, backend="cpu", name="x") for i in range(2))
    nodes = [
        Node(id=str(n), name=name, backend="cpu", devices=devices)
        for n, name in enumerate((HOSTILE, "x" * 10_000, "\udcff"))
    ]
    return header(
        case(0, benchmark="b", axes={"path": HOSTILE}, unit=HOSTILE),
        fleet=None,
        nodes=nodes,
        groups=6,
        id=HOSTILE,
        suite=HOSTILE,
        finished="yesterday",
        events=[{"time": 0.0, "kind": HOSTILE, "node": "", "text": ""}],
    )


class Made:
    """A reader of what never was written."""

    def __init__(self, head, rows, path):
        self.header, self.path = head, path
        self._rows = rows

    def columns(self):
        return self._rows


def test_names_may_hold_anything(tmp_path):
    rows = columns((0, 0, 1.0), (0, 2, 3.0), (0, 4, 2.0), (0, 5, 0.0, "failed", "why"))
    found = series(exposition(Made(hostile(), rows, tmp_path)))
    places = {dict(labels).get("node") for name, labels in found if name == "hengsuan_measurement"}
    assert HOSTILE in places
    assert {len(place) for place in places} == {len(HOSTILE), LONGEST, 1}
    assert of(found, "hengsuan_measurement", node=HOSTILE) == [1.0]
    assert of(found, "hengsuan_node_rows", status="failed") == [1]
    assert of(found, "hengsuan_run_finished_timestamp_seconds") == []


def test_nodes_of_one_name_are_told_apart(tmp_path):
    """A series that is told twice would spoil the whole scrape."""
    head = hostile()
    head.nodes = [msgspec.structs.replace(node, name="gpu") for node in head.nodes]
    rows = columns((0, 0, 1.0), (0, 2, 3.0), (0, 4, 2.0))
    found = series(exposition(Made(head, rows, tmp_path)))
    assert of(found, "hengsuan_measurement", node="gpu#1") == [3.0]


def test_a_run_without_rows_is_told(tmp_path):
    empty = Made(hostile(), columns(), tmp_path)
    found = series(exposition(empty))
    assert of(found, "hengsuan_rows") == []
    assert of(found, "hengsuan_left_out_series") == [0]


def test_repeats_of_a_device_are_one_value(tmp_path):
    head = header(
        case(0, benchmark="b"),
        case(1, benchmark="b", stage="device+1"),
        schedules=[ScheduleSpec(kind="devices", scope="device", groups=2)],
    )
    rows = columns((0, 0, 1.0), (0, 1, 5.0), (0, 0, 3.0), (1, 0, 7.0))
    found = series(exposition(Made(head, rows, tmp_path)))
    assert of(found, "hengsuan_measurement", device="1") == [5.0]
    assert of(found, "hengsuan_measurement", device="0") == [7.0], "a re-test counts"


def live(file):
    kept = Exported(file)
    head = hostile()
    kept.begin(head, None, None, Path("no such run"))
    kept.stage(Stage(name="device", needs=[], blocks=[]), 10)
    values = [0.5, 0, 1000, 1.0, 2.0, None, None, 0.001]
    device = [1500, 61, 300, 5, 0.9, 1, 0]
    row = Row(0, 0, 0, 1.0, 1.0, 1.0, 1.0, 1, "ok", -1, "measured", "")
    kept.page(
        Page(
            rows=[row, msgspec.structs.replace(row, status="failed")],
            events=[Event(time=1.0, kind="rank-lost", text="x")],
            progress=[Progress(node="a", done=4, total=10), Progress(node="b", done=3, total=10)],
            telemetry=[
                msgspec.Raw(msgspec.json.encode(TelemetryRow(0, 1.0, values, [device, device[:2]])))
            ],
        )
    )
    return kept


def test_a_run_that_goes_on(tmp_path):
    file = tmp_path / "run.prom"
    kept = live(file)
    found = series(text(kept.collect()))
    assert of(found, "hengsuan_running", provenance="measured") == [1]
    assert of(found, "hengsuan_stage_jobs_done", stage="device") == [4]
    assert of(found, "hengsuan_live_rows", status="failed") == [1]
    assert of(found, "hengsuan_lost") == [1]
    assert of(found, "hengsuan_device_clock_hertz", node=HOSTILE, device="0") == [1.5e9]
    assert of(found, "hengsuan_device_power_watts") == [300]
    assert of(found, "hengsuan_device_temperature_celsius") == [61, 61]
    assert of(found, "hengsuan_node_rdma_sent_bytes_per_second") == []
    kept.end("complete", {})
    kept.finish()
    told = file.read_text()
    ended = series(told, parse_classic)
    assert of(ended, "hengsuan_running") == [0]
    assert of(ended, "hengsuan_device_power_watts") == [], "it is not of now any more"
    assert file.stat().st_mode & 0o444 == 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["run.prom"]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path):
    (tmp_path / "run.prom").mkdir()
    with pytest.raises(InfraError, match="cannot write metrics"):
        live(tmp_path / "run.prom")
    with (
        pytest.raises(UsageError, match="there is no folder"),
        exported(tmp_path / "away" / "x.prom", None),
    ):
        pass
    with pytest.raises(UsageError, match="else than a file"), exported(Path("/dev/full"), None):
        pass


def test_a_file_that_can_be_written_no_more_ends_nothing(tmp_path, capsys):
    folder = tmp_path / "there"
    folder.mkdir()
    kept = live(folder / "run.prom")
    (folder / "run.prom").unlink()
    folder.rmdir()
    kept.finish()
    kept.finish()
    assert capsys.readouterr().err.count("cannot write metrics") == 1


@pytest.mark.parametrize("port", ["", "x", "99999", "-1", "host:", "1.5"])
def test_ports_that_are_none(port):
    with pytest.raises(UsageError, match="write PORT or ADDRESS:PORT"):
        Place.of(port)


def test_a_port_is_served_and_belongs_to_one(capsys):
    assert Place.of("[::1]:9") == ("::1", 9)
    with exported(None, "0") as kept:
        address = capsys.readouterr().err.split()[-1]
        assert address.startswith("http://127.0.0.1:")
        wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=wanted))
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")
        port = address.rpartition(":")[2].partition("/")[0]
        with pytest.raises(UsageError, match="somebody else does"), exported(None, port):
            pass
        assert kept is not None
    with (
        pytest.raises(UsageError, match=r"cannot serve at 203\.0\.113\.1"),
        exported(None, "203.0.113.1:0"),
    ):
        pass


def test_the_command_keeps_the_file_with_its_results(tmp_path):
    words = ["run", "quick", "--cluster", "small", "-q", "--json", "--metrics-file", "m.prom"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert load_suite("quick").name == "quick"
    found = series((tmp_path / "m.prom").read_text(), parse_classic)
    assert of(found, "hengsuan_run_info", suite="quick", state="complete") == [1]
    assert of(found, "hengsuan_running", suite="quick") == [0]
    assert len(of(found, "hengsuan_measurement", metric="flops")) >= 64
