"""Where configuration files are: the user's, the built-in ones, then those that plugins ship."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import unknown

Kind: TypeAlias = Literal["chips", "suites", "profiles", "clusters", "models", "editions", "gates"]

BUILT_IN = Path(__file__).parent.parent / "data"
_PLUGIN_GROUPS = ("hengsuan.backends", "hengsuan.benchmarks")


def user_folder() -> Path:
    """The folder for what the user keeps: the first of those that are searched."""
    return next(folders())


def folders() -> Iterator[Path]:
    """Folders that hold ``chips/``, ``suites/`` and so on; what comes first wins.

    The folders in ``HENGSUAN_CONFIG_PATH`` (separated as in ``PATH``), ``~/.config/hengsuan``
    (or below ``XDG_CONFIG_HOME``), the built-in one, ``configs/`` inside the package of every
    plugin: a plugin adds names and replaces none, least of all an edition or a datasheet by which
    what it measured is judged.
    """
    yield from map(Path, filter(None, os.environ.get("HENGSUAN_CONFIG_PATH", "").split(os.pathsep)))
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    yield Path(home, "hengsuan")
    yield BUILT_IN
    yield from _plugin_folders()


def _plugin_folders() -> tuple[Path, ...]:
    """Found through the entry points; no plugin is imported."""
    # What is installed changes with the folders that Python looks in; reading it takes long.
    return _installed(tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> float:
    try:
        return os.stat(place or ".").st_mtime
    except OSError:
        return 0.0


@functools.lru_cache(maxsize=1)
def _installed(places: tuple[tuple[str, float], ...]) -> tuple[Path, ...]:
    packages = {
        entry.module.partition(".")[0]: None
        for group in _PLUGIN_GROUPS
        for entry in entry_points(group=group)
    }
    found = []
    for package in packages:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # a plugin whose files are gone
            continue
        found += [Path(one, "configs") for one in (spec and spec.submodule_search_locations) or ()]
    return tuple(found)


def is_of_plugin(path: Path) -> bool:
    """Whether a plugin ships this file: what is wrong with it is no reason to stop others."""
    return any(path.is_relative_to(folder) for folder in _plugin_folders())


def available(kind: Kind) -> dict[str, Path]:
    """Every name of a kind with the file that answers to it."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / kind).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def names(kind: Kind) -> list[str]:
    """The names that can be given for a kind, in alphabetical order."""
    return sorted(available(kind))


def path_of(kind: Kind, name: str | Path) -> Path:
    """The file that a name stands for.

    What holds a path separator or ends in ``.yaml`` or ``.yml`` is a path itself and returned as
    it is. Raises `UsageError` with the list of names for a name that nothing answers to.
    """
    if is_path(name):
        return Path(name)
    found = available(kind)
    if name not in found:
        raise unknown(kind.removesuffix("s"), str(name), found)
    return found[str(name)]


def is_path(name: str | Path) -> bool:
    """Whether ``name`` is a path rather than a name to look up."""
    text = str(name)
    separators = filter(None, (os.sep, os.altsep))
    return (
        isinstance(name, Path)
        or text.endswith((".yaml", ".yml"))
        or any(separator in text for separator in separators)
    )
