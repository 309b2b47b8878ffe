"""Kernels of `cross_entropy`: a row at a time, the gradient written where the logits were."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def held_kernel(
    logits_ptr,
    labels_ptr,
    losses_ptr,
    scale_ptr,
    scale,
    stride,
    ignore,
    VOCAB: tl.constexpr,
    BLOCK: tl.constexpr,
    GRADIENT: tl.constexpr,
    SCALED: tl.constexpr,
):
    """A row that fits the registers: read once, written once."""
    row = tl.program_id(0).to(tl.int64)
    here = logits_ptr + row * stride
    column = tl.arange(0, BLOCK)
    inside = column < VOCAB
    label = tl.load(labels_ptr + row)
    if label == ignore:
        tl.store(losses_ptr + row, 0.0)
        if GRADIENT:
            nothing = tl.zeros((BLOCK,), dtype=logits_ptr.dtype.element_ty)
            tl.store(here + column, nothing, mask=inside)
    else:
        # Read before anything is written; the reductions keep the threads in that order. A label
        # that is no class makes a NaN, which nobody overlooks.
        known = (label >= 0) & (label < VOCAB)
        chosen = tl.load(here + label, mask=known, other=float("nan")).to(tl.float32)
        x = tl.load(here + column, mask=inside, other=float("-inf")).to(tl.float32)
        top = tl.max(x, axis=0)
        power = tl.exp(x - top)
        total = tl.sum(power, axis=0)
        tl.store(losses_ptr + row, tl.log(total) + (top - chosen))
        if GRADIENT:
            factor = scale
            if SCALED:
                factor = scale * tl.load(scale_ptr)
            gradient = power * (factor / total)
            gradient = tl.where(column == label, gradient - factor, gradient)
            tl.store(here + column, gradient.to(logits_ptr.dtype.element_ty), mask=inside)


@triton.jit
def fold(x, top, total):
    """The running maximum and sum of exponentials, one block further."""
    wide = x.to(tl.float32)
    higher = tl.maximum(top, tl.max(wide, axis=0))
    return higher, total * tl.exp(top - higher) + tl.sum(tl.exp(wide - higher), axis=0)


@triton.jit
def put(here, x, place, label, top, share, factor, VOCAB: tl.constexpr):
    """The gradient of a block, where its logits were."""
    gradient = tl.exp(x.to(tl.float32) - top) * share
    gradient = tl.where(place == label, gradient - factor, gradient)
    tl.store(
        here + place,
        gradient.to(here.dtype.element_ty),
        mask=place < VOCAB,
        eviction_policy="evict_first",
    )


@triton.jit
def summed(here, column, VOCAB: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """The first pass: maximum and sum of exponentials of a row."""
    blocks: tl.constexpr = (VOCAB + BLOCK - 1) // BLOCK
    top = -3.4028234663852886e38
    total = 0.0
    if STAGES > 1:
        for block in tl.range(0, blocks, num_stages=STAGES):
            place = block * BLOCK + column
            x = tl.load(
                here + place, mask=place < VOCAB, other=float("-inf"), eviction_policy="evict_last"
            )
            top, total = fold(x, top, total)
    else:
        x = tl.load(
            here + column, mask=column < VOCAB, other=float("-inf"), eviction_policy="evict_last"
        )
        for block in range(blocks):
            place = (block + 1) * BLOCK + column
            ahead = tl.load(
                here + place, mask=place < VOCAB, other=float("-inf"), eviction_policy="evict_last"
            )
            top, total = fold(x, top, total)
            x = ahead
    return top, total


@triton.jit
def replaced(
    here,
    column,
    label,
    top,
    share,
    factor,
    VOCAB: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The second pass: the gradient of a row, from its end. No block is read once it is written."""
    blocks: tl.constexpr = (VOCAB + BLOCK - 1) // BLOCK
    if STAGES > 1:
        for block in tl.range(0, blocks, num_stages=STAGES):
            place = (blocks - 1 - block) * BLOCK + column
            x = tl.load(here + place, mask=place < VOCAB, other=0.0, eviction_policy="evict_first")
            put(here, x, place, label, top, share, factor, VOCAB)
    else:
        place = (blocks - 1) * BLOCK + column
        x = tl.load(here + place, mask=place < VOCAB, other=0.0, eviction_policy="evict_first")
        for block in range(blocks):
            place = (blocks - 1 - block) * BLOCK + column
            before = place - BLOCK
            ahead = tl.load(
                here + before,
                mask=(before >= 0) & (before < VOCAB),
                other=0.0,
                eviction_policy="evict_first",
            )
            put(here, x, place, label, top, share, factor, VOCAB)
            x = ahead


@triton.jit
def looped_kernel(
    logits_ptr,
    labels_ptr,
    losses_ptr,
    scale_ptr,
    scale,
    stride,
    ignore,
    rows,
    VOCAB: tl.constexpr,
    BLOCK: tl.constexpr,
    GRADIENT: tl.constexpr,
    SCALED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Longer rows: a pass for maximum and sum, then one that finds the row in the cache.

    The second pass goes backwards: what was read last is the likeliest to be there still. All rows
    under way must fit the cache together, so programs may be fewer than rows and take them in
    turn. Blocks are fetched before they are worked on, so that memory is never idle while the
    threads of a program wait for one another in a reduction: one block ahead through registers, or
    STAGES > 1 blocks through shared memory.
    """
    column = tl.arange(0, BLOCK)
    blocks: tl.constexpr = (VOCAB + BLOCK - 1) // BLOCK
    for number in range(tl.program_id(0), rows, tl.num_programs(0)):
        row = tl.cast(number, tl.int64)
        here = logits_ptr + row * stride
        label = tl.load(labels_ptr + row)
        if label == ignore:
            tl.store(losses_ptr + row, 0.0)
            if GRADIENT:
                nothing = tl.zeros((BLOCK,), dtype=logits_ptr.dtype.element_ty)
                for block in range(blocks):
                    place = block * BLOCK + column
                    tl.store(here + place, nothing, mask=place < VOCAB)
        else:
            known = (label >= 0) & (label < VOCAB)
            chosen = tl.load(here + label, mask=known, other=float("nan")).to(tl.float32)
            top, total = summed(here, column, VOCAB, BLOCK, STAGES)
            tl.store(losses_ptr + row, tl.log(total) + (top - chosen))
            if GRADIENT:
                factor = scale
                if SCALED:
                    factor = scale * tl.load(scale_ptr)
                replaced(here, column, label, top, factor / total, factor, VOCAB, BLOCK, STAGES)


@triton.jit
def rescale_kernel(x_ptr, factor_ptr, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """x *= factor, one block of a row a program; nothing is touched where the factor is one."""
    factor = tl.load(factor_ptr)
    if factor != 1.0:
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        here = x_ptr + row * stride + column
        x = tl.load(here, mask=column < WIDTH, other=0.0).to(tl.float32)
        tl.store(here, (x * factor).to(x_ptr.dtype.element_ty), mask=column < WIDTH)
