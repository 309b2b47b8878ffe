"""Whether a certificate counts, here and now; and why not, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import msgspec

from ..identity import Identity, differences
from ..records import Provenance
from . import times
from .certificate import Certificate, Signed, decode
from .keys import Key, decode_public, fits, key_id
from .statement import Statement, Use
from .trust import Store, Trust


class Answer(msgspec.Struct, kw_only=True):
    """What can be said of a file: ``problems`` is empty if, and only if, it is valid.

    ``certificate`` is None where its signature does not hold: then nothing in it can be believed.
    ``signer`` is the name under which its key is trusted.
    """

    problems: list[str] = []
    certificate: Certificate | None = None
    signer: str = ""

    @property
    def valid(self) -> bool:
        """Whether it counts."""
        return not self.problems


def sign(certificate: Certificate, key: Key) -> Signed:
    """The certificate with its signature. Raises ValueError if it names another key."""
    if certificate.signer != key_id(key.public):
        raise ValueError("the certificate names another key than the one that signs it")
    return Signed(certificate=certificate, signature=key.sign(certificate.signed_bytes()))


def verify(
    raw: bytes,
    store: Store,
    *,
    moment: datetime,
    use: Use = "certify",
    any_verdict: bool = False,
    allow: Collection[Provenance] = (),
    here: Identity | None = None,
    results: Mapping[str, str] | None = None,
) -> Answer:
    """Judge the bytes of a certificate's file.

    Args:
        raw: The whole file.
        store: Whose key counts for what.
        moment: When it must hold; clocks may differ by `times.SKEW`.
        use: What it must be a certificate of.
        any_verdict: Also others than ``accept`` are what is asked for.
        allow: Provenances beside ``measured`` that may count.
        here: The hardware that it must be of.
        results: The results that it must be of, as of `results_digests`.
    """
    try:
        signed = decode(raw)
    except ValueError as error:
        return Answer(problems=[str(error)])
    certificate = signed.certificate
    trust = store.keys.get(certificate.signer)
    if trust is None:
        unknown = (
            f"nobody here trusts the key that it names ({certificate.signer[:20]}...): "
            "`hengsuan certificate trust KEY.pub` does, if you know whose it is"
        )
        return Answer(problems=[unknown, *revoked(certificate, store)])
    if not fits(decode_public(trust.key), signed.signature, certificate.signed_bytes()):
        return Answer(
            problems=[
                f"the signature does not hold: these are not the bytes that {trust.name} signed"
            ]
        )
    problems = [
        *revoked(certificate, store),
        *trusted(certificate, trust, moment, use),
        *in_time(certificate, moment),
        *_says(certificate, any_verdict, allow),
    ]
    if here is not None:
        problems += [f"not this machine: {one}" for one in differences(certificate.identity, here)]
    if results is not None:
        problems += _of_run(certificate, results)
    return Answer(problems=problems, certificate=certificate, signer=trust.name)


def trusted(statement: Statement, trust: Trust, moment: datetime, use: Use) -> Iterator[str]:
    """Why a trusted key does not count for this statement, now and for this use."""
    if statement.use != use:
        yield f"it is a certificate for {statement.use}, not for {use}"
    yield from trust.problems(statement)
    if trust.since and times.parse(statement.issued) < times.parse(trust.since):
        yield (
            f"it was issued on {statement.issued}, and the key {trust.name} is trusted "
            f"from {trust.since} on"
        )
    if trust.until and moment > times.parse(trust.until):
        yield f"the trust in the key {trust.name} ended on {trust.until}"


def revoked(statement: Statement, store: Store) -> Iterator[str]:
    """Whether a statement or its key was revoked, and why."""
    if (taken := store.revoked.get(statement.id())) is not None:
        what = "certificate" if statement.use == "certify" else "submission"
        yield f"this {what} was revoked{_because(taken.reason)}"
    taken = store.revoked.get(statement.signer)
    if taken is None:
        return
    if not taken.since:
        yield f"its key was revoked{_because(taken.reason)}"
    elif times.parse(statement.issued) >= times.parse(taken.since):
        yield f"its key was revoked from {taken.since} on{_because(taken.reason)}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def in_time(statement: Statement, moment: datetime) -> Iterator[str]:
    """Whether a statement holds at a moment; clocks may differ by `times.SKEW`."""
    issued, until = times.parse(statement.issued), times.parse(statement.valid_until)
    if moment + times.SKEW < issued:
        yield (
            f"it is not valid yet: it was issued on {statement.issued}, "
            f"and it is {times.written(moment)} here"
        )
    if moment - times.SKEW > until:
        yield f"it has expired: it was valid until {statement.valid_until}"


def _says(
    certificate: Certificate, any_verdict: bool, allow: Collection[Provenance]
) -> Iterator[str]:
    if certificate.verdict != "accept" and not any_verdict:
        said = {"reject": "was rejected", "inconclusive": "was neither accepted nor rejected"}
        why = f": {certificate.findings[0]}" if certificate.findings else ""
        yield f"it certifies that {certificate.node} {said[certificate.verdict]}{why}"
    if certificate.provenance not in ("measured", *allow):
        yield (
            f"its results are {certificate.provenance}, not measured on an accelerator "
            f"(--allow {certificate.provenance} takes them as what they are)"
        )


def _of_run(certificate: Certificate, results: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(certificate.results.keys() | results.keys()):
        if certificate.results.get(name) != results.get(name):
            yield f"{name} of the run is not what it was when this was signed"
