"""Writes the package of a new backend from templates."""

from __future__ import annotations

import keyword
import re
import sys
from datetime import datetime, timezone
from pathlib import Path

import jinja2

from ..backends.registry import listing
from ..errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


def files(name: str, device_type: str) -> dict[str, str]:
    """Path → text of the package of the backend ``name``.

    Raises `UsageError` for a name that Python, PyTorch or an installed backend forbids.
    """
    _check_name(name)
    _check_device_type(device_type)
    package = f"hengsuan_{name}"
    values = {
        "name": name,
        "device_type": device_type,
        "package": package,
        "distribution": package.replace("_", "-"),
        "cls": "".join(word.capitalize() for word in name.split("_")),
        "today": datetime.now(timezone.utc).date().isoformat(),
    }
    written = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": "backend.py",
        f"{package}/configs/chips/{name}.yaml": "chip.yaml",
        "tests/test_conformance.py": "test_conformance.py",
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.conformance"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML
    )
    return {
        path: environment.get_template(f"{template}.j2").render(values)
        for path, template in written.items()
    }


def write(folder: Path, made: dict[str, str]) -> None:
    """Write the files into a folder that must not be there yet, or be empty."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already", hint="name another folder with --out, or remove it"
        )
    for path, text in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"a backend cannot be called {name!r}",
            hint="take small letters, digits and _, a letter first: it names a Python module",
        )
    known = {one.name: one.origin for one in listing()}
    if name in known:
        raise UsageError(
            f"there is a backend {name!r} already ({known[name]})",
            hint=f"`hengsuan backend check {name}` tries it; take another name for another one",
        )
    if name in sys.stdlib_module_names:
        raise UsageError(f"{name!r} is a module of Python's own", hint="take another name")


def _check_device_type(device_type: str) -> None:
    if not _NAME.fullmatch(device_type):
        raise UsageError(
            f"{device_type!r} is no device type of PyTorch",
            hint="it is the word before the colon in torch.device('npu:0')",
        )
