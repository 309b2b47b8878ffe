"""The page of modules: the whole house, a folder a section, by what modules say of themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .markdown import code, inline, sections, table

PACKAGE = Path(__file__).parents[1]


def page() -> str:
    """All folders of code with their modules."""
    return sections(
        "# Modules",
        "Every module by the first paragraph of its docstring. On which floor a folder is, and "
        "which way a run takes through the house, is in "
        "[CONTRIBUTING.md](../../CONTRIBUTING.md#the-house).",
        *(
            sections(f"## {name}", inline(said_by(folder / "__init__.py")), listed)
            for name, folder in folders()
            if (listed := _table(folder))
        ),
    )


def folders() -> Iterator[tuple[str, Path]]:
    """(path in a checkout, folder) of every folder of Python code, the package itself first.

    ``kernels`` is in the package by a link, and in a checkout beside it.
    """
    found = {path.parent for path in PACKAGE.rglob("*.py")}
    found |= {path.parent for path in (PACKAGE / "kernels").rglob("*.py")}
    for folder in sorted(found):
        name = "/".join(("bench", *folder.relative_to(PACKAGE).parts))
        if not name.startswith("bench/data"):
            yield name.replace("bench/kernels", "kernels"), folder


def said_by(path: Path) -> str:
    """The first paragraph of a module's docstring; empty if it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _table(folder: Path) -> str:
    paths = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    return table(("module", "what it is"), ((code(p.name), inline(said_by(p))) for p in paths))
