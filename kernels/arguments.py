"""Checks that every launch makes before it launches: sentences instead of a device fault."""

from __future__ import annotations

import torch


def check_matrix(name: str, tensor: torch.Tensor, dtype: torch.dtype, device: torch.device) -> None:
    """A two-dimensional tensor of this dtype on this device with inner stride 1, not empty."""
    if tensor.dim() != 2:
        raise ValueError(f"{name}: got {tensor.dim()} dimensions, takes 2")
    _check(name, tensor, dtype, device)
    if tensor.shape[1] > 1 and tensor.stride(1) != 1:
        raise ValueError(f"{name}: got inner stride {tensor.stride(1)}, takes 1")


def check_vector(
    name: str, tensor: torch.Tensor, dtype: torch.dtype, device: torch.device, length: int
) -> None:
    """A contiguous one-dimensional tensor of this dtype and length on this device, not empty."""
    if tensor.dim() != 1:
        raise ValueError(f"{name}: got {tensor.dim()} dimensions, takes 1")
    if tensor.numel() != length:
        raise ValueError(f"{name}: got {tensor.numel()} elements, takes {length}")
    _check(name, tensor, dtype, device)
    if tensor.numel() > 1 and tensor.stride(0) != 1:
        raise ValueError(f"{name}: got stride {tensor.stride(0)}, takes 1")


def _check(name: str, tensor: torch.Tensor, dtype: torch.dtype, device: torch.device) -> None:
    if tensor.dtype != dtype:
        raise ValueError(f"{name}: got {tensor.dtype}, takes {dtype}")
    if tensor.device != device:
        raise ValueError(f"{name}: is on {tensor.device}, takes {device}")
    if tensor.numel() == 0:
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, takes at least one element")
