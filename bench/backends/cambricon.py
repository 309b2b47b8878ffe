"""Cambricon MLUs through torch_mlu; telemetry and errors by cnmon.

Recorded: ``cnmon`` 5.10 in the documentation of https://github.com/PaddlePaddle/docs
(docs/hardware_support/mlu/install_cn.md).
"""

from __future__ import annotations

import re

import msgspec

from ..records import Device
from . import tools
from .base import Health, Telemetry, TorchBackend

_HEAD = r"\|\s*(\d+)\s+/\s+MLU"


class Cambricon(TorchBackend):
    """Cambricon MLUs."""

    name = "cambricon"
    device_type = "mlu"
    module = "torch_mlu"
    collectives = "cncl"
    visible_devices = "MLU_VISIBLE_DEVICES"
    kubernetes_resource = "cambricon.com/vmlu"  # of the device plugin of HAMi
    priority = 71

    def devices(self) -> list[Device]:
        # An MLU370-X8 is two chips, each a device.
        return [
            msgspec.structs.replace(one, dies=2) if "MLU370-X8" in one.name else one
            for one in super().devices()
        ]

    def versions(self) -> dict[str, str]:
        return tools.versions(tools.reading("cnmon"), driver=r"Driver v(\S+)")

    def telemetry(self, index: int) -> Telemetry:
        return tools.table_telemetry(
            tools.blocks(tools.reading("cnmon") or "", _HEAD).get(index, "")
        )

    def health(self, index: int) -> Health:
        block = tools.blocks(tools.reading("cnmon") or "", _HEAD).get(index, "")
        errors = re.search(r"%\s+(\d+)\s*\|", block)
        return Health(errors={"ecc": int(errors[1])} if errors else {})
