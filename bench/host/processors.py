"""What this host's processor is called, whatever its architecture calls it."""

from __future__ import annotations

import os
from pathlib import Path

from .files import ROOT, read

_NAMES = ("model name", "Model Name", "Model", "cpu model")
"""Of x86, LoongArch, boards, MIPS. ``model`` in small letters is a number on x86."""

CORES: dict[tuple[int, int], str] = {
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x43, 0x0AF): "ThunderX2",
    (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "TSV110",
    (0x48, 0xD02): "HIP09",
    (0x48, 0xD06): "HIP12",
    (0x4E, 0x010): "Olympus",
    (0x70, 0x660): "FTC660",
    (0x70, 0x661): "FTC661",
    (0x70, 0x662): "FTC662",
    (0x70, 0x663): "FTC663",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}
"""Cores of servers by implementer and part of Arm's register MIDR_EL1, as the Linux kernel
(arch/arm64/include/asm/cputype.h) or util-linux (lscpu-arm.c) calls them."""


def cpu_model(root: Path = ROOT) -> str:
    """The processor's name: no two kinds have the same one.

    Linux has no names of Arm's processors, but the numbers that they have for themselves.
    """
    found: dict[str, str] = {}
    for text in read(root / "proc/cpuinfo").splitlines():
        key, _, value = text.partition(":")
        found.setdefault(key.strip(), value.strip())
    for key in _NAMES:
        if name := found.get(key):
            return name
    try:
        implementer, part = (int(found[f"CPU {name}"], 16) for name in ("implementer", "part"))
    except (KeyError, ValueError):
        return os.uname().machine
    numbers = f"{implementer:#04x}:{part:#05x}"
    return f"{CORES.get((implementer, part), os.uname().machine)} ({numbers})"
