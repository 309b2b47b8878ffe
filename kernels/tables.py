"""Files of configurations, ``<arch>.yaml``: reading them with every mistake told, writing them.

A table maps keys (`space.SPACES`) to entries, which are tried in order::

    compiler: {target: [cuda, 90, 32], shared: 232448}    # optional: for the cross-compiler
    without: [fp8_e4m3]                                   # optional: dtypes that kernels cannot use
    fnuz: true                                            # optional: 8-bit floats of that kind
    gemm:
      - dtypes: [fp16, bf16]                              # optional, as are the bounds of facts
        min_size: 1048576
        config: {block_m: 128, block_n: 128, block_k: 64, group_m: 8, num_warps: 8, num_stages: 3}
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .costs import ITEMSIZE
from .space import SPACES, problem

SETTINGS = ("compiler", "without", "fnuz")


class TableError(ValueError):
    """A table that does not say what it must: ``where`` is its file, the text says what."""

    def __init__(self, message: str, where: Path) -> None:
        super().__init__(message)
        self.where = str(where)


def read(path: Path) -> dict[str, Any]:
    """A table from its file. Raises `TableError`."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"cannot read: {error.strerror or error}", path) from None
    except UnicodeDecodeError:
        raise TableError("not UTF-8 text", path) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" on line {mark.line + 1}" if mark is not None else ""
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise TableError(f"not valid YAML{line}: {said}", path) from None
    wrong = check(loaded)
    if wrong:
        raise TableError(wrong, path)
    assert isinstance(loaded, dict)
    return loaded


def check(loaded: object) -> str:
    """What is wrong with a table, as a sentence; empty if nothing is."""
    if loaded is None:
        return "the table is empty"
    if not isinstance(loaded, dict):
        return "a table has keys with lists of entries"
    for key, value in loaded.items():
        if key in SETTINGS:
            wrong = _setting(key, value)
        elif key not in SPACES:
            return f"unknown key {key!r}; known: {', '.join((*SETTINGS, *SPACES))}"
        elif not isinstance(value, list) or not value:
            wrong = "must hold a list with at least one entry"
        else:
            found = ((number, _entry(key, entry)) for number, entry in enumerate(value, 1))
            wrong = next((f"entry {number}: {text}" for number, text in found if text), "")
        if wrong:
            return f"{key}: {wrong}"
    return ""


def _setting(key: str, value: object) -> str:
    if key == "fnuz":
        return "" if isinstance(value, bool) else f"must be true or false, not {value!r}"
    if key == "without":
        return _dtypes(value)
    if not isinstance(value, dict) or set(value) != {"target", "shared"}:
        return "must be {target: [...], shared: BYTES}"
    target = value["target"]
    named = isinstance(target, list) and len(target) == 3 and isinstance(target[0], str)
    if not named or type(target[1]) not in (int, str) or type(target[2]) is not int:
        return "target must be [BACKEND, ARCHITECTURE, WARP SIZE]"
    return "" if type(value["shared"]) is int else "shared must be a whole number of bytes"


def _dtypes(value: object) -> str:
    if not isinstance(value, list) or not value:
        return "must be a list of dtypes"
    strange = [one for one in value if not isinstance(one, str) or one not in ITEMSIZE]
    return f"{strange[0]!r} is no dtype; known: {', '.join(ITEMSIZE)}" if strange else ""


def _entry(key: str, entry: object) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        return "must have a config with its constants"
    facts = SPACES[key].facts
    bounds = [f"{end}_{fact}" for fact in facts for end in ("min", "max")]
    for name, value in entry.items():
        if name == "config":
            wrong = problem(key, value)
        elif name == "dtypes":
            wrong = _dtypes(value)
        elif name not in bounds:
            return f"unknown key {name!r}; known: {', '.join(('config', 'dtypes', *bounds))}"
        else:
            wrong = "" if type(value) is int else f"must be a whole number, not {value!r}"
        if wrong:
            return wrong if name == "config" else f"{name}: {wrong}"
    return ""


def digest(path: Path) -> str:
    """Eight hex digits of SHA-256 over the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def comments(path: Path) -> list[str]:
    """The comment lines that the file begins with, without their marks."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        found.append(line[1:].strip())
    return found


def text(table: Mapping[str, Any], header: Sequence[str]) -> str:
    """A table as YAML, one line a configuration, under lines of comment."""
    lines = [f"# {' '.join(line.split())}" for line in header]
    lines.extend(f"{name}: {_flow(table[name])}" for name in SETTINGS if name in table)
    for key, entries in table.items():
        if key in SETTINGS:
            continue
        lines.append(f"{key}:")
        for entry in entries:
            bounds = [f"{name}: {_flow(entry[name])}" for name in entry if name != "config"]
            said = [*bounds, f"config: {_flow(entry['config'])}"]
            lines.extend(f"  {'-' if i == 0 else ' '} {one}" for i, one in enumerate(said))
    return "\n".join(lines) + "\n"


def write(path: Path, table: Mapping[str, Any], header: Sequence[str]) -> None:
    """Replace the file at once: nobody reads half of it. Makes its folder.

    Raises `TableError` for a table that `read` would refuse, and OSError.
    """
    wrong = check(dict(table))
    if wrong:
        raise TableError(wrong, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text(table, header))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _flow(value: Any) -> str:
    made: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return made.removesuffix("\n").removesuffix("\n...")
