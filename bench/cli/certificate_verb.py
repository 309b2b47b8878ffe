"""``hengsuan certificate``: keys, certificates of nodes, and whose word counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import Exit, UsageError

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate
    from ..certificates.trust import Store
    from ..certificates.verify import Answer
    from ..identity import Identity

F = TypeVar("F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
_STORE = click.option(
    "--store", "folder", type=_PATH, help="Trust store.  [default: trust/ in your configuration]"
)
_RESULTS = click.option(
    "--results", type=_PATH, default=Path("results"), show_default=True, help="Folder of runs."
)
_USES = ("certify", "submission")


@click.group(name="certificate")
def command() -> None:
    """Sign what was found about nodes, and say whether a certificate counts.

    A key is made once, its public half is handed to whoever will ask; a certificate is valid where
    its key is trusted.
    """


@command.command()
@click.argument("path", type=_PATH)
@click.option("--passphrase", is_flag=True, help="Encrypt it: asks, or HENGSUAN_KEY_PASSPHRASE.")
def keygen(path: Path, passphrase: bool) -> int:
    """Make a key pair: PATH, for you alone, and PATH.pub."""
    from ..certificates import keys

    keys.need_cryptography()
    public = keys.generate(path, passphrase_of(confirm=True) if passphrase else None)
    click.echo(f"private key {path}: whoever has it can sign as you")
    click.echo(f"public key {path}{keys.PUBLIC_SUFFIX}, {keys.key_id(public)}")
    click.echo(f"trusted by: hengsuan certificate trust {path}{keys.PUBLIC_SUFFIX} --name NAME")
    return 0


@command.command()
@click.argument("run")
@click.option("--key", "path", type=_PATH, required=True, help="Private key.")
@click.option("--out", type=_PATH, required=True, help="Folder for certificates, one a node.")
@click.option("--valid", default="90d", show_default=True, help="For how long after measuring.")
@click.option("--all", "every", is_flag=True, help="Also nodes that were not accepted, as such.")
@_RESULTS
@_JSON
def sign(
    run: str, path: Path, out: Path, valid: str, every: bool, results: Path, as_json: bool
) -> int:
    """Sign a certificate for every node that RUN accepts."""
    from ..certificates import keys, times
    from ..certificates.issue import issue, write
    from ..report.plain import plain
    from ..report.terminal import WORST
    from ..results import find_run

    folder = find_run(run, results)
    secret = passphrase_of() if keys.needs_passphrase(path) else None
    key = keys.load_private(path, secret)
    made = issue(folder, key, valid=validity(valid), moment=times.now(), every=every)
    files = [str(write(one, out)) for one in made.signed]
    if as_json:
        _print_json({"certificates": files, "left": made.left})
    else:
        for sentence in made.left[:WORST]:
            click.echo(plain(sentence), err=True)
        if len(made.left) > WORST:
            click.echo(f"and {len(made.left) - WORST} more without one", err=True)
        click.echo(f"{len(files)} certificate(s) in {out}")
    return int(Exit.OK if files else Exit.FINDING)


@command.command()
@click.argument("files", type=_PATH, nargs=-1, required=True)
@click.option("--here", is_flag=True, help="It must be of this machine.")
@click.option("--run", metavar="RUN", help="It must be of these results, unchanged since.")
@click.option("--for", "use", type=click.Choice(_USES), default="certify", show_default=True)
@click.option(
    "--allow",
    type=click.Choice(["stand-in", "simulated", "imported"]),
    multiple=True,
    help="Take results of this provenance too.",
)
@click.option("--any-verdict", is_flag=True, help="Ask for the signature, not for acceptance.")
@click.option("--at", metavar="DATE", help="As of this date.  [default: now]")
@_STORE
@_RESULTS
@_JSON
def verify(
    files: tuple[Path, ...],
    here: bool,
    run: str | None,
    at: str | None,
    folder: Path | None,
    results: Path,
    as_json: bool,
    **asked: Any,
) -> int:
    """Say whether certificates count. FILES may be folders.

    Exit code 0: every one is valid. 1: one is not. Clocks may differ by five minutes.
    """
    from ..certificates import keys, times, verify
    from ..certificates.certificate import results_digests
    from ..certificates.trust import Store
    from ..results import find_run

    keys.need_cryptography()
    store = Store(folder)
    moment = times.now() if at is None else moment_of("--at", at)
    digests = results_digests(find_run(run, results)) if run is not None else None
    machine = _Here() if here else None
    answers = {}
    for file in _files(files):
        raw = _bytes(file)
        identity = machine.of(raw) if machine is not None else None
        answers[str(file)] = verify.verify(
            raw, store, moment=moment, here=identity, results=digests, **asked
        )
    if as_json:
        _print_json(
            {
                name: {
                    "valid": one.valid,
                    "problems": one.problems,
                    "signer": one.signer,
                    "certificate": one.certificate,
                }
                for name, one in answers.items()
            }
        )
    else:
        for name, one in answers.items():
            _print_answer(name, one)
    return int(Exit.OK if all(one.valid for one in answers.values()) else Exit.FINDING)


@command.command()
@click.argument("public_key", type=_PATH, required=False)
@click.option("--name", help="What to call whose key it is.")
@click.option("--for", "uses", type=click.Choice(_USES), multiple=True, help="  [default: certify]")
@click.option("--chip", "chips", multiple=True, help="Only for these chips ('*' fits any text).")
@click.option("--site", "sites", multiple=True, help="Only for nodes with this label site.")
@click.option("--since", default="", metavar="DATE", help="Not for what was issued before.")
@click.option("--until", default="", metavar="DATE", help="Not after this.")
@_STORE
@_JSON
def trust(
    public_key: Path | None,
    name: str | None,
    uses: tuple[Any, ...],
    chips: tuple[str, ...],
    sites: tuple[str, ...],
    since: str,
    until: str,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Let a key count from now on; without PUBLIC_KEY, list those that do."""
    from ..certificates import keys
    from ..certificates.trust import Store, Trust

    store = Store(folder)
    if public_key is None:
        return _list(store, as_json)
    if name is None:
        raise UsageError("--name says whose key it is", hint="for example --name acceptance-team")
    for option, date in (("--since", since), ("--until", until)):
        if date:
            moment_of(option, date)
    one = Trust(
        name=name,
        key=keys.encode_public(keys.load_public(public_key)),
        uses=list(uses or ("certify",)),
        chips=list(chips),
        sites=list(sites),
        since=since,
        until=until,
    )
    path = store.trust(one)
    if taken := store.revoked.get(one.id):
        click.echo(f"warning: this key was revoked: {taken.reason or 'no reason given'}", err=True)
    click.echo(f"{one.id} counts as {name} for {', '.join(one.uses)}: {path}")
    return 0


@command.command()
@click.argument("what")
@click.option("--reason", default="", help="Why; shown to whoever verifies.")
@click.option(
    "--since",
    default="",
    metavar="DATE",
    help="Of a key: spare what was issued before; who has the key can back-date.",
)
@_STORE
def revoke(what: str, reason: str, since: str, folder: Path | None) -> int:
    """Let a key or one certificate count no more.

    WHAT is the name of a trusted key, a .pub file, a certificate's file, or an id.
    """
    from ..certificates.trust import Revocation, Store

    store = Store(folder)
    found = _id_of(what, store)
    if since:
        moment_of("--since", since)
        if found.startswith("sha256:"):
            raise UsageError("--since goes with a key; a certificate is revoked as a whole")
    path = store.revoke(Revocation(what=found, since=since, reason=reason))
    click.echo(f"{found} is revoked{f' from {since} on' if since else ''}: {path}")
    return 0


@command.command()
@click.argument("file", type=_PATH)
@_JSON
def show(file: Path, as_json: bool) -> int:
    """Show what a certificate says, without asking whether it counts."""
    from ..certificates.certificate import decode
    from ..report.certificates import print_certificate
    from ..report.terminal import console

    try:
        certificate = decode(_bytes(file)).certificate
    except ValueError as error:
        raise UsageError(str(error), where=str(file)) from None
    if as_json:
        _print_json({"id": certificate.id(), "certificate": certificate})
    else:
        print_certificate(console(), certificate)
        click.echo("not verified: `hengsuan certificate verify` says whether it counts", err=True)
    return 0


class _Here:
    """This machine, described once for every backend that certificates speak of."""

    def __init__(self) -> None:
        self._known: dict[str, Identity] = {}

    def of(self, raw: bytes) -> Identity:
        """The identity of this machine as the backend of a certificate sees it."""
        from ..backends.registry import listing
        from ..certificates.certificate import decode
        from ..cluster.describe import describe
        from ..identity import identity_of

        try:
            cards = decode(raw).certificate.identity.devices
        except ValueError:
            cards = ()
        known = {one.name for one in listing()}
        backend = cards[0].backend if cards and cards[0].backend in known else ""
        if backend not in self._known:
            # Devices that somebody uses are this machine's, too.
            self._known[backend] = identity_of(describe(backend or None, share=True, address=""))
        return self._known[backend]


def passphrase_of(*, confirm: bool = False) -> bytes:
    """From the environment, else from the terminal. Raises `UsageError` if there is neither."""
    import os
    import sys

    from ..certificates.keys import PASSPHRASE

    given = os.environ.get(PASSPHRASE)
    if given is None:
        if not sys.stdin.isatty():
            raise UsageError("the key needs a passphrase", hint=f"export {PASSPHRASE}=...")
        given = click.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    if not given:
        raise UsageError("an empty passphrase protects nothing", where=PASSPHRASE)
    return given.encode()


def validity(text: str) -> Any:
    """What ``--valid`` says, as a timedelta. Raises `UsageError` for what is none."""
    from datetime import timedelta

    from ..certificates.times import LONGEST
    from ..units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error), where="--valid") from None
    if not 0 < seconds <= LONGEST.total_seconds():
        raise UsageError(f"must be above 0 and at most {LONGEST.days}d", where="--valid")
    return timedelta(seconds=seconds)


def moment_of(option: str, text: str) -> datetime:
    """What a date on the command line says. Raises `UsageError` for what is none."""
    from ..certificates import times

    try:
        return times.parse(text)
    except ValueError as error:
        raise UsageError(str(error), where=option) from None


def _files(paths: tuple[Path, ...]) -> list[Path]:
    """The paths, folders as the certificates in them. Raises `UsageError` for what is not there."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.certificate.json")) if path.is_dir() else [path]
        if not inside:
            raise UsageError("no certificates in this folder (*.certificate.json)", where=str(path))
        found += inside
    return found


def _bytes(path: Path) -> bytes:
    from ..certificates.certificate import MOST_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}", where=str(path)) from None


def _id_of(what: str, store: Store) -> str:
    """The id of what is to be revoked. Raises `UsageError` if it is nothing."""
    import re

    from ..certificates.certificate import decode
    from ..certificates.keys import key_id, load_public
    from ..errors import unknown

    if re.fullmatch(r"(ed25519|sha256):[0-9a-f]{64}", what):
        return what
    if (named := store.named(what)) is not None:
        return named.id
    path = Path(what)
    if not path.is_file():
        raise unknown("key, certificate or file", what, (one.name for one in store.keys.values()))
    try:
        return decode(_bytes(path)).certificate.id()
    except ValueError:
        return key_id(load_public(path))


def _list(store: Store, as_json: bool) -> int:
    from ..report.terminal import console, print_table

    if as_json:
        _print_json({"keys": list(store.keys.values()), "revoked": list(store.revoked.values())})
        return 0
    if not store.keys and not store.revoked:
        click.echo(f"no key counts yet: {store.folder} is empty", err=True)
        return 0
    rows = []
    for number, one in store.keys.items():
        limits = [*(f"chip {chip}" for chip in one.chips), *(f"site {site}" for site in one.sites)]
        times = f"{one.since or '...'} to {one.until or '...'}" if one.since or one.until else ""
        taken = store.revoked.get(number)
        revoked = f"{taken.since or 'all'}: {taken.reason}" if taken is not None else ""
        rows.append((one.name, number[:20], ", ".join(one.uses), ", ".join(limits), times, revoked))
    if rows:
        print_table(console(), ("name", "key", "for", "only", "trusted", "revoked"), rows)
    for number, given in store.revoked.items():
        if number not in store.keys:
            click.echo(f"revoked: {number} {given.reason}")
    return 0


def _print_answer(name: str, one: Answer) -> None:
    from ..report.plain import plain

    if one.certificate is None or not one.valid:
        for problem in one.problems:
            click.echo(plain(f"{name}: not valid: {problem}"))
        return
    click.echo(plain(f"{name}: valid: {_said(one.certificate)}, says {one.signer}"))
    for waived in one.certificate.waived:
        click.echo(
            plain(f"{name}: waived until {waived.until}: {waived.finding} ({waived.reason})")
        )


def _said(one: Certificate) -> str:
    words = {
        "accept": "accepted",
        "reject": "rejected",
        "inconclusive": "neither accepted nor rejected",
    }
    return (
        f"{one.node} {words[one.verdict]} by {one.suite} on {one.finished}, "
        f"{one.provenance}, until {one.valid_until}"
    )


def _print_json(found: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
