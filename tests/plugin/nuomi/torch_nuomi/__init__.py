"""Nuomi accelerators for PyTorch: importing this makes the device type ``nuomi``.

As ``torch.nuomi`` it has what PyTorch itself asks of a device's module, streams and events. All
else goes through ``torch.accelerator``, as PyTorch recommends to new devices.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

torch.ops.load_library(Path(__file__).with_name("_C.so"))
torch.utils.rename_privateuse1_backend("nuomi")
torch._register_device_module("nuomi", sys.modules[__name__])
# Threads that still compute while the interpreter takes itself apart would crash it.
atexit.register(torch.ops.nuomi.drain)

device_count = torch.ops.nuomi.device_count
current_device = torch.accelerator.current_device_index
current_stream = torch.accelerator.current_stream
DTYPES = (torch.bfloat16, torch.float16)


def Stream(device=None, priority=0):
    return torch.Stream(device or "nuomi", priority=priority)


def Event(enable_timing=False):
    return torch.Event("nuomi", enable_timing=enable_timing)


def stream(one):
    """Context in which this stream is the current one."""
    return one


def is_available():
    return device_count() > 0


def get_amp_supported_dtype():
    return list(DTYPES)


def get_device_properties(device=None):
    index = torch.accelerator.current_device_index() if device is None else device
    index = getattr(index, "index", index)
    visible = os.environ.get("NUOMI_VISIBLE_DEVICES")
    place = int(visible.split(",")[index]) if visible is not None else index
    return SimpleNamespace(
        name="Nuomi One",
        total_memory=torch.accelerator.get_memory_info(index)[1],
        uuid=f"NUOMI-{place}",
    )


def set_per_process_memory_fraction(fraction, device=None):
    """Allocations beyond this share of the device's memory raise `torch.OutOfMemoryError`."""
    index = torch.accelerator.current_device_index() if device is None else device
    torch.ops.nuomi.limit(getattr(index, "index", index), fraction)


def _is_in_bad_fork():
    return False


def _generator(device):
    index = torch.device(device).index
    return torch.ops.nuomi.generator(current_device() if index is None else index)


def manual_seed_all(seed):
    for index in range(device_count()):
        torch.ops.nuomi.generator(index).manual_seed(seed)


def get_rng_state(device="nuomi"):
    return _generator(device).get_state()


def set_rng_state(state, device="nuomi"):
    _generator(device).set_state(state)


from . import collectives  # noqa: E402, F401  (registers the library, which needs all the above)
