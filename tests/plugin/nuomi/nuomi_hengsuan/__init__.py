"""Nuomi's backend for Hengsuan. Importing it loads no device: the harness says when."""

from __future__ import annotations

import sys

from bench.backends.base import Telemetry, TorchBackend


class Nuomi(TorchBackend):
    """Nuomi accelerators through torch_nuomi."""

    api_version = 2
    name = "nuomi"
    device_type = "nuomi"
    module = "torch_nuomi"
    collectives = "nuccl"
    visible_devices = "NUOMI_VISIBLE_DEVICES"
    ray_resource = "NUOMI"
    stand_in = True  # its devices are threads of the host
    priority = 40
    triton = "there is no Triton for these chips"
    lacking = {
        "tf32": "fp32 products are exact in all modes",
        "fp8": "the chip has no fp8",
        "quantize": "it makes fp8",
        # Its threads compute this with PyTorch's own kernels for the host, as backend cpu says.
        "layernorm backward bf16": "the bias's gradient is added up in bf16",
        "layernorm backward fp16": "the bias's gradient is added up in fp16",
    }

    def telemetry(self, index):
        if self.module not in sys.modules:  # the counters are of the process that uses the device
            return Telemetry()
        import torch

        free, total = torch.accelerator.get_memory_info()
        return Telemetry(memory_used=total - free)
