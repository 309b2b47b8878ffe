"""Run in a process of its own by test_compiled.py: compile what would be launched on a chip.

    python compiled.py ARCH

Every operation and variant in bf16, and products in every dtype, at the shapes worth measuring.
Prints one JSON line a kernel with what the compiler made of it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from bench.kernels import codegen, costs, op, ops, tuning

EVERY_DTYPE = ("gemm",)


def cases(arch):
    """The cases that are compiled for an architecture."""
    for name, spec in costs.SPECS.items():
        for variant in spec.variants:
            for dtype in spec.dtypes if name in EVERY_DTYPE else spec.dtypes[:1]:
                if dtype == "fp16" and "bf16" in spec.dtypes:
                    continue  # of the width of bf16, and chosen like it
                if variant.startswith("bias") and dtype != spec.dtypes[0]:
                    continue  # the epilogue comes after the sum, whose type is the same for all
                if tuning.lacks(arch, dtype) or tuning.lacks(arch, spec.needs):
                    continue
                try:
                    yield op.Case(name, spec.shape, dtype, variant, arch)
                except ValueError:
                    continue  # a variant that this dtype does not have


def main():
    arch = sys.argv[1]
    seen = {}
    for case in cases(arch):
        for kernel in codegen.kernels_of(ops.get(case.op), case):
            if kernel not in seen:
                seen[kernel] = codegen.build(kernel, arch)
            found = {
                "op": case.op,
                "variant": case.variant,
                "dtype": case.dtype,
                "kernel": kernel.function,
                "options": dict(kernel.options),
                **asdict(seen[kernel]),
            }
            sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.write(json.dumps({"compilations": len(seen)}) + "\n")


if __name__ == "__main__":
    main()
