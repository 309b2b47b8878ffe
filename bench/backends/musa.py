"""Moore Threads GPUs through torch_musa; telemetry by mthreads-gmi.

Recorded: ``mthreads-gmi`` 2.2.0 in https://github.com/gpustack/gpustack/issues/3511.
"""

from __future__ import annotations

from . import tools
from .base import Telemetry, TorchBackend

_HEAD = r"(\d+)\s+MTT "


class Musa(TorchBackend):
    """Moore Threads GPUs."""

    name = "musa"
    device_type = "musa"
    module = "torch_musa"
    collectives = "mccl"
    visible_devices = "MUSA_VISIBLE_DEVICES"
    priority = 72

    def versions(self) -> dict[str, str]:
        said = tools.reading("mthreads-gmi")
        return tools.versions(said, driver=r"Driver Version:\s*(\S+)")

    def telemetry(self, index: int) -> Telemetry:
        found = tools.blocks(tools.reading("mthreads-gmi") or "", _HEAD)
        return tools.table_telemetry(found.get(index, ""))
