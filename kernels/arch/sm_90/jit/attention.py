"""The forward pass of `attention` in Gluon: warps with roles, asynchronous copies and products.

A program owns 128 queries of one head. One warp loads (`produce`); two warpgroups compute
(`consume`), 64 queries each. What they share lies in a ring of tiles: keys and values one after
the other, in the order of their use, from the last tile of keys to the first. Two barriers guard
each slot: ``full`` completes when the bytes of a copy have arrived, ``empty`` when both warpgroups
have read them. A barrier has phases; tile ``number`` is round ``number // SLOTS`` of its slot and
waits for the parity of that round.

A computing warpgroup issues the scores of a tile, then the sum over the values of the tile before,
and forms the weights of the new scores while that sum is still running.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

# Triton 3.6 has these functions by other names.
tma_load = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
tma_store = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global

ROWS = gl.constexpr(64)
"""Queries of a warpgroup: the rows of one matrix instruction."""
PARTS = gl.constexpr(2)
"""Warpgroups that compute."""


@gluon.jit
def place(heads):
    """Batch, head and first query of this program. Asked again where it is needed: no register
    holds it in between."""
    # The longest rows first: the short ones fill the last wave.
    block = gl.num_programs(0) - 1 - gl.program_id(0)
    return gl.program_id(1) // heads, gl.program_id(1) % heads, block * (ROWS * PARTS)


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
def produce(
    q_desc,
    k_desc,
    v_desc,
    queries,
    loaded,
    ring,
    heads,
    group,
    count,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
):
    """Load the queries, then keys and values in the order of their use."""
    batch, head, first_row = place(heads)
    kv_head = head // group
    mbarrier.expect(loaded, PARTS * q_desc.block_type.nbytes)
    for part in gl.static_range(PARTS):
        tma_load(q_desc, [batch, head, first_row + part * ROWS, 0], loaded, queries.index(part))
    row = (count - 1) * BLOCK_N
    fetch(k_desc, batch, kv_head, row, 0, ring, SLOTS)
    for step in range(1, count):
        fetch(k_desc, batch, kv_head, row - BLOCK_N, 2 * step - 1, ring, SLOTS)
        fetch(v_desc, batch, kv_head, row, 2 * step, ring, SLOTS)
        row -= BLOCK_N
    fetch(v_desc, batch, kv_head, 0, 2 * count - 1, ring, SLOTS)


@gluon.jit
def weigh(
    scores,
    top,
    weight,
    rows,
    start,
    seq,
    factor,
    BLOCK_N: gl.constexpr,
    CAUSAL: gl.constexpr,
    MASK: gl.constexpr,
    LAYOUT: gl.constexpr,
):
    """Weights of a tile's scores, and the running softmax: its maxima, its sums, their shrinking.

    The first maximum is a number, so that a row without any key in this tile has weights of zero.
    """
    if MASK:
        keys = start + gl.arange(0, BLOCK_N, layout=gl.SliceLayout(0, LAYOUT))
        if CAUSAL:
            # Keys past the end come after every query that is stored.
            keep = rows[:, None] >= keys[None, :]
        else:
            keep = (keys < seq)[None, :]
        scores = gl.where(keep, scores, float("-inf"))
    higher = gl.maximum(top, gl.max(scores, 1))
    # One multiplication and addition an element: the maximum is scaled, not the scores.
    p = gl.exp2(scores * factor - (higher * factor)[:, None])
    shrink = gl.exp2((top - higher) * factor)
    return p, higher, weight * shrink + gl.sum(p, 1), shrink


@gluon.jit
def advance(
    p,
    total,
    top,
    weight,
    q,
    ring,
    turns,
    rows,
    step,
    count,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    MASK: gl.constexpr,
    TURNS: gl.constexpr,
    PART: gl.constexpr,
    SCORES: gl.constexpr,
    OUT: gl.constexpr,
):
    """Scores of tile ``step``, whose keys have arrived, and the values of the tile before it."""
    tiles, _, _ = ring
    keys, values = 2 * step - 1, 2 * step
    k = tiles.index(keys % SLOTS).reshape([BLOCK_N, DIM]).permute([1, 0])
    v = tiles.index(values % SLOTS).reshape([BLOCK_N, DIM])
    if TURNS:
        # The first warpgroup's first turn is nobody's to give.
        mbarrier.wait(turns.index(PART), (step + PART) & 1)
    scores = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    scores = warpgroup_mma(q, k, scores, use_acc=False, is_async=True)
    await_tile(values, ring, SLOTS)
    total = warpgroup_mma(p, v, total, is_async=True)
    if TURNS:
        mbarrier.arrive(turns.index((PART + 1) % PARTS), count=1)
    scores = warpgroup_mma_wait(1, deps=(scores,))
    release(keys, ring, SLOTS)
    start = (count - 1 - step) * BLOCK_N
    fresh, top, weight, shrink = weigh(
        scores, top, weight, rows, start, seq, factor, BLOCK_N, CAUSAL, MASK, SCORES
    )
    # The assembler moves arithmetic past a wait for products, but not past a branch. This wait,
    # which the next step needs anyway, keeps the weights' arithmetic beside the running product.
    await_tile(values + 1, ring, SLOTS)
    total = warpgroup_mma_wait(0, deps=(total,))
    release(values, ring, SLOTS)
    total = total * gl.convert_layout(shrink, gl.SliceLayout(1, OUT))[:, None]
    return gl.convert_layout(fresh.to(q.dtype), gl.DotOperandLayout(0, OUT, 2)), total, top, weight


@gluon.jit
def consume(
    o_desc,
    lse_ptr,
    queries,
    loaded,
    ring,
    turns,
    heads,
    count,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    TURNS: gl.constexpr,
    PART: gl.constexpr,
):
    """The queries of one warpgroup against all their keys."""
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    OUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    LINE: gl.constexpr = gl.SliceLayout(1, SCORES)
    # Tiles that the diagonal may cross; of those before it, none needs a mask.
    MASKED: gl.constexpr = ROWS * PARTS // BLOCK_N if CAUSAL else 1
    tiles, _, _ = ring
    _, _, first_row = place(heads)
    rows = first_row + PART * ROWS + gl.arange(0, ROWS, layout=LINE)
    total = gl.zeros([ROWS, DIM], gl.float32, OUT)
    top = gl.full([ROWS], -1.0e30, gl.float32, LINE)
    weight = gl.full([ROWS], 0.0, gl.float32, LINE)

    q = queries.index(PART).reshape([ROWS, DIM])
    mbarrier.wait(loaded, 0)
    await_tile(0, ring, SLOTS)
    k = tiles.index(0).reshape([BLOCK_N, DIM]).permute([1, 0])
    scores = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    scores = warpgroup_mma(q, k, scores, use_acc=False, is_async=True)
    scores = warpgroup_mma_wait(0, deps=(scores,))
    release(0, ring, SLOTS)
    start = (count - 1) * BLOCK_N
    p, top, weight, _ = weigh(
        scores, top, weight, rows, start, seq, factor, BLOCK_N, CAUSAL, True, SCORES
    )
    p = gl.convert_layout(p.to(q.dtype), gl.DotOperandLayout(0, OUT, 2))
    await_tile(1, ring, SLOTS)
    if MASKED > 1:
        for step in range(1, gl.minimum(MASKED, count)):
            p, total, top, weight = advance(
                p, total, top, weight, q, ring, turns, rows, step, count, seq, factor,
                DIM, BLOCK_N, SLOTS, CAUSAL, True, TURNS, PART, SCORES, OUT,
            )  # fmt: skip
    for step in range(MASKED, count):
        p, total, top, weight = advance(
            p, total, top, weight, q, ring, turns, rows, step, count, seq, factor,
            DIM, BLOCK_N, SLOTS, CAUSAL, False, TURNS, PART, SCORES, OUT,
        )  # fmt: skip

    last = (2 * count - 1) % SLOTS
    v = tiles.index(last).reshape([BLOCK_N, DIM])
    total = warpgroup_mma(p, v, total, is_async=True)
    lse = (top * factor + gl.log2(weight)) * 0.6931471805599453
    line = gl.program_id(1).to(gl.int64) * seq
    gl.store(lse_ptr + line + rows, lse, mask=rows < seq)
    share = gl.convert_layout(1.0 / weight, gl.SliceLayout(1, OUT))
    total = warpgroup_mma_wait(0, deps=(total,))
    # All scores are done: the queries' place is free, and the copy leaves out rows past the end.
    q.store((total * share[:, None]).to(q.dtype))
    fence_async_shared()
    batch, head, first_row = place(heads)
    tma_store(o_desc, [batch, head, first_row + PART * ROWS, 0], queries.index(PART))
    tma.store_wait(0)


@gluon.jit
def forward_gluon_kernel(
    q_desc,
    k_desc,
    v_desc,
    o_desc,
    lse_ptr,
    heads,
    group,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    TURNS: gl.constexpr,
):
    """128 queries of one head. ``factor`` = scale · log₂e: exponents are powers of two.

    Descriptors are of [batch, heads, seq, head_dim] with one head's rows as a block. TURNS: the
    warpgroups issue their products by turns, so that one computes weights while the other's
    products run.
    """
    _, _, first_row = place(heads)
    high = seq
    if CAUSAL:
        high = gl.minimum(seq, first_row + ROWS * PARTS)
    count = gl.cdiv(high, BLOCK_N)

    queries = gl.allocate_shared_memory(q_desc.dtype, [PARTS, 1, 1, ROWS, DIM], q_desc.layout)
    tiles = gl.allocate_shared_memory(k_desc.dtype, [SLOTS, 1, 1, BLOCK_N, DIM], k_desc.layout)
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    turns = gl.allocate_shared_memory(gl.int64, [PARTS, 1], mbarrier.MBarrierLayout())
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=PARTS)
    for part in gl.static_range(PARTS):
        mbarrier.init(turns.index(part), count=1)
    mbarrier.init(loaded, count=1)

    ring = (tiles, full, empty)
    # Registers a thread, out of 168 each: the loading warpgroup's are lent to the others.
    gl.warp_specialize(
        [
            (
                consume,
                (
                    o_desc, lse_ptr, queries, loaded, ring, turns, heads, count, seq, factor,
                    DIM, BLOCK_N, SLOTS, CAUSAL, TURNS, 0,
                ),
            ),
            (
                consume,
                (
                    o_desc, lse_ptr, queries, loaded, ring, turns, heads, count, seq, factor,
                    DIM, BLOCK_N, SLOTS, CAUSAL, TURNS, 1,
                ),
            ),
            (
                produce,
                (
                    q_desc, k_desc, v_desc, queries, loaded, ring, heads, group, count,
                    BLOCK_N, SLOTS,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
