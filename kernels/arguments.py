"""Checks that every launch makes before it launches: sentences instead of a device fault."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class NoKernelError(ValueError):
    """An extent or a choice for which there is no kernel: another implementation may have one."""


def check_tensor(
    name: str,
    tensor: torch.Tensor,
    kind: torch.dtype | Sequence[torch.dtype],
    shape: Sequence[int | None],
    device: torch.device,
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
        device: Where it must lie.
        contiguous: No gaps between rows.
        inner: The last dimension has stride 1.
    """
    kinds = (kind,) if isinstance(kind, torch.dtype) else tuple(kind)
    if tensor.dim() != len(shape):
        raise ValueError(f"{name}: got {tensor.dim()} dimensions, takes {len(shape)}")
    if any(want is not None and got != want for got, want in zip(tensor.shape, shape, strict=True)):
        takes = tuple("any" if want is None else want for want in shape)
        said = f"({', '.join(map(str, takes))}{',' if len(takes) == 1 else ''})"
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, takes {said}")
    if tensor.dtype not in kinds:
        raise ValueError(f"{name}: got {tensor.dtype}, takes {' or '.join(map(str, kinds))}")
    if tensor.device != device:
        raise ValueError(f"{name}: is on {tensor.device}, takes {device}")
    if tensor.numel() == 0:
        return  # the strides of nothing mean nothing
    if contiguous and not tensor.is_contiguous():
        raise ValueError(f"{name}: got strides {tensor.stride()}, takes a contiguous tensor")
    if inner and tensor.dim() and tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise ValueError(f"{name}: got inner stride {tensor.stride(-1)}, takes 1")


def check_written(**outputs: torch.Tensor | None) -> None:
    """Raise ValueError if two elements of a tensor that a kernel writes share their memory.

    As rows of a tensor that was expanded do, or of a view whose rows begin before the last has
    ended: programs that run at once would each leave their own result there. So are refused the
    few views whose elements are interleaved without meeting.
    """
    for name, tensor in outputs.items():
        if tensor is None or tensor.numel() == 0:
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


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless a tensor has just this shape."""
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, takes {tuple(shape)}")


def as_rows(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """[..., width] as [rows, width], with no elements too; raise ValueError for a scalar."""
    if tensor.dim() == 0:
        raise ValueError(f"{name}: got 0 dimensions, takes 1 or more")
    return tensor.flatten(0, -2) if tensor.dim() > 1 else tensor.unsqueeze(0)


def check_choice(name: str, got: object, takes: Sequence[object]) -> None:
    """Raise NoKernelError unless ``got`` is one of ``takes``."""
    if got not in takes:
        raise NoKernelError(f"{name}: got {got!r}, takes one of {', '.join(map(str, takes))}")


def check_extent(name: str, got: int, least: int, most: int) -> None:
    """Raise NoKernelError unless an extent lies between two bounds, both included."""
    if not least <= got <= most:
        raise NoKernelError(f"{name}: got {got}, takes {least} to {most}")
