"""New weights that are the same however a model is spread over ranks, and on every device.

An element's value is a hash of the weight's key and of the element's place in the whole weight, so
that every rank makes its own part alone. Hashing is whole numbers below 2^63 and scaling is one
product of fp32, which all devices round in one way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

_LOW = (1 << 32) - 1
_PART = 1 << 22
"""Elements at a time: hashing takes several times their memory."""


@torch.no_grad()
def fill(weight: Tensor, key: int, std: float) -> None:
    """Uniform values of mean 0 and this standard deviation, in place; of a `DTensor`, its part.

    Args:
        weight: Of any shape.
        key: 32 bits: which weight it is.
        std: Standard deviation.
    """
    shape, offset = tuple(weight.shape), (0,) * weight.dim()
    part: Tensor = weight
    if isinstance(weight, DTensor):
        part = weight.to_local()
        _, offset = compute_local_shape_and_global_offset(
            shape, weight.device_mesh, weight.placements
        )
    if not part.numel():
        return
    rows = max(1, _PART // max(1, part[0].numel()))
    for start in range(0, part.shape[0], rows):
        here = part[start : start + rows]
        places = _places(here, shape, (offset[0] + start, *offset[1:]))
        uniform = (_hash(places, key) >> 8).to(torch.float32) * 2.0**-24 - 0.5
        here.copy_(uniform * (math.sqrt(12) * std))


def _places(part: Tensor, shape: Sequence[int], offset: Sequence[int]) -> Tensor:
    """int64, as the part: where its elements stand, counted through the whole weight."""
    total = torch.zeros((), dtype=torch.int64, device=part.device)
    for dim, (extent, begin) in enumerate(zip(part.shape, offset, strict=True)):
        stride = math.prod(shape[dim + 1 :])
        along = torch.arange(begin, begin + extent, device=part.device) * stride
        total = total + along.view(-1, *[1] * (part.dim() - dim - 1))
    return total


def _hash(places: Tensor, key: int) -> Tensor:
    """32 bits of a place and a key, each bit as likely 0 as 1."""
    return _mixed(_mixed(places & _LOW ^ key) ^ (places >> 32))


def _mixed(x: Tensor) -> Tensor:
    """Three rounds of shift, exclusive or and product (lowbias32: Wellons, 2018)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _LOW
    x = (x ^ (x >> 15)) * 0x846CA68B & _LOW
    return x ^ (x >> 16)
