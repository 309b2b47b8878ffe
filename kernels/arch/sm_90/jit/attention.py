"""The forward pass of `attention` in Gluon: warps with roles, asynchronous copies and products.

A program walks blocks of 128 queries of one head. One warp loads (`produce`); two warpgroups
compute (`consume`), 64 queries each. What they share lies in a ring of tiles: keys and values one
after the other, in the order of their use, from the last tile of keys to the first, block after
block (`ring`). Each warpgroup's queries are a ring of one slot, a round a block.

A computing warpgroup issues the scores of a tile, then the sum over the values of the tile before,
and forms the weights of the new scores while that sum is still running. Where results have a place
of their own (APART), the next block's queries arrive while this one's results are still formed.
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

from .ring import (
    PARTS,
    ROWS,
    await_tile,
    fetch,
    guarded,
    queries_of,
    release,
    tma_load,
    tma_store,
    turns_of,
)


@gluon.jit
def produce(
    q_desc,
    k_desc,
    v_desc,
    asked,
    ring,
    work,
    heads,
    group,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
):
    """Load the queries of every block, then keys and values in the order of their use."""
    queries, loaded, free = asked
    number = 0
    for turn in range(turns_of(work)):
        line, first_row, count = queries_of(turn, work, BLOCK_N, CAUSAL)
        batch, head = line // heads, line % heads
        kv_head = head // group
        row = (count - 1) * BLOCK_N
        fetch(k_desc, batch, kv_head, row, number, ring, SLOTS)
        for part in gl.static_range(PARTS):
            mbarrier.wait(free.index(part), (turn & 1) ^ 1)
            mbarrier.expect(loaded.index(part), q_desc.block_type.nbytes)
            at = first_row + part * ROWS
            tma_load(q_desc, [batch, head, at, 0], loaded.index(part), queries.index(part))
        for step in range(1, count):
            fetch(k_desc, batch, kv_head, row - BLOCK_N, number + 2 * step - 1, ring, SLOTS)
            fetch(v_desc, batch, kv_head, row, number + 2 * step, ring, SLOTS)
            row -= BLOCK_N
        fetch(v_desc, batch, kv_head, 0, number + 2 * count - 1, ring, SLOTS)
        number += 2 * count


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
    rows,
    number,
    start,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    MASK: gl.constexpr,
    SCORES: gl.constexpr,
    OUT: gl.constexpr,
):
    """Scores of the keys from ``start``, tile ``number``, which have arrived, and the values of
    the tile before them, number + 1."""
    tiles, _, _ = ring
    values = number + 1
    k = tiles.index(number % SLOTS).reshape([BLOCK_N, DIM]).permute([1, 0])
    v = tiles.index(values % SLOTS).reshape([BLOCK_N, DIM])
    scores = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    scores = warpgroup_mma(q, k, scores, use_acc=False, is_async=True)
    await_tile(values, ring, SLOTS)
    total = warpgroup_mma(p, v, total, is_async=True)
    scores = warpgroup_mma_wait(1, deps=(scores,))
    release(number, ring, SLOTS)
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
    asked,
    results,
    ring,
    work,
    heads,
    factor,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    APART: gl.constexpr,
    PART: gl.constexpr,
):
    """The queries of one warpgroup against all their keys, block after block."""
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    OUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    LINE: gl.constexpr = gl.SliceLayout(1, SCORES)
    # Tiles that the diagonal may cross; of those before it, none needs a mask.
    MASKED: gl.constexpr = ROWS * PARTS // BLOCK_N if CAUSAL else 1
    tiles, _, _ = ring
    queries, loaded, free = asked
    _, _, _, seq = work
    q = queries.index(PART).reshape([ROWS, DIM])
    out = results.index(PART).reshape([ROWS, DIM])
    number = 0
    for turn in range(turns_of(work)):
        _, first_row, count = queries_of(turn, work, BLOCK_N, CAUSAL)
        rows = first_row + PART * ROWS + gl.arange(0, ROWS, layout=LINE)
        total = gl.zeros([ROWS, DIM], gl.float32, OUT)
        top = gl.full([ROWS], -1.0e30, gl.float32, LINE)
        weight = gl.full([ROWS], 0.0, gl.float32, LINE)

        mbarrier.wait(loaded.index(PART), turn & 1)
        await_tile(number, ring, SLOTS)
        k = tiles.index(number % SLOTS).reshape([BLOCK_N, DIM]).permute([1, 0])
        scores = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
        scores = warpgroup_mma(q, k, scores, use_acc=False, is_async=True)
        scores = warpgroup_mma_wait(0, deps=(scores,))
        release(number, ring, SLOTS)
        start = (count - 1) * BLOCK_N
        p, top, weight, _ = weigh(
            scores, top, weight, rows, start, seq, factor, BLOCK_N, CAUSAL, True, SCORES
        )
        p = gl.convert_layout(p.to(q.dtype), gl.DotOperandLayout(0, OUT, 2))
        number += 1
        await_tile(number, ring, SLOTS)
        if MASKED > 1:
            for _ in range(1, gl.minimum(MASKED, count)):
                start -= BLOCK_N
                p, total, top, weight = advance(
                    p, total, top, weight, q, ring, rows, number, start, seq, factor,
                    DIM, BLOCK_N, SLOTS, CAUSAL, True, SCORES, OUT,
                )  # fmt: skip
                number += 2
        for _ in range(MASKED, count):
            start -= BLOCK_N
            p, total, top, weight = advance(
                p, total, top, weight, q, ring, rows, number, start, seq, factor,
                DIM, BLOCK_N, SLOTS, CAUSAL, False, SCORES, OUT,
            )  # fmt: skip
            number += 2

        # The last scores are done with the queries, the last values are still to come.
        if APART:
            mbarrier.arrive(free.index(PART), count=1)
        v = tiles.index(number % SLOTS).reshape([BLOCK_N, DIM])
        total = warpgroup_mma(p, v, total, is_async=True)
        line, first_row, _ = queries_of(turn, work, BLOCK_N, CAUSAL)
        lse = (top * factor + gl.log2(weight)) * 0.6931471805599453
        gl.store(lse_ptr + gl.cast(line, gl.int64) * seq + rows, lse, mask=rows < seq)
        share = gl.convert_layout(1.0 / weight, gl.SliceLayout(1, OUT))
        total = warpgroup_mma_wait(0, deps=(total,))
        release(number, ring, SLOTS)
        number += 1
        if APART:
            # The results of the block before have left their place long ago.
            tma.store_wait(0)
        out.store((total * share[:, None]).to(q.dtype))
        fence_async_shared()
        at = first_row + PART * ROWS
        tma_store(o_desc, [line // heads, line % heads, at, 0], results.index(PART))
        if not APART:
            tma.store_wait(0)
            mbarrier.arrive(free.index(PART), count=1)
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
    blocks,
    lines,
    together,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    APART: gl.constexpr,
):
    """All blocks of 128 queries, as many programs as run at once. ``factor`` = scale · log₂e:
    exponents are powers of two.

    Descriptors are of [batch, heads, seq, head_dim] with one head's rows as a block. ``blocks`` a
    line, and ``lines``, heads of all sequences; ``together``: see `ring.block_of`. APART: results
    do not take the place of their queries, which leaves room for the next ones.
    """
    queries = gl.allocate_shared_memory(q_desc.dtype, [PARTS, 1, 1, ROWS, DIM], q_desc.layout)
    tiles = gl.allocate_shared_memory(k_desc.dtype, [SLOTS, 1, 1, BLOCK_N, DIM], k_desc.layout)
    full, empty = guarded(SLOTS, PARTS)
    loaded, free = guarded(PARTS, 1)
    results = queries
    if APART:
        results = gl.allocate_shared_memory(o_desc.dtype, [PARTS, 1, 1, ROWS, DIM], o_desc.layout)

    ring, asked = (tiles, full, empty), (queries, loaded, free)
    work = (blocks, lines, together, seq)
    # Registers a thread, out of 168 each: the loading warpgroup's are lent to the others.
    gl.warp_specialize(
        [
            (
                consume,
                (
                    o_desc, lse_ptr, asked, results, ring, work, heads, factor,
                    DIM, BLOCK_N, SLOTS, CAUSAL, APART, 0,
                ),
            ),
            (
                consume,
                (
                    o_desc, lse_ptr, asked, results, ring, work, heads, factor,
                    DIM, BLOCK_N, SLOTS, CAUSAL, APART, 1,
                ),
            ),
            (
                produce,
                (
                    q_desc, k_desc, v_desc, asked, ring, work, heads, group,
                    BLOCK_N, SLOTS, CAUSAL,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
