"""Kunlunxin XPUs, which answer to torch.cuda through torch_xmlir; telemetry by xpu-smi.

Recorded: ``xpu_smi`` 5.0.21 in the documentation of https://github.com/PaddlePaddle/ERNIE
(docs/devices/README_XPU.md). Another vendor has a tool of the same name: it has none of these rows.
"""

from __future__ import annotations

import re

from . import tools
from .base import Health, Telemetry, TorchBackend

_HEAD = r"\|\s*(\d+)\s+\S.*\|\s*[0-9A-Fa-f]{8}:"


class Kunlunxin(TorchBackend):
    """Kunlunxin XPUs."""

    name = "kunlunxin"
    device_type = "cuda"
    module = "torch_xmlir"
    collectives = "nccl"
    visible_devices = "CUDA_VISIBLE_DEVICES"
    kubernetes_resource = "kunlunxin.com/xpu"  # of the device plugin of HAMi
    lacking = {"fp64": "FlagGems declares fp64_enabled=False for these chips"}
    priority = 63

    def versions(self) -> dict[str, str]:
        return tools.versions(
            _said(), driver=r"Driver Version:\s*(\S+)", runtime=r"XPU-RT Version:\s*(\S+)"
        )

    def telemetry(self, index: int) -> Telemetry:
        return tools.table_telemetry(tools.blocks(_said(), _HEAD).get(index, ""))

    def health(self, index: int) -> Health:
        head, *_ = tools.blocks(_said(), _HEAD).get(index, "").splitlines() or [""]
        errors = re.search(r"\|\s*(\d+)\s*\|$", head.rstrip())
        return Health(errors={"ecc_uncorrected": int(errors[1])} if errors else {})


def _said() -> str:
    return tools.reading("xpu-smi") or tools.reading("xpu_smi") or ""
