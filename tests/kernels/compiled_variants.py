"""Run in a process of its own by test_variants.py: compile a variant for sm_90.

    python compiled_variants.py HEAD_DIM BLOCK_N SEQ causal|full
    python compiled_variants.py VOCAB BLOCK NUM_WARPS

The first is attention's, the second cross_entropy's. Prints one JSON line: what the compiler made
of it, and of attention how many exponentials it has put between a loop's two waits for products, of
how many a tile has for a thread.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.kernels import codegen, op, ops, tuning


def beside_products(binary):
    """Exponentials from each wait that leaves a product running to the next that leaves none."""
    import triton

    tool = next(Path(triton.__file__).parent.glob("backends/*/bin/cuobjdump"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(tool), "-sass", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, count = [], None
    for word in re.findall(r"MUFU\.EX2|WARPGROUP\.DEPBAR\.LE gsb0, 0x\d", text):
        if word.endswith("0x1"):
            count = 0
        elif word.endswith("0x0"):
            found += [] if count is None else [count]
            count = None
        elif count is not None:
            count += 1
    return found


def compiled(op_, case, chosen):
    """What was made of the one kernel that a configuration launches, and its binary."""
    with tuning.forcing(op_, chosen):
        (kernel,) = codegen.kernels_of(ops.get(op_), case)
    found = {**asdict(codegen.build(kernel, "sm_90")), "kernel": kernel.function}
    return found, codegen._compile(kernel, "sm_90").asm["cubin"]


def attention(dim, block_n, seq, variant):
    dim, block_n, seq = int(dim), int(block_n), int(seq)
    heads = 1 if seq == 1 else 8
    case = op.Case("attention", (1, heads, max(1, heads // 4), seq, dim), "bf16", variant, "sm_90")
    chosen = {
        "block_m": 128, "block_n": block_n, "num_warps": 8, "num_stages": 2, "tma": 1,
        "arch_variant": 1,
    }  # fmt: skip
    found, binary = compiled("attention", case, chosen)
    return {**found, "beside": beside_products(binary), "tile": 64 * block_n // 128}


def cross_entropy(vocab, block, warps):
    case = op.Case("cross_entropy", (1024, int(vocab)), "bf16", "", "sm_90")
    chosen = {
        "block": int(block), "num_warps": int(warps), "num_stages": 1, "waves": 1,
        "arch_variant": 1,
    }  # fmt: skip
    return compiled("cross_entropy", case, chosen)[0]


if __name__ == "__main__":
    run = attention if sys.argv[-1] in ("causal", "full") else cross_entropy
    sys.stdout.write(json.dumps(run(*sys.argv[1:])) + "\n")
