"""dQ, dK and dV of `attention` in one pass, in Gluon: five products a tile instead of seven.

A program walks blocks of 128 keys of one key head, 64 for each of two computing warpgroups, as for
dK and dV alone (`attention_key_value`). With Sᵀ = K·Qᵀ and dPᵀ = V·dOᵀ,

    Pᵀ = exp2(Sᵀ · scale · log₂e - lse · log₂e),  dV = Pᵀ·dO,
    dSᵀ = Pᵀ ∘ (dPᵀ - delta),                     dK = scale · dSᵀ·Q,  dQ = scale · dS·K.

Pᵀ and dSᵀ are operands as registers hold them. For dQ, whose sum goes over keys, dSᵀ goes through
shared memory: each warpgroup reads both warpgroups' shares and sums half of the columns. These sums
are added to fp32 memory tile by tile, straight from registers; shared memory has no time for them.

What a tile of 64 queries and 128 keys takes of a processor, in cycles: products 2560 (five times
512; the two kernels take seven); shared memory, 128 bytes a cycle, as much: 2048 for operands, 256
for queries and gradients that arrive, 128 for dS, 128 for lse and delta; exponentials 512;
instructions 860. Two limits are equal, so that neither will be reached; FlashAttention-3, whose
order of products this is (Shah et al., 2024), shares them, and moves sums of dQ through shared
memory in addition. What a warpgroup computes runs beside the other's products and its own: P beside
dP, dS beside dV. All of them end within a tile, and nothing but dK and dV lives from one to the
next: the assembler makes products wait for each other that stay under way across a loop's end, and
sums of three that a wave of exponentials is computed beside do not fit 240 registers.

lse and delta come with the tile that they belong to, so that a thread reads those of its columns
from shared memory; distributed by the warps themselves they cost twice as much of it.
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

from .attention_key_value import keys_of
from .ring import (
    PARTS,
    ROWS,
    await_tile,
    guarded,
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
    line_desc,
    kept,
    ring,
    lines_kept,
    work,
    kv_heads,
    group,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
):
    """Load keys and values of every block, then queries, gradients and what belongs to a row."""
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
                place = ((line * group + member) * gl.cdiv(seq, BLOCK_M) + row // BLOCK_M) * 2
                pair(q_desc, line_desc, batch, head, row, place, number, ring, lines_kept, SLOTS)
                pair(
                    do_desc, line_desc, batch, head, row, place + 1, number + 1, ring, lines_kept,
                    SLOTS,
                )  # fmt: skip
                number += 2


@gluon.jit
def pair(desc, line_desc, batch, head, row, place, number, ring, lines_kept, SLOTS: gl.constexpr):
    """Start to load tile ``number`` and the figures of its rows as soon as their slot is free."""
    tiles, full, empty = ring
    slot = number % SLOTS
    mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)
    mbarrier.expect(full.index(slot), desc.block_type.nbytes + line_desc.block_type.nbytes)
    tma_load(desc, [batch, head, row, 0], full.index(slot), tiles.index(slot))
    tma_load(line_desc, [place * 64], full.index(slot), lines_kept.index(slot))


@gluon.jit
def add_part(total, dq_ptr, tile, DIM: gl.constexpr, PART: gl.constexpr):
    """Add a warpgroup's half of a tile of dQ to memory, in the order in which threads hold it.

    The compiler adds two neighbouring numbers at a time.
    """
    WIDE: gl.constexpr = DIM // 2
    # Rows are 16 a warp, those of a thread eight apart; columns go by eights, two a thread. In
    # this order 32 threads add to 256 bytes that lie together.
    inner = total.reshape([4, 2, 8, WIDE // 8, 8]).permute([1, 3, 0, 2, 4])
    flat = inner.reshape([ROWS * WIDE])
    place = (gl.cast(tile, gl.int64) * PARTS + PART) * (ROWS * WIDE)
    offsets = gl.arange(0, ROWS * WIDE, layout=flat.type.layout)
    gl.atomic_add(dq_ptr + place + offsets, flat, sem="relaxed")


@gluon.jit
def advance(
    dk,
    dv,
    k,
    v,
    dq_ptr,
    kept_keys,
    shares,
    ring,
    lines_kept,
    keys,
    number,
    row,
    tile,
    seq,
    factor,
    DIM: gl.constexpr,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    MASK: gl.constexpr,
    PART: gl.constexpr,
    SCORES: gl.constexpr,
    OUT: gl.constexpr,
    HALF: gl.constexpr,
):
    """Take in the queries from ``row``, tiles ``number`` and number + 1 of the ring."""
    COLUMNS: gl.constexpr = gl.SliceLayout(0, SCORES)
    tiles, _, _ = ring
    q = tiles.index(number % SLOTS).reshape([BLOCK_M, DIM])
    do = tiles.index((number + 1) % SLOTS).reshape([BLOCK_M, DIM])
    own, ready = shares
    scores = gl.zeros([ROWS, BLOCK_M], gl.float32, SCORES)
    await_tile(number, ring, SLOTS)
    scores = warpgroup_mma(k, q.permute([1, 0]), scores, use_acc=False, is_async=True)
    await_tile(number + 1, ring, SLOTS)
    dp = gl.zeros([ROWS, BLOCK_M], gl.float32, SCORES)
    dp = warpgroup_mma(v, do.permute([1, 0]), dp, use_acc=False, is_async=True)
    scores = warpgroup_mma_wait(1, deps=(scores,))
    p = gl.exp2(scores * factor - lines_kept.index(number % SLOTS).load(COLUMNS)[None, :])
    if MASK:
        if CAUSAL:
            places = row + gl.arange(0, BLOCK_M, layout=COLUMNS)
            p = gl.where(places[None, :] >= keys[:, None], p, 0.0)
        else:
            # Past the end scores are zero, beside which exp2(-lse) may overflow: inf · 0 is NaN.
            p = gl.where((keys < seq)[:, None], p, 0.0)
    weights = gl.convert_layout(p.to(k.dtype), gl.DotOperandLayout(0, OUT, 2))
    # The assembler moves arithmetic past a wait for products, but not past a branch. Waits for
    # what has arrived long ago keep it beside the products that still run.
    await_tile(number + 1, ring, SLOTS)
    dv = warpgroup_mma(weights, do, dv, is_async=True)
    dp = warpgroup_mma_wait(1, deps=(dp,))
    delta = lines_kept.index((number + 1) % SLOTS).load(COLUMNS)
    fresh = (p * (dp - delta[None, :])).to(k.dtype)
    # Shares of two tiles: who writes the next but one has waited for the other's next, before which
    # that one has read this.
    now = number // 2
    own.index((now & 1) * PARTS + PART).store(fresh)
    fence_async_shared()
    mbarrier.arrive(ready.index((now & 1) * PARTS + PART), count=1)
    ds = gl.convert_layout(fresh, gl.DotOperandLayout(0, OUT, 2))
    dk = warpgroup_mma(ds, q, dk, is_async=True)
    dq = gl.zeros([BLOCK_M, DIM // 2], gl.float32, HALF)
    dq = part_of_dq(dq, own, kept_keys, now, DIM, BLOCK_M, PART, PART, False)
    mbarrier.wait(ready.index((now & 1) * PARTS + 1 - PART), now // 2 & 1)
    dq = part_of_dq(dq, own, kept_keys, now, DIM, BLOCK_M, PART, 1 - PART, True)
    dv, dk, dq = warpgroup_mma_wait(0, deps=(dv, dk, dq))
    release(number, ring, SLOTS)
    release(number + 1, ring, SLOTS)
    add_part(dq, dq_ptr, tile, DIM, PART)
    return dk, dv


@gluon.jit
def part_of_dq(
    dq,
    own,
    kept_keys,
    past,
    DIM: gl.constexpr,
    BLOCK_M: gl.constexpr,
    PART: gl.constexpr,
    OTHER: gl.constexpr,
    ADD: gl.constexpr,
):
    """dQ's columns of warpgroup PART by the keys of warpgroup OTHER."""
    ds = own.index((past & 1) * PARTS + OTHER).permute([1, 0])
    k = kept_keys.index(OTHER).reshape([ROWS, DIM]).slice(PART * (DIM // 2), DIM // 2, dim=1)
    return warpgroup_mma(ds, k, dq, use_acc=ADD, is_async=True)


@gluon.jit
def consume(
    dk_desc,
    dv_desc,
    dq_ptr,
    kept,
    shares,
    ring,
    lines_kept,
    work,
    kv_heads,
    group,
    factor,
    scale,
    DIM: gl.constexpr,
    BLOCK_M: gl.constexpr,
    SLOTS: gl.constexpr,
    CAUSAL: gl.constexpr,
    RAGGED: gl.constexpr,
    PART: gl.constexpr,
):
    """The keys of one warpgroup against all their queries, block after block."""
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_M, 16])
    OUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    HALF: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM // 2, 16])
    keys_kept, values_kept, loaded, free = kept
    own, ready, done = shares
    _, _, _, seq = work
    k = keys_kept.index(PART).reshape([ROWS, DIM])
    v = values_kept.index(PART).reshape([ROWS, DIM])
    number = 0
    for turn in range(turns_of(work)):
        line, first_key, first = keys_of(turn, work, CAUSAL)
        keys = first_key + PART * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, SCORES))
        # Tiles of dQ, query head after query head.
        tile = (line * group) * gl.cdiv(seq, BLOCK_M) + first // BLOCK_M
        dk = gl.zeros([ROWS, DIM], gl.float32, OUT)
        dv = gl.zeros([ROWS, DIM], gl.float32, OUT)
        for part in gl.static_range(PARTS):
            mbarrier.wait(loaded.index(part), turn & 1)
        for _ in range(group):
            row = first
            if CAUSAL:
                # Tiles that the diagonal may cross; those behind them need no mask.
                for _ in range(gl.minimum(ROWS * PARTS // BLOCK_M, gl.cdiv(seq - first, BLOCK_M))):
                    dk, dv = advance(
                        dk, dv, k, v, dq_ptr, keys_kept, (own, ready), ring, lines_kept, keys,
                        number, row, tile, seq, factor, DIM, BLOCK_M, SLOTS, True, True,
                        PART, SCORES, OUT, HALF,
                    )  # fmt: skip
                    number += 2
                    row += BLOCK_M
                    tile += 1
            for _ in range(row, seq, BLOCK_M):
                dk, dv = advance(
                    dk, dv, k, v, dq_ptr, keys_kept, (own, ready), ring, lines_kept, keys,
                    number, row, tile, seq, factor, DIM, BLOCK_M, SLOTS, False,
                    RAGGED and not CAUSAL, PART, SCORES, OUT, HALF,
                )  # fmt: skip
                number += 2
                tile += 1
            tile += first // BLOCK_M
        mbarrier.arrive(done.index(0), count=1)
        v.store(dv.to(k.dtype))
        line, first_key, _ = keys_of(turn, work, CAUSAL)
        batch, kv_head, place = line // kv_heads, line % kv_heads, first_key + PART * ROWS
        # Both warpgroups have read all keys.
        mbarrier.wait(done.index(0), turn & 1)
        k.store((dk * scale).to(k.dtype))
        fence_async_shared()
        tma_store(dv_desc, [batch, kv_head, place, 0], values_kept.index(PART))
        tma_store(dk_desc, [batch, kv_head, place, 0], keys_kept.index(PART))
        tma.store_wait(0)
        mbarrier.arrive(free.index(PART), count=1)


@gluon.jit
def whole_gluon_kernel(
    q_desc,
    do_desc,
    k_desc,
    v_desc,
    dk_desc,
    dv_desc,
    line_desc,
    dq_ptr,
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
    RAGGED: gl.constexpr,
):
    """All blocks of 128 keys, as many programs as run at once. ``factor`` = scale · log₂e.

    Descriptors are of [batch, heads, seq, head_dim] with one head's rows as a block; ``line_desc``
    is of figures as `attention_around.prepare_kernel` leaves them, to whose sums ``dq_ptr`` points:
    fp32 [lines of queries, tiles, 2, 64 · head_dim / 2] in the order of `add_part`. ``blocks`` a
    line, and ``lines``, key heads of all sequences; ``together``: see `ring.block_of`. RAGGED: the
    last block of keys has some past the end. Results take the place of their keys and values.
    """
    keys = gl.allocate_shared_memory(k_desc.dtype, [PARTS, 1, 1, ROWS, DIM], k_desc.layout)
    values = gl.allocate_shared_memory(v_desc.dtype, [PARTS, 1, 1, ROWS, DIM], v_desc.layout)
    tiles = gl.allocate_shared_memory(q_desc.dtype, [SLOTS, 1, 1, BLOCK_M, DIM], q_desc.layout)
    lines_kept = gl.allocate_shared_memory(gl.float32, [SLOTS, BLOCK_M], line_desc.layout)
    SHARES: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    own = gl.allocate_shared_memory(q_desc.dtype, [2 * PARTS, ROWS, BLOCK_M], SHARES)
    full, empty = guarded(SLOTS, PARTS)
    loaded, free = guarded(PARTS, 1)
    ready, _ = guarded(2 * PARTS, 1)
    _, done = guarded(1, PARTS)

    ring, kept, shares = (tiles, full, empty), (keys, values, loaded, free), (own, ready, done)
    work = (blocks, lines, together, seq)
    # Registers a thread, out of 168 each: the loading warpgroup's are lent to the others.
    gl.warp_specialize(
        [
            (
                consume,
                (
                    dk_desc, dv_desc, dq_ptr, kept, shares, ring, lines_kept, work, kv_heads,
                    group, factor, scale, DIM, BLOCK_M, SLOTS, CAUSAL, RAGGED, 0,
                ),
            ),
            (
                consume,
                (
                    dk_desc, dv_desc, dq_ptr, kept, shares, ring, lines_kept, work, kv_heads,
                    group, factor, scale, DIM, BLOCK_M, SLOTS, CAUSAL, RAGGED, 1,
                ),
            ),
            (
                produce,
                (
                    q_desc, do_desc, k_desc, v_desc, line_desc, kept, ring, lines_kept, work,
                    kv_heads, group, BLOCK_M, SLOTS, CAUSAL,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
