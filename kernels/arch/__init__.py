"""Kernels written for one architecture, beside the portable ones: ``<arch>/<operation>.py``.

A variant is worth having where the portable kernel, tuned, stays below what the architecture
reaches by means that Triton's language has no words for. It has the portable kernel's arguments
and results, and three duties: a configuration of the tables chooses it (``arch_variant: 1``), so
that `hengsuan tune` can compare it with the portable kernel; ``takes`` says which tensors it can
hold, for the portable kernel takes all; and it is run against fp64 without a device, by the
emulator of the tests, before anybody trusts its figures.

A folder has the launching side, checked and typed as everything else, and ``jit/`` with the source
for the compiler. Nothing here is imported before a configuration asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

VARIANTS: Mapping[str, Mapping[str, Mapping[str, tuple[int, ...]]]] = {
    "sm_90": {
        "attention": {"block_m": (128,), "block_n": (64, 128), "num_warps": (8,)},
        "cross_entropy": {
            "block": (4096, 8192, 16384),
            "num_warps": (8, 16),
            "num_stages": (1,),
            "waves": (1,),
        },
    },
}
"""Architecture → operations that have a variant there, each a module of its folder → the values
that constants of a configuration may have for it."""


def variant(arch: str | None, op: str) -> ModuleType | None:
    """An operation's variant for the architecture; None where there is none."""
    if op not in VARIANTS.get(arch or "", {}):
        return None
    return importlib.import_module(f"{__name__}.{arch}.{op}")


def problem(arch: str, op: str, chosen: Mapping[str, int]) -> str:
    """Why a variant is not written for these constants, in words; empty if it is."""
    written = VARIANTS.get(arch, {}).get(op)
    if written is None:
        return f"{op} has no variant for {arch}"
    for name, values in written.items():
        if chosen.get(name) not in values:
            said = " or ".join(map(str, values))
            return f"{name} of {op}'s variant for {arch} must be {said}, not {chosen.get(name)}"
    return ""
