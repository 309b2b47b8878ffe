"""Checking a submission, from the outside in: archive, signature, contents, figures, edition.

Nothing is believed before it was checked: the archive's form and limits come first, then who
answers for the manifest, then that every member is the one it names. Runs are then written into a
private folder under names of our own, and read as any run is; the folder is gone afterwards.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO

from ..certificates.keys import decode_public, fits, key_id, need_cryptography
from ..certificates.trust import Store
from ..certificates.verify import in_time, revoked, trusted
from ..configs import Chip
from ..errors import HengsuanError, UsageError
from ..headers import RUN, UNDECODABLE
from ..records import Header
from ..results import RunReader
from . import manifest as manifests
from . import system as systems
from .archive import MANIFEST, SIGNATURE, SYSTEM, Refused, check_json, read
from .edition import load_edition
from .findings import Checked, Finding, Level, Recomputed, shortened
from .manifest import Manifest, run_said, stands_for
from .plausible import copied, outside, overfull
from .prepared import Run, prepared
from .provenance import check_labels, check_plugins, read_chips
from .recompute import recompute
from .rules import check_edition
from .system import System


def opened(file: IO[bytes]) -> tuple[dict[str, bytes], Checked]:
    """What an archive holds, as far as it can be read: members, manifest, system description.

    Checks form, limits and digests (rules A, M1 and M2); asks nobody whether it counts.
    """
    checked = Checked()
    try:
        members = read(file)
        for name, raw in members.items():
            if name != SIGNATURE:
                check_json(name, raw)
    except Refused as error:
        checked.findings.append(_finding(error.rule, error.text, error.where))
        return {}, checked
    if MANIFEST not in members:
        checked.findings.append(_finding("M1", "it has no manifest", MANIFEST))
        return {}, checked
    try:
        checked.manifest = manifests.decode(members[MANIFEST])
    except ValueError as error:
        checked.findings.append(_finding("M1", str(error), MANIFEST))
        return {}, checked
    checked.id = checked.manifest.id()
    checked.findings += _digests(checked.manifest, members)
    try:
        checked.system = systems.decode(members.get(SYSTEM, b""))
    except ValueError as error:
        checked.findings.append(_finding("A4", str(error), SYSTEM))
    return members, checked


def verify(file: IO[bytes], store: Store, chips: Mapping[str, Chip], moment: datetime) -> Checked:
    """Judge a submission by all rules.

    Args:
        file: The archive.
        store: Whose key counts for what.
        chips: The datasheets that are known here, by name.
        moment: When it must hold.

    Raises `UsageError` where it is signed and nothing here can verify signatures.
    """
    members, checked = opened(file)
    manifest = checked.manifest
    if manifest is None:
        return checked
    signed, checked.signer = _signature(manifest, members.get(SIGNATURE), store, moment)
    checked.findings += signed
    if checked.exit == 1 and any(one.rule[0] in "AM" for one in checked.findings):
        # What was changed is not read any further: it says nothing about what was signed.
        return checked
    checked.recomputed = Recomputed()
    checked.findings = shortened([*checked.findings, *_contents(checked, members, chips)])
    return checked


def _digests(manifest: Manifest, members: Mapping[str, bytes]) -> Iterator[Finding]:
    there = members.keys() - {MANIFEST, SIGNATURE}
    for name in sorted(manifest.members.keys() - there):
        yield _finding("M2", "the manifest names it, and it is not there", name)
    for name in sorted(there - manifest.members.keys()):
        yield _finding("M2", "the manifest does not name it", name)
    for name in sorted(there & manifest.members.keys()):
        said, data = manifest.members[name], members[name]
        if said.size != len(data) or said.sha256 != hashlib.sha256(data).hexdigest():
            yield _finding("M2", "it was changed since the manifest was written", name)


def _signature(
    manifest: Manifest, raw: bytes | None, store: Store, moment: datetime
) -> tuple[list[Finding], str]:
    """What is to be said of the signature, and under which name its key is trusted."""
    if raw is None and not manifest.signer:
        return [_finding("S1", "it is not signed: nobody answers for it", level="undecided")], ""
    if raw is None:
        return [_finding("S1", "its manifest names a key, and the signature is not there")], ""
    need_cryptography()
    try:
        public = decode_public(manifest.key)
        text = raw.decode("ascii")
        good = (
            key_id(public) == manifest.signer
            and text.endswith("\n")
            and fits(public, text[:-1], manifest.signed_bytes())
        )
    except ValueError:
        good = False
    if not good:
        return [_finding("S2", "these are not the bytes that the key signed", SIGNATURE)], ""
    found = [_finding("S4", text) for text in revoked(manifest, store)]
    found += [_finding("S5", text) for text in in_time(manifest, moment)]
    trust = store.keys.get(manifest.signer)
    if trust is None:
        unknown = (
            f"nobody here trusts its key ({manifest.signer[:20]}...): `hengsuan certificate trust "
            "KEY.pub --name NAME --for submission` does, if you know whose it is"
        )
        return [*found, _finding("S3", unknown, level="undecided")], ""
    found += [_finding("S6", text) for text in trusted(manifest, trust, moment, "submission")]
    return found, trust.name


def _contents(
    checked: Checked, members: Mapping[str, bytes], known: Mapping[str, Chip]
) -> list[Finding]:
    """All rules about what the members say."""
    manifest, system = checked.manifest, checked.system
    assert manifest is not None
    assert system is not None
    assert checked.recomputed is not None
    findings: list[Finding] = []
    chips, wrong = read_chips(manifest, members, known)
    findings += wrong
    with tempfile.TemporaryDirectory(prefix="hengsuan-") as folder:
        runs, wrong = _runs(manifest, members, Path(folder))
    findings += wrong
    headers = [run.header for run in runs]
    findings += _said(manifest, system, headers)
    for run in runs:
        findings += check_labels(manifest, run, known)
        findings += recompute(run, chips, checked.recomputed)
        findings += copied(run)
        findings += overfull(run)
        findings += outside(run)
    findings += check_plugins(manifest, runs)
    try:
        edition = load_edition(manifest.edition)
    except UsageError as error:
        text = f"edition {manifest.edition!r} cannot be judged here: {error.message}"
        return [*findings, _finding("E1", text, level="undecided")]
    if len(runs) == len(manifest.runs):  # else what is missing was said already
        findings += check_edition(edition, runs, manifest.provenance)
    return findings


def _runs(
    manifest: Manifest, members: Mapping[str, bytes], folder: Path
) -> tuple[list[Run], list[Finding]]:
    """The runs that can be read, and what is wrong with them and with the others."""
    runs: list[Run] = []
    findings: list[Finding] = []
    numbers = sorted({int(name.split("/")[1]) for name in members if name.startswith("runs/")})
    if numbers != list(range(len(manifest.runs))):
        text = f"it names {len(manifest.runs)} run(s), and there are runs {numbers}"
        findings.append(_finding("M3", text, MANIFEST))
    for number in numbers:
        where = f"runs/{number}"
        place = folder / str(number)
        place.mkdir()
        for name, data in members.items():
            if name.startswith(f"{where}/"):
                (place / name.rpartition("/")[2]).write_bytes(data)
        try:
            run, wrong = _run(where, place)
        except (HengsuanError, *UNDECODABLE) as error:
            text = error.message if isinstance(error, HengsuanError) else str(error)
            findings.append(_finding("R1", text, where))
            continue
        findings += wrong
        if run is not None:
            runs.append(run)
    return runs, findings


def _run(where: str, place: Path) -> tuple[Run | None, list[Finding]]:
    reader = RunReader(place)
    header = reader.header
    if header.fleet is not None or header.provenance not in ("measured", "stand-in"):
        text = f"it is {header.provenance}: only what was measured can be submitted"
        return None, [_finding("P2", text, f"{where}/{RUN}")]
    if not header.nodes:
        return None, [_finding("R1", "it has no nodes", f"{where}/{RUN}")]
    run, findings = prepared(where, header, reader.columns(), place / "samples.jsonl")
    if header.state != "complete":
        text = f"the run is {header.state}, not complete"
        findings.append(_finding("R1", text, f"{where}/{RUN}"))
    return run, findings


def _said(manifest: Manifest, system: System, headers: list[Header]) -> Iterator[Finding]:
    """Where the manifest says something else than what it lists."""
    nodes = [node for header in headers for node in header.nodes]
    pairs = {
        "runs": (manifest.runs, [run_said(header) for header in headers]),
        "chips": (
            sorted(manifest.chip_names),
            sorted({d.judged_as for node in nodes for d in node.devices if d.judged_as}),
        ),
        "sites": (
            sorted(manifest.site_names),
            sorted({node.labels.get("site", "") for node in nodes}),
        ),
        "stand-ins": (manifest.stands_for, stands_for(headers)),
        "edition": (manifest.edition, system.edition),
        "system": (manifest.system, system.name),
        "submitter": (manifest.submitter, system.submitter),
    }
    for what, (said, found) in pairs.items():
        if said != found:
            yield _finding("M3", f"its {what} are not those of what it lists", MANIFEST)


def _finding(rule: str, text: str, where: str = "", *, level: Level = "finding") -> Finding:
    return Finding(rule=rule, level=level, text=text, where=where)
