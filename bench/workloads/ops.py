"""How a model computes: its operations in one choice of implementation.

``torch``: PyTorch's own. ``triton``: the kernels of `bench.kernels`; matrix products stay with the
library, as `linear_cross_entropy` has them too. ``compile``: as ``torch``, every block through
`torch.compile`. ``vendor``: what the device's backend brings (`Backend.functions`), the rest
PyTorch's.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (PyTorch's own abbreviation)
from torch import Tensor
from torch.optim.adamw import adamw

from ..kernels import attention as triton_attention
from ..kernels import decode_attention, fp8_linear, moe
from ..kernels.adamw import adamw as triton_adamw
from ..kernels.adamw import has_fused
from ..kernels.grouped_gemm import grouped_gemm
from ..kernels.linear_cross_entropy import linear_cross_entropy
from ..kernels.model_costs import ModelShape
from ..kernels.op import NoTargetError
from ..kernels.rmsnorm import rmsnorm
from ..kernels.rope import rope
from ..kernels.swiglu import swiglu

EPSILON = 1e-5
"""Of RMSNorm (Llama 3)."""


def _rmsnorm(x: Tensor, weight: Tensor) -> Tensor:
    """x / rms(x) · weight of x [..., dim], weight [dim]."""
    return F.rms_norm(x, (x.shape[-1],), weight, EPSILON)


def _rope(q: Tensor, k: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """q [batch, seq, heads, head_dim] and k turned by table fp32 [2, seq, head_dim / 2]."""
    cosine, sine = table[:, :, None, :]

    def turned(x: Tensor) -> Tensor:
        first, second = x.float().chunk(2, -1)
        both = (first * cosine - second * sine, second * cosine + first * sine)
        return torch.cat(both, -1).to(x.dtype)

    return turned(q), turned(k)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal, of q [batch, heads, seq, head_dim] and k, v of as many or fewer heads."""
    k, v = repeated(k, v, q.shape[1])
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def repeated(k: Tensor, v: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Keys and values for each of so many heads: not every vendor's library takes grouped ones."""
    times = heads // k.shape[1]
    if times == 1:
        return k, v
    return k.repeat_interleave(times, dim=1), v.repeat_interleave(times, dim=1)


def _decode(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of the newest token, q [batch, heads, 1, head_dim], to all k and v [batch,
    kv_heads, length, head_dim], which may be parts of larger tensors."""
    return decode_attention.library(q, k.transpose(1, 2), v.transpose(1, 2))


def _paged(q: Tensor, k: Tensor, v: Tensor, table: Tensor, length: int) -> Tensor:
    """The same with k and v in pages [pages, page, kv_heads, head_dim]: the first ``length`` tokens
    of a sequence are in those that its row of table (int32 [batch, n]) names."""
    return decode_attention.library(q, k, v, table=table, longest=length)


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up."""
    return F.silu(gate) * up


def _loss(x: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of x [..., dim] · weight [vocab, dim]ᵀ with labels [...], fp32."""
    logits = F.linear(x, weight)
    return F.cross_entropy(logits.float().flatten(0, -2), labels.flatten())


def _route(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Weights fp32 and experts int32, [tokens, top_k], of logits [tokens, experts]."""
    best, experts = torch.topk(logits.float(), top_k, dim=-1)
    return best.softmax(-1), experts.to(torch.int32)


def _dispatch(x: Tensor, order: Tensor, place: Tensor) -> Tensor:
    """Rows of x [tokens, dim] by expert, with what `moe.sort_by_expert` gives."""
    return x.index_select(0, order // place.shape[1])


def _combine(y: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    """Each token's weighted sum of its rows of y, back in order."""
    rows = y.index_select(0, place.flatten()).view(*place.shape, -1)
    return (rows * weights.unsqueeze(-1)).sum(1).to(y.dtype)


def _grouped(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Rows x [rows, K] by expert times weight [experts, K, N]; offsets int32 [experts + 1].

    By the library's grouped product where it has one, which never asks the host; else in a loop.
    """
    if _has_grouped(x.device, x.dtype):
        return F.grouped_mm(x, weight, offs=offsets[1:])
    made: Tensor = _one_by_one(x, weight, offsets)
    return made


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _one_by_one(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """The host asks how many rows each expert has: for a compiler each answer is a new program."""
    bounds = itertools.pairwise(offsets.tolist())
    return torch.cat([x[a:b] @ weight[e] for e, (a, b) in enumerate(bounds)])


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_grouped(device: torch.device, kind: torch.dtype) -> bool:
    """Whether the library has grouped products and their gradients for this device and format."""
    return _tried_grouped(device, kind)


@functools.cache
def _tried_grouped(device: torch.device, kind: torch.dtype) -> bool:
    # In a thread of its own: the question comes up within a pass, and what watches that, as
    # recompute does what is saved and in which order, must not take the trial for a part of it.
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(_grouped_works, device, kind).result()


def _grouped_works(device: torch.device, kind: torch.dtype) -> bool:
    x = torch.ones(32, 16, device=device, dtype=kind, requires_grad=True)
    weight = torch.ones(2, 16, 16, device=device, dtype=kind, requires_grad=True)
    ends = torch.tensor([16, 32], dtype=torch.int32, device=device)
    try:
        with torch.enable_grad():
            torch.autograd.grad(F.grouped_mm(x, weight, offs=ends).sum(), (x, weight))
    except (AttributeError, RuntimeError, NotImplementedError, ValueError):
        return False
    return True


def _adamw(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    *,
    step: int,
    **settings: float,
) -> None:
    """The ``step``th step (from 1) in place, on lists of fp32 vectors.

    ``settings`` are ``lr``, ``beta1``, ``beta2``, ``eps`` and ``weight_decay``.
    """
    device = weights[0].device
    fused = has_fused(device)
    # The library counts the step itself, on its device where it is fused.
    before = torch.full((len(weights),), step - 1.0, device=device if fused else "cpu")
    adamw(
        list(weights),
        list(gradients),
        list(firsts),
        list(seconds),
        [],
        list(before.unbind()),
        foreach=not fused,
        fused=fused,
        amsgrad=False,
        maximize=False,
        **settings,  # type: ignore[arg-type]
    )


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of q [batch, heads, seq, head_dim] to k and v of as many or fewer heads."""


@dataclass(frozen=True)
class Ops:
    """The operations of a training step, all differentiable but ``adamw``, and of generation.

    Each takes and gives what PyTorch's own, the default, does; ``linear`` is x [..., K] · weight
    [N, K]ᵀ.
    ``compiled``: whether blocks go through `torch.compile`.
    """

    rmsnorm: Callable[[Tensor, Tensor], Tensor] = _rmsnorm
    rope: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = _rope
    attention: Attend = _attention
    decode: Attend = _decode
    paged: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor] = _paged
    swiglu: Callable[[Tensor, Tensor], Tensor] = _swiglu
    linear: Callable[[Tensor, Tensor], Tensor] = F.linear
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = _loss
    route: Callable[[Tensor, int], tuple[Tensor, Tensor]] = _route
    dispatch: Callable[[Tensor, Tensor, Tensor], Tensor] = _dispatch
    combine: Callable[[Tensor, Tensor, Tensor], Tensor] = _combine
    grouped: Callable[[Tensor, Tensor, Tensor], Tensor] = _grouped
    adamw: Callable[..., None] = _adamw
    compiled: bool = False


TORCH = Ops()
NAMES = tuple(one.name for one in fields(Ops) if one.name != "compiled")
"""The operations that there are."""


def choose(
    name: str,
    shape: ModelShape,
    dtype: str,
    *,
    arch: str | None,
    vendor: Mapping[str, Any],
    context_parallel: bool = False,
) -> Ops:
    """The operations by the name of a choice.

    Args:
        name: ``torch``, ``triton``, ``compile`` or ``vendor``.
        shape: The model.
        dtype: ``fp32``, ``bf16`` or ``fp8``: of matrix products; in fp8 those of blocks.
        arch: Triton's target; None: there is none.
        vendor: What the backend brings (`Backend.functions`).
        context_parallel: Whether a rank has a part of each sequence only.

    Raises:
        NoTargetError: this device or model has no such implementation; says why.
    """
    if name == "vendor":
        if not vendor:
            raise NoTargetError("this device's backend brings no operations of its own")
        if unknown := set(vendor) - set(NAMES):
            raise NoTargetError(
                f"the backend brings {min(unknown)!r}, which is none of {', '.join(NAMES)}"
            )
        made = Ops(**vendor)
    elif name == "triton":
        if arch is None:
            raise NoTargetError("no Triton target on this device")
        made = _triton(shape, dtype, arch, context_parallel)
    else:
        made = replace(TORCH, compiled=name == "compile")
    if dtype == "fp8":
        mine = arch if name == "triton" else None
        made = replace(made, linear=functools.partial(fp8_linear.linear, arch=mine))
    return made


def _triton(shape: ModelShape, dtype: str, arch: str, context_parallel: bool) -> Ops:
    if dtype == "fp32":
        raise NoTargetError("the Triton kernel of attention computes in bf16: take dtype bf16")
    if shape.head_dim not in triton_attention.HEAD_DIMS:
        takes = ", ".join(map(str, triton_attention.HEAD_DIMS))
        raise NoTargetError(
            f"the Triton kernel of attention takes heads of {takes}, not {shape.head_dim}"
        )
    if context_parallel:
        raise NoTargetError(
            "the Triton kernel of attention takes as many queries as keys: cp takes ops torch"
        )
    try:
        import triton  # noqa: F401  (only to say plainly that it is not there)
    except ImportError as error:
        raise NoTargetError(f"Triton cannot be imported here: {error}") from None

    def turned(q: Tensor, k: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        batch = q.shape[0]
        tokens = table.repeat(1, batch, 1) if batch > 1 else table
        q_out, k_out = rope(q.flatten(0, 1), k.flatten(0, 1), tokens, arch=arch)
        return q_out.view_as(q), k_out.view_as(k)

    def decode(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        return decode_attention.decode_attention(q, k, v, arch=arch)

    def paged(q: Tensor, k: Tensor, v: Tensor, table: Tensor, length: int) -> Tensor:
        return decode_attention.decode_attention(q, k, v, table=table, longest=length, arch=arch)

    def step(
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        firsts: Sequence[Tensor],
        seconds: Sequence[Tensor],
        **settings: Any,
    ) -> None:
        for weight, gradient, first, second in zip(
            weights, gradients, firsts, seconds, strict=True
        ):
            triton_adamw(weight, first, second, gradient, arch=arch, **settings)

    return Ops(
        rmsnorm=lambda x, weight: rmsnorm(x, weight, eps=EPSILON, arch=arch),
        rope=turned,
        attention=functools.partial(triton_attention.attention, causal=True, arch=arch),
        decode=decode,
        paged=paged,
        swiglu=functools.partial(swiglu, arch=arch),
        loss=functools.partial(linear_cross_entropy, arch=arch),
        route=functools.partial(moe.routed, arch=arch),
        dispatch=functools.partial(moe.dispatch, arch=arch),
        combine=functools.partial(moe.combine, arch=arch),
        grouped=functools.partial(grouped_gemm, arch=arch),
        adamw=step,
    )
