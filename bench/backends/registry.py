"""Which backends there are: built-in ones, and those of other distributions.

A plugin names its class in the entry-point group ``hengsuan.backends``. Its import is tried in
another process first (`isolated`): one that raises, crashes or hangs is listed with its reason and
breaks nothing. Drivers and agents ask it in a process of its own too (`remote`): only ranks import
it. A plugin may replace a built-in backend by taking its name, and the list says so; two plugins of
one name are an error. ``HENGSUAN_BACKENDS=a,b`` limits the list.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

import msgspec

from ..configs import Chip
from ..errors import BackendError, unknown
from . import contract
from .base import Backend
from .isolated import Examined, examine
from .remote import Remote

BUILT_IN = {
    "iluvatar": "bench.backends.iluvatar:Iluvatar",
    "metax": "bench.backends.metax:Metax",
    "hygon": "bench.backends.rocm:Hygon",
    "kunlunxin": "bench.backends.kunlunxin:Kunlunxin",
    "thead": "bench.backends.thead:Thead",
    "ascend": "bench.backends.ascend:Ascend",
    "cambricon": "bench.backends.cambricon:Cambricon",
    "musa": "bench.backends.musa:Musa",
    "enflame": "bench.backends.enflame:Enflame",
    "biren": "bench.backends.biren:Biren",
    "sunrise": "bench.backends.sunrise:Sunrise",
    "rocm": "bench.backends.rocm:Rocm",
    "cuda": "bench.backends.cuda:Cuda",
    "cpu": "bench.backends.cpu:Cpu",
}
"""In the order of their priorities: those that answer to ``cuda`` before `Cuda` itself."""
_PLUGINS = "hengsuan.backends"
_ALLOWED = "HENGSUAN_BACKENDS"
_OURS = "built in"


class Listed(msgspec.Struct, frozen=True):
    """A backend by name: where it comes from, and why it cannot be used (empty: it can).

    ``absent``: why this node has no such devices, as far as that is known without a look at them.
    ``priority`` is 0 and ``tested`` empty where it cannot be used.
    """

    name: str
    origin: str
    problem: str = ""
    absent: str = ""
    priority: int = 0
    tested: str = ""


@functools.cache
def _origins() -> dict[str, tuple[str, str, str]]:
    """Name → (``module:Class``, where it comes from, why it has no place in the list)."""
    found = {name: (path, _OURS, "") for name, path in BUILT_IN.items()}
    plugins: dict[str, dict[str, str]] = {}
    for entry in entry_points(group=_PLUGINS):
        origin = entry.dist.name if entry.dist is not None else entry.value
        plugins.setdefault(entry.name, {})[origin] = entry.value
    for name, by in plugins.items():
        origin, path = next(iter(by.items()))
        if name in BUILT_IN:
            origin += ", in place of the built-in one"
        problem = ""
        if len(by) > 1:
            origin = " and ".join(sorted(by))
            problem = f"{origin} both give a backend of this name: uninstall all but one"
        found[name] = (path, origin, problem)
    allowed = [name for name in os.environ.get(_ALLOWED, "").split(",") if name]
    nobody = ("", _ALLOWED, "no backend of this name is installed")
    return {name: found.get(name, nobody) for name in allowed} if allowed else found


def names() -> list[str]:
    """The names that can be given, in the order of the list; nothing is imported for it."""
    return list(_origins())


@functools.cache
def here(name: str) -> Backend | str:
    """The backend, imported in this process, or in a sentence why it cannot be used."""
    path, _, problem = _origins()[name]
    if problem:
        return problem
    module, _, attribute = path.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
        problem = contract.problem_of(cls, path, name)
        return problem or contract.checked(cls())
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"import of {path} failed: {type(error).__name__}: {error}"


@functools.cache
def examined(name: str) -> Examined:
    """What a backend says of itself, a plugin in another process. Never raises for what it does.

    ``absent`` of a built-in backend is for `probe` to ask: it may change.
    """
    if problem := _origins()[name][2]:
        return Examined(problem=problem)
    if not ours(name):
        return examine(name)
    found = here(name)
    if isinstance(found, str):
        return Examined(problem=found)
    return Examined(priority=found.priority, tested=found.tested)


def ours(name: str) -> bool:
    """Whether a backend is a built-in one, which does no harm to the process that imports it."""
    return _origins()[name][1] == _OURS


def get(name: str, *, isolated: bool = False) -> Backend:
    """The backend of that name.

    Args:
        name: As users write it after ``--backend``.
        isolated: This process may crash, hang or be spoilt: a plugin is imported here,
            and all its members can be called. Elsewhere it is a `Remote`.

    Raises:
        UsageError: nothing answers to the name (lists what there is).
        BackendError: it is there and cannot be used.
    """
    if name not in _origins():
        raise unknown("backend", name, _origins())
    found = here(name) if isolated or ours(name) else _remote(name)
    if isinstance(found, str):
        raise BackendError(found, where=f"backend {name}")
    return found


@functools.cache
def _remote(name: str) -> Backend | str:
    """A plugin, whose code runs in another process; in a sentence why it cannot be used."""
    said = examined(name)
    return said.problem or Remote(name, said.declared)


def listing() -> list[Listed]:
    """Every backend, usable or not, in the order in which they are probed."""
    names = list(_origins())
    with ThreadPoolExecutor(8) as threads:  # several plugins are examined at a time
        found = dict(zip(names, threads.map(examined, names), strict=True))
    return [
        Listed(
            name,
            _origins()[name][1],
            problem=found[name].problem,
            absent=found[name].absent,
            priority=found[name].priority,
            tested=found[name].tested,
        )
        for name in sorted(names, key=lambda name: (found[name].priority, name))
    ]


def match_chip(device_name: str, chips: Iterable[Chip]) -> Chip | None:
    """The datasheet whose ``match`` fits the device's name best (longest); None if none does."""
    name = device_name.lower()
    fitting = [(len(word), chip) for chip in chips for word in chip.match if word.lower() in name]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None
