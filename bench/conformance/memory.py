"""Memory: what is counted is what was taken, and running out of it is survived."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from typing import Any

from ..units import format_value
from ..workloads.lacking import exhausted
from .checks import Subject, check
from .outcome import Fail, NotSupported

BLOCK = 64 << 20
"""Bytes of the tensor whose memory must be counted: far above what allocators round to."""
ROOM = 1 << 30
"""Bytes that the host's memory is limited to where that is the device's: it is not filled."""


@check("memory")
def memory(subject: Subject) -> str:
    """The peak of memory grows by what is allocated, and a reset forgets it."""
    import torch

    backend, device = subject.backend, subject.device
    torch.ones(1024, device=device).sum().item()  # what the stack itself takes, once
    before = backend.memory_peak(device, reset=True)
    if before is None:
        raise NotSupported("memory_peak() is None: peaks are not known")
    before = _peak(subject)
    one = torch.full((BLOCK,), 1, dtype=torch.uint8, device=device)
    subject.synchronize()
    _grown(_peak(subject) - before, BLOCK, "one tensor")
    other = torch.full((2 * BLOCK,), 1, dtype=torch.uint8, device=device)
    subject.synchronize()
    _grown(_peak(subject) - before, 3 * BLOCK, "a second of twice its size beside it")
    held = _peak(subject)
    del one, other
    if _peak(subject) < held - BLOCK:
        raise Fail(
            "memory_peak() fell when tensors were freed",
            "give the peak since the last reset, not what is allocated now",
        )
    backend.memory_peak(device, reset=True)
    if _peak(subject) > held - BLOCK:
        raise Fail(
            f"memory_peak(reset=True) forgot nothing: {_peak(subject)} B after all was freed",
            "reset the peak to what is allocated now",
        )
    return f"{format_value(3 * BLOCK, 'B')} counted"


def _peak(subject: Subject) -> int:
    found = subject.backend.memory_peak(subject.device)
    if found is None:
        raise Fail(
            "memory_peak() is None after it gave bytes", "give bytes, or None from the start"
        )
    return found


def _grown(by: int, taken: int, what: str) -> None:
    if not 0.95 * taken <= by <= 1.25 * taken + (8 << 20):
        raise Fail(
            f"memory_peak() grew by {by} B when {what} made it {taken} B",
            "count what the device's allocator gives out, in bytes",
        )


@check("out-of-memory", limit=300.0)
def out_of_memory(subject: Subject) -> str:
    """Too much memory raises PyTorch's own error; when it is freed, work goes on."""
    import torch

    device, claimed = subject.device, subject.mine.memory
    with _limited(device) as room:
        try:
            torch.empty(4 * claimed, dtype=torch.uint8, device=device)
        except Exception as error:
            _expected(error, device, f"a tensor of {format_value(4 * claimed, 'B')}")
        else:
            raise Fail(
                f"a tensor of four times the memory ({4 * claimed} B) was allocated",
                "refuse what does not fit: raise torch.OutOfMemoryError in the allocator",
            )
        taken = _fill(device, max(BLOCK, (room or claimed) // 32), room or claimed, subject)
    if room is None and taken < claimed // 2:
        raise Fail(
            f"memory ended after {format_value(taken, 'B')}; devices() says "
            f"{format_value(claimed, 'B')}",
            "Device(memory=...) must be what a process can use; is another process on the device?",
        )
    empty = getattr(subject.module(), "empty_cache", None)
    if empty is not None:
        empty()
    values = torch.arange(BLOCK // 4, dtype=torch.int32, device=device)
    subject.synchronize()
    if int(values[-1]) != BLOCK // 4 - 1 or int((values % 2).sum()) != BLOCK // 8:
        raise Fail("after memory ran out and was freed, the device computes wrongly")
    return f"ran out after {format_value(taken, 'B')}, then went on"


def _fill(device: Any, block: int, room: int, subject: Subject) -> int:
    """Allocate and write until memory ends, free all of it; the bytes that there were."""
    import torch

    held: list[torch.Tensor] = []
    try:
        while len(held) * block <= 1.5 * room:
            held.append(torch.full((block,), len(held) % 100, dtype=torch.uint8, device=device))
            subject.synchronize()
    except Exception as error:
        _expected(error, device, f"tensor {len(held) + 1} of {format_value(block, 'B')}")
        return len(held) * block
    raise Fail(
        f"{format_value(len(held) * block, 'B')} were allocated and written on a device of "
        f"{format_value(room, 'B')}",
        "give the memory that there is, and raise torch.OutOfMemoryError beyond it",
    )


def _expected(error: Exception, device: Any, what: str) -> None:
    """The host's allocator raises a bare RuntimeError; a device's has a type for it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError) or (device.type == "cpu" and exhausted(error)):
        return
    raise Fail(
        f"{what} raised {type(error).__name__}: {str(error)[:200]}",
        "raise torch.OutOfMemoryError (TORCH_CHECK_WITH(OutOfMemoryError, ...) in C++)",
    ) from None


@contextlib.contextmanager
def _limited(device: Any) -> Iterator[int | None]:
    """Where the device's memory is the host's: let this process have little of it (B)."""
    if device.type != "cpu":
        yield None
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    try:
        yield ROOM
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
