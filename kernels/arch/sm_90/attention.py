"""The forward pass of `attention` on Hopper, after FlashAttention-3 (Shah et al., 2024).

O = softmax(Q·Kᵀ / √D) · V and the logarithm of its denominators, as `attention.forward` gives them:
4·D FLOPs a query–key pair. A warp loads tiles ahead of two warpgroups of 64 queries each. Each
keeps its queries in shared memory and its weights in registers, and computes the weights of one
tile while the values of the tile before are summed; by turns with the other, so that one has the
matrix units while the other exponentiates. Registers of the loading warps are lent to them.

Not here, of that paper: fp8, and programs that outlive their block of queries.

Written for Triton 3.6 and 3.9 and compiled with both. Its results are checked by an emulator
(``tests/kernels/gluon_emulator.py``). It has not run on a device yet: its speed is unknown, and no
table that is shipped chooses it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch

from ...launch import cdiv, launch
from .. import problem

_LOG2E = 1.4426950408889634
_FARTHEST = 1 << 40
"""Bytes between rows, heads or batches that a copy's descriptor can express."""


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
            that compute, ``num_stages`` pairs of tiles held at once (2), ``turns`` 1 for warpgroups
            that issue products by turns.

    Raises:
        ValueError: constants that the kernel is not written for.
    """
    from .jit.attention import forward_gluon_kernel

    wrong = problem("sm_90", "attention", chosen)
    if wrong:
        raise ValueError(wrong)
    batch, heads, seq, dim = q.shape
    rows, keys = chosen["block_m"] // 2, chosen["block_n"]
    launch(
        forward_gluon_kernel,
        (cdiv(seq, chosen["block_m"]), batch * heads),
        _descriptor(q, rows),
        _descriptor(k, keys),
        _descriptor(v, keys),
        _descriptor(out, rows),
        lse,
        heads,
        heads // k.shape[1],
        seq,
        _LOG2E / math.sqrt(dim),
        DIM=dim,
        BLOCK_N=keys,
        SLOTS=2 * chosen.get("num_stages", 2),
        CAUSAL=causal,
        TURNS=bool(chosen.get("turns")),
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
