"""Run in a process of its own by test_variants.py: attention's backward pass under the emulator.

    python emulated_backward.py agrees | refuses

As `emulated.py`: the variants for sm_90 of the kernels that the backward pass launches, against
fp64. Their portable companions are not run.
"""

from __future__ import annotations

import contextlib
import functools
import sys

import around
import torch
from emulating import LIMIT, SHAPES, chosen, emulate, given, refuses

from bench.kernels import attention, tuning
from bench.kernels.arch.sm_90 import attention_backward as variant
from bench.kernels.arch.sm_90 import tiles
from bench.kernels.arch.sm_90.jit import attention_key_value, attention_query, attention_whole

RESULTS = {
    "attention_query": ("dq",), "attention_key_value": ("dk", "dv"), "one_pass": ("dq", "dk", "dv"),
}  # fmt: skip
"""What the kernel of a key writes, or the one for all."""


def portable(kernel, grid, *arguments, **constants):
    """Stands in for launches of portable kernels: deltas are computed, the rest left out."""
    if kernel.fn.__name__ == "delta_kernel":
        out, do, delta = arguments[:3]
        delta.copy_((out.float() * do.float()).sum(-1))


attention.launch = portable
BESIDE = {
    "prepare_kernel": lambda given: around.prepare(*given[:5]),
    "finish_kernel": lambda given: around.finish(given[0], given[1], given[3]),
}


def error(key, shape, dim, causal, constants, *, apart=0, seed=0, large=1.0):
    """The largest relative error of the results of one key's variant."""
    batch, heads, kv_heads, seq = shape
    ins = given(shape, dim, apart, seed, q=heads, k=kv_heads, v=kv_heads, do=heads, out=heads)
    ins["q"] *= large
    wide = {name: one.double() for name, one in ins.items()}
    keys = wide["k"].repeat_interleave(heads // kv_heads, 1)
    scores = wide["q"] @ keys.transpose(-1, -2) / dim**0.5
    if causal:
        scores.masked_fill_(~torch.ones(seq, seq, dtype=torch.bool).tril(), float("-inf"))
    group, wanted = heads // kv_heads, {"dq": [], "dk": [], "dv": []}
    for b in range(batch):
        for h in range(kv_heads):
            mine = slice(h * group, (h + 1) * group)
            part = {n: one[b, h] if n in "kv" else one[b, mine] for n, one in wide.items()}
            found = attention._one_group(part, causal)
            ins["out"][b, mine] = found["out"]
            for name, rows in wanted.items():
                rows.append(found[name])
    lse = scores.logsumexp(-1).float()
    results = {
        name: torch.full(ins[name[1:]].shape, float("nan"), dtype=torch.float16)
        for name in ("dq", "dk", "dv")
    }
    q, k, v, do, out = (ins[name] for name in ("q", "k", "v", "do", "out"))
    with contextlib.ExitStack() as stack:
        configured = "attention_key_value" if key == "one_pass" else key
        for one in ("attention_query", "attention_key_value"):
            on = constants if one == configured else {"block_m": 64, "block_n": 64}
            stack.enter_context(tuning.forcing(one, on))
        attention.backward(do, q, k, v, out, lse, *results.values(), causal=causal, arch="sm_90")
    errors = []
    for name in RESULTS[key]:
        right = torch.stack(wanted[name]).reshape(results[name].shape)
        # One key alone has all the weight: gradients of scores vanish but for rounding.
        size = right.norm() if seq > 1 or name == "dv" else right.numel() ** 0.5
        errors.append((results[name].double() - right).norm() / size)
    return float(torch.stack(errors).max())  # of which NaN is the largest


CASES = [
    ("attention_query", 64, 128), ("attention_query", 128, 128), ("attention_key_value", 128, 64),
    ("one_pass", 128, 64),
]  # fmt: skip
"""Key, block_n, block_m."""


LAUNCHED = {"one_pass": ["prepare_kernel", "whole_gluon_kernel", "finish_kernel"]}


def agrees():
    """Everything that a table may choose, in orders drawn from several seeds."""
    number = 0
    for key, block_n, block_m in CASES:
        for dim in (64, 128) if key != "one_pass" else (128,):
            for causal in (True, False):
                for shape in SHAPES:
                    number += 1
                    constants = chosen(block_n, 2 + number % 2, block_m, number % 4 > 0)
                    if key == "one_pass":
                        constants |= {"one_pass": 1}
                    used = emulate(variant, seed=number, programs=1 + number % 3, beside=BESIDE)
                    tiles.CACHED = 1 << (24 if number % 2 else 10)
                    apart = 8 * (number % 2)
                    found = error(key, shape, dim, causal, constants, apart=apart, seed=number)
                    assert used == LAUNCHED.get(key, [f"{key[10:]}_gluon_kernel"])
                    assert found <= LIMIT, (key, dim, causal, shape, found)
    # Of keys past the end there are no weights, however small those of the others are.
    for seed in range(4):
        emulate(variant, seed=seed, beside=BESIDE)
        constants = chosen(128, 2, 64) | {"one_pass": 1}
        assert error("one_pass", SHAPES[0], 128, False, constants, seed=seed, large=1e3) <= LIMIT


QUERY = {
    "a slot is filled while it is read": (
        "    mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)\n", "",
    ),
    "keys are not waited for": ("    await_tile(number, ring, SLOTS)\n", ""),
    "values are not waited for": ("    await_tile(number + 1, ring, SLOTS)\n", "    pass\n"),
    "queries are not waited for": ("        mbarrier.wait(loaded.index(PART), turn & 1)\n", ""),
    "queries of the block before are taken": (
        "loaded.index(PART), turn & 1",
        "loaded.index(PART), 0",
    ),
    "queries are replaced while they are read": (
        "            mbarrier.wait(free.index(part), (turn & 1) ^ 1)\n", "",
    ),
    "the bytes of queries alone are expected": (
        "2 * q_desc.block_type.nbytes",
        "q_desc.block_type.nbytes",
    ),
    "queries are never given back": (
        "        if APART:\n            mbarrier.arrive(free.index(PART), count=1)\n", "",
    ),
    "scores are read while they are computed": (
        "warpgroup_mma_wait(ALL + (not FIRST), deps=(scores,))",
        "warpgroup_mma_wait(3, deps=(scores,))",
    ),
    "products with values are read while they are computed": (
        "warpgroup_mma_wait(not FIRST, deps=(dp,))", "warpgroup_mma_wait(2, deps=(dp,))",
    ),
    "keys are given back before they are summed": (
        "        total = warpgroup_mma_wait(0, deps=(total,))\n"
        "        release(number - 2, ring, SLOTS)\n    if",
        "        release(number - 2, ring, SLOTS)\n"
        "        total = warpgroup_mma_wait(0, deps=(total,))\n    if",
    ),
    "keys are given back after their scores": (
        "    if not FIRST:\n        total = warpgroup_mma(ds",
        "    release(number, ring, SLOTS)\n    if not FIRST:\n        total = warpgroup_mma(ds",
    ),
    "values are never given back": ("    release(number + 1, ring, SLOTS)\n", ""),
    "the last keys are never given back": (
        "        release(number - 2, ring, SLOTS)\n        if APART", "        if APART",
    ),
    "results are copied out unfenced": ("        fence_async_shared()\n", ""),
    "results are replaced while they are copied": (
        "        if APART:\n"
        "            # The results of the block before have left their place long ago.\n"
        "            tma.store_wait(0)\n", "",
    ),
    "results may still be copied at the end": ("\n    tma.store_wait(0)\n", "\n"),
    "the diagonal's second tile is not masked": (
        "CAUSAL, True, False, SCORES", "CAUSAL, False, False, SCORES",
    ),
    "the diagonal's first tile is not masked": (
        "CAUSAL, True, True, SCORES", "CAUSAL, False, True, SCORES",
    ),
    "the diagonal's second tile is left out": ("gl.minimum(MASKED, count)", "1"),
    "the last product is left out": (
        "        total = warpgroup_mma(ds, before, total, is_async=True)\n        line",
        "        line",
    ),
    "deltas are left out": ("p * (dp - delta[:, None])", "p * dp"),
}  # fmt: skip
KEY_VALUE = {
    "a slot is filled while it is read": (
        "    mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)\n", "",
    ),
    "queries are not waited for": ("    await_tile(number, ring, SLOTS)\n", ""),
    "gradients are not waited for": ("    await_tile(number + 1, ring, SLOTS)\n", ""),
    "keys are not waited for": ("        mbarrier.wait(loaded.index(PART), turn & 1)\n", ""),
    "keys of the block before are taken": (
        "loaded.index(PART), turn & 1", "loaded.index(PART), 0",
    ),
    "keys are replaced while they are read": (
        "            mbarrier.wait(free.index(part), (turn & 1) ^ 1)\n", "",
    ),
    "the bytes of keys alone are expected": (
        "2 * k_desc.block_type.nbytes", "k_desc.block_type.nbytes",
    ),
    "keys are never given back": (
        "        if APART:\n            mbarrier.arrive(free.index(PART), count=1)\n", "",
    ),
    "scores are read while they are computed": (
        "warpgroup_mma_wait(not FIRST, deps=(scores,))", "warpgroup_mma_wait(2, deps=(scores,))",
    ),
    "products with values are read while they are computed": (
        "warpgroup_mma_wait(1, deps=(dp,))", "warpgroup_mma_wait(2, deps=(dp,))",
    ),
    "queries are given back before they are summed": (
        "        dk = warpgroup_mma_wait(0, deps=(dk,))\n        release(number - 2, ring, SLOTS)\n"
        "    weights",
        "        release(number - 2, ring, SLOTS)\n        dk = warpgroup_mma_wait(0, deps=(dk,))\n"
        "    weights",
    ),
    "gradients are never given back": ("    release(number + 1, ring, SLOTS)\n", ""),
    "the last queries are never given back": (
        "        release(number - 2, ring, SLOTS)\n        dk_out", "        dk_out",
    ),
    "results are copied out unfenced": ("        fence_async_shared()\n", ""),
    "results are replaced while they are copied": (
        "            tma.store_wait(0)\n        dv_out", "            pass\n        dv_out",
    ),
    "results may still be copied at the end": ("\n    tma.store_wait(0)\n", "\n"),
    "the diagonal is not masked": ("if row < first + ROWS * PARTS:", "if False:"),
    "half of the diagonal is not masked": (
        "if row < first + ROWS * PARTS:", "if row < first + ROWS:",
    ),
    "the next head's weights are the first one's": ("                at += seq\n", ""),
    "the last product is left out": (
        "        dk = warpgroup_mma(ds, before, dk, is_async=True)\n        line", "        line",
    ),
    "deltas are left out": ("gl.convert_layout(delta, COLUMNS)", "0 * delta"),
}  # fmt: skip
ONE_PASS = {
    "a slot is filled while it is read": (
        "    mbarrier.wait(empty.index(slot), (number // SLOTS & 1) ^ 1)\n", "",
    ),
    "queries are not waited for": ("    await_tile(number, ring, SLOTS)\n", ""),
    "gradients are not waited for": ("    await_tile(number + 1, ring, SLOTS)\n", ""),
    "keys are not waited for": (
        "            mbarrier.wait(loaded.index(part), turn & 1)\n", "            pass\n",
    ),
    "keys of the block before are taken": (
        "loaded.index(part), turn & 1", "loaded.index(part), 0",
    ),
    "keys are never given back": ("        mbarrier.arrive(free.index(PART), count=1)\n", ""),
    "the other warpgroup's share is not waited for": (
        "    mbarrier.wait(ready.index((now & 1) * PARTS + 1 - PART), now // 2 & 1)\n", "",
    ),
    "shares of two tiles have one place": ("& 1) * PARTS", "& 0) * PARTS"),
    "shares are read unfenced": (
        "    fence_async_shared()\n    mbarrier.arrive(ready", "    mbarrier.arrive(ready",
    ),
    "scores are read while they are computed": (
        "warpgroup_mma_wait(1, deps=(scores,))", "warpgroup_mma_wait(2, deps=(scores,))",
    ),
    "products with values are read while they are computed": (
        "warpgroup_mma_wait(1, deps=(dp,))", "warpgroup_mma_wait(2, deps=(dp,))",
    ),
    "queries are given back before they are summed": (
        "    dv, dk, dq = warpgroup_mma_wait(0, deps=(dv, dk, dq))\n"
        "    release(number, ring, SLOTS)\n",
        "    release(number, ring, SLOTS)\n"
        "    dv, dk, dq = warpgroup_mma_wait(0, deps=(dv, dk, dq))\n",
    ),
    "gradients are never given back": ("    release(number + 1, ring, SLOTS)\n", ""),
    "results replace keys that the other warpgroup reads": (
        "        mbarrier.wait(done.index(0), turn & 1)\n", "",
    ),
    "results are copied out unfenced": (
        "        fence_async_shared()\n        tma_store", "        tma_store",
    ),
    "keys are replaced while results are copied": ("        tma.store_wait(0)\n", ""),
    "the diagonal is not masked": ("SLOTS, True, True,", "SLOTS, True, False,"),
    "the next head's sums begin at the first tile": ("            tile += first // BLOCK_M\n", ""),
    "halves of columns change places": ("* PARTS + PART) * (ROWS", "* PARTS + 1 - PART) * (ROWS"),
    "deltas are left out": ("(dp - delta[None, :])", "dp"),
}  # fmt: skip
"""What is wrong → the text of the kernel and what stands there instead."""


def wrong(key, name, source, breaches, heads, constants, dim=64, seeds=3):
    """Three blocks a line for two programs: one of them has more than one."""
    shape = (1, heads, 1, 300)
    run = functools.partial(error, key, shape, dim, True, constants)
    refuses(variant, source, name, breaches, run, BESIDE, seeds)


if __name__ == "__main__":
    if sys.argv[1] == "agrees":
        agrees()
    else:
        wrong(
            "attention_query", "query_gluon_kernel", attention_query, QUERY, 1, chosen(64, 2),
        )  # fmt: skip
        wrong(
            "attention_key_value", "key_value_gluon_kernel", attention_key_value, KEY_VALUE, 2,
            chosen(128, 2, 64),
        )  # fmt: skip
        wrong(
            "one_pass", "whole_gluon_kernel", attention_whole, ONE_PASS, 2,
            chosen(128, 2, 64) | {"one_pass": 1}, 128, 1,
        )  # fmt: skip
    sys.stdout.write("all examples passed\n")
