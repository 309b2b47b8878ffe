"""The system description: what a submitter declares and no benchmark can measure.

::

    name: two nodes, eight cards each
    submitter: Acme Silicon
    edition: "2026.1"
    chip: {product: Acme One, vendor: Acme Silicon, origin: "designed in A, made in B"}
    framework: {product: PyTorch, vendor: PyTorch Foundation, origin: open source, version: 2.13.0}
    switch: {product: none, vendor: none, origin: none}
    packages: [acme-ops]

It is kept apart from what was measured: reports call it declared, and no rule takes it for a fact.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..configs.document import read_document
from ..configs.typed import convert
from ..headers import UNDECODABLE


class Part(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A part of the system and where it comes from; what is not known is written ``unknown``."""

    product: str
    """Name."""
    vendor: str
    """Who sells it."""
    origin: str
    """Who designed and made it, and where."""
    version: str = ""
    """Of software."""
    source: str = ""
    """What this rests on."""
    note: str = ""
    """What a reader must know."""


class System(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is declared of a system."""

    name: str
    """Of the system."""
    submitter: str
    """Who hands it in."""
    edition: str
    """Which rules it is for."""
    chip: Part
    """What computes."""
    framework: Part
    """What trains."""
    switch: Part
    """What its nodes meet over."""
    host: Part | None = None
    """What the chips sit in."""
    cooling: str = ""
    """In words."""
    packages: list[str] = []
    """Distributions that hold the vendor's own operations, whose source need not be open; they are
    named and hashed where the submission is packed."""
    note: str = ""
    """What a reader must know."""


def load_system(path: Path) -> System:
    """A system description. Raises `ConfigError` with ``file:line`` if something is wrong in it."""
    document = read_document(path)
    system = convert(document, System)
    for key in ("name", "submitter", "edition"):
        if not getattr(system, key).strip():
            raise document.error((key,), "must not be empty")
    for key in ("chip", "framework", "switch", "host"):
        part = getattr(system, key)
        for name in ("product", "vendor", "origin") if part is not None else ():
            if not getattr(part, name).strip():
                raise document.error(
                    (key, name), "must not be empty", "write unknown, or none where there is none"
                )
    return system


def decode(raw: bytes) -> System:
    """A system description as an archive keeps it. Raises ValueError with a sentence."""
    try:
        return msgspec.json.decode(raw, type=System)
    except UNDECODABLE as error:
        raise ValueError(f"it is no system description: {error}") from None
