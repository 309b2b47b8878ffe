"""Iluvatar CoreX GPUs, which answer to torch.cuda; telemetry by ixsmi.

Recorded: ``ixsmi`` 4.3.0 in the documentation of https://github.com/PaddlePaddle/ERNIE
(docs/devices/README_ILUVATAR_GPU.md).
"""

from __future__ import annotations

import msgspec

from ..records import Device
from . import tools
from .base import Telemetry

_HEAD = r"\|\s*(\d+)\s+Iluvatar "


class Iluvatar(tools.ToolBackend):
    """Iluvatar GPUs."""

    name = "iluvatar"
    device_type = "cuda"
    collectives = "nccl"
    visible_devices = "CUDA_VISIBLE_DEVICES"
    tool = "ixsmi"
    priority = 60

    def devices(self) -> list[Device]:
        # A BI-V150 is two dies of 32 GB, each a device; only one of them tells the card's power.
        return [
            msgspec.structs.replace(one, dies=2) if "BI-V150" in one.name else one
            for one in super().devices()
        ]

    def versions(self) -> dict[str, str]:
        return tools.versions(tools.reading("ixsmi"), driver=r"Driver Version:\s*(\S+)")

    def telemetry(self, index: int) -> Telemetry:
        found = tools.blocks(tools.reading("ixsmi") or "", _HEAD)
        return tools.table_telemetry(found.get(index, ""))
