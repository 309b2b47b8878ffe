"""``hengsuan certificate trust`` and ``revoke``: whose word counts, in the trust store."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .json_output import JSON, print_json, tell
from .verbs import Verb

if TYPE_CHECKING:
    from ..certificates.trust import Store

PATH = click.Path(path_type=Path)
STORE = click.option(
    "--store", "folder", type=PATH, help="Trust store.  [default: trust/ in your configuration]"
)

USES = ("certify", "submission")


@click.command(cls=Verb)
@click.argument("public_key", type=PATH, required=False)
@click.option("--name", help="What to call whose key it is.")
@click.option("--for", "uses", type=click.Choice(USES), multiple=True, help="  [default: certify]")
@click.option("--chip", "chips", multiple=True, help="Only for these chips ('*' fits any text).")
@click.option("--site", "sites", multiple=True, help="Only for nodes with this label site.")
@click.option("--since", default="", metavar="DATE", help="Not for what was issued before.")
@click.option("--until", default="", metavar="DATE", help="Not after this.")
@STORE
@JSON
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
            date_of(option, date)
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
        tell(f"warning: this key was revoked: {taken.reason or 'no reason given'}")
    if as_json:
        print_json({"key": one, "id": one.id, "file": str(path)})
        return 0
    click.echo(f"{one.id} counts as {name} for {', '.join(one.uses)}: {path}")
    return 0


@click.command(cls=Verb)
@click.argument("what")
@click.option("--reason", default="", help="Why; shown to whoever verifies.")
@click.option(
    "--since",
    default="",
    metavar="DATE",
    help="Of a key: spare what was issued before; who has the key can back-date.",
)
@STORE
@JSON
def revoke(what: str, reason: str, since: str, folder: Path | None, as_json: bool) -> int:
    """Let a key or one certificate count no more.

    WHAT is the name of a trusted key, a .pub file, a certificate's file, or an id.
    """
    from ..certificates.trust import Revocation, Store

    store = Store(folder)
    found = _id_of(what, store)
    if since:
        date_of("--since", since)
        if found.startswith("sha256:"):
            raise UsageError("--since goes with a key; a certificate is revoked as a whole")
    path = store.revoke(Revocation(what=found, since=since, reason=reason))
    if as_json:
        print_json({"revoked": found, "since": since, "reason": reason, "file": str(path)})
        return 0
    click.echo(f"{found} is revoked{f' from {since} on' if since else ''}: {path}")
    return 0


def _list(store: Store, as_json: bool) -> int:
    from ..report.terminal import console, print_list

    if as_json:
        print_json({"keys": list(store.keys.values()), "revoked": list(store.revoked.values())})
        return 0
    if not store.keys and not store.revoked:
        tell(f"no key counts yet: {store.folder} is empty")
        return 0
    rows = []
    for number, one in store.keys.items():
        limits = [*(f"chip {chip}" for chip in one.chips), *(f"site {site}" for site in one.sites)]
        times = f"{one.since or '...'} to {one.until or '...'}" if one.since or one.until else ""
        taken = store.revoked.get(number)
        revoked = f"{taken.since or 'all'}: {taken.reason}" if taken is not None else ""
        rows.append((one.name, number[:20], ", ".join(one.uses), ", ".join(limits), times, revoked))
    if rows:
        print_list(console(), ("name", "key", "for", "only", "trusted", "revoked"), rows)
    for number, given in store.revoked.items():
        if number not in store.keys:
            click.echo(f"revoked: {number} {given.reason}")
    return 0


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
        return decode(read_file(path)).certificate.id()
    except ValueError:
        return key_id(load_public(path))


def date_of(option: str, text: str) -> datetime:
    """A date that was typed. Raises `UsageError` that names its option."""
    from ..certificates import times

    try:
        return times.parse(text)
    except ValueError as error:
        raise UsageError(str(error), where=option) from None


def read_file(path: Path) -> bytes:
    """A certificate's file, as far as one may go. Raises `UsageError` if it cannot be read."""
    from ..certificates.certificate import MOST_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}", where=str(path)) from None
