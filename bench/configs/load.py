"""Loading by name or by path: what the rest of the house calls."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import ConfigError, UsageError
from .cluster import Cluster, problems
from .document import Document, Place, parse_document, read_document
from .gate import Gate, parse_gate
from .profile import check_profile
from .search import Kind, available, is_of_plugin, is_path, path_of
from .suite import parse_suite
from .typed import convert
from .types import Chip, Figure, ModelConfig, Profile, Suite

T = TypeVar("T", Chip, Cluster, ModelConfig, Profile)


def load_suite(name: str | Path) -> Suite:
    """A suite by name or path.

    Like all loaders here, raises `UsageError` with the list for an unknown name, and
    `ConfigError` with ``file:line`` for a file that does not say what it must.
    """
    path, wanted = _find("suites", name)
    document = read_document(path)
    suite = parse_suite(document)
    _check_name(document, suite.name, wanted)
    return suite


def suite_from_text(text: str, where: str) -> Suite:
    """A suite from the text that a run keeps of it; ``where`` is what errors call it."""
    return parse_suite(parse_document(text, where))


def load_gate(name: str | Path) -> Gate:
    """A gate by name or path; margins are positive, looks rise."""
    path, wanted = _find("gates", name)
    document = read_document(path)
    gate = parse_gate(document)
    _check_name(document, gate.name, wanted)
    return gate


def load_profile(name: str | Path, known: Mapping[str, Collection[str]] | None = None) -> Profile:
    """A profile by name or path; weights are positive, targets are there where they are used.

    ``known``: the metrics that there are, by benchmark; a line of another is an error (None: not
    looked at).
    """
    document, profile = _load(Profile, *_find("profiles", name))
    check_profile(document, profile, known)
    return profile


def load_cluster(name: str | Path) -> Cluster:
    """A simulated fleet by name or path; its faults are inside the fleet."""
    document, cluster = _load(Cluster, *_find("clusters", name))
    for place, problem in problems(cluster):
        raise document.error(place, problem)
    return cluster


_MOST = {
    "dim": 1 << 20,
    "layers": 1 << 12,
    "heads": 1 << 14,
    "kv_heads": 1 << 14,
    "ffn": 1 << 22,
    "vocab": 1 << 24,
    "seq": 1 << 27,
    "head_dim": 1 << 14,
    "experts": 1 << 16,
    "top_k": 1 << 16,
}
"""Extents that no model exceeds: plans go through every layer, and would not come to an end."""


def load_model(name: str | Path) -> ModelConfig:
    """A transformer by name or path; its extents are positive and its heads divide evenly.

    ``NAME@N`` is its slice of N layers: the same widths, so that a layer of a model that no device
    holds can be measured on one. Raises `UsageError` for a slice that it has not.
    """
    whole, at, layers = str(name).partition("@")
    if is_path(name):  # in which any folder may have one
        whole, at, layers = str(name).rpartition("@")
        at = at if layers.isdecimal() else ""
    if at:
        model = load_model(whole)
        if not layers.isdecimal() or not 1 <= int(layers) <= model.layers:
            raise UsageError(
                f"model {str(name)!r}: a slice of {whole} has 1 to {model.layers} layers",
                hint=f"write {whole}@1, or {whole} for all of it",
            )
        return msgspec.structs.replace(model, name=str(name), layers=int(layers))
    document, model = _load(ModelConfig, *_find("models", name))
    for key, most in _MOST.items():
        extent = getattr(model, key)
        if extent is None:
            continue
        if extent < 1:
            optional = "; leave out what the model has not"
            given = key in ("head_dim", "experts", "top_k")
            raise document.error((key,), f"must be at least 1{optional if given else ''}")
        if extent > most:
            raise document.error((key,), f"must be at most {most}, which no model exceeds")
    if model.vocab < 2:
        raise document.error(("vocab",), "must be at least 2: one token teaches nothing")
    if model.head_dim is None and model.dim % model.heads:
        raise document.error(
            ("heads",), f"must divide dim ({model.dim})", "or give head_dim, the width of a head"
        )
    width = model.head_dim or model.dim // model.heads
    if width % 2:
        raise document.error(
            ("head_dim" if model.head_dim else "heads",),
            f"a head is {width} wide: rotary embeddings turn pairs, so its width must be even",
        )
    if (model.experts is None) != (model.top_k is None):
        given_alone = "experts" if model.top_k is None else "top_k"
        raise document.error((given_alone,), "give experts and top_k together, or neither")
    if model.top_k is not None and model.experts is not None and model.top_k > model.experts:
        raise document.error(("top_k",), f"must be at most experts ({model.experts})")
    if model.heads % model.kv_heads:
        raise document.error(("kv_heads",), f"must divide heads ({model.heads})")
    return model


def load_chip(name: str | Path) -> Chip:
    """A chip's datasheet by name or path; its figures are positive."""
    return _chip(*_find("chips", name))


def load_chips() -> dict[str, Chip]:
    """Every chip that is known, by name; without those of plugins whose file is broken
    (`broken_chips`). Raises `ConfigError` for the first other broken file."""
    return _chips()[0]


def broken_chips() -> list[str]:
    """What is wrong with each broken datasheet that a plugin ships, with file and line."""
    return _chips()[1]


def _chips() -> tuple[dict[str, Chip], list[str]]:
    # A run asks several times, and reading dozens of files takes as long as planning it.
    found, broken = _read(tuple((*one, _state(one[1])) for one in available("chips").items()))
    return dict(found), list(broken)


def _state(path: Path) -> tuple[int, ...]:
    """By which it is seen that a file was written anew; of one that cannot be read, nothing."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=1)
def _read(
    files: tuple[tuple[str, Path, tuple[int, ...]], ...],
) -> tuple[dict[str, Chip], list[str]]:
    found, broken = {}, []
    for name, path, _ in sorted(files):
        try:
            found[name] = _chip(path, name)
        except ConfigError as error:
            if not is_of_plugin(path):
                raise
            broken.append(f"this plugin's datasheet is left out: {error}")
    return found, broken


_RANGES = {
    "flops": (1e9, 1e17, "FLOP/s", "2.8e14 is 280 TFLOP/s"),
    "memory": (1e8, 1e14, "bytes", "6.4e10 is 64 GB"),
    "memory_bandwidth": (1e9, 1e15, "B/s", "1.6e12 is 1.6 TB/s"),
    "link": (1e8, 1e14, "B/s", "2e11 is 200 GB/s"),
    "host_link": (1e8, 1e13, "B/s", "5e10 is 50 GB/s"),
    "network": (1e7, 1e14, "B/s", "5e10 is 400 Gbit/s"),
    "tdp": (0.1, 2e4, "watts", "350 is 350 W"),
    "units": (1, 1e6, "units", "108 are 108 of them"),
}
"""Between which values a figure lies in its unit, of a phone's chip and of a whole wafer: what lies
elsewhere was written in another unit."""


def _chip(path: Path, name: str | None) -> Chip:
    document, chip = _load(Chip, path, name)
    for place, figure in _figures(chip):
        if figure.status == "disputed" and not figure.claims:
            raise document.error(
                (*place, "status"), "a disputed figure lists what others say", "add claims"
            )
        values = [((*place, "value"), figure.value)]
        values += [((*place, "claims", i, "value"), c.value) for i, c in enumerate(figure.claims)]
        for where, value in values:
            if value <= 0:
                raise document.error(where, "must be positive; leave out what is unknown")
            least, most, unit, example = _RANGES[str(place[0])]
            if not least <= value <= most:
                raise document.error(
                    where,
                    f"{value:g} {unit} is no figure of any chip: is it in another unit?",
                    f"it is given in {unit}, where {example}",
                )
    return chip


def _figures(chip: Chip) -> Iterator[tuple[Place, Figure]]:
    for dtype, figure in chip.flops.items():
        yield ("flops", dtype), figure
    for key in _RANGES:
        single = getattr(chip, key)
        if isinstance(single, Figure):
            yield (key,), single


def _find(kind: Kind, name: str | Path) -> tuple[Path, str | None]:
    """The file, and the name it must carry: None for a path, which may hold any."""
    return path_of(kind, name), None if is_path(name) else str(name)


def _load(struct: type[T], path: Path, name: str | None) -> tuple[Document, T]:
    document = read_document(path)
    loaded = convert(document, struct)
    _check_name(document, loaded.name, name)
    return document, loaded


def _check_name(document: Document, said: str, name: str | None) -> None:
    """A file that is found by its name must carry it, or one thing would have two names."""
    if name is not None and said != name:
        raise document.error(("name",), f"must be {name!r}, as the file is called, not {said!r}")
