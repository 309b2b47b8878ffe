"""Packing: runs, what measured them, and what is declared of the system, in one archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..certificates import times
from ..certificates.certificate import canonical
from ..certificates.keys import Key, encode_public, key_id
from ..configs import Chip
from ..errors import InfraError, UsageError
from ..headers import CONDITIONS, RUN, UNDECODABLE
from ..records import Header
from ..results import ROWS, SAMPLES, RunReader
from .archive import MANIFEST, SIGNATURE, SYSTEM
from .edition import load_edition
from .manifest import Manifest, Plugin, member, run_said, stands_for
from .plugins import measured_by, plugins_of
from .redact import Redactor
from .system import System


def pack(
    folders: Sequence[Path],
    system: System,
    chips: dict[str, Chip],
    *,
    moment: datetime,
    valid: timedelta,
    key: Key | None = None,
    redactor: Redactor | None = None,
) -> dict[str, bytes]:
    """The members of a submission, for `archive.write`.

    Args:
        folders: Of the runs, in order.
        system: What is declared.
        chips: Datasheets by name; those of the runs' devices go along.
        moment: Now: when it is issued.
        valid: For how long.
        key: Who answers for it; None leaves it unsigned.
        redactor: Hides names, serials and addresses; None packs everything as it is.

    Raises:
        UsageError: a run is simulated, under way, of another provenance than the rest, of a chip
            or plugin that is not here, without samples, or holds a name that cannot be hidden; the
            edition is unknown.
        InfraError: a run cannot be read.
    """
    load_edition(system.edition)
    if not folders:
        raise UsageError("a submission holds at least one run")
    headers = [_header(folder) for folder in folders]
    _check_provenance(headers, folders)
    plugins = plugins_of(headers, system.packages)
    _check_plugins(plugins, headers, folders)
    if redactor is not None:
        for header in headers:
            redactor.learn(header)
    members: dict[str, bytes] = {}
    for place, folder in enumerate(folders):
        for name, data in _files(folder, redactor).items():
            members[f"runs/{place}/{name}"] = data
    nodes = [node for header in headers for node in header.nodes]
    names = sorted({d.judged_as for node in nodes for d in node.devices if d.judged_as})
    for name in names:
        if name not in chips:
            raise UsageError(
                f"no datasheet of {name} is here", hint="pack in the environment that measured"
            )
        members[f"chips/{name}.json"] = canonical(chips[name]) + b"\n"
    if redactor is not None:
        system = msgspec.convert(redactor.value(msgspec.to_builtins(system)), System)
    members[SYSTEM] = canonical(system) + b"\n"
    sites = sorted({node.labels.get("site", "") for node in nodes})
    manifest = Manifest(
        edition=system.edition,
        system=system.name,
        submitter=system.submitter,
        provenance=headers[0].provenance,
        stands_for=stands_for(headers),
        redacted=redactor is not None,
        runs=[run_said(header) for header in headers],
        chip_names=names,
        site_names=[redactor.text(site) for site in sites] if redactor is not None else sites,
        plugins=plugins,
        members={name: member(data) for name, data in members.items()},
        packed_by=f"hengsuan {__version__}",
    )
    if redactor is not None:
        _check_hidden(redactor, {**members, MANIFEST: manifest.file_bytes()})
    if key is not None:
        manifest = msgspec.structs.replace(
            manifest,
            key=encode_public(key.public),
            signer=key_id(key.public),
            issued=times.written(moment),
            valid_until=times.written(moment + valid),
        )
        members[SIGNATURE] = key.sign(manifest.signed_bytes()).encode() + b"\n"
    members[MANIFEST] = manifest.file_bytes()
    return members


def _check_provenance(headers: Sequence[Header], folders: Sequence[Path]) -> None:
    first = headers[0].provenance
    for header, folder in zip(headers, folders, strict=True):
        if header.provenance != first:
            raise UsageError(
                f"this run is {header.provenance}, the first is {first}: they never mix",
                where=str(folder),
            )


def _check_plugins(
    plugins: Sequence[Plugin], headers: Sequence[Header], folders: Sequence[Path]
) -> None:
    """What is packed beside the rows must be what measured them."""
    for plugin in plugins:
        for header, folder in zip(headers, folders, strict=True):
            if measured_by(plugin, header) not in ("", plugin.sha256):
                raise UsageError(
                    f"{plugin.distribution} has other files here than when this was measured",
                    where=str(folder),
                    hint="pack with the plugin that measured, or measure again",
                )


def _header(folder: Path) -> Header:
    header = RunReader(folder).header
    if header.fleet is not None or header.provenance in ("simulated", "imported"):
        raise UsageError(
            f"this run is {header.provenance}: only what was measured can be submitted",
            where=str(folder),
        )
    if header.state == "running" or header.finished is None:
        raise UsageError(
            "this run has not ended",
            where=str(folder),
            hint=f"wait for it, or hengsuan run --resume {folder}",
        )
    return header


def _files(folder: Path, redactor: Redactor | None) -> dict[str, bytes]:
    """The files of a run by name: whole lines only, redacted if asked for."""
    found: dict[str, bytes] = {}
    for name in (RUN, ROWS, CONDITIONS, SAMPLES):
        try:
            raw = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InfraError(f"cannot read: {error.strerror}", where=str(folder / name)) from None
        found[name] = raw if name == RUN else raw[: raw.rfind(b"\n") + 1]
    if not found.get(SAMPLES):
        raise UsageError(
            "no samples were kept of this run: nobody could compute its figures again",
            where=str(folder),
            hint="measure with --samples all",
        )
    if redactor is None:
        return found
    try:
        header: Any = redactor.header(msgspec.json.decode(found[RUN], type=Header))
        found[RUN] = msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n"
        for name, redacted in ((ROWS, redactor.rows), (CONDITIONS, redactor.conditions)):
            if name in found:
                found[name] = redacted(found[name])
    except UNDECODABLE as error:
        raise InfraError(f"this run is damaged: {error}", where=str(folder)) from None
    return found


def _check_hidden(redactor: Redactor, members: dict[str, bytes]) -> None:
    for name, data in members.items():
        if left := redactor.left_in(data):
            raise UsageError(
                f"{left!r} names a host or device, and stands in {name} as a word that cannot be "
                "taken out without changing what was measured",
                hint="give the host another name and measure again, or pack without --redact",
            )
