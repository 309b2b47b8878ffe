"""The host's own cores as devices: a stand-in for an accelerator on any machine.

A device is a NUMA node; on a machine with one, two halves of its cores, so that collectives and
placement can be exercised anywhere. Devices of one NUMA node share its memory bandwidth: they
carry the same lane and are measured one after the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import host
from ..host.files import read
from ..records import Device
from .base import Side, Telemetry, TorchBackend

if TYPE_CHECKING:
    import torch


class Cpu(TorchBackend):
    """CPU cores through PyTorch; gloo for collectives."""

    name = "cpu"
    device_type = "cpu"
    stand_in = True
    tested = "x86-64 hosts, by this project's own tests"
    lacking = {
        "tf32": "PyTorch has no such mode on a CPU",
        # Measured on PyTorch 2.13: at 256 rows 0.019 in bf16 and 0.0025 in fp16, and growing with
        # the square root of their number.
        "layernorm backward bf16": "PyTorch adds up the bias's gradient in bf16 on a CPU",
        "layernorm backward fp16": "PyTorch adds up the bias's gradient in fp16 on a CPU",
    }
    priority = 1000  # only where nothing else answers

    def devices(self) -> list[Device]:
        nodes = host.numa_nodes()
        sets = [(f"numa{node}", cpus) for node, cpus in nodes.items()]
        if len(sets) == 1 and len(sets[0][1]) > 1:
            lane, cpus = sets[0]
            middle = len(cpus) // 2
            sets = [(lane, cpus[:middle]), (lane, cpus[middle:])]
        memory = host.memory_total() // len(sets)
        return [
            Device(
                index=index,
                backend=self.name,
                name=host.cpu_model(),
                serial=f"{host.machine_id()}:{index}",
                memory=memory,
                lane=f"{self.name}:{lane}",
                facts={"cpus": cpus},
            )
            for index, (lane, cpus) in enumerate(sets)
        ]

    def environment(self, indices: list[int], index: int) -> dict[str, str]:
        threads = str(len(self.devices()[index].facts["cpus"]))
        return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}

    def open(self, index: int) -> torch.device:
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        return torch.device("cpu")

    def synchronize(self, device: torch.device) -> None:
        """Nothing to wait for: the host computes synchronously."""

    def event(self) -> Any | None:
        return None

    def side(self, device: torch.device) -> Side | None:
        """None: PyTorch's streams of a CPU do nothing."""
        return None

    def cache(self, device: torch.device) -> int:
        return host.last_level_cache() or 0

    def memory_peak(self, device: torch.device, *, reset: bool = False) -> int | None:
        """Peak resident set of this process (``VmHWM``): torch.cpu keeps no statistics.

        A reset needs the kernel's leave (``/proc/self/clear_refs``); without it the peak is that
        of the whole process, so give each measurement that matters a fresh one. What earlier work
        freed goes back to the system first: filled again in silence, it would hide what is
        allocated.
        """
        if reset:
            with contextlib.suppress(OSError, AttributeError):  # not every C library has it
                ctypes.CDLL(None).malloc_trim(0)
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", read("/proc/self/status"))
        return int(found[1]) * 1024 if found else None

    def telemetry(self, index: int) -> Telemetry:
        # A rank is bound to its device's cores; anybody else asks about all of them.
        return Telemetry(clock=host.frequency(os.sched_getaffinity(0)))
