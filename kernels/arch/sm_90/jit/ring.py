"""What Gluon kernels of Hopper share: rings of tiles, and the order of blocks.

A ring is slots of shared memory which one warp fills, in the order of use, and ``PARTS``
warpgroups read. Two barriers guard each slot: ``full`` completes when the bytes of a copy have
arrived, ``empty`` when all warpgroups have read them. A barrier has phases; tile ``number`` is
round ``number // SLOTS`` of its slot and waits for the parity of that round.

Programs are as many as run at once, and walk blocks of the lines (heads) of a problem.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

# Triton 3.6 has these functions by other names.
tma_load = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
tma_store = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global

ROWS = gl.constexpr(64)
"""Rows of a warpgroup: those of one matrix instruction."""
PARTS = gl.constexpr(2)
"""Warpgroups that compute."""


@gluon.jit
def guarded(SLOTS: gl.constexpr, READERS: gl.constexpr):
    """The barriers of a ring: ``full`` and ``empty``."""
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=READERS)
    return full, empty


@gluon.jit
def fetch(desc, batch, head, row, number, ring, SLOTS: gl.constexpr):
    """Start to load tile ``number`` as soon as its slot is free."""
    tiles, full, empty = ring
    slot = number % SLOTS
    # A new barrier counts as just past an odd phase: the first round waits for nobody.
    mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)
    mbarrier.expect(full.index(slot), desc.block_type.nbytes)
    tma_load(desc, [batch, head, row, 0], full.index(slot), tiles.index(slot))


@gluon.jit
def await_tile(number, ring, SLOTS: gl.constexpr):
    """Wait until tile ``number`` has arrived."""
    _, full, _ = ring
    mbarrier.wait(full.index(number % SLOTS), number // SLOTS & 1)


@gluon.jit
def release(number, ring, SLOTS: gl.constexpr):
    """Say that this warpgroup has read tile ``number``."""
    _, _, empty = ring
    mbarrier.arrive(empty.index(number % SLOTS), count=1)


@gluon.jit
def block_of(turn, work):
    """Line (a head of a sequence) of this program's block ``turn``, and how many blocks of the
    line are longer.

    Lines go ``together`` at a time, as many as keep what they share in the cache; of these the
    longest blocks first. Every other turn goes to the programs in the opposite order: who had the
    shortest block of one turn has the longest of the next. Asked again where it is needed: no
    register holds it in between.
    """
    blocks, lines, together, _ = work
    programs = gl.num_programs(0)
    position = turn * programs + turned(turn, programs)
    first = position // (together * blocks) * together
    beside = gl.minimum(together, lines - first)
    rest = position - first * blocks
    return first + rest % beside, rest // beside


@gluon.jit
def turned(turn, programs):
    """This program's number, counted from the other end in every other turn."""
    return gl.program_id(0) + (turn & 1) * (programs - 1 - 2 * gl.program_id(0))


@gluon.jit
def turns_of(work):
    """How many blocks this program has."""
    blocks, lines, _, _ = work
    programs = gl.num_programs(0)
    whole = blocks * lines // programs
    if whole * programs + turned(whole, programs) < blocks * lines:
        whole += 1
    return whole


@gluon.jit
def queries_of(turn, work, BLOCK_N: gl.constexpr, CAUSAL: gl.constexpr):
    """Line, first query and tiles of keys of this program's block of queries ``turn``."""
    blocks, _, _, seq = work
    line, longer = block_of(turn, work)
    row = (blocks - 1 - longer) * (ROWS * PARTS)
    high = seq
    if CAUSAL:
        high = gl.minimum(seq, row + ROWS * PARTS)
    return line, row, gl.cdiv(high, BLOCK_N)
