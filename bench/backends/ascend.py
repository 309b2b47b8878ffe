"""Huawei Ascend NPUs through torch_npu; telemetry, health and links by npu-smi.

Recorded: ``npu-smi info`` 24.1.RC2 in the tests of https://github.com/gpustack/gpustack
(tests/detectors/npu_smi/data), ``npu-smi info -t topo`` in the documentation of
https://github.com/modelscope/ms-swift (docs/source/BestPractices/NPU支持.md).
"""

from __future__ import annotations

import re
from typing import ClassVar

import msgspec

from ..records import Device
from . import tools
from .base import Health, Link, Telemetry, TorchBackend

_CHIP = re.compile(
    r"\|\s*\d+\s+\S+\s*\|\s*(?P<health>\S+)\s*\|\s*(?P<power>[\d.]+|-)\s+(?P<heat>[\d.]+|-)\s.*\|"
)
_MEMORY = re.compile(
    r"\|\s*\d+(?:\s+\d+)?\s*\|\s*[0-9A-Fa-f:.]+\s*\|"
    r"\s*(?P<use>\d+)?\s.*?(?P<memory>\d+)\s*/\s*\d+\s*\|$"
)


class Ascend(TorchBackend):
    """Ascend NPUs."""

    name = "ascend"
    device_type = "npu"
    module = "torch_npu"
    collectives = "hccl"
    visible_devices = "ASCEND_RT_VISIBLE_DEVICES"
    ray_resource = "NPU"
    priority = 70
    two_dies: ClassVar[re.Pattern[str]] = re.compile(r"ascend910_93\d\d", re.IGNORECASE)
    """What the dies of an Ascend 910C call themselves (CANN's list of SoC versions): two a card,
    each a device of its own."""

    def devices(self) -> list[Device]:
        return [
            msgspec.structs.replace(one, dies=2) if self.two_dies.match(one.name) else one
            for one in super().devices()
        ]

    def versions(self) -> dict[str, str]:
        return tools.versions(tools.reading("npu-smi", "info"), driver=r"Version:\s*(\S+)")

    def telemetry(self, index: int) -> Telemetry:
        found = chips(tools.reading("npu-smi", "info"))
        return found[index][0] if index < len(found) else Telemetry()

    def health(self, index: int) -> Health:
        found = chips(tools.reading("npu-smi", "info"))
        return found[index][1] if index < len(found) else Health()

    def links(self) -> list[Link]:
        return tools.matrix(tools.output("npu-smi", "info", "-t", "topo") or "", "NPU")


def chips(text: str | None) -> list[tuple[Telemetry, Health]]:
    """What the table of ``npu-smi info`` says of each chip, in its order: that of the devices.

    A chip has two lines: name, health, power and temperature; bus, load and memory (of those with
    HBM the last column).
    """
    found: list[tuple[Telemetry, Health]] = []
    first: re.Match[str] | None = None
    for line in (text or "").splitlines():
        if "Process" in line:
            break
        second = _MEMORY.match(line)
        if first is not None and second:
            word = first["health"]
            found.append(
                (
                    Telemetry(
                        temperature=tools.number(first["heat"]),
                        power=tools.number(first["power"]),
                        memory_used=tools.mebibytes(float(second["memory"])),
                        utilisation=float(second["use"]) / 100 if second["use"] else None,
                    ),
                    Health(problem="" if word == "OK" else f"npu-smi calls its health {word}"),
                )
            )
        first = _CHIP.match(line) if not second else None
    return found
