"""Kernels written for one architecture, beside the portable ones: ``<arch>/<module>.py``.

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
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Variant:
    """A key's variant: the module of its architecture's folder that launches it, and the values
    that constants of a configuration may have for it."""

    module: str
    written: Mapping[str, tuple[int, ...]]


_PAIR = {"block_m": (128,), "block_n": (64, 128), "num_warps": (8,)}
VARIANTS: Mapping[str, Mapping[str, Variant]] = {
    "sm_90": {
        "attention": Variant("attention", _PAIR),
        "attention_query": Variant("attention_backward", _PAIR),
        "attention_key_value": Variant(
            "attention_backward",
            {"block_m": (64,), "block_n": (128,), "num_warps": (8,), "num_stages": (2, 3)},
        ),
        "cross_entropy": Variant(
            "cross_entropy",
            {
                "block": (4096, 8192, 16384),
                "num_warps": (8, 16),
                "num_stages": (1,),
                "waves": (1,),
            },
        ),
    },
}
"""Architecture → keys of the tables (`space.SPACES`) that have a variant there."""


def variant(arch: str | None, key: str) -> ModuleType | None:
    """The module that launches a key's variant for the architecture; None where there is none."""
    found = VARIANTS.get(arch or "", {}).get(key)
    return importlib.import_module(f"{__name__}.{arch}.{found.module}") if found else None


def problem(arch: str, key: str, chosen: Mapping[str, int]) -> str:
    """Why a variant is not written for these constants, in words; empty if it is."""
    found = VARIANTS.get(arch, {}).get(key)
    if found is None:
        return f"{key} has no variant for {arch}"
    for name, values in found.written.items():
        if chosen.get(name) not in values:
            said = " or ".join(map(str, values))
            return f"{name} of {key}'s variant for {arch} must be {said}, not {chosen.get(name)}"
    return ""
