"""The forward pass of `attention` on Hopper, after FlashAttention-3 (Shah et al., 2024).

O = softmax(Q·Kᵀ / √D) · V and the logarithm of its denominators, as `attention.forward` gives them:
4·D FLOPs a query–key pair. A warp loads tiles ahead of two warpgroups of 64 queries each. Each
keeps its queries in shared memory and its weights in registers, and computes the weights of one
tile while the values of the tile before are summed. Registers of the loading warps are lent to
them. Programs outlive their block of queries: the next one's tiles arrive while results are formed.

Not here, of that paper: fp8, and turns between the warpgroups (measured: they gain nothing).

Written for Triton 3.6 and 3.9 and compiled with both. Its results are checked by an emulator too
(``tests/kernels/gluon_emulator.py``), which sees races that a device shows now and then.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch

from ...launch import cdiv, launch, processors
from .. import problem

_LOG2E = 1.4426950408889634
_FARTHEST = 1 << 40
"""Bytes between rows, heads or batches that a copy's descriptor can express."""
_SHARED = 225 << 10
"""Bytes of shared memory that tensors of a program may take; barriers are beside them."""
_CACHED = 16 << 20
"""Bytes of keys and values that programs go through at a time: a third of the second-level cache,
into which they are loaded while results of other lines go out through it."""


@functools.cache
def available() -> bool:
    """Whether the installed Triton has the language of the kernel."""
    try:
        from .jit import attention  # noqa: F401
    except (ImportError, AttributeError):
        return False
    return True


def takes(*tensors: torch.Tensor) -> bool:
    """Whether the kernel runs here and can hold these tensors of [batch, heads, seq, head_dim].

    They are aligned as tensor descriptors need it; beyond that no extent may be zero, and nothing
    may lie on itself or 2⁴⁰ bytes apart.
    """
    return available() and all(map(_described, tensors))


def _described(tensor: torch.Tensor) -> bool:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return all(
        size == 1 or (size > 1 and 0 < step * tensor.element_size() < _FARTHEST)
        for size, step in steps
    )


def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    *,
    causal: bool,
    chosen: Mapping[str, int],
) -> None:
    """Write ``out`` and ``lse``; arguments as `attention.forward` checked them, and `takes`.

    Args:
        chosen: Constants: ``block_m`` queries a program, ``block_n`` keys a tile, ``num_warps``
            that compute, ``num_stages`` pairs of tiles held at once (2).

    Raises:
        ValueError: constants that the kernel is not written for.
    """
    from .jit.attention import forward_gluon_kernel

    wrong = problem("sm_90", "attention", chosen)
    if wrong:
        raise ValueError(wrong)
    batch, heads, seq, dim = q.shape
    rows, keys = chosen["block_m"] // 2, chosen["block_n"]
    group, slots = heads // k.shape[1], 2 * chosen.get("num_stages", 2)
    blocks, lines = cdiv(seq, chosen["block_m"]), batch * heads
    one = dim * q.element_size()
    launch(
        forward_gluon_kernel,
        (min(blocks * lines, processors(q.device)),),
        _descriptor(q, rows),
        _descriptor(k, keys),
        _descriptor(v, keys),
        _descriptor(out, rows),
        lse,
        heads,
        group,
        blocks,
        lines,
        # Whole groups of heads, which share their keys.
        group * max(1, _CACHED // (2 * seq * one)),
        seq,
        _LOG2E / math.sqrt(dim),
        DIM=dim,
        BLOCK_N=keys,
        SLOTS=slots,
        CAUSAL=causal,
        APART=(slots * keys + 2 * chosen["block_m"]) * one <= _SHARED,
        # Those of the first partition; the kernel says how many the others have.
        num_warps=4,
    )


def _descriptor(tensor: torch.Tensor, rows: int) -> Any:
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
