"""Runs as metrics: what parsers of both formats read of them, however hostile their names."""

import contextlib
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_classic

sys.path.insert(0, str(Path(__file__).parent))
from certified import certify
from judged_runs import judged_run
from made_runs import case, columns, header
from report_runs import written

from bench.cli.metrics import Exported, Place, exported
from bench.cluster.executor import Event, Page, Progress
from bench.cluster.plan import Stage
from bench.configs import Cluster, Fault, load_suite
from bench.errors import InfraError, UsageError
from bench.files import sha256
from bench.inventory import Inventory
from bench.records import Device, DeviceGroup, Node, Row, ScheduleSpec
from bench.report.live_metrics import STALE, Live
from bench.report.metrics_server import CONNECTIONS
from bench.report.openmetrics import LONGEST, exposition, places, results, text
from bench.results import RunReader
from bench.rounds import schedule_for
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
    found.made.results = sha256(found.folder / "measurements.jsonl")
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


def test_a_verdict_of_earlier_rows_says_so(run, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    found = series(text(results(RunReader(folder))))
    assert len(of(found, "hengsuan_node_verdict", rows="all")) == 16
    rows = folder / "measurements.jsonl"
    rows.write_bytes(rows.read_bytes() + rows.read_bytes().splitlines(keepends=True)[-1])
    found = series(text(results(RunReader(folder))))
    assert of(found, "hengsuan_node_verdict", rows="all") == []
    assert of(found, "hengsuan_node_verdict", rows="earlier", verdict="reject") == [1]


def test_a_time_without_a_zone_is_utc_wherever_this_is(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        times = {"started": "2026-01-01T00:00:00", "finished": "2026-01-01T00:01:00Z"}
        found = series(text(results(RunReader(written(tmp_path, ["a"], **times)))))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert of(found, "hengsuan_run_started_timestamp_seconds") == [1767225600]
    assert of(found, "hengsuan_run_finished_timestamp_seconds") == [1767225660]


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
    told = {dict(labels).get("node") for name, labels in found if name == "hengsuan_measurement"}
    assert HOSTILE in told
    assert {len(place) for place in told} == {len(HOSTILE), LONGEST, 1}
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


@pytest.mark.parametrize(("better", "ends"), [("higher", (2.0, 9.0)), ("lower", (9.0, 2.0))])
def test_a_benchmark_is_over_all_that_measured_it_though_some_were_measured_again(better, ends):
    """Two of five are measured again, in a schedule that counts its groups anew."""
    some = ScheduleSpec(kind="nodes", scope="group", arguments={"nodes": [1, 3]}, groups=2)
    head = header(
        *(
            case(i, benchmark="b", stage=stage, scope="group", schedule=i, better=better)
            for i, stage in enumerate(("node", "node+1"))
        ),
        case(2, benchmark="c", schedule=0, scope="group", better=better),
        fleet=DeviceGroup(count=5, devices=2, chip="acme-1"),
        schedules=[ScheduleSpec(kind="nodes", scope="group", groups=5), some],
    )
    first = [(0, node, value) for node, value in enumerate((2.0, 1.0, 3.0, 8.0, 4.0))]
    ids = [int(one) for whole in schedule_for(some, Inventory([], head.fleet)).rounds()
           for one in whole[0].ids]  # fmt: skip
    again = [(1, ids[0], 5.0), (1, ids[1], 9.0), (1, ids[1], 9.0), (1, ids[0], 5.0)]
    rows = columns(*first, *again, (2, 0, 1.0), (2, 1, 6.0))
    found = series(exposition(Made(head, rows, Path("nowhere"))))
    assert of(found, "hengsuan_benchmark", benchmark="b over node", statistic="median") == [4.0]
    told = [
        of(found, "hengsuan_benchmark", benchmark="b over node", statistic=one)[0]
        for one in ("worst", "best")
    ]
    assert tuple(told) == ends
    assert of(found, "hengsuan_benchmark", benchmark="c over node", statistic="median") == [3.5]


def test_rows_are_counted_by_status_and_provenance_and_lost_ones_by_node(tmp_path):
    head = header(
        case(0, benchmark="b"),
        case(1, "p", scope="pair", schedule=1, metric="bandwidth", unit="B/s"),
        case(2, "d", metric="digest", unit="digest"),
        provenance="simulated",
        fleet=DeviceGroup(count=2, devices=2, chip="acme-1"),
        events=[{"kind": kind} for kind in ("rank-lost", "agent-lost", "rank-lost")],
        schedules=[
            ScheduleSpec(kind="devices", scope="device", groups=4),
            ScheduleSpec(kind="listed", scope="pair", groups=1, arguments={"groups": [[0, 2]]}),
        ],
    )
    lost = float("nan"), "failed", "x", "simulated"
    rows = columns(
        (0, 0, 1.0, "ok", "", "simulated"),
        (0, 1, 3.0, "ok", "", "simulated"),
        (0, 2, *lost),
        (0, 3, *lost),
        (0, 3, float("nan"), "contended", "", "simulated"),
        (0, 1, float("nan"), "skipped", "", "simulated"),
        (1, 0, *lost),  # of no one node
        (2, 0, 17.0, "ok", "", "simulated"),  # of no size
        (0, 0, 2.0, "ok", "", "stand-in"),
    )
    found = series(exposition(Made(head, rows, tmp_path)))
    counted = {
        (status, provenance): of(found, "hengsuan_rows", status=status, provenance=provenance)
        for status in ("ok", "failed", "contended", "skipped", "invalid")
        for provenance in ("simulated", "stand-in")
    }
    assert {key: value for key, value in counted.items() if value} == {
        ("ok", "simulated"): [3],
        ("ok", "stand-in"): [1],
        ("failed", "simulated"): [3],
        ("contended", "simulated"): [1],
        ("skipped", "simulated"): [1],
    }
    assert of(found, "hengsuan_node_rows", node="node-00001", status="failed") == [2]
    assert of(found, "hengsuan_node_rows", node="node-00001", status="contended") == [1]
    assert of(found, "hengsuan_node_rows", node="node-00000") == []
    assert of(found, "hengsuan_events", kind="rank-lost") == [2]
    assert of(found, "hengsuan_events", kind="agent-lost") == [1]
    assert sorted(of(found, "hengsuan_measurement")) == [1.5, 3.0]
    few = series(text(results(Made(head, rows, tmp_path), most=1)))
    assert of(few, "hengsuan_node_rows") == [2]
    assert of(few, "hengsuan_left_out_series") == [3]  # two values, and one count


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


@pytest.mark.parametrize("port", ["", "x", "99999", "-1", "host:", "1.5", "²", "9" * 5000])
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


def test_the_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run.prom").mkdir()
    with pytest.raises(InfraError) as told:
        live(tmp_path / "run.prom")
    assert str(tmp_path / "run.prom") in str(told.value)


def test_a_run_that_broke_runs_no_more(tmp_path):
    kept = live(tmp_path / "run.prom")
    kept.finish()  # nobody came to say that it has ended
    found = series((tmp_path / "run.prom").read_text(), parse_classic)
    assert of(found, "hengsuan_running") == [0]


def test_a_node_that_never_answered_is_lost_from_the_beginning():
    said = Node(id="1", name="n1", facts={"cores": 8}, problem="no device")
    made = Live()
    made.begin(header(nodes=[Node(id="0", name="n0", problem="its agent failed"), said]))
    assert of(series(text(made.families())), "hengsuan_lost") == [1]


def test_what_a_lost_node_said_last_is_not_of_now():
    clock = [1000.0]
    kept = Live(lambda: clock[0])
    kept.begin(hostile())
    values = [0.5, 0, 1000, 1.0, 2.0, None, None, 0.001]
    kept.page({}, None, 0, [TelemetryRow(0, 1.0, values), TelemetryRow(1, 1.0, values)])
    clock[0] += STALE
    kept.page({}, None, 1, [TelemetryRow(1, 300.0, values)])
    assert len(of(series(text(kept.families())), "hengsuan_node_cpu_ratio")) == 2
    clock[0] += 1
    found = series(text(kept.families()))
    assert len(of(found, "hengsuan_node_cpu_ratio")) == 1
    assert of(found, "hengsuan_node_cpu_ratio", node=HOSTILE) == []


def test_what_has_no_room_is_counted_while_a_run_goes_on():
    kept = Live()
    kept.begin(hostile())
    device = [1500, 61, None, None, None, None, None]
    kept.page({}, None, 0, [TelemetryRow(node, 1.0, [0.5], [device] * 2) for node in (0, 1)])
    found = series(text(kept.families(3)))
    assert len(of(found, "hengsuan_device_clock_hertz")) == 3
    assert of(found, "hengsuan_left_out_series") == [2], "a clock and a temperature"


def test_who_is_rejected_is_told_first_and_who_has_no_room_is_counted(tmp_path):
    words = [("a", "accept"), ("b", "accept"), ("c", "reject")]
    folder = judged_run(tmp_path / "run", *words, provenance="simulated")
    found = series(text(results(RunReader(folder), most=2)))
    told = of(found, "hengsuan_node_verdict", provenance="simulated")
    assert len(told) == 2
    assert of(found, "hengsuan_node_verdict", node="c", verdict="reject") == [1]
    assert of(found, "hengsuan_left_out_series") == [1]


def test_an_address_that_no_host_can_have():
    with pytest.raises(UsageError, match="cannot serve"), exported(None, f"{'a' * 70}:0"):
        pass


def until(condition):
    stop = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < stop, "not in time"
        time.sleep(0.05)


def test_whatever_a_port_is_asked_it_answers_on_and_says_nothing(capfd):
    with exported(None, "0") as kept:
        kept.begin(hostile(), None, None, Path("no such run"))
        address = capfd.readouterr().err.split()[-1]
        where = "127.0.0.1", int(address.rpartition(":")[2].partition("/")[0])
        asked = urllib.request.urlopen(f"{address}?name[]=hengsuan_running").read().decode()
        assert {name for name, _ in series(asked, parse_classic)} == {"hengsuan_running"}
        accept = b"Accept: application/openmetrics-text; version=x\r\n"
        for raw in (
            b"\x00\xff\r\n\r\n",
            b"GET /" + b"a" * 70_000 + b"\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\n" + accept + b"\r\n",
            b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        ):
            with socket.create_connection(where) as one, contextlib.suppress(ConnectionError):
                one.sendall(raw)
                while one.recv(1 << 16):
                    pass
        with socket.create_connection(where) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        many = 40
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(socket.create_connection(where)) for _ in range(many)]
            until(lambda: len(select.select(idle, [], [], 0.1)[0]) >= many - CONNECTIONS)
            serving = [one for one in threading.enumerate() if "process_request" in one.name]
            assert len(serving) <= CONNECTIONS

        def answers():
            with contextlib.suppress(OSError):
                return b"hengsuan_running" in urllib.request.urlopen(address).read()

        until(answers)
        assert capfd.readouterr().err == ""


def test_a_name_that_is_another_and_its_place_is_told_apart():
    assert len(set(places(["a", "a", "a#0"]))) == 3
