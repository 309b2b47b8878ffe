"""`cross_entropy` on Hopper for rows that registers cannot hold, but a processor can.

Losses and gradients as `cross_entropy.in_place` gives them, every logit read from memory once: a
warp loads a row's chunks into shared memory, where they stay, but for a few that stay in registers,
until the row's sum is known. One program a processor; the next row is loaded into the places of
this one while its gradient is written, so that memory always has both to do. Rows that do not
count are not read at all. Exponents are powers of two: bf16 logits beyond ±2.3e38, which have no
such exponent in fp32, give NaN.

Written for Triton 3.6 and 3.9 and compiled with both. Its results are checked by an emulator too
(``tests/kernels/gluon_emulator.py``), which sees races that a device shows now and then.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from ...launch import cdiv, describable, launch, processors
from ...tuning import targets
from .. import problem

_LINE = 64
"""Elements of a line of a tile, whose multiple a row must be: 128 bytes."""
_OWN = 1024
"""Bytes of shared memory for barriers and reductions."""
_HELD = 80
"""Elements of a row that a thread keeps in registers at most."""
_FARTHEST = 1 << 40
"""Bytes between rows that a copy's descriptor can express."""


@functools.cache
def available() -> bool:
    """Whether the installed Triton has the language of the kernel."""
    try:
        from .jit import cross_entropy  # noqa: F401
    except (ImportError, AttributeError):
        return False
    return True


def _slots(size: int, chosen: Mapping[str, int]) -> int:
    """Chunks that shared memory holds."""
    return (targets()["sm_90"].shared - _OWN) // (chosen["block"] * size)


def takes(logits: torch.Tensor, chosen: Mapping[str, int]) -> bool:
    """Whether the kernel runs here and can hold these logits [rows, vocab] with these constants.

    16-bit elements, rows of whole lines that lie as tensor descriptors need it; what shared memory
    does not hold of a row must fit registers.
    """
    rows, vocab = logits.shape
    size = logits.element_size()
    if size != 2 or vocab % _LINE or not describable(logits):
        return False
    if rows > 1 and logits.stride(0) * size >= _FARTHEST:
        return False
    held = cdiv(vocab, chosen["block"]) - _slots(size, chosen)
    return held * chosen["block"] <= _HELD * 32 * chosen["num_warps"] and available()


def in_place(
    logits: torch.Tensor,
    labels: torch.Tensor,
    losses: torch.Tensor,
    scale: float | torch.Tensor,
    ignore: int,
    chosen: Mapping[str, int],
) -> None:
    """Write losses and, over the logits, gradients.

    Arguments as `cross_entropy.in_place` checked them, and `takes`.

    Args:
        logits, labels, losses, scale, ignore: As there.
        chosen: Constants: ``block`` elements a chunk, ``num_warps`` that compute, ``waves``
            programs a processor (1: no processor has the shared memory for two).

    Raises:
        ValueError: constants that the kernel is not written for.
    """
    from .jit.cross_entropy import gluon_kernel

    wrong = problem("sm_90", "cross_entropy", chosen)
    if wrong:
        raise ValueError(wrong)
    rows, vocab = logits.shape
    given = isinstance(scale, torch.Tensor)
    launch(
        gluon_kernel,
        (min(rows, processors(logits.device)),),
        _descriptor(logits, chosen["block"]),
        logits,
        labels,
        losses,
        scale if given else losses,
        1.0 if given else float(scale),
        logits.stride(0),
        ignore,
        rows,
        VOCAB=vocab,
        BLOCK=chosen["block"],
        SLOTS=_slots(logits.element_size(), chosen),
        SCALED=given,
        WARPS=chosen["num_warps"],
        # Those of the first partition, which computes.
        num_warps=chosen["num_warps"],
    )


def _descriptor(logits: torch.Tensor, block: int) -> Any:
    """Boxes of ``block`` elements of one row, in lines."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    rows, vocab = logits.shape
    dtype = gl.bfloat16 if logits.dtype == torch.bfloat16 else gl.float16
    box = [1, block // _LINE, _LINE]
    layout = gl.NVMMASharedLayout.get_default_for(box, dtype)
    # The stride of a single row is never used, but must be one that a descriptor can express.
    steps = [logits.stride(0) if rows > 1 else vocab, _LINE, 1]
    return TensorDescriptor(logits, [rows, vocab // _LINE, _LINE], steps, box, layout)
