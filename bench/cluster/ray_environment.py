"""The environment in which Ray disturbs a measurement least; read when Ray starts."""

from __future__ import annotations

import os
import tempfile

QUIET = {
    "RAY_worker_niceness": "0",  # Ray's default of 15 would be measured
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_timeline": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # no vendor plugin loads itself into a worker
    "RAY_DEDUP_LOGS": "0",
    "RAY_TQDM": "0",
}


def folder() -> str:
    """Where a Ray that we start keeps its files and sockets, as an absolute path.

    Ray's own choice, but for a variable that is set and empty: of that it makes the folder in which
    we were started.
    """
    wanted = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    return os.path.join(os.path.abspath(wanted), "ray")
