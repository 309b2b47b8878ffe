"""What a certificate says, and the bytes that are signed.

A certificate is JSON in one form only: keys sorted, no space, UTF-8, nothing but text, whole
numbers, lists and objects. Whoever reads one forms these bytes again and compares: a file that
differs in any byte, be it a space, is not the one that was signed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from ..errors import InfraError
from ..files import sha256
from ..headers import CONDITIONS, RUN, UNDECODABLE
from ..identity import Identity
from ..records import Header, Node, Provenance
from ..results import ROWS
from ..verdicts import Certification, NodeVerdict, Waived, Word
from . import times
from .statement import Use

CERTIFICATE_SCHEMA = 1
MOST_BYTES = 1 << 20
MOST_FINDINGS = 16
"""Sentences of what was found that a certificate repeats; the verdict has all."""

_DOMAIN = b"hengsuan certificate 1\n"
"""Before the bytes that are signed: a signature made for another purpose fits none of them."""


class WaivedFinding(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A finding that did not count, who says why, and until which day."""

    finding: str
    """The sentence."""
    metric: str
    """The waiver's pattern."""
    reason: str
    """Why it does not count."""
    until: str
    """Last day."""


class Certificate(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is signed about one node. Times are ISO 8601, UTC."""

    schema: int = CERTIFICATE_SCHEMA
    """Version of this form."""
    use: Use = "certify"
    """What kind of statement it is; a key must be trusted for it."""
    node: str
    """Its name."""
    chip: str
    """Datasheet of its devices."""
    labels: dict[str, str]
    """Site, rack, ..."""
    identity: Identity
    """Which hardware it is."""
    verdict: Word
    """Only ``accept`` is a certificate of acceptance."""
    provenance: Provenance
    """Of the run."""
    findings: list[str]
    """What was found, in sentences."""
    waived: list[WaivedFinding]
    """What was found and did not count."""
    run: str
    """Its id."""
    suite: str
    """What was measured."""
    profile: str
    """By which limits."""
    cases: int
    """How many were measured."""
    cases_hash: str
    """SHA-256 of what they are."""
    checks: dict[str, int]
    """This node's rows by status."""
    nodes: int
    """How many were judged together."""
    versions: dict[str, str]
    """Of the software that measured, and of the node's own."""
    results: dict[str, str]
    """SHA-256 of the run's files, by name."""
    began: str
    """Of the run."""
    finished: str
    """Of the run."""
    issued: str
    """Of the certificate."""
    valid_until: str
    """Until when it holds."""
    signer: str
    """Id of the key."""

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return _DOMAIN + canonical(self)

    def id(self) -> str:
        """``sha256:...`` of what is signed: names this certificate and no other."""
        return f"sha256:{hashlib.sha256(self.signed_bytes()).hexdigest()}"

    def chips(self) -> set[str]:
        """The chips of the node's devices."""
        return {card.chip for card in self.identity.devices} or {self.chip}

    def sites(self) -> set[str]:
        """Where the node says that it is."""
        return {self.labels.get("site", "")}


class Signed(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A certificate's file."""

    certificate: Certificate
    """What is said."""
    signature: str
    """Ed25519, in base64."""

    def file_bytes(self) -> bytes:
        """The one form of the file."""
        return canonical(self) + b"\n"


def canonical(value: Any) -> bytes:
    """The one JSON form of a value. Raises ValueError for a number that is not whole."""
    plain = msgspec.to_builtins(value)
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def decode(raw: bytes) -> Signed:
    """A certificate from the bytes of its file.

    Raises ValueError with a sentence if they are not the bytes of a certificate.
    """
    if len(raw) > MOST_BYTES:
        raise ValueError("longer than 1 MiB: this is no certificate")
    try:
        signed = msgspec.json.decode(raw, type=Signed)
    except UNDECODABLE as error:
        raise ValueError(f"this is no certificate: {error}") from None
    if signed.certificate.schema != CERTIFICATE_SCHEMA:
        raise ValueError(
            f"a certificate of schema {signed.certificate.schema}; this hengsuan reads schema "
            f"{CERTIFICATE_SCHEMA}"
        )
    for moment in (signed.certificate.issued, signed.certificate.valid_until):
        times.parse(moment)
    if signed.file_bytes() != raw:
        raise ValueError("the file is not in the form in which it was signed: it was changed")
    return signed


def state(
    found: Certification,
    node: NodeVerdict,
    header: Header,
    described: Node | None,
    *,
    cases: str,
    results: dict[str, str],
    issued: str,
    valid_until: str,
    signer: str,
) -> Certificate:
    """What can be said of one node of a run.

    Args:
        found: The verdict of the run.
        node: One of its nodes.
        header: The run's header.
        described: What the node said of itself; None of a simulated one.
        cases: Of `cases_digest`.
        results: Of `results_digests`.
        issued: From when, ISO 8601.
        valid_until: Until when.
        signer: Id of the key that will sign.
    """
    return Certificate(
        node=node.node,
        chip=node.chip,
        labels=described.labels if described is not None else {},
        identity=node.identity,
        verdict=node.verdict,
        provenance=found.provenance,
        findings=[one.text for one in node.evidence[:MOST_FINDINGS]],
        waived=[_waived(one) for one in node.waived],
        run=found.run,
        suite=found.suite,
        profile=found.profile,
        cases=len(header.cases),
        cases_hash=cases,
        checks=node.checks,
        nodes=len(found.nodes),
        versions=_versions(header, described),
        results=results,
        began=found.began,
        finished=found.finished,
        issued=issued,
        valid_until=valid_until,
        signer=signer,
    )


def _waived(one: Waived) -> WaivedFinding:
    return WaivedFinding(
        finding=one.finding.text, metric=one.metric, reason=one.reason, until=one.until
    )


def _versions(header: Header, node: Node | None) -> dict[str, str]:
    """Of what measured, and of what the node runs."""
    found = {**header.environment.get("versions", {})}
    if node is not None:
        found |= {f"node {name}": one for name, one in (node.facts.get("versions") or {}).items()}
        found |= {
            f"node {name}": node.facts[name]
            for name in ("kernel", "microcode")
            if name in node.facts
        }
    return {name: str(version) for name, version in found.items()}


def cases_digest(header: Header) -> str:
    """SHA-256 of what was measured: benchmark, axes, metric and source of every case, sorted."""
    cases = sorted(
        json.dumps([case.benchmark, case.axes, case.metric, case.source], sort_keys=True)
        for case in header.cases
    )
    return hashlib.sha256("\n".join(cases).encode()).hexdigest()


def results_digests(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files that hold a run's results.

    Raises `InfraError` for a file that cannot be read.
    """
    files = [folder / name for name in (RUN, CONDITIONS, ROWS)]
    try:
        return {file.name: sha256(file) for file in files if file.exists()}
    except OSError as error:
        raise InfraError(f"cannot read: {error.strerror}", where=str(folder)) from None
