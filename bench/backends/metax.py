"""MetaX GPUs, which answer to torch.cuda; telemetry and links by mx-smi.

Recorded: ``mx-smi`` 2.2.9 and ``mx-smi topo -m`` in the documentation of
https://github.com/modelscope/ms-swift (docs/source_en/BestPractices/Metax-support.md), ``mx-smi``
2.2.4 in that of https://github.com/PaddlePaddle/ERNIE (docs/devices/README_METAX_GPU.md).
"""

from __future__ import annotations

from . import tools
from .base import Link, Telemetry

_HEAD = r"\|\s*(\d+)\s+MetaX "


class Metax(tools.ToolBackend):
    """MetaX GPUs."""

    name = "metax"
    device_type = "cuda"
    collectives = "nccl"
    visible_devices = "CUDA_VISIBLE_DEVICES"
    ray_resource = "GPU"
    tool = "mx-smi"
    priority = 61

    def versions(self) -> dict[str, str]:
        return tools.versions(
            tools.reading("mx-smi"),
            driver=r"Kernel Mode Driver Version:\s*(\S+)",
            maca=r"MACA Version:\s*(\S+)",
            bios=r"BIOS Version:\s*(\S+)",
        )

    def telemetry(self, index: int) -> Telemetry:
        found = tools.blocks(tools.reading("mx-smi") or "", _HEAD)
        return tools.table_telemetry(found.get(index, ""))

    def links(self) -> list[Link]:
        return tools.matrix(tools.output("mx-smi", "topo", "-m") or "", "GPU")
