"""NVIDIA GPUs through torch.cuda; telemetry through NVML where nvidia-ml-py is installed."""

from __future__ import annotations

import ctypes.util
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .. import host
from ..errors import BackendError
from ..records import Device
from . import tools
from .base import Health, Link, Telemetry, TorchBackend
from .nvml import active_links, ask, nvml_health

if TYPE_CHECKING:
    import torch

THROTTLING = {
    0x8: "hardware slowdown",
    0x10: "kept equal to its sync-boost group",
    0x20: "thermal slowdown by software",
    0x40: "thermal slowdown by hardware",
    0x80: "power brake",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""NVML's clock event reasons that slow a busy GPU down (nvml.h, nvmlClocksEventReason...; the last
two, nvmlClocksThrottleReason...).

Idle (0x1), clocks set by an application (0x2) and display clocks (0x100) are no throttling. Nor is
the power cap (`POWER_CAP`): large products hold the chips at it for as long as they run, and what
they reach there is what a user gets.
"""
POWER_CAP = 0x4


class Cuda(TorchBackend):
    """NVIDIA GPUs."""

    name = "cuda"
    device_type = "cuda"
    collectives = "nccl"
    visible_devices = "CUDA_VISIBLE_DEVICES"
    ray_resource = "GPU"
    kubernetes_resource = "nvidia.com/gpu"
    slurm_gres = "gpu"
    tested = "one H200: kernels and training (results/reference/h200-sxm)"
    kernel_patterns = {
        "driver": r"NVRM: (?:Xid|.*(?:fallen off the bus|failed|error))|nvidia.*: probe .*failed",
        "link": r"nvidia-nvswitch|nvidia-nvlink.*(?:error|fatal)|NVRM: .*nvlink.*error",
    }
    priority = 100  # after the imitators, which answer to `cuda` as well

    def present(self) -> str:
        driver = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
        if not driver and not ctypes.util.find_library("nvidia-ml"):
            return "no NVIDIA driver is loaded on this node"
        return super().present()

    def versions(self) -> dict[str, str]:
        nvml = _nvml()
        if nvml is None:
            return {}
        driver = ask(nvml, "nvmlSystemGetDriverVersion")
        cuda = ask(nvml, "nvmlSystemGetCudaDriverVersion")
        found = {"nvml": ask(nvml, "nvmlSystemGetNVMLVersion"), "driver": driver}
        if cuda:
            found["cuda"] = f"{cuda // 1000}.{cuda % 1000 // 10}"
        return {name: version for name, version in found.items() if version}

    def environment(self, indices: list[int], index: int) -> dict[str, str]:
        # By bus, as NVML counts them: CUDA's own order puts the fastest first.
        return {**super().environment(indices, index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def devices(self) -> list[Device]:
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        import torch

        if torch.version.cuda is None or getattr(torch.version, "hip", None):
            raise BackendError(
                "this torch is not built for CUDA",
                where=f"backend {self.name}",
                hint="install a CUDA build of torch, or the backend of whoever built this one",
            )
        found = []
        for place, device in enumerate(super().devices()):
            properties = torch.cuda.get_device_properties(place)
            uuid = str(getattr(properties, "uuid", ""))
            firmware, facts = _inventory(uuid)
            facts = {**device.facts, **facts}
            facts["capability"] = f"{properties.major}.{properties.minor}"
            facts["multiprocessors"] = properties.multi_processor_count
            # A rank claims physical devices: torch counts the visible ones.
            physical = facts.pop("index", device.index)
            found.append(
                msgspec.structs.replace(
                    device,
                    index=physical,
                    serial=uuid,
                    firmware=firmware,
                    facts=facts,
                    lane=f"{self.name}:{physical}",
                )
            )
        return found

    def arch(self, device: torch.device) -> str | None:
        import torch

        major, minor = torch.cuda.get_device_capability(device)
        return f"sm_{major}{minor}"

    def telemetry(self, index: int) -> Telemetry:
        nvml = _nvml()
        if nvml is None:
            return Telemetry()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        reasons = ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle)
        if reasons is None:  # its name until driver 535
            reasons = ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        memory = ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
        power = ask(nvml, "nvmlDeviceGetPowerUsage", handle)
        energy = ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle)
        rates = ask(nvml, "nvmlDeviceGetUtilizationRates", handle)
        return Telemetry(
            clock=ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            clock_max=ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM),
            temperature=ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
            power=power / 1000 if power is not None else None,
            energy=energy / 1000 if energy is not None else None,
            memory_used=memory.used if memory is not None else None,
            utilisation=rates.gpu / 100 if rates is not None else None,
            throttled=throttling(reasons) if reasons is not None else None,
            capped=bool(reasons & POWER_CAP) if reasons is not None else None,
        )

    def health(self, index: int) -> Health:
        nvml = _nvml()
        if nvml is None:
            return Health()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        return nvml_health(nvml, handle)

    def links(self) -> list[Link]:
        return tools.matrix(tools.output("nvidia-smi", "topo", "-m") or "", "GPU")

    def busy(self, index: int) -> str:
        nvml = _nvml()
        if nvml is None:
            return ""
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        running = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or []
        own = set(host.process_tree(os.getpid()))
        others = [process.pid for process in running if process.pid not in own]
        return ", ".join(f"{host.process_name(pid) or 'process'} ({pid})" for pid in others)


def throttling(reasons: int) -> str:
    """NVML's bit mask of clock event reasons in words; empty if nothing slows the GPU down."""
    return ", ".join(text for bit, text in THROTTLING.items() if reasons & bit)


@functools.cache
def _nvml() -> Any | None:
    """NVML, initialised; None where the package or the library is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # ImportError, or any error of the library: then nothing is known
        return None
    return pynvml


def _inventory(uuid: str) -> tuple[str, dict[str, Any]]:
    """(driver and VBIOS, facts) of the GPU with this UUID."""
    nvml = _nvml()
    if nvml is None or not uuid:
        return "", {}
    name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
    handle = ask(nvml, "nvmlDeviceGetHandleByUUID", name)
    if handle is None:
        handle = ask(nvml, "nvmlDeviceGetHandleByUUID", name.encode())
    if handle is None:
        return "", {}
    driver = ask(nvml, "nvmlSystemGetDriverVersion") or ""
    bios = ask(nvml, "nvmlDeviceGetVbiosVersion", handle) or ""
    limit = ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
    facts = {
        "index": ask(nvml, "nvmlDeviceGetIndex", handle),
        "power_limit": limit / 1000 if limit is not None else None,
        "pcie_generation": ask(nvml, "nvmlDeviceGetCurrPcieLinkGeneration", handle),
        "pcie_width": ask(nvml, "nvmlDeviceGetCurrPcieLinkWidth", handle),
        "ecc": _ecc(nvml, handle),
        "nvlinks": len(active_links(nvml, handle)),
    }
    known = {key: value for key, value in facts.items() if value is not None}
    return f"driver {driver}, vbios {bios}", known


def _ecc(nvml: Any, handle: Any) -> str | None:
    """Whether memory corrects its errors; None where it cannot."""
    mode = ask(nvml, "nvmlDeviceGetEccMode", handle)
    return None if mode is None else "on" if mode[0] else "off"
