"""T-Head PPUs, which answer to torch.cuda.

No output of their tool (ppu-smi) could be found in public: telemetry, health and links are absent.
"""

from __future__ import annotations

import os

from . import tools
from .base import TorchBackend


class Thead(tools.ToolBackend):
    """T-Head PPUs."""

    name = "thead"
    device_type = "cuda"
    collectives = "nccl"
    visible_devices = "CUDA_VISIBLE_DEVICES"
    tool = "ppu-smi"
    priority = 64

    def present(self) -> str:
        # In containers of the SDK, which says where it is, the tool is not always on the path.
        return TorchBackend.present(self) if "PPU_SDK" in os.environ else super().present()
