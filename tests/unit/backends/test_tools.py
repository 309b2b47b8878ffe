"""What vendors' tools print, as others recorded it, and what the backends read in it."""

import os
import stat
import time
from pathlib import Path

import pytest

from bench.backends import rocm, tools
from bench.backends.ascend import Ascend
from bench.backends.base import Health, Link, Telemetry
from bench.backends.cambricon import Cambricon
from bench.backends.cuda import Cuda
from bench.backends.enflame import Enflame
from bench.backends.iluvatar import Iluvatar
from bench.backends.kunlunxin import Kunlunxin
from bench.backends.metax import Metax
from bench.backends.musa import Musa

RECORDED = Path(__file__).parent / "recorded"
MIB = 1 << 20


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put a tool on the path that prints a recorded file, by its arguments or whatever they are."""
    monkeypatch.setattr(tools, "_readings", {})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(name, **files):
        cases = "".join(
            f"  *{'*'.join(words.split('_'))}*) tail -n +2 {RECORDED / file};;\n"
            for words, file in files.items()
            if words != "alone"
        )
        alone = files.get("alone")
        rest = f"tail -n +2 {RECORDED / alone}" if alone else "exit 3"
        script = f'#!/bin/sh\ncase " $* " in\n{cases}  "  ") {rest};;\n  *) exit 2;;\nesac\n'
        path = tmp_path / name
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return install


def test_every_recording_names_its_source():
    for path in RECORDED.iterdir():
        first = path.read_text().splitlines()[0]
        assert first.startswith("# Recorded: "), path.name


def test_ascend(installed):
    installed("npu-smi", topo="npu-smi-topo.txt", info="npu-smi-info.txt")
    backend = Ascend()
    assert backend.versions() == {"driver": "24.1.RC2"}
    assert backend.telemetry(0) == Telemetry(
        temperature=42, power=70.5, memory_used=0, utilisation=0
    )
    # Devices count without a gap where the tool's numbers have one.
    assert backend.telemetry(1).power == 206.9
    assert backend.health(0) == Health()
    assert backend.health(1).problem == "npu-smi calls its health Warning"
    assert backend.telemetry(3) == Telemetry()
    assert backend.links() == [Link(a=a, b=b, kind="HCCS") for a, b in ((0, 1), (0, 2), (1, 2))]


def test_metax(installed):
    installed("mx-smi", alone="mx-smi-2.2.9.txt", topo="mx-smi-topo.txt")
    backend = Metax()
    assert backend.versions() == {"driver": "3.4.4", "maca": "3.3.0.15", "bios": "1.30.0.0"}
    expected = Telemetry(temperature=37, power=58, memory_used=826 * MIB)
    assert backend.telemetry(1) == expected
    kinds = {(link.a, link.b): link.kind for link in backend.links()}
    assert kinds[0, 1] == kinds[4, 5] == "MX"
    assert [kinds[pair] for pair in ((0, 4), (0, 5), (1, 4), (1, 5))] == ["NODE"] * 4
    assert len(kinds) == 6


def test_metax_before_2_2_9(installed):
    installed("mx-smi", alone="mx-smi-2.2.4.txt")
    expected = Telemetry(temperature=29, power=53, memory_used=858 * MIB)
    assert Metax().telemetry(1) == expected
    assert Metax().links() == []


def test_cambricon(installed):
    installed("cnmon", alone="cnmon.txt")
    backend = Cambricon()
    assert backend.versions() == {"driver": "5.10.22"}
    assert backend.telemetry(0) == Telemetry(temperature=28, power=107, memory_used=0)
    assert backend.health(0).errors == {"ecc": 0}
    assert backend.health(1).errors == {}  # N/A: it does not say


def test_iluvatar(installed):
    installed("ixsmi", alone="ixsmi.txt")
    backend = Iluvatar()
    assert backend.versions() == {"driver": "4.3.0"}
    # One die of two tells no power; a bus id of 1C:00.0 is no temperature.
    assert backend.telemetry(2) == Telemetry(clock=1500, temperature=35, memory_used=64 * MIB)
    assert backend.telemetry(3).power == 106


def test_moore_threads(installed):
    installed("mthreads-gmi", alone="mthreads-gmi.txt")
    assert Musa().versions() == {"driver": "3.0.0"}
    assert Musa().telemetry(1) == Telemetry(temperature=44, memory_used=0)


@pytest.mark.parametrize("name", ["xpu-smi", "xpu_smi"])
def test_kunlunxin(installed, name):
    installed(name, alone="xpu-smi.txt")
    backend = Kunlunxin()
    assert backend.versions() == {"driver": "5.0.21.21", "runtime": "5.0.21"}
    assert backend.telemetry(0) == Telemetry(temperature=37, power=88, memory_used=0)
    assert backend.health(0).errors == {"ecc_uncorrected": 0}


def test_enflame(installed):
    installed("efsmi", **{"-q": "efsmi-q.txt"})
    backend = Enflame()
    assert backend.versions() == {"driver": "1.4.3.4"}
    assert backend.telemetry(0) == Telemetry(temperature=35, power=96, memory_used=0)
    assert backend.health(0) == Health(errors={"double_bit": 0})
    assert backend.telemetry(1) == Telemetry()


def test_enflame_says_what_needs_repair(monkeypatch):
    said = "DEV ID 0\nHealth : False\nFlags : True\nTotal DBE : 3\nDEV ID 1\nHealth : True\n"
    monkeypatch.setattr(tools, "reading", lambda *command: said)
    found = Enflame().health(0)
    assert found.errors == {"double_bit": 3}
    assert found.problem == "efsmi calls it not healthy; efsmi says that it is due for return (RMA)"
    assert Enflame().health(1) == Health()


def test_nvidia_links(installed):
    installed("nvidia-smi", topo="nvidia-smi-topo.txt")
    assert [(x.a, x.b, x.kind) for x in Cuda().links()] == [
        (0, 1, "NV12"),
        (0, 2, "NV12"),
        (1, 2, "NV12"),
    ]


def test_devices_that_do_not_reach_each_other_have_no_link():
    head = "     GPU0 GPU1 GPU2 NIC0\n"
    rows = "GPU0 X NV4 N/A PIX\nGPU1 NV4 X NA SYS\nGPU2 N/A NA X SYS\nNIC0 PIX SYS SYS X\n"
    assert tools.matrix(head + rows, "GPU") == [Link(a=0, b=1, kind="NV4")]


def test_what_processes_take_is_no_figure_of_a_device():
    table = "| 0 Acme |\n| 40C |\n| Processes: |\n| 1 Acme 57W / 350W |\n| 0 7 826MiB / 65536MiB |"
    found = tools.blocks(table, r"\|\s*(\d+)\s+Acme \|")
    assert found == {0: "| 0 Acme |\n| 40C |"}
    assert tools.table_telemetry(found[0]) == Telemetry(temperature=40.0)


@pytest.mark.parametrize(
    ("tool", "backend", "expected"),
    [
        ("rocm-smi", rocm.Rocm, (51, 53, 11615076352, 1)),
        ("hy-smi", rocm.Hygon, (39, 80, 2 * MIB, 0)),
    ],
)
def test_amd_and_hygon(installed, tool, backend, expected):
    installed(tool, showtemp=f"{tool}.json")
    heat, power, used, work = expected
    assert backend().telemetry(0) == Telemetry(
        temperature=heat, power=power, memory_used=used, utilisation=work
    )
    assert backend().telemetry(1) == Telemetry()


@pytest.mark.parametrize("text", [None, "", "not JSON", "[]", '{"card0": 3}', '{"card0": {}}'])
def test_json_that_is_not_what_it_was_says_nothing(text):
    assert rocm.card_telemetry(text, 0) == Telemetry()


EVERY = (Ascend, Cambricon, Enflame, Iluvatar, Kunlunxin, Metax, Musa, rocm.Hygon, rocm.Rocm)


@pytest.mark.parametrize("backend", EVERY)
def test_without_the_tool_nothing_is_known(backend, monkeypatch):
    monkeypatch.setattr(tools, "_readings", {})
    monkeypatch.setenv("PATH", "")
    found = backend()
    assert found.telemetry(0) == Telemetry()
    assert found.health(0) == Health()
    assert found.links() == []
    assert found.versions() == {}


def test_a_tool_that_fails_says_nothing(installed):
    installed("cnmon")
    assert Cambricon().telemetry(0) == Telemetry()


def test_a_tool_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    tool = tmp_path / "hanging"
    tool.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {tmp_path}/child\nwait\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert tools.output("hanging", limit=1.0) is None
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("what the tool started still runs")


def test_a_daemon_that_keeps_the_output_open_holds_nobody(tmp_path, monkeypatch):
    tool = tmp_path / "leaving"
    tool.write_text("#!/bin/sh\necho said\nsleep 3 &\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert tools.output("leaving", limit=2.0) == "said\n"


def test_a_reading_is_not_asked_for_twice_at_once(tmp_path, monkeypatch):
    tool = tmp_path / "counting"
    tool.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\ncat {tmp_path}/calls\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tools, "_readings", {})
    assert tools.reading("counting") == tools.reading("counting") == "x\n"
    monkeypatch.setattr(tools, "AGE", 0.0)
    assert tools.reading("counting") == "x\nx\n"
