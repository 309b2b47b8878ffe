"""Run in a process of its own by test_variants.py: compile a variant for sm_90.

    python compiled_variants.py KEY HEAD_DIM BLOCK_M BLOCK_N SEQ VARIANT
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
    """Exponentials from each wait that leaves products running to the next that leaves none."""
    import triton

    tool = next(Path(triton.__file__).parent.glob("backends/*/bin/cuobjdump"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(tool), "-sass", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, count = [], None
    for word in re.findall(r"MUFU\.EX2|WARPGROUP\.DEPBAR\.LE gsb0, 0x\d", text):
        if word.endswith("0x0"):
            found += [] if count is None else [count]
            count = None
        elif "DEPBAR" in word:
            count = count or 0
        elif count is not None:
            count += 1
    return found


FUNCTIONS = {
    "attention": "forward_gluon_kernel",
    "attention_query": "query_gluon_kernel",
    "attention_key_value": "key_value_gluon_kernel",
    "cross_entropy": "gluon_kernel",
}


def compiled(name, case, key, chosen):
    """What was made of the variant that a configuration of the key launches, and its binary."""
    with tuning.forcing(key, chosen):
        kernels = codegen.kernels_of(ops.get(name), case)
    (kernel,) = (one for one in kernels if one.function == FUNCTIONS[key])
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
    found, binary = compiled("attention", case, key, chosen)
    return {**found, "beside": beside_products(binary), "tile": block_m * block_n // 256}


def cross_entropy(vocab, block, warps):
    case = op.Case("cross_entropy", (1024, int(vocab)), "bf16", "", "sm_90")
    chosen = {
        "block": int(block), "num_warps": int(warps), "num_stages": 1, "waves": 1,
        "arch_variant": 1,
    }  # fmt: skip
    return compiled("cross_entropy", case, "cross_entropy", chosen)[0]


if __name__ == "__main__":
    run = attention if sys.argv[1].startswith("attention") else cross_entropy
    sys.stdout.write(json.dumps(run(*sys.argv[1:])) + "\n")
