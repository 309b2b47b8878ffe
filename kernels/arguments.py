"""Checks that every launch makes before it launches: sentences instead of a device fault."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import torch


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
    ended, or two outputs in one place (`check_apart`): programs that run at once would each leave
    their own result there. So are refused the few views whose elements are interleaved without
    meeting.
    """
    before: dict[str, torch.Tensor | None] = {}
    for name, tensor in outputs.items():
        if before:
            check_apart(name, tensor, same=False, **before)
        before[name] = tensor
        if tensor is None or tensor.is_contiguous() or tensor.numel() == 0:
            continue
        reach = 0
        pairs = zip(tensor.stride(), tensor.shape, strict=True)
        for stride, extent in sorted(one for one in pairs if one[1] > 1):
            if stride <= reach:
                raise ValueError(
                    f"{name}: got strides {tensor.stride()} for shape {tuple(tensor.shape)}, "
                    "takes elements that lie apart"
                )
            reach += stride * (extent - 1)


def check_apart(
    name: str, output: torch.Tensor | None, /, *, same: bool = False, **others: torch.Tensor | None
) -> None:
    """Raise ValueError if an output has memory of a tensor that others of its programs use.

    Looked at are contiguous tensors, at the price of their addresses: every launch pays it. Parts
    of packed rows, which may be interleaved without meeting, are taken as they are.

    Args:
        name: Of the output, for the sentence.
        output: What is written.
        same: Each program reads an element before it writes it, and nobody else reads it: the
            output may be the other tensor itself, or one of its parts along the first dimension.
        others: What is read, or written too.
    """
    if output is None or output.is_meta or not output.is_contiguous():
        return
    if torch.compiler.is_compiling():  # it knows no addresses either
        return
    start, size = output.data_ptr(), output.nbytes
    for other, tensor in others.items():
        if tensor is None or tensor.data_ptr() >= start + size:
            continue
        reach = tensor.nbytes
        if tensor.data_ptr() + reach <= start or not (size and reach and tensor.is_contiguous()):
            continue
        if not (same and _is_part(output, tensor)):
            place = "partly the memory" if same else "memory"
            raise ValueError(f"{name}: got {place} of {other}, takes memory of its own")


def _is_part(output: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether a contiguous output is the other tensor, or its part at one first index."""
    away = output.data_ptr() - other.data_ptr()
    if output.dtype != other.dtype:
        return False
    if other.dim() == output.dim() + 1:
        return output.shape == other.shape[1:] and away % output.nbytes == 0
    return output.shape == other.shape and away == 0


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
