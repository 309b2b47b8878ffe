"""Checks that every launch makes before it launches: sentences instead of a device fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from numbers import Integral, Real

import torch

TRIED = 4096
"""Places that are looked at before two tensors are taken to lie apart."""


class NoKernelError(ValueError):
    """An extent or a choice for which there is no kernel: another implementation may have one."""


def check_tensor(
    name: str,
    tensor: torch.Tensor,
    kind: torch.dtype | Sequence[torch.dtype],
    shape: Sequence[int | None],
    device: torch.device | None = None,
    *,
    contiguous: bool = False,
    inner: bool = True,
) -> None:
    """Raise ValueError unless a tensor is what a kernel takes.

    Args:
        name: Of the argument, for the sentence.
        tensor: What was given.
        kind: The dtype, or those that will do.
        shape: The extents; None where any will do.
        device: Where it must lie; None: anywhere.
        contiguous: No gaps between rows.
        inner: The last dimension has stride 1.
    """
    kinds = (kind,) if isinstance(kind, torch.dtype) else tuple(kind)
    check_is_tensor(name, tensor)
    if tensor.dim() != len(shape):
        raise ValueError(f"{name}: got {tensor.dim()} dimensions, takes {len(shape)}")
    if any(want is not None and got != want for got, want in zip(tensor.shape, shape, strict=True)):
        takes = tuple("any" if want is None else want for want in shape)
        said = f"({', '.join(map(str, takes))}{',' if len(takes) == 1 else ''})"
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, takes {said}")
    if tensor.dtype not in kinds:
        raise ValueError(f"{name}: got {tensor.dtype}, takes {' or '.join(map(str, kinds))}")
    if device is not None and tensor.device != device:
        raise ValueError(f"{name}: is on {tensor.device}, takes {device}")
    if tensor.numel() == 0:
        return  # the strides of nothing mean nothing
    if contiguous and not tensor.is_contiguous():
        raise ValueError(f"{name}: got strides {tensor.stride()}, takes a contiguous tensor")
    if inner and tensor.dim() and tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise ValueError(f"{name}: got inner stride {tensor.stride(-1)}, takes 1")


def check_is_tensor(name: str, got: object) -> None:
    """Raise ValueError for what is no tensor: None, a number, a list, an array."""
    if not isinstance(got, torch.Tensor):
        raise ValueError(f"{name}: got {type(got).__name__}, takes a tensor")


def check_number(name: str, got: object) -> None:
    """Raise ValueError for what is no number: a tensor, which kernels take for an address, text."""
    if not isinstance(got, Real):
        raise ValueError(f"{name}: got {type(got).__name__}, takes a number")


def check_constant(**tensors: torch.Tensor) -> None:
    """Raise ValueError for tensors whose gradient is asked for where there is none of them."""
    for name, one in tensors.items():
        if torch.is_grad_enabled() and isinstance(one, torch.Tensor) and one.requires_grad:
            raise ValueError(f"{name}: got a tensor that requires a gradient, takes none")


def check_lines(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless rows or columns of matrices lie without gaps between elements."""
    for name, one in tensors.items():
        if min(one.shape) > 1 and 1 not in one.stride():
            raise ValueError(f"{name}: got strides {one.stride()}, takes one of 1")


def check_written(**outputs: torch.Tensor | None) -> None:
    """Raise ValueError if two elements that a kernel writes share their memory.

    As rows of a tensor that was expanded do, or of a view whose rows begin before the last has
    ended, or two outputs in one place: programs that run at once would each leave their own result
    there. So are refused the few views whose elements are interleaved without meeting.
    """
    for name, tensor in outputs.items():
        if tensor is None or tensor.numel() == 0:
            continue
        reach = 0
        for stride, extent in sorted(_steps(tensor)):
            if stride <= reach:
                raise ValueError(
                    f"{name}: got strides {tensor.stride()} for shape {tuple(tensor.shape)}, "
                    "takes elements that lie apart"
                )
            reach += stride * (extent - 1)
    if len(outputs) > 1:
        for (name, one), (other, two) in combinations(outputs.items(), 2):
            _check_apart(other, two, False, {name: one})


def check_apart(
    name: str, output: torch.Tensor | None, /, *, same: bool = False, **others: torch.Tensor | None
) -> None:
    """Raise ValueError if an output has memory of a tensor that others of its programs use.

    Parts of one tensor may be interleaved, as columns of packed rows are.

    Args:
        name: Of the output, for the sentence.
        output: What is written.
        same: Each program reads an element before it writes it, and nobody else reads it: the
            output may be the other tensor itself, or one of its parts along the first dimension.
        others: What is read, or written too.
    """
    _check_apart(name, output, same, others)


def _check_apart(
    name: str, output: torch.Tensor | None, same: bool, others: Mapping[str, torch.Tensor | None]
) -> None:
    if output is None or torch.compiler.is_compiling():  # a compiler knows no addresses
        return
    start = output.data_ptr()
    if start == 0 or output.numel() == 0:  # 0: of a tensor that lies nowhere
        return
    end = start + _bytes(output)
    for other, tensor in others.items():
        if tensor is None or tensor.data_ptr() >= end or tensor.numel() == 0:
            continue
        if tensor.data_ptr() + _bytes(tensor) <= start or (same and _is_part(output, tensor)):
            continue
        if _meet(output, tensor):
            place = "partly the memory" if same else "memory"
            raise ValueError(f"{name}: got {place} of {other}, takes memory of its own")


def _steps(tensor: torch.Tensor) -> Iterator[tuple[int, int]]:
    """(stride, extent) of the dimensions along which there is more than one element."""
    return (one for one in zip(tensor.stride(), tensor.shape, strict=True) if one[1] > 1)


def _bytes(tensor: torch.Tensor) -> int:
    """From the first element to the end of the last."""
    if tensor.is_contiguous():
        return tensor.nbytes
    last = sum(stride * (extent - 1) for stride, extent in _steps(tensor))
    return (last + 1) * tensor.element_size()


def _is_part(output: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether an output is the other tensor, element by element, or a part at one first index."""
    away = output.data_ptr() - other.data_ptr()
    if output.dtype != other.dtype:
        return False
    if other.dim() == output.dim() + 1:
        line = other.stride(0) * other.element_size()
        return (away % line == 0 if line else away == 0) and _alike(output, other[0])
    return away == 0 and _alike(output, other)


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and list(_steps(one)) == list(_steps(other))


def _meet(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors share a byte; False where that takes too long to find out.

    Their bytes are at their starts plus Σ stride · index. The difference of two is a sum of
    multiples of strides, each within bounds, which is searched for from the largest stride down:
    what smaller ones can still make up leaves a few multiples of it to try.
    """
    bounds: dict[int, tuple[int, int]] = {}
    for tensor, sign in ((one, 1), (other, -1)):
        size = tensor.element_size()
        steps = [(stride * size, extent) for stride, extent in _steps(tensor) if stride]
        for stride, extent in [*steps, (1, size)]:
            low, high = bounds.get(stride, (0, 0))
            most = sign * (extent - 1)
            bounds[stride] = low + min(most, 0), high + max(most, 0)
    terms = sorted(bounds.items(), reverse=True)
    tried = 0
    waiting = [(0, other.data_ptr() - one.data_ptr())]
    while waiting and tried < TRIED:
        depth, left = waiting.pop()
        tried += 1
        if depth == len(terms):
            if left == 0:
                return True
            continue
        stride, (low, high) = terms[depth]
        rest = terms[depth + 1 :]
        least = sum(step * bound[0] for step, bound in rest)
        most = sum(step * bound[1] for step, bound in rest)
        first, last = max(low, -(-(left - most) // stride)), min(high, (left - least) // stride)
        ends = range(first, min(last, first + TRIED) + 1)
        waiting += [(depth + 1, left - times * stride) for times in ends]
    return False


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless a tensor has just this shape."""
    check_is_tensor(name, tensor)
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, takes {tuple(shape)}")


def as_rows(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """[..., width] as [rows, width], with no elements too; raise ValueError for a scalar."""
    check_is_tensor(name, tensor)
    if tensor.dim() == 0:
        raise ValueError(f"{name}: got 0 dimensions, takes 1 or more")
    return tensor.flatten(0, -2) if tensor.dim() > 1 else tensor.unsqueeze(0)


def check_choice(name: str, got: object, takes: Sequence[object]) -> None:
    """Raise NoKernelError unless ``got`` is one of ``takes``."""
    if got not in takes:
        raise NoKernelError(f"{name}: got {got!r}, takes one of {', '.join(map(str, takes))}")


def check_extent(name: str, got: int, least: int, most: int) -> None:
    """Raise NoKernelError unless an extent lies between two bounds, both included.

    ValueError for what is no integer.
    """
    if not isinstance(got, (Integral, torch.SymInt)):
        raise ValueError(f"{name}: got {type(got).__name__}, takes an integer")
    if not least <= got <= most:
        raise NoKernelError(f"{name}: got {got}, takes {least} to {most}")
