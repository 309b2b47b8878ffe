"""Which code of others took part in a run, and its digest: of open and of closed source alike."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from ..backends.registry import BUILT_IN
from ..errors import InfraError, UsageError
from ..files import sha256
from ..records import Header
from ..workloads.base import registry
from .manifest import Plugin

_OWN = "bench"
_CHANGING = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of an installation that say how it was installed, not what."""


def plugins_of(headers: Iterable[Header], packages: Iterable[str]) -> list[Plugin]:
    """The distributions whose backends and benchmarks measured these runs, and ``packages``.

    Raises:
        UsageError: one of them is not installed here: its content cannot be hashed.
        InfraError: a file of it cannot be read.
    """
    provided: dict[str, list[str]] = {}
    backends, benchmarks = used(headers)
    for name in sorted(backends):
        for entry in metadata.entry_points(group="hengsuan.backends", name=name):
            provided.setdefault(_distribution_of(entry), []).append(f"backend {name}")
            break
        else:
            if name not in BUILT_IN:
                raise _missing(f"the backend {name}")
    for name in sorted(benchmarks):
        for entry in metadata.entry_points(group="hengsuan.benchmarks"):
            if benchmarks[name] in (entry.module, _top(entry.module)):
                provided.setdefault(_distribution_of(entry), []).append(f"benchmark {name}")
                break
        else:
            raise _missing(f"the benchmark {name}")
    for name in packages:
        provided.setdefault(_known(name), []).append("package")
    return [hashed(name, provides) for name, provides in sorted(provided.items())]


def used(headers: Iterable[Header]) -> tuple[set[str], dict[str, str]]:
    """The backends of runs, and the benchmarks that are not ours, with the package they are of.

    A benchmark that is not known here is of the package ``""``.
    """
    known = registry()
    backends: set[str] = set()
    benchmarks: dict[str, str] = {}
    for header in headers:
        backends |= {node.backend for node in header.nodes if node.devices}
        backends |= {device.backend for node in header.nodes for device in node.devices}
        for name in dict.fromkeys(case.benchmark for case in header.cases):
            package = _top(known[name].__module__) if name in known else ""
            if package != _OWN:
                benchmarks[name] = package
    return backends, benchmarks


def hashed(name: str, provides: list[str]) -> Plugin:
    """An installed distribution with its digest.

    The digest is SHA-256 over a line ``<sha256>  <name>`` for each of its files, sorted by name:
    what the installer lists, and the packages of its entry points (of an installation in
    development, whose files lie elsewhere). Compiled files of Python are left out.
    """
    found = metadata.distribution(name)
    files = dict(_files(found))
    try:
        lines = [f"{sha256(files[inside])}  {inside}\n" for inside in sorted(files)]
    except OSError as error:
        raise InfraError(f"cannot read: {error.strerror}", where=f"distribution {name}") from None
    return Plugin(
        distribution=name,
        version=found.version,
        provides=provides,
        files=len(lines),
        sha256=hashlib.sha256("".join(lines).encode()).hexdigest(),
    )


def digests() -> dict[str, str]:
    """By distribution the digest of every plugin that is installed: for the record of a run.

    One whose files cannot be read is left out: nothing measured by it can be submitted.
    """
    found = {}
    for group in ("hengsuan.backends", "hengsuan.benchmarks"):
        for entry in metadata.entry_points(group=group):
            name = entry.dist.name if entry.dist is not None else ""
            if name and name not in found:
                with contextlib.suppress(metadata.PackageNotFoundError, InfraError):
                    found[name] = hashed(name, []).sha256
    return found


def measured_by(plugin: Plugin, header: Header) -> str:
    """The digest that a plugin had when a run began; empty if the run does not say."""
    noted = header.environment.get("plugins")
    was = noted.get(plugin.distribution) if isinstance(noted, dict) else None
    return was if isinstance(was, str) else ""


def installed_otherwise(plugin: Plugin) -> bool:
    """Whether this very version is installed here with another content."""
    try:
        here = hashed(plugin.distribution, [])
    except (metadata.PackageNotFoundError, ValueError, InfraError):
        return False
    return here.version == plugin.version and here.sha256 != plugin.sha256


def _files(found: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Name inside site-packages → file."""
    for listed in found.files or ():
        path = Path(str(found.locate_file(listed)))
        if path.name not in _CHANGING and path.is_file() and _counts(path):
            yield listed.as_posix(), path
    listing = metadata.packages_distributions()
    tops = {_top(entry.module) for entry in found.entry_points if entry.group != "console_scripts"}
    tops |= {top for top, names in listing.items() if found.metadata["Name"] in names}
    for top in sorted(tops):
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            continue
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and _counts(path):
                    yield path.relative_to(Path(folder).parent).as_posix(), path
        if spec is not None and spec.submodule_search_locations is None and spec.origin:
            origin = Path(spec.origin)
            if origin.is_file():
                yield origin.name, origin


def _counts(path: Path) -> bool:
    return path.suffix != ".pyc" and "__pycache__" not in path.parts


def _top(module: str) -> str:
    return module.partition(".")[0]


def _distribution_of(entry: metadata.EntryPoint) -> str:
    if entry.dist is None:
        raise _missing(f"the distribution of {entry.value}")
    return entry.dist.name


def _known(name: str) -> str:
    try:
        return metadata.distribution(name).name
    except (metadata.PackageNotFoundError, ValueError):
        raise _missing(f"the package {name}") from None


def _missing(what: str) -> UsageError:
    return UsageError(
        f"{what} is not installed here, so that its content cannot be named and hashed",
        hint="pack where it was measured, in the same environment",
    )
