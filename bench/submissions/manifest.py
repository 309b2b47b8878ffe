"""The manifest: what a submission consists of and says of itself, and the bytes that are signed.

As a certificate it is JSON in one form only (`bench.certificates.certificate.canonical`), and its
signature is over these bytes behind a domain of its own, so that no signature made for another
purpose fits. It names every other member with its digest: who signs it signs all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from ..certificates import times
from ..certificates.certificate import canonical
from ..headers import UNDECODABLE
from ..records import Header, Provenance, labelled

MANIFEST_SCHEMA = 1
_DOMAIN = b"hengsuan submission 1\n"


class Member(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A member of the archive."""

    sha256: str
    """In hexadecimal."""
    size: int
    """Bytes."""


class RunSaid(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A run in ``runs/<its place>/``."""

    id: str
    """Of the run."""
    suite: str
    """What was measured."""
    started: str
    """UTC, ISO 8601."""
    finished: str
    """UTC, ISO 8601."""
    hengsuan: str
    """Version that measured."""


def run_said(header: Header) -> RunSaid:
    """What the manifest says of a run."""
    return RunSaid(
        id=header.id,
        suite=header.suite,
        started=header.started,
        finished=header.finished or "",
        hengsuan=version_of(header),
    )


def stands_for(headers: Iterable[Header]) -> str:
    """The chips that the devices of runs stand in for; empty where nobody chose one."""
    return ", ".join(sorted({header.stands_for for header in headers if header.stands_for}))


def version_of(header: Header) -> str:
    """The version that measured, ``unknown`` where the header does not say."""
    versions = header.environment.get("versions")
    found = versions.get("hengsuan") if isinstance(versions, dict) else None
    return found if isinstance(found, str) else "unknown"


class Plugin(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A distribution whose code took part: a backend, benchmarks, or a vendor's operations."""

    distribution: str
    """Its name."""
    version: str
    """Of it."""
    provides: list[str]
    """What it is here for (``backend acme``, ``benchmark norm``, ``package``)."""
    files: int
    """How many."""
    sha256: str
    """Over their names and digests; their source need not be open."""


class Manifest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is signed. ``key`` and what follows are empty where nobody signs."""

    schema: int = MANIFEST_SCHEMA
    """Version of this form."""
    use: Literal["submission"] = "submission"
    """What kind of statement it is."""
    edition: str
    """Which rules it is held against."""
    system: str
    """Name of the system."""
    submitter: str
    """Who hands it in."""
    provenance: Provenance
    """Of the runs."""
    stands_for: str
    """The chips that were stood in for, where somebody chose some."""
    redacted: bool
    """Serials, names of hosts and addresses were replaced by pseudonyms."""
    runs: list[RunSaid]
    """In ``runs/``, by place."""
    chip_names: list[str]
    """Of the runs' devices."""
    site_names: list[str]
    """Of the runs' nodes."""
    plugins: list[Plugin]
    """Distributions whose code took part."""
    members: dict[str, Member]
    """All others but the signature, by name."""
    packed_by: str
    """Version of hengsuan."""
    key: str = ""
    """The raw public key, in base64."""
    signer: str = ""
    """Its id."""
    issued: str = ""
    """UTC, ISO 8601."""
    valid_until: str = ""
    """Likewise."""

    @property
    def label(self) -> str:
        """The provenance as reports print it: ``stand-in for acme-9`` where a chip was chosen."""
        return labelled(self.provenance, self.stands_for)

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return _DOMAIN + canonical(self)

    def file_bytes(self) -> bytes:
        """The one form of ``manifest.json``."""
        return canonical(self) + b"\n"

    def id(self) -> str:
        """``sha256:...`` of what is signed: names this submission and no other."""
        return f"sha256:{hashlib.sha256(self.signed_bytes()).hexdigest()}"

    def chips(self) -> set[str]:
        """The chips of the runs' devices."""
        return set(self.chip_names) or {""}

    def sites(self) -> set[str]:
        """Where the runs' nodes say that they are."""
        return set(self.site_names) or {""}


def decode(raw: bytes) -> Manifest:
    """A manifest from its bytes. Raises ValueError with a sentence if they are none."""
    try:
        schema = msgspec.json.decode(raw, type=_Version).schema
        if schema != MANIFEST_SCHEMA:
            raise ValueError(
                f"it is of schema {schema}; this hengsuan reads schema {MANIFEST_SCHEMA}"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except UNDECODABLE as error:
        raise ValueError(f"it is no manifest: {error}") from None
    if manifest.file_bytes() != raw:
        raise ValueError("it is not in the form in which it was written: it was changed")
    for moment in (manifest.issued, manifest.valid_until):
        if manifest.signer:
            times.parse(moment)
    return manifest


class _Version(msgspec.Struct):
    schema: int


def member(data: bytes) -> Member:
    """What the manifest says of a member with these bytes."""
    return Member(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
