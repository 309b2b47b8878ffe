"""dQ of `attention` in Gluon: as the forward pass beside it, three products a tile instead of two.

A program walks blocks of 128 queries of one head, 64 for each of two computing warpgroups. Queries
and the gradient of their results stay in shared memory for a block; keys and values go through a
ring, from the last tile to the first. With S = Q·Kᵀ and dP = dO·Vᵀ,

    P = exp2(S · scale · log₂e - lse · log₂e),  dS = P ∘ (dP - delta),  dQ = scale · dS·K.

A warpgroup issues S and dP of a tile, then the product of dS of the tile before with its keys. It
computes P while the latter two run, and dS while the last one does. Where registers do not hold
that many sums, dP waits until the product before it is done. The keys of two tiles are held at a
time: a ring of five tiles or more loads the next ones meanwhile.
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
    do_desc,
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
    """Load queries and gradients of every block, then keys and values in the order of their use."""
    queries, grads, loaded, free = asked
    number = 0
    for turn in range(turns_of(work)):
        line, first_row, count = queries_of(turn, work, BLOCK_N, CAUSAL)
        batch, head = line // heads, line % heads
        kv_head = head // group
        for part in gl.static_range(PARTS):
            mbarrier.wait(free.index(part), (turn & 1) ^ 1)
            mbarrier.expect(loaded.index(part), 2 * q_desc.block_type.nbytes)
            at = first_row + part * ROWS
            tma_load(q_desc, [batch, head, at, 0], loaded.index(part), queries.index(part))
            tma_load(do_desc, [batch, head, at, 0], loaded.index(part), grads.index(part))
        row = (count - 1) * BLOCK_N
        for _ in range(count):
            fetch(k_desc, batch, kv_head, row, number, ring, SLOTS)
            fetch(v_desc, batch, kv_head, row, number + 1, ring, SLOTS)
            row -= BLOCK_N
            number += 2


@gluon.jit
def weigh(
    scores,
    lse,
    rows,
    start,
    seq,
    factor,
    BLOCK_N: gl.constexpr,
    CAUSAL: gl.constexpr,
    MASK: gl.constexpr,
    LAYOUT: gl.constexpr,
):
    """P of a tile's scores."""
    p = gl.exp2(scores * factor - lse[:, None])
    if MASK:
        keys = start + gl.arange(0, BLOCK_N, layout=gl.SliceLayout(0, LAYOUT))
        if CAUSAL:
            # Keys past the end come after every query that is stored.
            keep = rows[:, None] >= keys[None, :]
        else:
            # Past the end scores are zero, beside which exp2(-lse) may overflow: inf · 0 is NaN.
            keep = (keys < seq)[None, :]
        p = gl.where(keep, p, 0.0)
    return p


@gluon.jit
def advance(
    ds,
    total,
    q,
    do,
    lse,
    delta,
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
    FIRST: gl.constexpr,
    SCORES: gl.constexpr,
    OUT: gl.constexpr,
):
    """dS of the keys from ``start``, tiles ``number`` and number + 1; meanwhile the sum takes in
    the tile before, unless this is the first."""
    tiles, _, _ = ring
    # Whether registers hold the operand of one product and the sums of three.
    ALL: gl.constexpr = DIM + 2 * BLOCK_N <= 320
    k = tiles.index(number % SLOTS).reshape([BLOCK_N, DIM]).permute([1, 0])
    v = tiles.index((number + 1) % SLOTS).reshape([BLOCK_N, DIM]).permute([1, 0])
    before = tiles.index((number + SLOTS - 2) % SLOTS).reshape([BLOCK_N, DIM])
    scores = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    dp = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    await_tile(number, ring, SLOTS)
    scores = warpgroup_mma(q, k, scores, use_acc=False, is_async=True)
    if ALL:
        await_tile(number + 1, ring, SLOTS)
        dp = warpgroup_mma(do, v, dp, use_acc=False, is_async=True)
    if not FIRST:
        total = warpgroup_mma(ds, before, total, is_async=True)
    scores = warpgroup_mma_wait(ALL + (not FIRST), deps=(scores,))
    p = weigh(scores, lse, rows, start, seq, factor, BLOCK_N, CAUSAL, MASK, SCORES)
    # The assembler moves arithmetic past a wait for products, but not past a branch. Waits for
    # what has arrived long ago keep it beside the products that still run.
    await_tile(number + 1, ring, SLOTS)
    if ALL:
        dp = warpgroup_mma_wait(not FIRST, deps=(dp,))
        fresh = p * (dp - delta[:, None])
        await_tile(number + 1, ring, SLOTS)
    if not FIRST:
        total = warpgroup_mma_wait(0, deps=(total,))
        release(number - 2, ring, SLOTS)
    if not ALL:
        dp = warpgroup_mma(do, v, dp, use_acc=False, is_async=True)
        dp = warpgroup_mma_wait(0, deps=(dp,))
        fresh = p * (dp - delta[:, None])
    release(number + 1, ring, SLOTS)
    return gl.convert_layout(fresh.to(q.dtype), gl.DotOperandLayout(0, OUT, 2)), total


@gluon.jit
def consume(
    dq_desc,
    lse_ptr,
    delta_ptr,
    asked,
    results,
    ring,
    work,
    heads,
    factor,
    scale,
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
    # With short tiles there are registers for queries: products read half as much shared memory.
    HELD: gl.constexpr = BLOCK_N == 64
    # Tiles that the diagonal may cross; of those before it, none needs a mask.
    MASKED: gl.constexpr = ROWS * PARTS // BLOCK_N if CAUSAL else 1
    tiles, _, _ = ring
    queries, grads, loaded, free = asked
    _, _, _, seq = work
    place = queries.index(PART).reshape([ROWS, DIM])
    do = grads.index(PART).reshape([ROWS, DIM])
    out = results.index(PART).reshape([ROWS, DIM])
    number = 0
    for turn in range(turns_of(work)):
        line, first_row, count = queries_of(turn, work, BLOCK_N, CAUSAL)
        rows = first_row + PART * ROWS + gl.arange(0, ROWS, layout=LINE)
        places = gl.cast(line, gl.int64) * seq + rows
        # exp2(x - inf) = 0: rows past the end have weights of zero.
        lse = gl.load(lse_ptr + places, mask=rows < seq, other=float("inf")) * 1.4426950408889634
        delta = gl.load(delta_ptr + places, mask=rows < seq, other=0.0)
        total = gl.zeros([ROWS, DIM], gl.float32, OUT)
        ds = gl.zeros([ROWS, BLOCK_N], place.dtype, gl.DotOperandLayout(0, OUT, 2))
        start = (count - 1) * BLOCK_N
        mbarrier.wait(loaded.index(PART), turn & 1)
        if HELD:
            q = place.load(gl.DotOperandLayout(0, SCORES, 2))
        else:
            q = place
        ds, total = advance(
            ds, total, q, do, lse, delta, ring, rows, number, start, seq, factor,
            DIM, BLOCK_N, SLOTS, CAUSAL, True, True, SCORES, OUT,
        )  # fmt: skip
        number += 2
        if MASKED > 1:
            for _ in range(1, gl.minimum(MASKED, count)):
                start -= BLOCK_N
                ds, total = advance(
                    ds, total, q, do, lse, delta, ring, rows, number, start, seq, factor,
                    DIM, BLOCK_N, SLOTS, CAUSAL, True, False, SCORES, OUT,
                )  # fmt: skip
                number += 2
        for _ in range(MASKED, count):
            start -= BLOCK_N
            ds, total = advance(
                ds, total, q, do, lse, delta, ring, rows, number, start, seq, factor,
                DIM, BLOCK_N, SLOTS, CAUSAL, False, False, SCORES, OUT,
            )  # fmt: skip
            number += 2

        # Queries and gradients have been read, the last keys have not.
        if APART:
            mbarrier.arrive(free.index(PART), count=1)
        before = tiles.index((number - 2) % SLOTS).reshape([BLOCK_N, DIM])
        total = warpgroup_mma(ds, before, total, is_async=True)
        line, first_row, _ = queries_of(turn, work, BLOCK_N, CAUSAL)
        total = warpgroup_mma_wait(0, deps=(total,))
        release(number - 2, ring, SLOTS)
        if APART:
            # The results of the block before have left their place long ago.
            tma.store_wait(0)
        out.store((total * scale).to(place.dtype))
        fence_async_shared()
        at = first_row + PART * ROWS
        tma_store(dq_desc, [line // heads, line % heads, at, 0], results.index(PART))
        if not APART:
            tma.store_wait(0)
            mbarrier.arrive(free.index(PART), count=1)
    tma.store_wait(0)


@gluon.jit
def query_gluon_kernel(
    q_desc,
    do_desc,
    k_desc,
    v_desc,
    dq_desc,
    lse_ptr,
    delta_ptr,
    heads,
    group,
    blocks,
    lines,
    together,
    seq,
    factor,
    scale,
    DIM: gl.constexpr,
    BLOCK_N: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    APART: gl.constexpr,
):
    """All blocks of 128 queries, as many programs as run at once. ``factor`` = scale · log₂e.

    Descriptors are of [batch, heads, seq, head_dim] with one head's rows as a block. ``blocks`` a
    line, and ``lines``, heads of all sequences; ``together``: see `ring.block_of`. APART: results
    do not take the place of their queries, which leaves room for the next ones.
    """
    queries = gl.allocate_shared_memory(q_desc.dtype, [PARTS, 1, 1, ROWS, DIM], q_desc.layout)
    grads = gl.allocate_shared_memory(do_desc.dtype, [PARTS, 1, 1, ROWS, DIM], do_desc.layout)
    tiles = gl.allocate_shared_memory(k_desc.dtype, [SLOTS, 1, 1, BLOCK_N, DIM], k_desc.layout)
    full, empty = guarded(SLOTS, PARTS)
    loaded, free = guarded(PARTS, 1)
    results = queries
    if APART:
        results = gl.allocate_shared_memory(dq_desc.dtype, [PARTS, 1, 1, ROWS, DIM], dq_desc.layout)

    ring, asked = (tiles, full, empty), (queries, grads, loaded, free)
    work = (blocks, lines, together, seq)
    # Registers a thread, out of 168 each: the loading warpgroup's are lent to the others.
    gl.warp_specialize(
        [
            (
                consume,
                (
                    dq_desc, lse_ptr, delta_ptr, asked, results, ring, work, heads, factor, scale,
                    DIM, BLOCK_N, SLOTS, CAUSAL, APART, 0,
                ),
            ),
            (
                consume,
                (
                    dq_desc, lse_ptr, delta_ptr, asked, results, ring, work, heads, factor, scale,
                    DIM, BLOCK_N, SLOTS, CAUSAL, APART, 1,
                ),
            ),
            (
                produce,
                (
                    q_desc, do_desc, k_desc, v_desc, asked, ring, work, heads, group,
                    BLOCK_N, SLOTS, CAUSAL,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
