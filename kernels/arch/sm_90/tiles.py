"""The launching side of what the Gluon kernels of Hopper share (``jit/ring.py``): which tensors
their descriptors hold, how much shared memory there is, and how many heads go together."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from ...launch import processors

FARTHEST = 1 << 40
"""Bytes between rows, heads or batches that a copy's descriptor can express."""
SHARED = 225 << 10
"""Bytes of shared memory that tensors of a program may take; barriers are beside them."""
CACHED = 16 << 20
"""Bytes of tiles that programs go through at a time: a third of the second-level cache, into which
they are loaded while results of other lines go out through it."""


@functools.cache
def available() -> bool:
    """Whether the installed Triton has the language of the kernels."""
    try:
        from .jit import attention  # noqa: F401
    except (ImportError, AttributeError):
        return False
    return True


def takes(*tensors: torch.Tensor) -> bool:
    """Whether kernels run here and can hold these tensors of [batch, heads, seq, head_dim].

    They are aligned as tensor descriptors need it; beyond that no extent may be zero, and nothing
    may lie on itself or 2⁴⁰ bytes apart.
    """
    return available() and all(map(_described, tensors))


def _described(tensor: torch.Tensor) -> bool:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return all(
        size == 1 or (size > 1 and 0 < step * tensor.element_size() < FARTHEST)
        for size, step in steps
    )


def together(group: int, shared: int) -> int:
    """Heads whose blocks go together: whole groups, each of which goes through ``shared`` bytes."""
    return group * max(1, CACHED // shared)


def grid(blocks: int, device: torch.device, chosen: Mapping[str, int]) -> tuple[int]:
    """Programs for so many blocks.

    With ``waves`` as many as run at once, which walk the blocks and load ahead across them: best
    where all blocks take equally long. Without, a program a block: who is done takes the next.
    """
    if "waves" not in chosen:
        return (blocks,)
    return (min(blocks, chosen["waves"] * processors(device)),)


def descriptor(tensor: torch.Tensor, rows: int) -> Any:
    """Boxes of ``rows`` rows of one head."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    dim = tensor.shape[-1]
    dtype = gl.bfloat16 if tensor.dtype == torch.bfloat16 else gl.float16
    # Strides of extents of one are never used, but must be ones that a descriptor can express.
    strides = [
        step if size > 1 else dim for size, step in zip(tensor.shape, tensor.stride(), strict=True)
    ]
    block = [1, 1, rows, dim]
    layout = gl.NVMMASharedLayout.get_default_for(block, dtype)
    return TensorDescriptor(tensor, list(tensor.shape), [*strides[:3], 1], block, layout)


def figures(tensor: torch.Tensor, count: int) -> Any:
    """Boxes of ``count`` numbers of a contiguous fp32 tensor, as they lie in memory."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    layout = gl.NVMMASharedLayout.get_default_for([count], gl.float32)
    return TensorDescriptor(tensor.view(-1), [tensor.numel()], [1], [count], layout)
