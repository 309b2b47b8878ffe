"""A backend whose devices have sensors, as a plugin: cores that say what an accelerator would.

``METER_JOB`` names a file with the id of a process that uses the devices while it lives.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.backends.answers import Telemetry
from bench.backends.cpu import Cpu


class Meter(Cpu):
    """Cores with sensors."""

    name = "meter"
    tested = ""

    def telemetry(self, index: int) -> Telemetry:
        return Telemetry(
            clock=1500.0 + index,
            temperature=60.0 + index,
            power=300.0,
            memory_used=1 << 30,
            utilisation=0.75,
            throttled="",
            capped=False,
        )

    def busy(self, index: int) -> str:
        file = Path(os.environ.get("METER_JOB", "none"))
        pid = file.read_text().strip() if file.exists() else ""
        return f"job ({pid})" if pid and Path("/proc", pid).exists() else ""
