"""Certificates of a judged run: one a node, for those that may have one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from ..errors import InfraError, UsageError
from ..files import create_file, replace_file
from ..headers import UNDECODABLE
from ..identity import identity_of
from ..results import ROWS, RunReader
from ..verdicts import read_verdict
from . import times
from .certificate import Signed, cases_digest, results_digests, state
from .keys import Key, key_id
from .verify import sign

MARK = "certificates.json"
"""In a run's folder: the ids of certificates that were signed of it. It is not to be deleted."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Issued(msgspec.Struct, kw_only=True):
    """The certificates of a run, and who got none and why, in sentences."""

    signed: list[Signed]
    left: list[str]


def issue(
    folder: Path, key: Key, *, valid: timedelta, moment: datetime, every: bool = False
) -> Issued:
    """Sign what was found about every node of a run.

    Args:
        folder: The run's folder, with its verdict.
        key: Whose word it is.
        valid: For how long, from the end of measuring on: signed later, it holds no longer.
        moment: Now.
        every: Also nodes that were not accepted; their certificates say so.

    Raises:
        UsageError: the run has no verdict, its results changed since, or it is too long ago.
        InfraError: its files cannot be read.
    """
    found, header = read_verdict(folder), RunReader(folder).header
    results = results_digests(folder)
    where = str(folder)
    if found.run != header.id:
        raise UsageError(f"the verdict is of run {found.run}, not of {header.id}", where=where)
    if found.results and found.results != results.get(ROWS):
        raise UsageError(
            f"{ROWS} is not what it was when the run was judged",
            where=where,
            hint=f"judge it again: hengsuan certify --from {folder}",
        )
    until = _end(found.finished or found.began, where) + valid
    if until <= moment:
        raise UsageError(
            f"it was measured until {found.finished}; a certificate of it would have ended on "
            f"{times.written(until)}",
            where=where,
            hint="measure again, or give a longer --valid",
        )
    if found.only:
        raise UsageError(
            f"of the suite {found.suite} only {found.only} was measured",
            where=where,
            hint=f"certify the whole suite: hengsuan certify {found.suite}",
        )
    cases = cases_digest(header)
    described = {identity_of(one).key(): one for one in header.nodes}
    signed, left = [], []
    for node in found.nodes:
        if node.verdict != "accept" and not every:
            left.append(f"{node.node} gets no certificate: its verdict is {node.verdict}")
        elif not node.identity.key():
            left.append(
                f"{node.node} gets no certificate: nothing identifies its hardware "
                "(no machine id, no serials)"
            )
        else:
            certificate = state(
                found,
                node,
                header,
                described.get(node.identity.key()),
                cases=cases,
                results=results,
                issued=times.written(moment),
                valid_until=times.written(until),
                signer=key_id(key.public),
            )
            signed.append(sign(certificate, key))
    return Issued(signed=signed, left=left)


def _end(text: str, where: str) -> datetime:
    try:
        return times.parse(text)
    except ValueError as error:
        raise UsageError(
            f"its verdict does not say when it was measured: {error}", where=where
        ) from None


def file_name(signed: Signed) -> str:
    """``gpu-07-1a2b3c4d.certificate.json``: no two certificates share one."""
    number = signed.certificate.id().partition(":")[2][:12]
    node = _UNSAFE.sub("_", signed.certificate.node).strip("._-")[:80] or "node"
    return f"{node}-{number}.certificate.json"


def write(signed: Signed, folder: Path) -> Path:
    """Put a certificate into a folder, made if missing. Raises `InfraError` if it cannot be."""
    path = folder / file_name(signed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Nobody reads a name that is not told yet, and what is lost is signed again: no waiting for
        # the disk, once for each of ten thousand nodes.
        try:
            create_file(path, signed.file_bytes())
        except FileExistsError:
            replace_file(path, signed.file_bytes())
    except OSError as error:
        raise InfraError(f"cannot write: {error.strerror}", where=str(folder)) from None
    return path


def mark(folder: Path, signed: Sequence[Signed]) -> str:
    """Note in a run's folder which certificates are of it; why it cannot be noted, else empty."""
    file = folder / MARK
    try:
        known = msgspec.json.decode(file.read_bytes(), type=list[str]) if file.exists() else []
        every = dict.fromkeys([*known, *(one.certificate.id() for one in signed)])
        replace_file(file, msgspec.json.format(msgspec.json.encode(list(every)), indent=1) + b"\n")
    except OSError as error:
        return f"{file}: cannot write: {error.strerror}"
    except UNDECODABLE as error:
        return f"{file} is damaged: {error}"
    return ""
