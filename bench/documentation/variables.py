"""The page of environment variables."""

from __future__ import annotations

from ..cli.manual.variables import OTHERS, OURS
from .markdown import code, inline, sections, table

INTERNAL: dict[str, str] = {
    "HENGSUAN_CHANNEL": "the pipe between an agent and a rank process",
    "HENGSUAN_KEEPER": "the pipe to the process that keeps a plugin",
    "HENGSUAN_CONFORMANCE": "marks processes of a check of a backend, so that none is left behind",
}
"""What hengsuan sets for processes of its own."""


def page() -> str:
    """All variables."""
    return sections(
        "# Environment variables",
        "A run records all that change what libraries do (`OMP_`, `TORCH_`, `TRITON_`, `RAY_`, "
        "`HENGSUAN_`, of collective libraries, visible devices), but never one whose name says "
        "that it is a secret.",
        "## Of hengsuan",
        _table(OURS),
        "## Of others",
        _table(OTHERS),
        "## For its own processes",
        _table(INTERNAL),
    )


def _table(variables: dict[str, str]) -> str:
    return table(
        ("variable", "meaning"), ((code(k), inline(v)) for k, v in sorted(variables.items()))
    )
