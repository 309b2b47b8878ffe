"""What training software does to a step: which kernels are fused, what runs beside what.

Facts of a program, not of a machine, and none is fitted. `STACKS` are the generations that the
literature describes; where a published table does not say which it is, its year does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Software:
    """Of a training program.

    - ``flash``: attention never writes its scores (Dao et al., FlashAttention, 2022); else they
      are written, and software of that time dropped some of them out.
    - ``dropout``: behind attention and feed-forward.
    - ``tensor_overlap``: which part of tensor-parallel communication of the forward and of the
      backward pass has matrix products to run beside: the backward pass has those of the weights'
      gradients (Korthikanti et al., 2022, §4.2.2), the forward pass those of the same product in
      pieces (Wang et al., Overlap Communication with Dependent Computation, 2023).
    - ``fused_gradients``: products add weights' gradients to those of earlier microbatches; else
      they are written, read and added.
    - ``gradient_overlap``: gradients are reduced beside the backward pass (Li et al., PyTorch
      Distributed, 2020), weights gathered beside the forward pass. Where ranks share weights, it
      has never been otherwise (Zhao et al., PyTorch FSDP, 2023).
    - ``stage_overlap``: an interleaved pipeline sends beside computing.
    - ``optimizer_bytes``: moved for one weight in an optimizer step, gradients scaled, clipped and
      set to zero included.
    - ``loss_bytes``: moved for one logit from the head's product to its gradient: to fp32 (6),
      largest (4), minus it (8), exp (8), sum (4), divided (8), narrow again (6). Fused losses (Hsu
      et al., Liger Kernel, 2024) move fewer.
    - ``gradient_width``: bytes of a gradient that is reduced.
    """

    flash: bool = True
    dropout: bool = False
    tensor_overlap: tuple[float, float] = (0.5, 1.0)
    fused_gradients: bool = True
    gradient_overlap: bool = True
    stage_overlap: bool = True
    optimizer_bytes: float = 42.0
    loss_bytes: float = 44.0
    gradient_width: int = 4


_FIRST = Software(
    flash=False,
    dropout=True,
    tensor_overlap=(0.0, 0.0),
    fused_gradients=False,
    gradient_overlap=False,
    stage_overlap=False,
    # fp16 gradient to fp32 (6), its norm (4), clipped (8), AdamW (28), fp16 copy (6), zero (2).
    optimizer_bytes=54.0,
    gradient_width=2,
)
STACKS = {
    2021: _FIRST,
    2022: Software(
        flash=False,
        dropout=True,
        tensor_overlap=(0.0, 1.0),
        gradient_overlap=False,
        stage_overlap=False,
        optimizer_bytes=54.0,
    ),
    2023: Software(tensor_overlap=(0.0, 1.0), gradient_overlap=False),
    2024: Software(),
}
"""By the year in which it was described: Narayanan et al. (2021), Korthikanti et al. (2022, the
first that adds gradients in the product and overlaps the backward pass's communication), what
FlashAttention and shared optimizers then made usual, and what has been usual since: products in
pieces that overlap the forward pass's communication, and gradients that are reduced beside the
backward pass of a pipeline too (Jiang et al., MegaScale, 2024, §3.2; Megatron-LM core)."""


def stack(year: int) -> Software:
    """The newest that a year had; of years before the first, the first."""
    return STACKS[max((one for one in STACKS if one <= year), default=min(STACKS))]
