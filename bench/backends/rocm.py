"""AMD GPUs and Hygon DCUs, both through torch.cuda of a ROCm build; telemetry by their tools.

The tools print JSON of one form. Recorded: rocm-smi 6.2.4 and hy-smi 24.04.3 in the tests of
https://github.com/gpustack/gpustack (tests/detectors/rocm_smi/data).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import BackendError
from ..records import Device
from . import tools
from .base import Telemetry

if TYPE_CHECKING:
    import torch

_HOTTEST = ("junction", "edge")
"""Sensors of the chip; the first that is there is its hottest place."""


class Rocm(tools.ToolBackend):
    """AMD GPUs."""

    name = "rocm"
    device_type = "cuda"
    collectives = "nccl"
    visible_devices = "HIP_VISIBLE_DEVICES"
    ray_resource: ClassVar[str | None] = "GPU"
    kubernetes_resource = "amd.com/gpu"
    slurm_gres: ClassVar[str | None] = "gpu"
    tool = "rocm-smi"
    priority = 90

    def present(self) -> str:
        if not Path("/dev/kfd").exists():
            return "no driver of such devices is loaded on this node (/dev/kfd)"
        return super().present()

    def devices(self) -> list[Device]:
        import torch

        if not getattr(torch.version, "hip", None):
            raise BackendError(
                "this torch is not built for ROCm",
                where=f"backend {self.name}",
                hint="install the build of torch that the chips' vendor offers",
            )
        return super().devices()

    def arch(self, device: torch.device) -> str | None:
        name = str(getattr(self._properties(device.index or 0), "gcnArchName", ""))
        return name.partition(":")[0] or None

    def telemetry(self, index: int) -> Telemetry:
        said = tools.reading(
            self.tool, "--showtemp", "--showpower", "--showuse", "--showmeminfo", "vram", "--json"
        )
        return card_telemetry(said, index)


class Hygon(Rocm):
    """Hygon DCUs. Triton and RCCL of their toolkit (DTK) answer to the names of AMD's."""

    name = "hygon"
    kubernetes_resource = "hygon.com/dcunum"  # of the device plugin of HAMi
    ray_resource = None  # whether Ray's manager of AMD GPUs sees them is not known
    slurm_gres = None
    tool = "hy-smi"
    priority = 62

    def versions(self) -> dict[str, str]:
        said = tools.output(self.tool, "--showdriverversion")
        return tools.versions(said, driver=r"Driver Version:\s*(\S+)")


def card_telemetry(text: str | None, index: int) -> Telemetry:
    """What the JSON of ``rocm-smi`` or ``hy-smi`` says of one card."""
    try:
        card = json.loads(text or "{}").get(f"card{index}", {})
        said = {str(key).lower(): value for key, value in card.items()}
    except (ValueError, AttributeError):
        return Telemetry()
    heat = [said.get(f"temperature (sensor {place}) (c)") for place in _HOTTEST]
    used = _value(said, r"vram total used memory \(b\)")
    if used is None:
        used = tools.mebibytes(_value(said, r"vram total used memory \(mib\)"))
    use = _value(said, r"[a-z]+ use \(%\)")
    return Telemetry(
        temperature=next((found for text in heat if (found := tools.number(text))), None),
        power=_value(said, r".*graphics package power \(w\)"),
        memory_used=int(used) if used is not None else None,
        utilisation=use / 100 if use is not None else None,
    )


def _value(said: dict[str, Any], key: str) -> float | None:
    found = (tools.number(str(value)) for name, value in said.items() if re.fullmatch(key, name))
    return next((value for value in found if value is not None), None)
