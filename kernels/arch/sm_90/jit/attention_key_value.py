"""dK and dV of `attention` in Gluon: as dQ beside it, with keys and queries in each other's place.

A program walks blocks of 128 keys of one key head, 64 for each of two computing warpgroups. Keys
and values stay in shared memory for a block; queries and the gradients of their results go through
a ring, head after head of the group. All is transposed: with Sᵀ = K·Qᵀ and dPᵀ = V·dOᵀ,

    Pᵀ = exp2(Sᵀ · scale · log₂e - lse · log₂e),  dV = Pᵀ·dO,
    dSᵀ = Pᵀ ∘ (dPᵀ - delta),                     dK = scale · dSᵀ·Q.

A warpgroup issues Sᵀ of a tile, then the product of dSᵀ of the tile before with its queries, beside
which it computes Pᵀ; then dPᵀ and the product of Pᵀ with dO, beside which it computes dSᵀ. The
queries of two tiles are held at a time.
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
    block_of,
    fetch,
    guarded,
    release,
    tma_load,
    tma_store,
    turns_of,
)


@gluon.jit
def keys_of(turn, work, CAUSAL: gl.constexpr):
    """Line, first key and first query of this program's block of keys ``turn``."""
    line, longer = block_of(turn, work)
    row = longer * (ROWS * PARTS)
    first = 0
    if CAUSAL:
        # Queries before this block of keys do not see it.
        first = row
    return line, row, first


@gluon.jit
def produce(
    q_desc,
    do_desc,
    k_desc,
    v_desc,
    kept,
    ring,
    work,
    kv_heads,
    group,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
):
    """Load keys and values of every block, then queries and gradients in the order of their use."""
    keys, values, loaded, free = kept
    _, _, _, seq = work
    number = 0
    for turn in range(turns_of(work)):
        line, first_key, first = keys_of(turn, work, CAUSAL)
        batch, kv_head = line // kv_heads, line % kv_heads
        for part in gl.static_range(PARTS):
            mbarrier.wait(free.index(part), (turn & 1) ^ 1)
            mbarrier.expect(loaded.index(part), 2 * k_desc.block_type.nbytes)
            at = first_key + part * ROWS
            tma_load(k_desc, [batch, kv_head, at, 0], loaded.index(part), keys.index(part))
            tma_load(v_desc, [batch, kv_head, at, 0], loaded.index(part), values.index(part))
        for member in range(group):
            head = kv_head * group + member
            for row in range(first, seq, BLOCK_M):
                fetch(q_desc, batch, head, row, number, ring, SLOTS)
                fetch(do_desc, batch, head, row, number + 1, ring, SLOTS)
                number += 2


@gluon.jit
def advance(
    ds,
    dk,
    dv,
    k,
    v,
    lse_ptr,
    delta_ptr,
    ring,
    keys,
    number,
    row,
    first,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    FIRST: gl.constexpr,
    SCORES: gl.constexpr,
    OUT: gl.constexpr,
):
    """dSᵀ of the queries from ``row``, tiles ``number`` and number + 1, and their part of dV;
    meanwhile dK takes in the tile before, unless this is the first."""
    COLUMNS: gl.constexpr = gl.SliceLayout(0, SCORES)
    # A thread has sums of a quarter of the columns: more than it could hold these of for long.
    # Here it holds two, in every warp the same.
    FEW: gl.constexpr = gl.BlockedLayout([BLOCK_M // 32], [32], [4], [0])
    tiles, _, _ = ring
    q = tiles.index(number % SLOTS).reshape([BLOCK_M, DIM]).permute([1, 0])
    do = tiles.index((number + 1) % SLOTS).reshape([BLOCK_M, DIM])
    before = tiles.index((number + SLOTS - 2) % SLOTS).reshape([BLOCK_M, DIM])
    queries = row + gl.arange(0, BLOCK_M, layout=FEW)
    # exp2(x - inf) = 0: rows past the end add nothing.
    lse = gl.load(lse_ptr + queries, mask=queries < seq, other=float("inf"))
    delta = gl.load(delta_ptr + queries, mask=queries < seq, other=0.0)
    scores = gl.zeros([ROWS, BLOCK_M], gl.float32, SCORES)
    await_tile(number, ring, SLOTS)
    scores = warpgroup_mma(k, q, scores, use_acc=False, is_async=True)
    if not FIRST:
        dk = warpgroup_mma(ds, before, dk, is_async=True)
    scores = warpgroup_mma_wait(not FIRST, deps=(scores,))
    p = gl.exp2(scores * factor - gl.convert_layout(lse * 1.4426950408889634, COLUMNS)[None, :])
    if CAUSAL:  # noqa: SIM102 - a constant, and a number
        if row < first + ROWS * PARTS:
            places = row + gl.arange(0, BLOCK_M, layout=COLUMNS)
            p = gl.where(places[None, :] >= keys[:, None], p, 0.0)
    # The sum starts with what would be subtracted of it, which no register holds meanwhile.
    dp = gl.zeros([ROWS, BLOCK_M], gl.float32, SCORES) - gl.convert_layout(delta, COLUMNS)[None, :]
    # The assembler moves arithmetic past a wait for products, but not past a branch. Waits for
    # tiles keep it beside the products that still run.
    await_tile(number + 1, ring, SLOTS)
    if not FIRST:
        dk = warpgroup_mma_wait(0, deps=(dk,))
        release(number - 2, ring, SLOTS)
    weights = gl.convert_layout(p.to(k.dtype), gl.DotOperandLayout(0, OUT, 2))
    dp = warpgroup_mma(v, do.permute([1, 0]), dp, is_async=True)
    dv = warpgroup_mma(weights, do, dv, is_async=True)
    dp = warpgroup_mma_wait(1, deps=(dp,))
    ds = gl.convert_layout((p * dp).to(k.dtype), gl.DotOperandLayout(0, OUT, 2))
    await_tile(number + 1, ring, SLOTS)
    dv = warpgroup_mma_wait(0, deps=(dv,))
    release(number + 1, ring, SLOTS)
    return ds, dk, dv


@gluon.jit
def consume(
    dk_desc,
    dv_desc,
    lse_ptr,
    delta_ptr,
    kept,
    results,
    ring,
    work,
    kv_heads,
    group,
    factor,
    scale,
    DIM: gl.constexpr,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    APART: gl.constexpr,
    PART: gl.constexpr,
):
    """The keys of one warpgroup against all their queries, block after block."""
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_M, 16])
    OUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    tiles, _, _ = ring
    keys_kept, values_kept, loaded, free = kept
    dk_place, dv_place = results
    _, _, _, seq = work
    k = keys_kept.index(PART).reshape([ROWS, DIM])
    v = values_kept.index(PART).reshape([ROWS, DIM])
    dk_out = dk_place.index(PART).reshape([ROWS, DIM])
    dv_out = dv_place.index(PART).reshape([ROWS, DIM])
    number = 0
    for turn in range(turns_of(work)):
        line, first_key, first = keys_of(turn, work, CAUSAL)
        keys = first_key + PART * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, SCORES))
        # Lines of query heads, one after the other.
        at = gl.cast(line, gl.int64) * group * seq
        dk = gl.zeros([ROWS, DIM], gl.float32, OUT)
        dv = gl.zeros([ROWS, DIM], gl.float32, OUT)
        ds = gl.zeros([ROWS, BLOCK_M], k.dtype, gl.DotOperandLayout(0, OUT, 2))
        row = first
        mbarrier.wait(loaded.index(PART), turn & 1)
        ds, dk, dv = advance(
            ds, dk, dv, k, v, lse_ptr + at, delta_ptr + at, ring, keys, number, row, first, seq,
            factor, DIM, BLOCK_M, SLOTS, CAUSAL, True, SCORES, OUT,
        )  # fmt: skip
        number += 2
        for _ in range(1, group * gl.cdiv(seq - first, BLOCK_M)):
            row += BLOCK_M
            if row >= seq:
                row = first
                at += seq
            ds, dk, dv = advance(
                ds, dk, dv, k, v, lse_ptr + at, delta_ptr + at, ring, keys, number, row, first,
                seq, factor, DIM, BLOCK_M, SLOTS, CAUSAL, False, SCORES, OUT,
            )  # fmt: skip
            number += 2

        # Keys and values have been read, the last queries have not.
        if APART:
            mbarrier.arrive(free.index(PART), count=1)
        before = tiles.index((number - 2) % SLOTS).reshape([BLOCK_M, DIM])
        dk = warpgroup_mma(ds, before, dk, is_async=True)
        line, first_key, _ = keys_of(turn, work, CAUSAL)
        batch, kv_head, place = line // kv_heads, line % kv_heads, first_key + PART * ROWS
        if APART:
            # The results of the block before have left their place long ago.
            tma.store_wait(0)
        dv_out.store(dv.to(k.dtype))
        dk = warpgroup_mma_wait(0, deps=(dk,))
        release(number - 2, ring, SLOTS)
        dk_out.store((dk * scale).to(k.dtype))
        fence_async_shared()
        tma_store(dv_desc, [batch, kv_head, place, 0], dv_place.index(PART))
        tma_store(dk_desc, [batch, kv_head, place, 0], dk_place.index(PART))
        if not APART:
            tma.store_wait(0)
            mbarrier.arrive(free.index(PART), count=1)
    tma.store_wait(0)


@gluon.jit
def key_value_gluon_kernel(
    q_desc,
    do_desc,
    k_desc,
    v_desc,
    dk_desc,
    dv_desc,
    lse_ptr,
    delta_ptr,
    kv_heads,
    group,
    blocks,
    lines,
    together,
    seq,
    factor,
    scale,
    DIM: gl.constexpr,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    APART: gl.constexpr,
):
    """All blocks of 128 keys, as many programs as run at once. ``factor`` = scale · log₂e.

    Descriptors are of [batch, heads, seq, head_dim] with one head's rows as a block. ``blocks`` a
    line, and ``lines``, key heads of all sequences; ``together``: see `ring.block_of`. APART:
    results do not take the place of their keys and values, which leaves room for the next ones.
    """
    keys = gl.allocate_shared_memory(k_desc.dtype, [PARTS, 1, 1, ROWS, DIM], k_desc.layout)
    values = gl.allocate_shared_memory(v_desc.dtype, [PARTS, 1, 1, ROWS, DIM], v_desc.layout)
    tiles = gl.allocate_shared_memory(q_desc.dtype, [SLOTS, 1, 1, BLOCK_M, DIM], q_desc.layout)
    full, empty = guarded(SLOTS, PARTS)
    loaded, free = guarded(PARTS, 1)
    results = (keys, values)
    if APART:
        results = (
            gl.allocate_shared_memory(dk_desc.dtype, [PARTS, 1, 1, ROWS, DIM], dk_desc.layout),
            gl.allocate_shared_memory(dv_desc.dtype, [PARTS, 1, 1, ROWS, DIM], dv_desc.layout),
        )

    ring, kept = (tiles, full, empty), (keys, values, loaded, free)
    work = (blocks, lines, together, seq)
    # Registers a thread, out of 168 each: the loading warpgroup's are lent to the others.
    gl.warp_specialize(
        [
            (
                consume,
                (
                    dk_desc, dv_desc, lse_ptr, delta_ptr, kept, results, ring, work, kv_heads,
                    group, factor, scale, DIM, BLOCK_M, SLOTS, CAUSAL, APART, 0,
                ),
            ),
            (
                consume,
                (
                    dk_desc, dv_desc, lse_ptr, delta_ptr, kept, results, ring, work, kv_heads,
                    group, factor, scale, DIM, BLOCK_M, SLOTS, CAUSAL, APART, 1,
                ),
            ),
            (
                produce,
                (
                    q_desc, do_desc, k_desc, v_desc, kept, ring, work, kv_heads, group,
                    BLOCK_M, SLOTS, CAUSAL,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
