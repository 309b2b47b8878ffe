"""Two kinds of chip whose devices are CPU tensors, each with a collective library of its own name.

A process knows its own kind's library only. Whoever forms a group in one writes a line into the
file that ``KINDS_WITNESS`` names.
"""

from __future__ import annotations

import os

from bench.backends.base import TorchBackend
from bench.records import Device


class _Kind(TorchBackend):
    device_type = "cpu"
    stand_in = True
    priority = 10
    device = ""
    count = 1

    def present(self):
        return ""

    def devices(self):
        return [
            Device(
                index=index,
                backend=self.name,
                name=self.device,
                memory=1 << 32,
                serial=f"{self.name}{index}",
                lane="cores",
            )
            for index in range(self.count)
        ]

    def environment(self, indices, index):
        return {}

    def load(self):
        import torch.distributed as dist

        def group(store, rank, size, timeout):
            with open(os.environ["KINDS_WITNESS"], "a") as file:
                file.write(f"{self.collectives} {rank}/{size}\n")
            return dist.ProcessGroupGloo(store, rank, size, timeout)

        dist.Backend.register_backend(self.collectives, group, devices=["cpu"])

    def open(self, index):
        import torch

        return torch.device("cpu")

    def synchronize(self, device):
        pass

    def event(self):
        return None


class Acme(_Kind):
    """Acme's chip, which has a datasheet."""

    name = "acme"
    collectives = "accl"
    device = "Acme One"


class Borg(_Kind):
    """Borg's chip, two of them, of which nobody knows anything."""

    name = "borg"
    collectives = "bccl"
    device = "Borg Two"
    count = 2
