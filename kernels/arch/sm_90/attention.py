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

import math
from collections.abc import Mapping

import torch

from ...launch import cdiv, launch
from .. import problem
from . import tiles

takes = tiles.takes

_LOG2E = 1.4426950408889634


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
            that compute, ``num_stages`` pairs of tiles held at once (2), ``waves``: see
            `tiles.grid`.

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
        tiles.grid(blocks * lines, q.device, chosen),
        tiles.descriptor(q, rows),
        tiles.descriptor(k, keys),
        tiles.descriptor(v, keys),
        tiles.descriptor(out, rows),
        lse,
        heads,
        group,
        blocks,
        lines,
        tiles.together(group, 2 * seq * one),
        seq,
        _LOG2E / math.sqrt(dim),
        DIM=dim,
        BLOCK_N=keys,
        SLOTS=slots,
        CAUSAL=causal,
        APART=(slots * keys + 2 * chosen["block_m"]) * one <= tiles.SHARED,
        # Those of the first partition; the kernel says how many the others have.
        num_warps=4,
    )
