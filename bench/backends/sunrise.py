"""Sunrise PTPUs through torch_ptpu.

No output of their tool (pt_smi) could be found in public: telemetry, health and links are absent.
Their collective library is reached through FlagCX, whose import makes it known to PyTorch.
"""

from __future__ import annotations

from .base import TorchBackend


class Sunrise(TorchBackend):
    """Sunrise PTPUs."""

    name = "sunrise"
    device_type = "ptpu"
    module = "torch_ptpu"
    collectives = "flagcx"
    visible_devices = "TANG_VISIBLE_DEVICES"
    priority = 75
