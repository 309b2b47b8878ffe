"""What a backend answers when it is asked about a device: values, and a second stream of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Amount = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
"""What no device has less than nothing of."""


class Telemetry(msgspec.Struct, kw_only=True, frozen=True):
    """What a device says of itself now; None where it does not say.

    Clock in MHz (``clock_max``: the highest it would run), temperature in °C, power in W,
    memory in bytes; ``energy`` in J, taken since its counter began, whenever that was;
    ``utilisation``: share of the last moments, as long as its driver averages, in which it worked.
    ``throttled`` is the reason in words, empty when it is known to run freely.
    ``capped``: it runs at its power limit, as busy chips do; that is noted, and no throttling.
    """

    clock: Amount | None = None
    clock_max: Amount | None = None
    temperature: float | None = None
    power: Amount | None = None
    energy: Amount | None = None
    memory_used: Count | None = None
    utilisation: Amount | None = None
    throttled: str | None = None
    capped: bool | None = None


class Health(msgspec.Struct, kw_only=True, frozen=True):
    """What a device counted of its own errors, and what it says that it needs.

    ``errors``: counts since boot or over its life, by names without spaces (``ecc_uncorrected``);
    what grows is a fault of hardware, unless its name says that it was ``corrected``
    (`bench.host.counters.is_error`). ``problem``: why it should be reset or repaired, in words;
    empty if it does not say so.
    """

    errors: dict[str, Count] = {}
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
