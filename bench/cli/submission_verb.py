"""``hengsuan submission``: runs in one archive that anybody can check."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError
from ..report.amount import quiet
from .certificate_verb import passphrase_of, validity
from .json_output import JSON, print_json, tell
from .parameters import Output
from .trust import PATH, date_of
from .verbs import Commands

if TYPE_CHECKING:
    from datetime import datetime

    from ..submissions.findings import Checked

EPOCH = "SOURCE_DATE_EPOCH"
"""Seconds since 1970 that stand for now (reproducible-builds.org): equal input, equal bytes."""


@click.group(name="submission", cls=Commands)
def command() -> None:
    """Pack runs into one archive, signed; say whether such an archive holds by every rule.

    An archive carries all that was measured and what is declared of the system, so that anybody
    can compute its figures again.
    """


@command.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--system", type=PATH, required=True, help="What is declared of the system (YAML).")
@click.option("--out", type=Output(), help="The archive.  [default: the first run's id and .tar]")
@click.option("--key", "key_file", type=PATH, help="Private key; without it nobody signs.")
@click.option("--valid", default="365d", show_default=True, help="For how long it holds.")
@click.option("--redact", is_flag=True, help="Hide names of hosts, serials and addresses.")
@click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of runs."
)
@JSON
def pack(
    runs: tuple[str, ...],
    system: Path,
    out: Path | None,
    key_file: Path | None,
    valid: str,
    redact: bool,
    results: Path,
    as_json: bool,
) -> int:
    """Make a submission of RUNs, where they were measured.

    The system description says which edition it is for; `hengsuan run edition-NAME` measures all
    that an edition requires.
    """
    import io

    from ..certificates import keys
    from ..configs import load_chips
    from ..errors import InfraError
    from ..files import create_file
    from ..runs import find_run
    from ..submissions import archive
    from ..submissions import pack as packing
    from ..submissions.manifest import decode
    from ..submissions.redact import Redactor
    from ..submissions.system import load_system

    folders = [find_run(run, results) for run in runs]
    key = None
    if key_file is not None:
        secret = passphrase_of() if keys.needs_passphrase(key_file) else None
        key = keys.load_private(key_file, secret)
    members = packing.pack(
        folders,
        load_system(system),
        load_chips(),
        moment=_now(),
        valid=validity(valid),
        key=key,
        redactor=Redactor(key) if redact else None,
    )
    path = out if out is not None else Path(f"{folders[0].name}.tar")
    whole = io.BytesIO()
    try:
        archive.write(members, whole)
        create_file(path, whole.getvalue())
    except ValueError as error:
        raise UsageError(f"no submission can be made of this: {error}") from None
    except FileExistsError:
        raise UsageError(f"{path} exists", hint="name another file with --out") from None
    except OSError as error:
        raise InfraError(f"cannot write: {error.strerror}", where=str(path)) from None
    manifest = decode(members[archive.MANIFEST])
    if as_json:
        print_json({"file": str(path), "id": manifest.id(), "manifest": manifest})
    else:
        signed = f"signed by {manifest.signer[:20]}..." if manifest.signer else "not signed"
        click.echo(
            f"{path}: {len(members)} members, {len(whole.getvalue())} bytes, "
            f"{manifest.label}, edition {manifest.edition}, {signed}"
        )
        if quiet():
            return int(Exit.OK)
        click.echo(f"{manifest.id()}")
        click.echo(f"checked by: hengsuan submission verify {path}")
    return int(Exit.OK)


@command.command()
@click.argument("file", type=PATH)
@click.option("--trust", "store", type=PATH, help="Trust store.  [default: your own]")
@click.option("--at", metavar="DATE", help="As of this date.  [default: now]")
@JSON
def verify(file: Path, store: Path | None, at: str | None, as_json: bool) -> int:
    """Say whether the submission FILE holds by every rule, and which it breaks.

    Exit code: 0 all rules hold; 1 one does not; 3 one cannot be judged here, as of an unknown key
    or edition. The rules: bench/submissions/README.md.
    """
    from ..certificates.trust import Store
    from ..configs import load_chips
    from ..report.submissions import print_checked
    from ..report.terminal import console
    from ..submissions.verify import verify
    from . import reader_may_leave

    moment = _now() if at is None else date_of("--at", at)
    with _open(file) as raw:
        checked = verify(raw, Store(store), load_chips(), moment)
    with reader_may_leave():
        if as_json:
            print_json(_as_json(checked))
        else:
            print_checked(console(), str(file), checked)
    return int(checked.exit)


@command.command()
@click.argument("file", type=PATH)
@JSON
def show(file: Path, as_json: bool) -> int:
    """Show what a submission says of itself, without asking whether it counts."""
    from ..report.plain import plain
    from ..report.submissions import print_submission
    from ..report.terminal import console
    from ..submissions.verify import opened

    with _open(file) as raw:
        _, checked = opened(raw)
    if checked.manifest is None:
        raise UsageError(plain(checked.findings[0].text), where=str(file))
    if as_json:
        print_json(_as_json(checked))
    else:
        print_submission(console(), checked.manifest, checked.system)
        tell("not verified: `hengsuan submission verify` says whether it counts")
    return int(Exit.OK)


def _as_json(checked: Checked) -> dict[str, Any]:
    return {
        "verified": checked.verified,
        "exit": int(checked.exit),
        "id": checked.id,
        "signer": checked.signer,
        "findings": checked.findings,
        "recomputed": checked.recomputed,
        "manifest": checked.manifest,
        "system": checked.system,
    }


def _now() -> datetime:
    from datetime import datetime, timezone

    from ..certificates import times

    given = os.environ.get(EPOCH)
    if given is None:
        return times.now()
    try:
        return datetime.fromtimestamp(int(given), timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{given!r} is no number of seconds since 1970", where=EPOCH) from None


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    try:
        if not path.is_file():
            what = "is no file: a submission is one" if path.exists() else "no such file"
            raise UsageError(what, where=str(path))
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}", where=str(path)) from None
