"""The contract between the harness and a family of chips, and the implementation most share.

A backend is a declaration: class attributes say how the chip is reached, and a few methods say
what PyTorch cannot. What a subclass leaves out is inherited, or honestly absent. Code above
this package never asks for a vendor's name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import BackendError
from ..records import Device
from .answers import Health, Link, Side, Telemetry

__all__ = [
    "ACCEPTED",
    "API_VERSION",
    "Backend",
    "Health",
    "Link",
    "Side",
    "Telemetry",
    "TorchBackend",
]

if TYPE_CHECKING:
    import torch

API_VERSION = 2
ACCEPTED = (1, 2)
"""Versions of the contract that plugins may be written for. What version 2 added has defaults."""


class Backend:
    """How a family of chips is reached: the whole contract (`API_VERSION` 2).

    Everything runs in a process of its own with ``TORCH_DEVICE_BACKEND_AUTOLOAD=0``; only the
    chosen backend's ``module`` is imported there. A plugin's class is imported in ranks alone: what
    drivers and agents ask, a process of its own answers (`bench.backends.remote`), so that one that
    crashes or hangs takes nothing else down. What members give is checked
    (`bench.backends.contract`).
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

    def release(self, device: torch.device) -> None:
        """Give back the memory that the allocator keeps for later: another process is to use it."""

    def limit_memory(self, device: torch.device, limit: int) -> str:
        """Let this process allocate ``limit`` bytes of an opened device at most.

        Empty if its allocator keeps to that from now on, else why it cannot.
        """
        return "its allocator takes no limit"

    def telemetry(self, index: int) -> Telemetry:
        """Clocks, temperature, power, throttling of device ``index`` of the node, as far as known.

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
        Each is called with a case, its inputs and its outputs, and gives what does the work once:
        a callable without arguments that returns the results by name. What is prepared before that
        may depend on shapes and indices, and not on values: they are drawn anew, in place.
        """
        return {}

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """The vendor's own operations of a model, differentiable where training needs them.

        They are what ``ops: vendor`` of `train` and `generate` computes with, by the names and with
        the arguments of `bench.workloads.ops.Ops`; PyTorch's own take the place of those that are
        not here.
        """
        return {}


class TorchBackend(Backend):
    """What ``torch.<device_type>`` and ``torch.accelerator`` can say for a backend.

    The vendor's own module is asked first; what it lacks, PyTorch's generic runtime is asked for.
    """

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

    def _function(self, name: str) -> Any | None:
        """``torch.<device_type>.<name>``, else `torch.accelerator`'s; None where neither has it."""
        import torch

        own = getattr(self._torch(), name, None)
        if own is not None:
            return own
        generic = getattr(torch, "accelerator", None)
        here = generic.current_accelerator() if generic is not None else None
        if here is None or here.type != self.device_type:  # a process has one kind of accelerator
            return None
        return getattr(generic, _GENERIC.get(name, name), None)

    def _needed(self, name: str) -> Any:
        found = self._function(name)
        if found is None:
            raise BackendError(
                f"neither torch.{self.device_type} nor torch.accelerator has {name}",
                where=f"backend {self.name}",
                hint=f"add {name} to torch.{self.device_type}, or override what needs it",
            )
        return found

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
        found = []
        for place, index in enumerate(self._indices(self._needed("device_count")())):
            properties = self._properties(place)
            name = str(getattr(properties, "name", None) or self.device_type)
            memory = int(getattr(properties, "total_memory", 0) or self._memory(place))
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

    def _indices(self, count: int) -> list[int]:
        """Indices on the node of the visible devices, which PyTorch counts from zero."""
        said = os.environ.get(self.visible_devices or "", "").split(",")
        numbers = [int(one) for one in said if one.strip().isdigit()]
        return numbers if len(numbers) == len(said) == count else list(range(count))

    def _properties(self, place: int) -> Any:
        ask = self._function("get_device_properties")
        return ask(place) if ask is not None else None

    def _memory(self, place: int) -> int:
        """Bytes of a visible device's memory; 0 where they cannot be asked for."""
        ask = self._function("mem_get_info")
        try:
            return int(ask(place)[1]) if ask is not None else 0
        except RuntimeError:  # PyTorch's generic one, of an allocator that does not know
            return 0

    def open(self, index: int) -> torch.device:
        import torch

        self._needed("set_device")(index)
        return torch.device(self.device_type, index)

    def synchronize(self, device: torch.device) -> None:
        self._needed("synchronize")(device)

    def event(self) -> Any | None:
        return self._event() if self._event is not None else None

    @functools.cached_property
    def _event(self) -> Callable[[], Any] | None:
        """Makes events that tell time: the vendor's, PyTorch's generic ones, or there are none.

        They are tried, for not every stack has all that its module or PyTorch names.
        """
        import torch

        own = getattr(self._torch(), "Event", None)
        generic = functools.partial(torch.Event, self.device_type)
        for make in (functools.partial(one, enable_timing=True) for one in (own, generic) if one):
            try:
                begin, end = make(), make()
                begin.record()
                end.record()
                end.synchronize()
                if float(begin.elapsed_time(end)) >= 0:
                    return make
            except (AttributeError, TypeError, RuntimeError):
                continue
        return None

    def side(self, device: torch.device) -> Side | None:
        import torch

        module, current = self._torch(), self._function("current_stream")
        if current is None:
            return None
        try:
            # PyTorch's own streams are the context in which they are current.
            make = getattr(module, "Stream", torch.Stream)
            switch = getattr(module, "stream", lambda stream: stream)
            return Side(SimpleNamespace(Stream=make, stream=switch, current_stream=current), device)
        except RuntimeError:  # PyTorch's generic one, where the stack has no streams
            return None

    def place(self, device: torch.device) -> str:
        return str(_place(self._properties(device.index or 0)).get("pci", ""))

    def cache(self, device: torch.device) -> int:
        return int(getattr(self._properties(device.index or 0), "L2_cache_size", 0))

    def release(self, device: torch.device) -> None:
        empty = self._function("empty_cache")
        if empty is not None:
            empty()

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
        forget, peak = (self._function(name) for name in _PEAK)
        if forget is None or peak is None:
            return None
        try:
            if reset:
                forget(device)
            return int(peak(device))
        except RuntimeError:  # PyTorch's generic ones, of an allocator that does not count
            return None


_GENERIC = {"set_device": "set_device_index", "mem_get_info": "get_memory_info"}
"""What `torch.accelerator` calls functions of ``torch.<device_type>``, where it renamed them."""
_PEAK = ("reset_peak_memory_stats", "max_memory_allocated")


def _place(properties: Any) -> dict[str, Any]:
    """The PCI address as a fact, where PyTorch says it."""
    parts = [getattr(properties, f"pci_{name}_id", None) for name in ("domain", "bus", "device")]
    if not all(isinstance(part, int) for part in parts):
        return {}
    domain, bus, device = parts
    return {"pci": f"{domain:04x}:{bus:02x}:{device:02x}.0"}
