"""The contract between the harness and a family of chips, and the implementation most share.

A backend is a declaration: class attributes say how the chip is reached, and a few methods say
what PyTorch cannot. What a subclass leaves out is inherited, or honestly absent. Code above
this package never asks for a vendor's name.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from ..errors import BackendError
from ..records import Device

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
API_VERSION = 2
ACCEPTED = (1, 2)
"""Versions of the contract that plugins may be written for. What version 2 added has defaults."""


class Telemetry(msgspec.Struct, kw_only=True, frozen=True):
    """What a device says of itself now; None where it does not say.

    Clock in MHz (``clock_max``: the highest it would run), temperature in °C, power in W,
    memory in bytes. ``throttled`` is the reason in words, empty when it runs freely.
    ``capped``: it runs at its power limit, as busy chips do; that is noted, and no throttling.
    """

    clock: float | None = None
    clock_max: float | None = None
    temperature: float | None = None
    power: float | None = None
    memory_used: int | None = None
    throttled: str = ""
    capped: bool = False


class Health(msgspec.Struct, kw_only=True, frozen=True):
    """What a device counted of its own errors, and what it says that it needs.

    ``errors``: counts since boot or over its life, by names without spaces (``ecc_uncorrected``);
    what grows is a fault of hardware, unless its name says that it was ``corrected``
    (`bench.host.counters.is_error`). ``problem``: why it should be reset or repaired, in words;
    empty if it does not say so.
    """

    errors: dict[str, int] = {}
    problem: str = ""


class Link(msgspec.Struct, kw_only=True, frozen=True):
    """How two devices of a node reach each other.

    ``kind`` in the vendor's word (``NV18``, ``HCCS``, ``PIX``); ``bandwidth`` of one direction in
    B/s, None where it is not said.
    """

    a: int
    b: int
    kind: str
    bandwidth: float | None = None


class Side:
    """A second stream of a device: work given to it runs beside the current stream's.

    ``follow`` and ``join`` are waits of the device, never of the host.

    Args:
        module: ``torch.<device_type>`` with ``Stream``, ``stream`` and ``current_stream``.
        device: Where the stream is.
    """

    def __init__(self, module: Any, device: torch.device) -> None:
        self._module, self._device = module, device
        self._stream = module.Stream(device)

    def follow(self) -> None:
        """What is given from now on waits for all that the current stream holds now."""
        self._stream.wait_stream(self._module.current_stream(self._device))

    def run(self, work: Callable[[], T]) -> T:
        """Call ``work`` so that what it gives to the device runs here; its result."""
        with self._module.stream(self._stream):
            return work()

    def join(self) -> None:
        """What the current stream gets from now on waits for all that was given here."""
        self._module.current_stream(self._device).wait_stream(self._stream)


class Backend:
    """How a family of chips is reached: the whole contract (`API_VERSION` 2).

    Everything runs in a process of its own with ``TORCH_DEVICE_BACKEND_AUTOLOAD=0``; only the
    chosen backend's ``module`` is imported there. A plugin's class is imported, and ``present``
    and ``devices`` are asked, in a process of their own first: one that crashes or hangs takes
    nothing else down. What members give is checked (`bench.backends.contract`).
    """

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str] = ""
    """The word users write after ``--backend``."""
    device_type: ClassVar[str] = ""
    """PyTorch's device type (``torch.device(device_type, index)``)."""
    module: ClassVar[str | None] = None
    """Module whose import makes the device type known to PyTorch; None where it is built in."""
    collectives: ClassVar[str] = "gloo"
    """Name of the ``torch.distributed`` backend."""
    visible_devices: ClassVar[str | None] = None
    """Environment variable that limits which devices a process sees."""
    ray_resource: ClassVar[str | None] = None
    """Ray's name for one device; None where Ray counts none."""
    kubernetes_resource: ClassVar[str | None] = None
    slurm_gres: ClassVar[str | None] = None
    stand_in: ClassVar[bool] = False
    """True where the device only stands in for an accelerator, as a host's cores or an emulator do:
    its records say so. It is taken for weak as well, and gets small shapes."""
    dies_per_card: ClassVar[int] = 1
    """Devices that one card shows itself as: datasheets speak of cards, measurements of devices.
    Where products differ, `devices` says it of each (`Device.dies`)."""
    tested: ClassVar[str] = ""
    """On what hardware this was proved, by which run or submission; empty: it never was."""
    triton: ClassVar[str] = ""
    """Why Triton kernels cannot run on these chips; empty: `arch` decides."""
    lacking: ClassVar[Mapping[str, str]] = {}
    """What these chips cannot do, and why: no failure, but declared. A key is one or more words
    that must all fit a case: a dtype (``fp64``, ``fp8``), an operation or benchmark (``scatter``),
    or several (``gemm fp8_e4m3``); see `bench.workloads.lacking.declared`. Their cases are skipped
    for this reason."""
    tolerances: ClassVar[Mapping[str, float]] = {}
    """Largest relative error (Frobenius norm) of a correct result, by dtype, where this chip's is
    not the format's own: one that computes in low precision or analogue declares it. Results are
    judged by it, errors are recorded as measured, and rows that it widened say so."""
    kernel_patterns: ClassVar[Mapping[str, str]] = {}
    """Regular expressions for the lines by which this chip's driver reports trouble to the kernel's
    log, by what they are about (``driver``, ``link``, ``memory``); see `bench.host.kernel_log`."""
    priority: ClassVar[int] = 50
    """Backends are probed from low to high: imitators of another stack come before it."""

    def present(self) -> str:
        """Empty if this node seems to carry such devices, else why not. Cheap: no torch import."""
        raise NotImplementedError

    def devices(self) -> list[Device]:
        """All devices of this node. Raises `BackendError` if the stack is there but broken.

        A device's ``facts["pci"]`` is its PCI address (``0000:3b:00.0``), where it has one: by it
        its link is watched and the network cards near it are found.
        """
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Versions of this node's driver, firmware and runtime by name, as far as they are known.

        Called in the agent: cheap, no torch import.
        """
        return {}

    def environment(self, indices: list[int], index: int) -> dict[str, str]:
        """Environment of the rank process that drives device ``index`` of the claimed ``indices``.

        Every rank sees all claimed devices: a rank that sees one cannot copy to its peers.
        """
        return {self.visible_devices: ",".join(map(str, indices))} if self.visible_devices else {}

    def load(self) -> None:
        """Import what makes the device type usable. Raises `BackendError` with the cause."""
        raise NotImplementedError

    def open(self, index: int) -> torch.device:
        """Make device ``index`` (counted among the visible ones) current and return it."""
        raise NotImplementedError

    def synchronize(self, device: torch.device) -> None:
        """Wait until the device has finished all work given to it."""
        raise NotImplementedError

    def event(self) -> Any | None:
        """A new timing event (``record()``, ``elapsed_time(end)`` in ms) or None: host timer."""
        raise NotImplementedError

    def side(self, device: torch.device) -> Side | None:
        """A second stream of an opened device; None where all its work is done in one."""
        return None

    def memory_peak(self, device: torch.device, *, reset: bool = False) -> int | None:
        """Peak bytes allocated since the last reset; None where it cannot be known."""
        return None

    def limit_memory(self, device: torch.device, limit: int) -> str:
        """Let this process allocate ``limit`` bytes of an opened device at most.

        Empty if its allocator keeps to that from now on, else why it cannot.
        """
        return "its allocator takes no limit"

    def telemetry(self, index: int) -> Telemetry:
        """Clocks, temperature, power, throttling of device ``index`` of the node.

        Asked between blocks of samples: cheap.
        """
        return Telemetry()

    def health(self, index: int) -> Health:
        """Errors of device ``index`` of the node. Asked before and after stages, not beside one."""
        return Health()

    def links(self) -> list[Link]:
        """The links between this node's devices, each once; empty where they are not known.

        Called in the agent: cheap, no torch import.
        """
        return []

    def busy(self, index: int) -> str:
        """Who else uses device ``index`` of the node (process names and ids), empty if nobody."""
        return ""

    def place(self, device: torch.device) -> str:
        """The PCI address of an opened device; empty where it has none, or it is unknown."""
        return ""

    def cache(self, device: torch.device) -> int:
        """Bytes of the device's last-level cache, which inputs must exceed; 0 where unknown."""
        return 0

    def arch(self, device: torch.device) -> str | None:
        """Triton's architecture (``sm_90``, ``gfx942``, ``generic``) or None: no Triton target."""
        return None

    def implementations(self) -> Mapping[str, Callable[..., Any]]:
        """The vendor's own implementations of operations, by name (`bench.kernels.op`).

        They are what ``impl: vendor`` measures, against the same fp64 references as all others.
        """
        return {}


class TorchBackend(Backend):
    """Everything that ``torch.<device_type>`` and ``torch.accelerator`` can say for a backend."""

    def _torch(self) -> Any:
        """The module ``torch.<device_type>``."""
        import torch

        module = getattr(torch, self.device_type, None)
        if module is None:
            raise BackendError(
                f"torch has no module torch.{self.device_type}",
                where=f"backend {self.name}",
                hint=f"install the vendor's PyTorch extension ({self.module or self.name})",
            )
        return module

    def load(self) -> None:
        if self.module is None:
            return
        try:
            importlib.import_module(self.module)
        except Exception as error:  # a vendor's import may raise anything
            raise BackendError(
                f"import {self.module} failed: {type(error).__name__}: {error}",
                where=f"backend {self.name}",
                hint="check that its version fits this torch",
            ) from error

    def present(self) -> str:
        if importlib.util.find_spec("torch") is None:
            return "PyTorch is not installed (pip install 'hengsuan[run]')"
        if self.module and importlib.util.find_spec(self.module.partition(".")[0]) is None:
            return f"Python module {self.module} is not installed"
        return ""

    def devices(self) -> list[Device]:
        self.load()
        module = self._torch()
        found = []
        for index in range(module.device_count()):
            properties = self._properties(index)
            name = str(getattr(properties, "name", None) or self.device_type)
            memory = int(getattr(properties, "total_memory", 0))
            serial = str(getattr(properties, "uuid", ""))
            found.append(
                Device(
                    index=index,
                    backend=self.name,
                    name=name,
                    memory=memory,
                    serial=serial,
                    lane=f"{self.name}:{index}",
                    facts=_place(properties),
                )
            )
        return found

    def _properties(self, index: int) -> Any:
        ask = getattr(self._torch(), "get_device_properties", None)
        return ask(index) if ask is not None else None

    def open(self, index: int) -> torch.device:
        import torch

        self._torch().set_device(index)
        return torch.device(self.device_type, index)

    def synchronize(self, device: torch.device) -> None:
        self._torch().synchronize(device)

    def event(self) -> Any | None:
        # torch.Event needs the generic device runtime, which not every vendor build has.
        maker = getattr(self._torch(), "Event", None)
        return maker(enable_timing=True) if maker is not None else None

    def side(self, device: torch.device) -> Side | None:
        module = self._torch()
        return Side(module, device) if hasattr(module, "Stream") else None

    def place(self, device: torch.device) -> str:
        return str(_place(self._properties(device.index or 0)).get("pci", ""))

    def cache(self, device: torch.device) -> int:
        return int(getattr(self._properties(device.index or 0), "L2_cache_size", 0))

    def limit_memory(self, device: torch.device, limit: int) -> str:
        impose = getattr(self._torch(), "set_per_process_memory_fraction", None)
        total = int(getattr(self._properties(device.index or 0), "total_memory", 0))
        if impose is None or not total:
            return f"torch.{self.device_type} limits no process's memory"
        if limit > total:
            return f"the device has {total} B of memory, less than {limit} B"
        impose(limit / total, device)
        return ""

    def memory_peak(self, device: torch.device, *, reset: bool = False) -> int | None:
        module = self._torch()
        try:
            if reset:
                module.reset_peak_memory_stats(device)
            return int(module.max_memory_allocated(device))
        except (AttributeError, RuntimeError):
            return None


def _place(properties: Any) -> dict[str, Any]:
    """The PCI address as a fact, where PyTorch says it."""
    parts = [getattr(properties, f"pci_{name}_id", None) for name in ("domain", "bus", "device")]
    if not all(isinstance(part, int) for part in parts):
        return {}
    domain, bus, device = parts
    return {"pci": f"{domain:04x}:{bus:02x}:{device:02x}.0"}
