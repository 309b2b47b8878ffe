"""Telemetry beside a run: what is read of a host, how often, what it costs, and how it is kept."""

import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from types import SimpleNamespace

import click
import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import made_host

from bench.backends.base import Backend, Telemetry
from bench.cli import cli
from bench.cluster import sampler
from bench.cluster.executor import PAGE_BYTES
from bench.cluster.outbox import Outbox
from bench.cluster.telemetry_file import TelemetryFile
from bench.errors import InfraError, UsageError
from bench.host.load import Load
from bench.records import Device, Node
from bench.telemetry import DEVICE, NODE, TELEMETRY, TelemetryRow, read_telemetry


def row(node, at, devices=2):
    values = [0.25, 0, 1 << 30, 1e6, 2e6, None, None, 0.001]
    device = [1500, 55.5, 250, 1 << 20, 0.5, 0, 1]
    return TelemetryRow(node, at, values, [device] * devices)


def raw(*args):
    return msgspec.Raw(msgspec.json.encode(row(*args)))


def test_what_is_written_reads_back_as_columns(tmp_path):
    file = TelemetryFile(tmp_path, 1.0)
    file.write([raw(0, 1.0), raw(1, 1.2), raw(0, 2.0)])
    file.close()
    with (tmp_path / TELEMETRY).open("ab") as torn:
        torn.write(b"[0,3.0,[0.2")
    found = read_telemetry(tmp_path)
    assert found.period == 1.0
    assert found.units["clock"] == "MHz"
    mine = found.nodes.of(0)
    assert mine.time.tolist() == [1.0, 2.0]
    assert mine.values["cpu"].tolist() == [0.25, 0.25]
    assert np.isnan(mine.values["rdma_sent"]).all()
    assert len(found.devices) == 6
    assert found.devices.of(1, 1).values["temperature"].tolist() == [55.5]
    assert set(found.nodes.values) == {one.name for one in NODE}
    assert set(found.devices.values) == {one.name for one in DEVICE}


def test_a_run_without_telemetry_has_none(tmp_path):
    assert read_telemetry(tmp_path) is None
    TelemetryFile(tmp_path, 2.0).close()
    found = read_telemetry(tmp_path)
    assert len(found.nodes) == len(found.devices) == 0
    assert found.nodes.values["cpu"].size == 0


def test_a_resumed_run_goes_on_behind_another_header_and_quantities_may_come(tmp_path):
    file = TelemetryFile(tmp_path, 1.0)
    file.write([raw(0, 1.0)])
    file.close()
    with (tmp_path / TELEMETRY).open("ab") as later:
        later.write(b'{"period":5,"node":[["fans","1/min"],["cpu","ratio"]],"device":[]}\n')
        later.write(b"[0,9.5,[3000,0.5],[]]\n")
    found = read_telemetry(tmp_path)
    assert found.period == 5
    assert found.nodes.values["cpu"].tolist() == [0.25, 0.5]
    assert np.isnan(found.nodes.values["fans"][0])
    assert found.nodes.values["fans"][1] == 3000
    assert np.isnan(found.nodes.values["memory_used"][1])


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (b"[0,1.0,[1]]\n", InfraError, "no header stands before it"),
        (b'{"period":1}\n[0,"soon",[1]]\n', InfraError, f"{TELEMETRY}:2"),
        (b'{"period":1}\n[-1,1.0,[1]]\n', InfraError, "place of no node"),
        (b'{"period":1}\nnonsense\n', InfraError, "no telemetry"),
        (b'{"period":1,"node":[["cpu","ratio"],["cpu","ratio"]]}\n', InfraError, "twice"),
        (b'{"period":1,"schema":9}\n', UsageError, "newer hengsuan"),
        (b'{"period":1}\n\xff\xfe\n', InfraError, "no telemetry"),
    ],
)
def test_damaged_files_are_answered_in_sentences(tmp_path, text, error, words):
    (tmp_path / TELEMETRY).write_bytes(text)
    with pytest.raises(error) as told:
        read_telemetry(tmp_path)
    assert words in str(told.value)


def test_a_long_run_keeps_every_node_evenly_and_ends_growing(tmp_path):
    """Without a bound a day of many nodes fills a disk."""
    file = TelemetryFile(tmp_path, 1.0, part=50_000)
    for second in range(4000):
        file.write([raw(node, float(second), 1) for node in (0, 1)])
    file.close()
    size = (tmp_path / TELEMETRY).stat().st_size
    whole = 8000 * (len(bytes(raw(0, 1000.0, 1))) + 1)
    assert size < whole / 3
    found = read_telemetry(tmp_path)
    first, second = (found.nodes.of(node).time for node in (0, 1))
    assert first.tolist() == second.tolist()
    assert first[-1] > 3900
    gaps = np.diff(first)
    assert gaps.min() == 1
    assert (np.diff(gaps) >= 0).all()
    assert set(gaps.tolist()) <= {1, 2, 4, 8, 16, 32}


def test_pages_carry_it_and_it_makes_none():
    outbox = Outbox("all")
    outbox.begin("n0", 1)
    outbox.take()
    for second in range(5000):
        outbox.telemetry.append(raw(0, float(second)))
    assert not outbox.waiting
    assert not outbox.empty
    seen, sizes = [], []
    while not outbox.empty:
        page = outbox.take()
        sizes.append(len(msgspec.json.encode(page)))
        seen += [msgspec.json.decode(one, type=TelemetryRow).time for one in page.telemetry]
    assert max(sizes) < PAGE_BYTES + 2000
    assert seen == [float(second) for second in range(1400, 5000)], "the oldest go"


def test_what_a_host_is_busy_with(tmp_path):
    def stat(*cores):
        lines = [f"cpu{n} {a} 0 {b} {c} 0 0 0 {d} 0 0" for n, (a, b, c, d) in enumerate(cores)]
        return "\n".join(["cpu  1 1 1 1 1 1 1 1 0 0", *lines, "intr 5 4 3"])

    net = "sys/class/net/eth0"
    port = "sys/class/infiniband/mlx/ports/1/counters"
    made_host.write(
        tmp_path,
        {
            "proc/stat": stat((100, 0, 100, 0), (0, 0, 500, 0)),
            "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 400 kB",
            f"{net}/device/x": "",
            f"{net}/statistics/rx_bytes": 1000,
            f"{net}/statistics/tx_bytes": 1000,
            f"{port}/port_rcv_data": 10,
        },
    )
    load = Load(tmp_path)
    made_host.write(
        tmp_path,
        {
            "proc/stat": stat((130, 20, 150, 0), (0, 0, 550, 50)),
            f"{net}/statistics/rx_bytes": 51_000,
            f"{net}/statistics/tx_bytes": 900,  # its driver was loaded anew
            f"{port}/port_rcv_data": 10 + 2_500,
        },
    )
    time.sleep(0.05)
    found = load.look()
    assert found["cpu"] == pytest.approx(50 / 200)
    assert found["stolen"] == pytest.approx(50 / 200)
    assert load.busy([0]) == pytest.approx(0.5)
    assert load.busy([1]) == 0
    assert load.busy([7]) is None
    assert found["memory_used"] == 600 * 1024
    assert found["sent"] is None
    assert found["rdma_sent"] is None
    assert found["received"] == pytest.approx(5 * found["rdma_received"])
    assert 0 < found["received"] <= 50_000 / 0.05


def test_bytes_are_a_second_and_are_counted_where_they_pass_the_host(tmp_path, monkeypatch):
    net = "sys/class/net"
    made = {f"{net}/{name}/device/x": "" for name in ("eth0", "eth1")}
    made |= {f"{net}/bond0/bonding/x": ""}
    received = {"eth0": 1000, "eth1": 500, "bond0": 1500}  # a bond's went through both of its own

    def count(more):
        made_host.write(
            tmp_path,
            {
                f"{net}/{name}/statistics/{way}_bytes": value + more * (way == "rx")
                for name, value in received.items()
                for way in ("rx", "tx")
            },
        )

    clock = iter([100.0, 104.0, 104.5])
    monkeypatch.setattr("bench.host.load.time", SimpleNamespace(monotonic=lambda: next(clock)))
    made_host.write(tmp_path, made)
    count(0)
    load = Load(tmp_path)
    count(1000)
    found = load.look()
    assert (found["received"], found["sent"]) == (2 * 1000 / 4, 0.0)  # a quiet one sends nothing
    count(1100)
    assert load.look()["received"] == 2 * 100 / 0.5
    (tmp_path / net / "eth1/statistics/rx_bytes").unlink()
    clock = iter([105.0])
    assert load.look()["received"] is None  # of one of them nobody knows


def test_this_host_says_what_it_is_busy_with():
    load = Load()
    sum(range(2_000_000))
    found = load.look()
    assert 0 < found["cpu"] <= 1
    assert found["memory_used"] > 1 << 20


class Device0(Backend):
    """One device that says something, after work of its own, and one that raises."""

    name = "made"
    work = staticmethod(lambda: None)

    def telemetry(self, index):
        self.work()
        if index:
            raise RuntimeError("the driver is gone")
        return Telemetry(clock=1500.04, temperature=float("nan"), throttled="heat", power=0)


def sampled(monkeypatch, backend, wanted, period, limit=60.0):
    """So many rows, however busy this machine is; those that came within the limit."""
    monkeypatch.setattr(sampler, "get", lambda name: backend)
    devices = tuple(Device(index=i, backend="made", name="m") for i in range(2))
    node = Node(id="n", name="n", backend="made", devices=devices)
    found, begin = [], time.monotonic()
    one = sampler.Sampler(node, 3, period, lambda: time.monotonic() - begin, found.append)
    one.start()
    while len(found) < wanted and time.monotonic() - begin < limit:
        time.sleep(0.02)
    one.stop()
    return [msgspec.json.decode(each, type=TelemetryRow) for each in found]


def test_a_node_is_looked_at_steadily(monkeypatch):
    rows = sampled(monkeypatch, Device0(), 4, 0.1)
    # Never before its turn, however late the one before it came.
    assert all(one.time >= 0.1 * turn for turn, one in enumerate(rows, 1))
    assert {one.node for one in rows} == {3}
    assert all(0 <= one.values[-1] < 1 for one in rows), "what it costs"
    good, bad = rows[-1].devices
    assert dict(zip([one.name for one in DEVICE], good, strict=True)) == {
        "clock": 1500,
        "temperature": None,
        "power": 0,
        "memory_used": None,
        "utilisation": None,
        "throttled": 1,
        "capped": None,
    }
    assert bad == [None] * len(DEVICE)


def test_who_says_a_temperature_does_not_say_that_it_runs_freely(monkeypatch):
    backend = Device0()
    said = [Telemetry(temperature=40.0), Telemetry(temperature=40.0, throttled="", capped=True)]
    backend.telemetry = said.__getitem__
    (row, *_) = sampled(monkeypatch, backend, 1, 0.05)
    silent, free = (
        dict(zip([one.name for one in DEVICE], values, strict=True)) for values in row.devices
    )
    assert (silent["temperature"], silent["throttled"], silent["capped"]) == (40, None, None)
    assert (free["temperature"], free["throttled"], free["capped"]) == (40, 0, 1)


def test_the_check_of_a_plugin_says_where_throttling_stays_unknown():
    from bench.conformance.outcome import NotSupported
    from bench.conformance.telemetry import telemetry as checked

    mine = Device(index=0, backend="made", name="m", memory=1 << 30)

    def said(found):
        subject = types.SimpleNamespace(mine=mine, device=None, backend=Device0())
        subject.backend.telemetry = lambda index: found
        return checked(subject)

    assert said(Telemetry(clock=1500)) == "says clock; whether it throttles stays unknown"
    assert said(Telemetry(throttled="", capped=False)) == "says throttled, capped"
    with pytest.raises(NotSupported):
        said(Telemetry())


def test_what_is_dear_is_done_rarely(monkeypatch):
    """A look of 20 ms of a processor, asked for every 50 ms, would take 40 % of a core."""
    backend = Device0()

    def work():
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass

    backend.work = work
    first, second = sampled(monkeypatch, backend, 2, 0.05)[:2]
    assert second.time - first.time > 1.9, "20 ms are 1 % of two seconds"


def test_programs_that_a_backend_runs_count(monkeypatch):
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    backend = Device0()
    backend.work = lambda: subprocess.run([sys.executable, "-c", burn], check=True)
    monkeypatch.setattr(sampler, "SHARE", 10.0)
    rows = sampled(monkeypatch, backend, 3, 0.05)
    # Each look takes two programs of a tenth of a second.
    spent = rows[-1].values[-1] * (rows[-1].time - rows[-2].time)
    assert 0.19 <= spent < 2


def test_a_look_that_hangs_holds_nobody(monkeypatch):
    release = threading.Event()
    backend = Device0()
    backend.work = release.wait
    began = time.monotonic()
    assert sampled(monkeypatch, backend, 1, 0.05, limit=0.3) == []
    assert time.monotonic() - began < 100  # it would hang for ever
    release.set()


@pytest.mark.parametrize("period", ["0", "0s", "1us", "soon", "-1s", "", "nan"])
def test_periods_that_make_no_sense(period):
    words = ["run", "quick", "--dry-run", "--backend", "cpu", "--telemetry", period]
    with pytest.raises(click.BadParameter, match="or off"):
        cli.main(words, standalone_mode=False)


def test_who_says_nothing_of_its_devices_does_not_say_that_they_run_freely(monkeypatch):
    class Silent(Backend):
        name = "made"

    rows = sampled(monkeypatch, Silent(), 1, 0.05)
    assert rows[-1].devices == [[None] * len(DEVICE)] * 2


def test_of_a_long_file_some_looks_of_each_node_are_read_evenly(tmp_path):
    file = TelemetryFile(tmp_path, 1.0)
    for second in range(100):
        file.write([raw(node, float(second), 1) for node in (0, 1)])
    file.close()
    size = (tmp_path / TELEMETRY).stat().st_size
    found = read_telemetry(tmp_path, most=size // 4)
    assert found.every == 5
    for node in (0, 1):
        assert found.nodes.of(node).time.tolist() == [float(second) for second in range(0, 100, 5)]
    assert len(found.devices) == 40
    assert read_telemetry(tmp_path, most=size).every == 1
