"""Block sizes, warps and stages for an operation on an architecture, from ``tuned/<arch>.yaml``.

A plain function of architecture, operation, dtype and shape: no search at run time, and nothing
that needs a device to be asked.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "tuned"


@functools.cache
def table(arch: str) -> dict[str, list[dict[str, Any]]]:
    """All configurations of an architecture; those of ``generic`` where it has no file."""
    path = FOLDER / f"{arch}.yaml"
    if not path.exists():
        path = FOLDER / "generic.yaml"
    loaded: dict[str, list[dict[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def config(arch: str, op: str, dtype: str, size: int = 0) -> dict[str, int]:
    """The first entry of the operation whose dtypes and size fit.

    Args:
        arch: ``sm_90``, ``gfx942``, ... (unknown ones take ``generic``).
        op: Operation.
        dtype: Element type, ``fp32`` and so on.
        size: What the table's ``min_size`` is compared with (elements, or rows × columns).

    Raises:
        ValueError: the tables have nothing for the operation and dtype.
    """
    for source in (table(arch), table("generic")):
        for entry in source.get(op, []):
            if dtype in entry.get("dtypes", [dtype]) and size >= entry.get("min_size", 0):
                return {str(key): int(value) for key, value in entry["config"].items()}
    raise ValueError(f"no configuration for {op} in {dtype} on {arch}")


def architectures() -> list[str]:
    """Architectures with a table of their own."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
