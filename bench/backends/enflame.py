"""Enflame GCUs through torch_gcu; telemetry and health by efsmi.

Recorded: ``efsmi -q`` 1.4.3.4 in https://github.com/zstackio/zstack-utility
(zstacklib/zstacklib/gpu/vendors/enflame.py).
"""

from __future__ import annotations

from . import tools
from .base import Health, Telemetry, TorchBackend


class Enflame(TorchBackend):
    """Enflame GCUs."""

    name = "enflame"
    device_type = "gcu"
    module = "torch_gcu"
    collectives = "eccl"
    visible_devices = "TOPS_VISIBLE_DEVICES"
    kubernetes_resource = "enflame.com/gcu"  # of the device plugin of HAMi
    lacking = {"fp64": "FlagGems declares fp64_enabled=False for these chips"}
    priority = 73

    def versions(self) -> dict[str, str]:
        said = values(tools.reading("efsmi", "-q")).get(0, {})
        return {"driver": said["Ver"]} if "Ver" in said else {}

    def telemetry(self, index: int) -> Telemetry:
        said = values(tools.reading("efsmi", "-q")).get(index, {})
        return Telemetry(
            temperature=tools.number(said.get("GCU Temp")),
            power=tools.number(said.get("Cur Power")),
            # Until driver 1.2 it was called Mem Usage.
            memory_used=tools.mebibytes(
                tools.number(said.get("Used Size") or said.get("Mem Usage"))
            ),
        )

    def health(self, index: int) -> Health:
        said = values(tools.reading("efsmi", "-q")).get(index, {})
        problems = []
        if said.get("Health", "True") != "True":
            problems.append("efsmi calls it not healthy")
        if said.get("Flags", "False") != "False":
            problems.append("efsmi says that it is due for return (RMA)")
        errors = tools.number(said.get("Total DBE"))
        return Health(
            errors={} if errors is None else {"double_bit": int(errors)},
            problem="; ".join(problems),
        )


def values(text: str | None) -> dict[int, dict[str, str]]:
    """What ``efsmi -q`` says of each device, by its number: values by name."""
    found: dict[int, dict[str, str]] = {}
    mine: dict[str, str] = {}
    for line in (text or "").splitlines():
        if line.startswith("DEV ID"):
            mine = found.setdefault(int(line.split()[-1]), {})
            continue
        name, colon, value = line.partition(":")
        if colon:
            mine[name.strip()] = value.strip()
    return found
