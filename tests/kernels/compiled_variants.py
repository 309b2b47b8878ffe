"""Run in a process of its own by test_variants.py: compile a variant for sm_90.

    python compiled_variants.py KEY HEAD_DIM BLOCK_M BLOCK_N SEQ VARIANT
    python compiled_variants.py VOCAB BLOCK NUM_WARPS

The first is attention's, the second cross_entropy's. Prints one JSON line: what the compiler made
of it, and of attention how many exponentials it has put between a loop's two waits for products, of
how many a tile has for a thread. KEY ``one_pass`` is all gradients at once: what its loops hold.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from bench.kernels import codegen, op, ops, tuning


def disassembled(binary):
    import triton

    tool = next(Path(triton.__file__).parent.glob("backends/*/bin/cuobjdump"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(tool), "-sass", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def beside_products(binary):
    """Exponentials from each wait that leaves products running to the next that leaves none."""
    found, count = [], None
    words = r"MUFU\.EX2|WARPGROUP\.DEPBAR\.LE gsb0, 0x\d"
    for word in re.findall(words, disassembled(binary)):
        if word.endswith("0x0"):
            found += [] if count is None else [count]
            count = None
        elif "DEPBAR" in word:
            count = count or 0
        elif count is not None:
            count += 1
    return found


LOOP = {
    "products": r"HGMMA", "exponentials": r"MUFU\.EX2", "stack": r"\bSTL", "sums": r"RED[G.]",
    "waits": r"WARPGROUP\.DEPBAR",
}  # fmt: skip
"""What is counted in a loop → its instructions."""


def loops_of_products(binary):
    """Counts of `LOOP` in the innermost loops that have products."""
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/ +(.*?) *;", disassembled(binary))
    jumps = [re.search(r"\bBRA\S* .*?0x([0-9a-f]+)", text) for _, text in lines]
    places = {int(place, 16): number for number, (place, _) in enumerate(lines)}
    spans = [
        (places[int(jump[1], 16)], number)
        for number, jump in enumerate(jumps)
        if jump and places.get(int(jump[1], 16), number) < number
    ]
    texts = {
        (low, high): "\n".join(text for _, text in lines[low : high + 1]) for low, high in spans
    }
    # Waits for barriers, which lie behind all else, jump back past the end of a block.
    busy = [one for one in spans if "HGMMA" in texts[one] and "UTMASTG" not in texts[one]]
    inner = [
        one for one in busy
        if not any(one != two and one[0] <= two[0] and two[1] <= one[1] for two in busy)
    ]  # fmt: skip
    return [
        {name: len(re.findall(what, texts[one])) for name, what in LOOP.items()} for one in inner
    ]


FUNCTIONS = {
    "attention": "forward_gluon_kernel",
    "attention_query": "query_gluon_kernel",
    "attention_key_value": "key_value_gluon_kernel",
    "one_pass": "whole_gluon_kernel",
    "cross_entropy": "gluon_kernel",
}


def compiled(name, case, key, chosen, function):
    """What was made of the variant that a configuration of the key launches, and its binary."""
    with tuning.forcing(key, chosen):
        kernels = codegen.kernels_of(ops.get(name), case)
    (kernel,) = (one for one in kernels if one.function == function)
    found = {**asdict(codegen.build(kernel, "sm_90")), "kernel": kernel.function}
    return found, codegen._compile(kernel, "sm_90").asm["cubin"]


def attention(key, dim, block_m, block_n, seq, variant):
    dim, block_m, block_n, seq = int(dim), int(block_m), int(block_n), int(seq)
    heads = 1 if seq == 1 else 8
    case = op.Case("attention", (1, heads, max(1, heads // 4), seq, dim), "bf16", variant, "sm_90")
    chosen = {
        "block_m": block_m, "block_n": block_n, "num_warps": 8, "num_stages": 2, "tma": 1,
        "arch_variant": 1,
    }  # fmt: skip
    function = FUNCTIONS[key]
    if key == "one_pass":
        key, chosen = "attention_key_value", {**chosen, "num_stages": 3, "one_pass": 1}
    # Where that is asked for, kernels that write their own rows come in the place of one for all.
    torch.use_deterministic_algorithms(not chosen.get("one_pass"))
    found, binary = compiled("attention", case, key, chosen, function)
    if chosen.get("one_pass"):
        return {**found, "loops": loops_of_products(binary), "tile": block_m * block_n // 256}
    return {**found, "beside": beside_products(binary), "tile": block_m * block_n // 256}


def cross_entropy(vocab, block, warps):
    case = op.Case("cross_entropy", (1024, int(vocab)), "bf16", "", "sm_90")
    chosen = {
        "block": int(block), "num_warps": int(warps), "num_stages": 1, "waves": 1,
        "arch_variant": 1,
    }  # fmt: skip
    return compiled("cross_entropy", case, "cross_entropy", chosen, FUNCTIONS["cross_entropy"])[0]


if __name__ == "__main__":
    run = cross_entropy if sys.argv[1].isdecimal() else attention
    sys.stdout.write(json.dumps(run(*sys.argv[1:])) + "\n")
