"""Run in a process of its own by test_compiled.py: compile every tuned configuration.

Prints one JSON line a configuration: shared memory, spills (from cuobjdump where there is one),
and whether the assembly uses warp-group matrix instructions.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.kernels import tuning
from bench.kernels.gemm import kernel as gemm_kernel
from bench.kernels.stream import kernel as stream_kernel

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
POINTERS = {"fp16": "*fp16", "bf16": "*bf16", "fp32": "*fp32", "tf32": "*fp32", "fp64": "*fp64"}
ALIGNED = [["tt.divisibility", 16]]
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def sources(op, dtype, config):
    """The kernel's source for one configuration, arguments aligned as allocators align them."""
    pointer = POINTERS[dtype]
    if op == "gemm":
        signature = {
            **{f"{name}_ptr": pointer for name in "abc"},
            **dict.fromkeys(("m", "n", "k", "stride_a", "stride_b", "stride_c"), "i32"),
        }
        constants = {
            "BLOCK_M": config["block_m"],
            "BLOCK_N": config["block_n"],
            "BLOCK_K": config["block_k"],
            "GROUP_M": config["group_m"],
            "PRECISION": "tf32" if dtype == "tf32" else "ieee",
        }
        kernels = [(gemm_kernel(), signature, constants)]
    else:
        signature = {
            "x_ptr": pointer,
            "y_ptr": pointer,
            "out_ptr": pointer,
            "count": "i32",
            "scalar": "fp32",
        }
        kernels = [
            (stream_kernel(), signature, {"OP": number, "BLOCK": config["block"]})
            for number in range(4)
        ]
    for function, types, constants in kernels:
        full = {**types, **dict.fromkeys(constants, "constexpr")}
        attributes = {
            (place,): ALIGNED for place, kind in enumerate(types.values()) if kind != "fp32"
        }
        yield ASTSource(function, full, constexprs=constants, attrs=attributes)


def spills(binary):
    """Bytes of stack of the kernel in a cubin; None without cuobjdump."""
    if not CUOBJDUMP.exists():
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run(
            [CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True
        )
    return max(int(size) for size in re.findall(r"STACK:(\d+)", said.stdout))


def cases(arch):
    """(operation, dtype, configuration) that the tables choose on an architecture."""
    seen = set()
    for op, dtypes in (
        ("gemm", ("fp16", "bf16", "fp32", "tf32")),
        ("stream", ("fp16", "bf16", "fp32", "fp64")),
    ):
        for dtype in dtypes:
            for size in (1, 1 << 30):
                config = tuning.config(arch, op, dtype, size)
                key = (op, dtype, tuple(config.items()))
                # fp16 and bf16 share every table entry; bf16 is compiled for both.
                if key not in seen and dtype != "fp16":
                    seen.add(key)
                    yield op, dtype, config


def main():
    arch = sys.argv[1]
    for op, dtype, config in cases(arch):
        if arch == "gfx942" and dtype == "tf32":
            continue  # the compiler has no such mode for this architecture
        for source in sources(op, dtype, config):
            options = {"num_warps": config["num_warps"], "num_stages": config["num_stages"]}
            made = triton.compile(source, target=TARGETS[arch], options=options)
            found = {
                "op": op,
                "dtype": dtype,
                "config": config,
                "shared": made.metadata.shared,
                "spills": spills(made.asm["cubin"]) if "cubin" in made.asm else None,
                "wgmma": "wgmma" in made.asm.get("ptx", ""),
            }
            sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
