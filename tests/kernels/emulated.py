"""Run in a process of its own by test_variants.py: Gluon kernels under the emulator.

    python emulated.py agrees | refuses

``agrees``: attention's variant for sm_90, chosen as a table would choose it, against fp64 in fp16
(head dimensions, causal and not, shared key heads, lengths that fill no tile, rows that lie apart).
``refuses``: the same kernel with one line of its protocol changed, each of which the emulator must
see, or the results must tell.
"""

from __future__ import annotations

import math
import sys

import torch
from emulating import LIMIT, SHAPES, chosen, emulate, given, refuses

from bench.kernels import attention, tuning
from bench.kernels.arch.sm_90 import attention as variant
from bench.kernels.arch.sm_90 import tiles
from bench.kernels.arch.sm_90.jit import attention as source


def error(shape, dim, causal, constants, *, apart=0, seed=0):
    """The largest relative error of out and the absolute one of lse, everything written."""
    batch, heads, kv_heads, seq = shape
    q, k, v, out = given(
        shape, dim, apart, seed, q=heads, k=kv_heads, v=kv_heads, out=heads
    ).values()
    out.fill_(math.nan)
    lse = torch.full((batch, heads, seq), math.nan)
    with tuning.forcing("attention", constants):
        attention.forward(q, k, v, out, lse, causal=causal, arch="sm_90")
    keys, values = (one.double().repeat_interleave(heads // kv_heads, 1) for one in (k, v))
    scores = q.double() @ keys.transpose(-1, -2) / math.sqrt(dim)
    if causal:
        scores.masked_fill_(~torch.ones(seq, seq, dtype=torch.bool).tril(), -math.inf)
    wanted = scores.softmax(-1) @ values
    found = float((out.double() - wanted).norm() / wanted.norm())
    return max(found, float((lse - scores.logsumexp(-1)).abs().max()) / 10)


def agrees():
    """Everything that a table may choose, in orders drawn from several seeds."""
    number = 0
    for dim in attention.HEAD_DIMS:
        for causal in (True, False):
            for block_n in (64, 128):
                for shape in SHAPES:
                    number += 1
                    constants = chosen(block_n, 1 + number % 3)
                    # So few programs that they walk blocks of several heads, now all at a time,
                    # now head by head.
                    used = emulate(variant, seed=number, programs=1 + number % 3)
                    tiles.CACHED = 1 << (24 if number % 2 else 10)
                    apart = 8 * (number % 2)
                    found = error(shape, dim, causal, constants, apart=apart, seed=number)
                    assert used == ["forward_gluon_kernel"]
                    assert found <= LIMIT, (dim, causal, block_n, shape, found)


BREACHES = {
    "a slot is filled while it is read": (
        "    mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)\n", "",
    ),
    "the first round waits for a reader": ("(number // SLOTS & 1) ^ 1", "number // SLOTS & 1"),
    "the wrong phase of a full slot": (
        "number % SLOTS), number // SLOTS & 1)", "number % SLOTS), (number // SLOTS & 1) ^ 1)",
    ),
    "values are not waited for": ("    await_tile(values, ring, SLOTS)\n", ""),
    "the next keys are not waited for": ("    await_tile(values + 1, ring, SLOTS)\n", ""),
    "queries are not waited for": ("        mbarrier.wait(loaded.index(PART), turn & 1)\n", ""),
    "queries of the block before are taken": (
        "loaded.index(PART), turn & 1",
        "loaded.index(PART), 0",
    ),
    "queries are replaced while they are read": (
        "            mbarrier.wait(free.index(part), (turn & 1) ^ 1)\n", "",
    ),
    "queries are given back too early": (
        "        # The last scores are done with",
        "        mbarrier.arrive(free.index(PART), count=1)\n"
        "        # The last scores are done with",
    ),
    "queries are never given back": (
        "        if APART:\n            mbarrier.arrive(free.index(PART), count=1)\n", "",
    ),
    "half of the queries' bytes are expected": (
        "loaded.index(part), q_desc.block_type.nbytes",
        "loaded.index(part), q_desc.block_type.nbytes // 2",
    ),
    "scores are read while they are computed": (
        "warpgroup_mma_wait(1, deps=(scores,))", "warpgroup_mma_wait(2, deps=(scores,))",
    ),
    "keys are given back too early": (
        "    scores = warpgroup_mma_wait(1, deps=(scores,))\n    release(number, ring, SLOTS)\n",
        "    release(number, ring, SLOTS)\n    scores = warpgroup_mma_wait(1, deps=(scores,))\n",
    ),
    "values are given back too early": (
        "    total = warpgroup_mma_wait(0, deps=(total,))\n    release(values, ring, SLOTS)\n",
        "    release(values, ring, SLOTS)\n    total = warpgroup_mma_wait(0, deps=(total,))\n",
    ),
    "values are never given back": ("    release(values, ring, SLOTS)\n", ""),
    "the last values are never given back": (
        "        release(number, ring, SLOTS)\n        number += 1\n        if APART",
        "        number += 1\n        if APART",
    ),
    "one reader counts for two": (
        "mbarrier.init(empty.index(slot), count=READERS)",
        "mbarrier.init(empty.index(slot), count=1)",
    ),
    "a barrier that nobody made": ("        mbarrier.init(full.index(slot), count=1)\n", ""),
    "results are copied out unfenced": ("        fence_async_shared()\n", ""),
    "results are replaced while they are copied": (
        "        if APART:\n"
        "            # The results of the block before have left their place long ago.\n"
        "            tma.store_wait(0)\n", "",
    ),
    "results may still be copied at the end": ("\n    tma.store_wait(0)\n", "\n"),
    "the diagonal's second tile is not masked": (
        "SLOTS, CAUSAL, True, SCORES", "SLOTS, CAUSAL, False, SCORES",
    ),
    "the diagonal's second tile is left out": ("gl.minimum(MASKED, count)", "1"),
    "the sum is not shrunk": ("total = total * gl", "gl"),
    "every turn goes in the same order": (
        "    return gl.program_id(0) + (turn & 1) * (programs - 1 - 2 * gl.program_id(0))",
        "    return gl.program_id(0) * (turn & 1)",
    ),
}  # fmt: skip
"""What is wrong → the text of the kernel and what stands there instead."""


if __name__ == "__main__":
    if sys.argv[1] == "agrees":
        agrees()
    else:
        # Three blocks for two programs: one of them has two.
        refuses(
            variant, source, "forward_gluon_kernel", BREACHES,
            lambda: error((1, 1, 1, 300), 64, True, chosen(64, 2)),
        )  # fmt: skip
    sys.stdout.write("all examples passed\n")
