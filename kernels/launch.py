"""Launching Triton kernels, and recording launches instead of making them.

Every kernel of this package is launched through `launch`. Under `recording` nothing runs: the
launches are collected with their arguments, so that the cross-compiler (`codegen`) compiles
just what would have been launched, for any chip, on a machine without one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

PROCESSORS = 132
"""Assumed where a device does not say how many processors it has."""


@dataclass(frozen=True)
class Launch:
    """A launch that was recorded: kernel, grid, positional arguments, constants and options."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]


_recorded: list[Launch] | None = None


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Launch a kernel, unless its grid is empty or launches are being recorded."""
    if 0 in grid:
        return
    if _recorded is not None:
        _recorded.append(Launch(kernel, grid, arguments, options))
        return
    device = next(one.device for one in arguments if isinstance(one, torch.Tensor))
    # Triton launches on the current device, whatever device the arguments lie on.
    with current(device):
        kernel[grid](*arguments, **options)


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Make a device the current one of its type inside; does nothing where it is already."""
    module = getattr(torch, device.type, None)
    ask, guard = getattr(module, "current_device", None), getattr(module, "device", None)
    if device.index is None or ask is None or guard is None or ask() == device.index:
        return nullcontext()
    return guard(device.index)  # type: ignore[no-any-return]


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Collect the launches made inside instead of making them. Not for several threads."""
    global _recorded
    before, _recorded = _recorded, []
    try:
        yield _recorded
    finally:
        _recorded = before


def processors(device: torch.device) -> int:
    """Streaming multiprocessors, compute units or cores that run programs side by side."""
    return _processors(device.type, device.index)


@functools.cache
def _processors(kind: str, index: int | None) -> int:
    ask = getattr(getattr(torch, kind, None), "get_device_properties", None)
    if ask is None or kind == "cpu":
        return PROCESSORS
    return int(getattr(ask(index or 0), "multi_processor_count", PROCESSORS))


def with_scratch(device: torch.device) -> None:
    """Let kernels that make tensor descriptors on the device have their scratch memory."""
    import triton

    if _recorded is None and hasattr(triton, "set_allocator"):
        triton.set_allocator(_allocator(device.type))


def describable(*tensors: torch.Tensor) -> bool:
    """Whether tensor descriptors can hold them all.

    Each has one dimension of stride 1, and starts and other strides at multiples of 16 bytes.
    """
    return all(map(_describable, tensors))


def _describable(tensor: torch.Tensor) -> bool:
    places = [*tensor.stride(), tensor.storage_offset()]
    if 1 not in tensor.stride() or tensor.data_ptr() % 16:
        return False
    places.remove(1)
    return all(one * tensor.element_size() % 16 == 0 for one in places)


@functools.cache
def _allocator(kind: str) -> Callable[[int, int, Any], torch.Tensor]:
    """Scratch memory on whichever device of a type is current: the one that is launched on.

    It stays set after the launch, and other kernels of this thread may come to use it.
    """

    def scratch(size: int, alignment: int, stream: Any) -> torch.Tensor:
        return torch.empty(size, dtype=torch.int8, device=kind)

    return scratch


def cdiv(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def power_of_2(value: int) -> int:
    """The smallest power of two that is not below ``value``."""
    return 1 << max(0, value - 1).bit_length()


def strides(tensor: torch.Tensor, dims: Sequence[int]) -> tuple[int, ...]:
    """Strides of these dimensions; 0 for extents of one, whose stride torch leaves open."""
    return tuple(tensor.stride(dim) if tensor.shape[dim] > 1 else 0 for dim in dims)
