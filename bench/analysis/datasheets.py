"""What the references of a run's cases rest on, chip by chip."""

from __future__ import annotations

from collections.abc import Mapping

from ..configs import Chip, undisputed
from ..inventory import Inventory
from ..kernels import costs
from ..records import Case, Header


class Datasheets:
    """The datasheets of a run's devices, and why a case may have no reference."""

    def __init__(self, header: Header, chips: Mapping[str, Chip]) -> None:
        self._schedules = header.schedules
        self._known = chips
        if header.fleet is not None:
            self._devices = [(header.fleet.chip, header.fleet.chip)]
        else:
            codes, kinds = Inventory(header.nodes).kinds()
            devices = (device for node in header.nodes for device in node.devices)
            named = zip(codes.tolist(), devices, strict=True)
            self._devices = [
                (kinds[code], device.judged_as or device.name) for code, device in named
            ]
            self._devices = list(dict.fromkeys(self._devices))

    def of(self, case: Case) -> tuple[str, str]:
        """(what a case's reference rests on, why it may have none), one of them empty or both said.

        A case of one kind of chip is judged by that chip, one of several by none.
        """
        on = self._schedules[case.schedule].arguments.get("on")
        if on is not None and "+" in on:
            return "", f"no common reference: groups of several kinds of chip ({on})"
        names = sorted({name for kind, name in self._devices if on in (None, kind)})
        if len(names) > 1:
            return "", f"no common reference: devices of several kinds ({', '.join(names)})"
        if not names:
            return "", "no reference: the run has no devices"
        (name,) = names
        if name not in self._known:
            return "", f"no reference: no datasheet of {name!r} is known"
        silent = f"no reference: the datasheet of {name} does not predict it"
        lacking = _lacking(case, self._known[name])
        return f"datasheet of {name}", f"{silent}: {lacking}" if lacking else silent


_ON_PEAK = ("gemm", "compute", "precision", "train", "command", "generate")
_ON_MEMORY = ("stream", "memory")
_ON_LINKS = ("collectives", "pairs", "link", "incast", "stability", "rdma", "overlap")


def _lacking(case: Case, chip: Chip) -> str:
    """Which figure a datasheet does not give, or not beyond dispute; empty where that is not it."""
    dtype = case.axes.get("dtype")
    if case.benchmark in _ON_PEAK and dtype and chip.peak(costs.PEAK.get(dtype, dtype)) is None:
        return f"it gives no undisputed {dtype} peak"
    chip = undisputed(chip)
    if case.benchmark in _ON_MEMORY and chip.memory_bandwidth is None:
        return "it gives no undisputed memory bandwidth"
    if case.benchmark == "transfer" and chip.host_link is None:
        return "it gives no undisputed link to the host"
    if case.benchmark in _ON_LINKS:
        known = {"link between devices": chip.link, "network of a node": chip.network}
        none = [name for name, figure in known.items() if figure is None]
        return f"it gives no undisputed {' and no undisputed '.join(none)}" if none else ""
    return ""
