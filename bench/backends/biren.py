"""Biren GPUs through torch_br.

No output of their tool (brsmi) could be found in public: telemetry, health and links are absent, as
is the name of their collective library.
"""

from __future__ import annotations

from .base import TorchBackend


class Biren(TorchBackend):
    """Biren GPUs."""

    name = "biren"
    device_type = "supa"
    module = "torch_br"
    visible_devices = "SUPA_VISIBLE_DEVICES"
    kubernetes_resource = "birentech.com/gpu"  # of the device plugin of HAMi
    priority = 74
