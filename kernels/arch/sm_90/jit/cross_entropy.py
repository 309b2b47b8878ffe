"""`cross_entropy` in Gluon: one warp loads, the others keep a row on the chip between two passes.

A program takes rows in turn. `produce` loads their chunks of BLOCK logits into a ring of SLOTS
places of shared memory, in order, as soon as a place is free. `consume` reads a row's chunks once
for maximum and sum. The first HELD of them, those that the ring has no room for, it keeps in
registers and gives their places back at once; the others stay where they are until the row's sum
is known, and each place is free when its chunk was read again to become the gradient. So the next
row is loaded while the gradient of this one is stored.

A thread has its own maximum and its own sum over all chunks: only a row's end needs the others.
Two barriers guard each place: ``full`` completes when the bytes of a copy have arrived, ``empty``
when `consume` has read them. A barrier has phases; chunk ``number`` (of all rows) is round
``number // SLOTS`` of its place and waits for the parity of that round.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

# Triton 3.6 has this function by another name.
tma_load = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared

LINE = gl.constexpr(64)
"""Logits of a tile's line, 128 bytes: a box of such lines is one copy."""
LOG2E = gl.constexpr(1.4426950408889634)
LN2 = gl.constexpr(0.6931471805599453)
LOWEST = gl.constexpr(-1.0e38)
"""The first maximum, a number: it keeps -inf - -inf out of the exponent."""


@gluon.jit
def produce(
    desc, labels_ptr, ring, ignore, rows, CHUNKS: gl.constexpr, BLOCK: gl.constexpr,
    SLOTS: gl.constexpr,
):  # fmt: skip
    """Load all chunks of this program's rows, but of those that do not count."""
    tiles, full, empty = ring
    number = 0
    for row in range(gl.program_id(0), rows, gl.num_programs(0)):
        if gl.load(labels_ptr + row) != ignore:
            for chunk in range(CHUNKS):
                slot = number % SLOTS
                # A new barrier counts as just past an odd phase: the first round waits for nobody.
                mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)
                mbarrier.expect(full.index(slot), desc.block_type.nbytes)
                place = [row, chunk * (BLOCK // LINE), 0]
                tma_load(desc, place, full.index(slot), tiles.index(slot))
                number += 1


@gluon.jit
def await_chunk(number, ring, SLOTS: gl.constexpr):
    """Wait until chunk ``number`` is there."""
    _, full, _ = ring
    mbarrier.wait(full.index(number % SLOTS), number // SLOTS & 1)


@gluon.jit
def read(
    number, part: gl.constexpr, ring, BLOCK: gl.constexpr, PART: gl.constexpr, SLOTS: gl.constexpr,
    WARPS: gl.constexpr, LAYOUT: gl.constexpr,
):  # fmt: skip
    """A part of chunk ``number``, which has arrived, as [.., threads, 8]."""
    # The same elements in the same threads as in LAYOUT.
    LINES: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [WARPS, 1], [1, 0])
    tiles, _, _ = ring
    lines = tiles.index(number % SLOTS).reshape([BLOCK // LINE, LINE])
    x = lines.slice(part * (PART // LINE), PART // LINE).load(LINES)
    return gl.convert_layout(x.reshape([PART // (WARPS * 256), WARPS * 32, 8]), LAYOUT)


@gluon.jit
def release(number, ring, SLOTS: gl.constexpr):
    """Say that chunk ``number`` was read for the last time."""
    _, _, empty = ring
    mbarrier.arrive(empty.index(number % SLOTS), count=1)


@gluon.jit
def packed(x):
    """The same values, two in a register: the compiler would keep each alone, and wide."""
    return gl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], x.dtype, is_pure=True, pack=2)


@gluon.jit
def fold(wide, top, total):
    """A thread's running maximum, in powers of two, and sum of exponentials, one part further.

    An exponent is one multiplication and addition. That the maximum is rounded shifts all alike.
    """
    higher = gl.maximum(top, gl.max(gl.max(wide, 2), 0) * LOG2E)
    power = gl.exp2(wide * LOG2E - higher[None, :, None])
    return higher, total * gl.exp2(top - higher) + gl.sum(gl.sum(power, 2), 0)


@gluon.jit
def put(
    here, x, place, number, target, top, share, factor, VOCAB: gl.constexpr, PART: gl.constexpr
):
    """The gradient of a row's part ``number``, where its logits were."""
    gradient = gl.exp2(x.to(gl.float32) * LOG2E - top) * share
    if target // PART == number:
        gradient = gl.where(place == target - number * PART, gradient - factor, gradient)
    inside = place < VOCAB - number * PART
    gl.store(here + (number * PART + place), gradient.to(x.dtype), mask=inside)


@gluon.jit
def consume(
    logits_ptr,
    labels_ptr,
    losses_ptr,
    scale_ptr,
    scale,
    stride,
    ignore,
    rows,
    ring,
    VOCAB: gl.constexpr,
    CHUNKS: gl.constexpr,
    BLOCK: gl.constexpr,
    SLOTS: gl.constexpr,
    HELD: gl.constexpr,
    PART: gl.constexpr,
    SCALED: gl.constexpr,
    WARPS: gl.constexpr,
):
    """Losses and gradients of this program's rows."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 1, 8], [1, 32, 1], [1, WARPS, 1], [2, 1, 0])
    THREADS: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(2, LAYOUT))
    EACH: gl.constexpr = PART // (WARPS * 256)
    PARTS: gl.constexpr = BLOCK // PART
    outer = gl.arange(0, EACH, layout=gl.SliceLayout(1, gl.SliceLayout(2, LAYOUT)))
    threads = gl.arange(0, WARPS * 32, layout=THREADS)
    inner = gl.arange(0, 8, layout=gl.SliceLayout(0, gl.SliceLayout(1, LAYOUT)))
    place = outer[:, None, None] * (WARPS * 256) + threads[None, :, None] * 8
    place = place + inner[None, None, :]

    factor = scale
    if SCALED:
        factor = scale * gl.load(scale_ptr)
    number = 0
    upcoming = gl.load(labels_ptr + gl.program_id(0))
    for row in range(gl.program_id(0), rows, gl.num_programs(0)):
        here = logits_ptr + gl.cast(row, gl.int64) * stride
        # Asked for a row ahead: nothing of the row can begin without it.
        label = upcoming
        following = gl.minimum(row + gl.num_programs(0), rows - 1)
        upcoming = gl.load(labels_ptr + following)
        if label == ignore:
            gl.store(losses_ptr + row, 0.0)
            kind: gl.constexpr = logits_ptr.dtype.element_ty
            nothing = gl.zeros([EACH, WARPS * 32, 8], kind, LAYOUT)
            for part in range(CHUNKS * PARTS):
                inside = place < VOCAB - part * PART
                gl.store(here + (part * PART + place), nothing, mask=inside)
        else:
            # Read before anything is written; the reductions keep the threads in that order. It is
            # widened where it is needed: until then nobody waits for it.
            known = (label >= 0) & (label < VOCAB)
            chosen = gl.load(here + label, mask=known, other=float("nan"))
            top = gl.full([WARPS * 32], LOWEST, gl.float32, THREADS)
            total = gl.full([WARPS * 32], 0.0, gl.float32, THREADS)
            kept = ()
            for chunk in gl.static_range(HELD):
                await_chunk(number + chunk, ring, SLOTS)
                for part in gl.static_range(PARTS):
                    x = read(number + chunk, part, ring, BLOCK, PART, SLOTS, WARPS, LAYOUT)
                    if part == PARTS - 1:
                        release(number + chunk, ring, SLOTS)
                    top, total = fold(x.to(gl.float32), top, total)
                    kept = kept + (packed(x),)  # type: ignore[assignment] # noqa: RUF005
            for chunk in range(HELD, CHUNKS):
                await_chunk(number + chunk, ring, SLOTS)
                for part in gl.static_range(PARTS):
                    x = read(number + chunk, part, ring, BLOCK, PART, SLOTS, WARPS, LAYOUT)
                    wide = x.to(gl.float32)
                    if VOCAB % BLOCK != 0:
                        left = VOCAB - (chunk * PARTS + part) * PART
                        if chunk == CHUNKS - 1:
                            wide = gl.where(place < left, wide, float("-inf"))
                    top, total = fold(wide, top, total)
            highest = gl.max(top, 0)
            whole = gl.sum(total * gl.exp2(top - highest), 0)
            loss = gl.log(whole) + (highest * LN2 - chosen.to(gl.float32))
            gl.store(losses_ptr + row, loss)
            share = factor / whole
            target = gl.where(known, label, -1).to(gl.int32)
            # First those that the next row's chunks wait for.
            for chunk in range(HELD, CHUNKS):
                for part in gl.static_range(PARTS):
                    x = read(number + chunk, part, ring, BLOCK, PART, SLOTS, WARPS, LAYOUT)
                    if part == PARTS - 1:
                        release(number + chunk, ring, SLOTS)
                    which = chunk * PARTS + part
                    put(here, x, place, which, target, highest, share, factor, VOCAB, PART)
            for part in gl.static_range(HELD * PARTS):
                put(here, kept[part], place, part, target, highest, share, factor, VOCAB, PART)
            number += CHUNKS


@gluon.jit
def gluon_kernel(
    desc,
    logits_ptr,
    labels_ptr,
    losses_ptr,
    scale_ptr,
    scale,
    stride,
    ignore,
    rows,
    VOCAB: gl.constexpr,
    BLOCK: gl.constexpr,
    SLOTS: gl.constexpr,
    SCALED: gl.constexpr,
    WARPS: gl.constexpr,
):
    """Every row from this program's number on, as many further as there are programs.

    The descriptor is of the logits as [rows, lines, 64], with BLOCK // 64 lines as a block.
    """
    CHUNKS: gl.constexpr = (VOCAB + BLOCK - 1) // BLOCK
    HELD: gl.constexpr = CHUNKS - SLOTS if CHUNKS > SLOTS else 0
    # What a thread has in registers at a time: 16 logits.
    PART: gl.constexpr = BLOCK if BLOCK < WARPS * 512 else WARPS * 512
    tiles = gl.allocate_shared_memory(desc.dtype, [SLOTS, 1, BLOCK // LINE, LINE], desc.layout)
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=1)

    ring = (tiles, full, empty)
    gl.warp_specialize(
        [
            (
                consume,
                (
                    logits_ptr, labels_ptr, losses_ptr, scale_ptr, scale, stride, ignore, rows,
                    ring, VOCAB, CHUNKS, BLOCK, SLOTS, HELD, PART, SCALED, WARPS,
                ),
            ),
            (produce, (desc, labels_ptr, ring, ignore, rows, CHUNKS, BLOCK, SLOTS)),
        ],
        [1],
        [24],
    )  # fmt: skip
