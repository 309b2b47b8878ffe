"""Run in a process of its own by test_compiled.py: compile what would be launched on a chip.

    python compiled.py ARCH

What `make codegen` has compiled, of the same sources and with the same compiler, stands in
``results/reference/codegen.json``: of that a part is compiled again, and must come out the same.
What an earlier call of this has compiled is read from the folder that the variable ``COMPILED``
names.

Every operation and variant in bf16, and products in every dtype, at the shapes worth measuring.
Prints one JSON line a kernel with what the compiler made of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import triton

from bench.kernels import codegen, costs, op, ops, tuning

EVERY_DTYPE = ("gemm",)
AGAIN = 6
"""Of so many kernels whose results are on record one is compiled again, by its digest."""


RECORDED = Path(__file__).parents[2] / "results" / "reference" / "codegen.json"


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


class Kept:
    """What the compiler made of kernels, by all that it depends on; what nobody asked for goes."""

    def __init__(self, arch):
        self._arch = arch
        self._file = Path(os.environ["COMPILED"], f"{arch}.json")
        ours = Path(codegen.__file__).read_bytes()
        known = [triton.__version__, repr(tuning.targets()[arch]), hashlib.sha256(ours).hexdigest()]
        self._common = json.dumps(known)
        self._found = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._recorded = json.loads(RECORDED.read_text())
        self._asked = {}

    def build(self, kernel):
        recorded = self._recorded.get(f"{triton.__version__} {self._arch} {kernel.digest}")
        if recorded is not None and int(kernel.digest, 16) % AGAIN:
            return recorded
        key = hashlib.sha256(f"{self._common} {kernel.digest} {kernel!r}".encode()).hexdigest()
        found = self._found.get(key) or asdict(codegen.build(kernel, self._arch))
        self._asked[key] = found
        if recorded not in (None, found):
            raise SystemExit(f"{kernel}: came out as {found}, on record are {recorded}")
        return found

    def save(self):
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self._asked))
        part.replace(self._file)


def main():
    arch = sys.argv[1]
    seen, kept = {}, Kept(arch)
    for case in cases(arch):
        for kernel in codegen.kernels_of(ops.get(case.op), case):
            if kernel not in seen:
                seen[kernel] = kept.build(kernel)
            found = {
                "op": case.op,
                "variant": case.variant,
                "dtype": case.dtype,
                "kernel": kernel.function,
                "options": dict(kernel.options),
                **seen[kernel],
            }
            sys.stdout.write(json.dumps(found) + "\n")
    kept.save()
    sys.stdout.write(json.dumps({"compilations": len(seen)}) + "\n")


if __name__ == "__main__":
    main()
