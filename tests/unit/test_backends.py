"""Backends by name, datasheets, and telemetry put into words."""

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from bench.backends import cuda
from bench.backends.cpu import Cpu
from bench.backends.probe import discover, probe
from bench.backends.registry import get, listing, match_chip
from bench.configs import load_chips
from bench.errors import UsageError


def test_cpu_devices_cover_the_usable_cores_once():
    devices = Cpu().devices()
    cores = [cpu for device in devices for cpu in device.facts["cpus"]]
    assert sorted(cores) == sorted(os.sched_getaffinity(0))
    assert all(device.memory > 0 for device in devices)
    assert len({device.serial for device in devices}) == len(devices)
    if len(devices) == 2 and len({device.lane for device in devices}) == 1:
        assert abs(len(devices[0].facts["cpus"]) - len(devices[1].facts["cpus"])) <= 1


def test_memory_that_earlier_work_freed_hides_no_peak():
    torch = pytest.importorskip("torch")

    def blocks(count):  # too small to be mapped one by one, and to go back when they are freed
        return [torch.ones(25_000) for _ in range(count)]

    backend, device = Cpu(), torch.device("cpu")
    earlier = blocks(800)
    kept = earlier[::100]  # what lies between them cannot shrink the heap
    del earlier
    held = backend.memory_peak(device, reset=True)
    later = blocks(400)
    grown, taken = backend.memory_peak(device) - held, 400 * later[0].nbytes
    assert 0.9 * taken < grown < 1.3 * taken, (grown, taken, len(kept))


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare"
)
def test_a_host_that_hides_proc_has_devices_all_the_same():
    code = (
        "from bench.backends.cpu import Cpu\n"
        "assert Cpu().devices()\n"
        "assert Cpu().memory_peak(None, reset=True) is None\n"
    )
    hidden = 'mount -t tmpfs none /proc && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hidden, "sh", sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


def test_a_single_core_is_one_device(monkeypatch):
    monkeypatch.setattr("bench.host.numa_nodes", lambda: {0: [3]})
    (device,) = Cpu().devices()
    assert device.facts["cpus"] == [3]


def test_numa_nodes_are_devices_with_lanes_of_their_own(monkeypatch):
    monkeypatch.setattr("bench.host.numa_nodes", lambda: {0: [0, 1], 1: [2, 3]})
    devices = Cpu().devices()
    assert [device.facts["cpus"] for device in devices] == [[0, 1], [2, 3]]
    assert len({device.lane for device in devices}) == 2


def test_unknown_backend_lists_what_there_is():
    with pytest.raises(UsageError, match=r"unknown backend 'cud'[\s\S]*cuda"):
        get("cud")
    with pytest.raises(UsageError, match="unknown backend"):
        discover("nothing")


def test_the_cpu_is_probed_last_and_found():
    names = [listed.name for listed in listing()]
    assert names[-1] == "cpu"
    found = discover()
    assert found[-1].devices
    assert all(one.problem for one in found[:-1])


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has such a device")
def test_an_absent_accelerator_is_a_sentence():
    found = probe("cuda")
    assert not found.devices
    assert "driver" in found.problem


def test_without_pytorch_the_way_out_is_said(monkeypatch):
    from importlib import util

    from bench.cluster.describe import describe

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else found(name))
    node = describe("cpu", False, "")
    assert node.devices == ()
    assert "PyTorch is not installed (pip install" in node.problem


def test_an_allow_list_limits_the_backends():
    script = "from bench.backends.registry import listing; print([one.name for one in listing()])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HENGSUAN_BACKENDS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['cpu']"


def test_every_datasheet_figure_has_a_source():
    chips = load_chips()
    assert len(chips) > 10
    for chip in chips.values():
        single = (chip.memory, chip.memory_bandwidth, chip.link, chip.host_link, chip.network)
        figures = [*chip.flops.values(), *filter(None, single)]
        assert figures, chip.name
        assert all(figure.value > 0 and figure.source and figure.date for figure in figures)
        assert all(figure.value > 1e9 for figure in figures), f"{chip.name}: a unit is missing"
        assert chip.simulated == (chip.vendor == "simulated")


def test_disputed_peaks_are_no_reference():
    chip = load_chips()["ascend-910b"]
    assert chip.flops["bf16"].status == "disputed"
    assert chip.peak("bf16") is None
    assert chip.peak("fp64") is None


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA H20", "h20"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("AMD Instinct MI300X", "mi300x"),
        ("A processor nobody knows", None),
    ],
)
def test_device_names_find_their_datasheet(name, chip):
    found = match_chip(name, load_chips().values())
    assert (found.name if found else None) == chip


def test_throttle_reasons_are_words():
    assert cuda.throttling(0x1) == ""  # idle
    assert cuda.throttling(0x2) == ""  # clocks that someone set
    assert cuda.throttling(0x4) == ""  # as busy GPUs are
    assert cuda.throttling(0x80 | 0x40) == "thermal slowdown by hardware, power brake"


@pytest.fixture
def nvml(monkeypatch):
    """A stand-in for the library that is not here: what it would answer, in its own units."""

    class NVMLError(Exception):
        pass

    def unsupported(*_):
        raise NVMLError("not supported")

    made = types.SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
        NVML_VOLATILE_ECC=0,
        nvmlDeviceGetHandleByIndex=lambda index: f"handle{index}",
        NVML_MEMORY_ERROR_TYPE_CORRECTED=0,
        NVML_NVLINK_MAX_LINKS=4,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x4,
        nvmlDeviceGetClockInfo=lambda handle, kind: 1755,
        nvmlDeviceGetMaxClockInfo=lambda handle, kind: 1980,
        nvmlDeviceGetTemperature=lambda handle, kind: 61,
        nvmlDeviceGetPowerUsage=lambda handle: 699_500,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 1_234_500,  # in mJ (nvml.h)
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=5 << 30),
        nvmlDeviceGetUtilizationRates=lambda handle: types.SimpleNamespace(gpu=87, memory=12),
        nvmlDeviceGetTotalEccErrors=unsupported,
        nvmlDeviceGetRemappedRows=lambda handle: (2, 1, False, False),
        nvmlDeviceGetRetiredPages=unsupported,
        nvmlDeviceGetPcieReplayCounter=lambda handle: 9,
        nvmlDeviceGetNvLinkState=lambda handle, link: (
            unsupported() if link == 3 else int(link != 1)
        ),
        nvmlDeviceGetNvLinkErrorCounter=lambda handle, link, counter: 100 * link + counter,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [
            types.SimpleNamespace(pid=os.getpid()),
            types.SimpleNamespace(pid=1),
        ],
    )
    monkeypatch.setattr(cuda, "_nvml", lambda: made)
    return made


def test_telemetry_in_our_units(nvml):
    found = cuda.Cuda().telemetry(0)
    assert (found.clock, found.clock_max, found.temperature) == (1755, 1980, 61)
    assert (found.power, found.energy, found.memory_used) == (699.5, 1234.5, 5 << 30)
    assert found.utilisation == 0.87
    assert found.throttled == ""
    assert found.capped


def test_what_a_device_does_not_count_is_unknown(nvml):
    def unsupported(handle):
        raise nvml.NVMLError("not supported")

    for name in ("PowerUsage", "TotalEnergyConsumption", "UtilizationRates", "MemoryInfo"):
        setattr(nvml, f"nvmlDeviceGet{name}", unsupported)
    found = cuda.Cuda().telemetry(0)
    assert (found.power, found.energy, found.utilisation, found.memory_used) == (None,) * 4


def test_throttle_reasons_go_by_two_names(nvml):
    nvml.nvmlDeviceGetCurrentClocksEventReasons = lambda handle: 0x200 | 0x400
    assert cuda.Cuda().telemetry(0).throttled == "board limit, reliability limit"
    nvml.nvmlDeviceGetCurrentClocksEventReasons = lambda handle: 0
    assert cuda.Cuda().telemetry(0).throttled == ""


def test_reasons_that_a_device_does_not_say_are_unknown(nvml):
    def unsupported(handle):
        raise nvml.NVMLError("not supported")

    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = unsupported
    found = cuda.Cuda().telemetry(0)
    assert (found.clock, found.throttled, found.capped) == (1755, None, None)


def test_errors_are_counted_by_what_the_device_supports(nvml):
    found = cuda.Cuda().health(0)
    assert found.errors == {
        "pcie_replay_corrected": 9,
        "rows_remapped": 3,
        "nvlink0_replay": 0,
        "nvlink0_recovery": 1,
        "nvlink0_crc_flit_corrected": 2,
        "nvlink0_crc_data_corrected": 3,
        "nvlink2_replay": 200,
        "nvlink2_recovery": 201,
        "nvlink2_crc_flit_corrected": 202,
        "nvlink2_crc_data_corrected": 203,
    }
    assert found.problem == ""
    nvml.nvmlDeviceGetTotalEccErrors = lambda handle, kind, since: 40 + kind
    nvml.nvmlDeviceGetRetiredPages = lambda handle, cause: [0xDEAD] * (cause + 1)
    found = cuda.Cuda().health(0)
    assert found.errors["ecc_corrected"] == 40
    assert found.errors["ecc_uncorrected"] == 41
    assert found.errors["pages_retired"] == 3


def test_only_errors_that_nobody_corrected_are_faults(nvml):
    from bench.host.counters import is_error

    nvml.nvmlDeviceGetTotalEccErrors = lambda handle, kind, since: 1
    faults = {name for name in cuda.Cuda().health(0).errors if is_error(f"device0 {name}")}
    assert faults == {
        "ecc_uncorrected",
        "rows_remapped",
        *(f"nvlink{link}_{kind}" for link in (0, 2) for kind in ("replay", "recovery")),
    }


@pytest.mark.parametrize(
    ("function", "answer", "problem"),
    [
        ("nvmlDeviceGetRemappedRows", (0, 1, True, False), "wait for a reset to be remapped"),
        ("nvmlDeviceGetRemappedRows", (0, 1, False, True), "no spare is left"),
        ("nvmlDeviceGetRetiredPagesPendingStatus", 1, "wait for a reset to be retired"),
        ("nvmlDeviceGetSramEccErrorStatus", 0, "beyond the vendor's threshold"),
    ],
)
def test_a_device_that_needs_repair_says_so(nvml, function, answer, problem):
    nvml.c_nvmlEccSramErrorStatus_v1_t = lambda: types.SimpleNamespace(bThresholdExceeded=1)
    setattr(nvml, function, lambda *_: answer)
    assert problem in cuda.Cuda().health(0).problem


def test_links_and_error_correction_are_facts(nvml):
    nvml.nvmlDeviceGetHandleByUUID = lambda name: "handle"
    nvml.nvmlDeviceGetEccMode = lambda handle: [0, 1]
    nvml.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 699_500  # in mW (nvml.h)
    nvml.nvmlDeviceGetCurrPcieLinkGeneration = lambda handle: 5
    nvml.nvmlDeviceGetCurrPcieLinkWidth = lambda handle: 16
    nvml.nvmlSystemGetDriverVersion = lambda: "570.1"
    nvml.nvmlDeviceGetVbiosVersion = lambda handle: "96.00"
    firmware, facts = cuda._inventory("GPU-1")
    assert firmware == "driver 570.1, vbios 96.00"
    assert (facts["nvlinks"], facts["ecc"]) == (2, "off")
    known = ("power_limit", "pcie_generation", "pcie_width")
    assert [facts[name] for name in known] == [699.5, 5, 16]
    assert "index" not in facts  # the library does not say
    nvml.nvmlDeviceGetEccMode = lambda handle: [1, 0]
    assert cuda._inventory("GPU-1")[1]["ecc"] == "on"
    assert cuda._inventory("") == ("", {})
    nvml.nvmlDeviceGetEccMode = nvml.nvmlDeviceGetTotalEccErrors
    assert "ecc" not in cuda._inventory("GPU-1")[1]


def test_others_on_the_device_are_named_and_oneself_is_not(nvml):
    busy = cuda.Cuda().busy(0)
    assert "(1)" in busy
    assert str(os.getpid()) not in busy


def test_without_the_library_nothing_is_known(monkeypatch):
    monkeypatch.setattr(cuda, "_nvml", lambda: None)
    assert cuda.Cuda().telemetry(0).clock is None
    assert cuda.Cuda().health(0).errors == {}
    assert cuda.Cuda().busy(0) == ""


def test_ranks_see_all_claimed_devices():
    environment = cuda.Cuda().environment([2, 5], 5)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
