"""For projects with pytest-benchmark tests: a timer that waits for the device, and conditions.

    pytest -p bench.pytest_plugin --benchmark-timer=bench.pytest_plugin.timer ...

A call that gives work to an accelerator returns before the work is done; `timer` waits for it, so
that a round's time is that of the work. Results say on what they were taken, as ``hengsuan`` in
their ``machine_info``; `hengsuan gate pair --pytest` compares them like any others.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def timer() -> float:
    """Seconds on the host's clock, when the current device has done all that it was given.

    Of a process that has not imported torch, or has no accelerator, it is the clock alone.
    """
    torch = sys.modules.get("torch")
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is not None and accelerator.is_available():
        accelerator.synchronize()
    return time.perf_counter()


def conditions() -> dict[str, Any]:
    """What a figure depends on besides the code: cores, niceness, governor, threads, devices."""
    from .host.cores import governor

    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    torch = sys.modules.get("torch")
    accelerator = getattr(torch, "accelerator", None)
    device = ""
    if accelerator is not None and accelerator.is_available():
        device = str(accelerator.current_accelerator())
    return {
        "cores": sorted(cores),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "governor": governor(cores),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
        "torch": getattr(torch, "__version__", ""),
        "device": device,
    }


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """pytest-benchmark's hook: add the conditions to what it saves."""
    machine_info["hengsuan"] = conditions()
