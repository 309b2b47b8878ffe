"""``hengsuan certificate``: keys, certificates of nodes, and whose word counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError
from ..report.amount import quiet
from .json_output import JSON, print_json, tell
from .trust import PATH, STORE, USES, date_of, read_file, revoke, trust
from .verbs import Commands

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate
    from ..certificates.verify import Answer
    from ..identity import Identity

_RESULTS = click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of runs."
)


@click.group(name="certificate", cls=Commands)
def command() -> None:
    """Sign what was found about nodes, and say whether a certificate counts.

    A key is made once, its public half is handed to whoever will ask; a certificate is valid where
    its key is trusted.
    """


command.add_command(trust)
command.add_command(revoke)


@command.command()
@click.argument("path", type=PATH)
@click.option("--passphrase", is_flag=True, help="Encrypt it: asks, or HENGSUAN_KEY_PASSPHRASE.")
@JSON
def keygen(path: Path, passphrase: bool, as_json: bool) -> int:
    """Make a key pair: PATH, for you alone, and PATH.pub."""
    from ..certificates import keys

    keys.need_cryptography()
    public = keys.generate(path, passphrase_of(confirm=True) if passphrase else None)
    beside, number = f"{path}{keys.PUBLIC_SUFFIX}", keys.key_id(public)
    if as_json:
        print_json({"private": str(path), "public": beside, "id": number})
        return 0
    click.echo(f"public key {beside}, {number}")
    if quiet():
        return 0
    click.echo(f"private key {path}: whoever has it can sign as you")
    click.echo(f"trusted by: hengsuan certificate trust {beside} --name NAME")
    return 0


@command.command()
@click.argument("run")
@click.option("--key", "path", type=PATH, required=True, help="Private key.")
@click.option("--out", type=PATH, required=True, help="Folder for certificates, one a node.")
@click.option("--valid", default="90d", show_default=True, help="For how long after measuring.")
@click.option("--all", "every", is_flag=True, help="Also nodes that were not accepted, as such.")
@_RESULTS
@JSON
def sign(
    run: str, path: Path, out: Path, valid: str, every: bool, results: Path, as_json: bool
) -> int:
    """Sign a certificate for every node that RUN accepts.

    Exit code: 0 signed; 1 no node has one.
    """
    from ..certificates import keys, times
    from ..certificates.issue import issue, mark, write
    from ..report.plain import plain
    from ..report.terminal import WORST
    from ..runs import find_run

    folder = find_run(run, results)
    secret = passphrase_of() if keys.needs_passphrase(path) else None
    key = keys.load_private(path, secret)
    made = issue(folder, key, valid=validity(valid), moment=times.now(), every=every)
    files = [str(write(one, out)) for one in made.signed]
    if files and (why := mark(folder, made.signed)):
        click.echo(f"warning: {why}; `hengsuan results prune` will not know of it", err=True)
    if as_json:
        print_json({"certificates": files, "left": made.left})
    else:
        for sentence in made.left[:WORST]:
            tell(plain(sentence))
        if len(made.left) > WORST:
            tell(f"and {len(made.left) - WORST} more without one")
        click.echo(f"{len(files)} certificate(s) in {out}")
    return int(Exit.OK if files else Exit.FINDING)


@command.command()
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option("--here", is_flag=True, help="It must be of this machine.")
@click.option("--run", metavar="RUN", help="It must be of these results, unchanged since.")
@click.option("--for", "use", type=click.Choice(USES), default="certify", show_default=True)
@click.option(
    "--allow",
    type=click.Choice(["stand-in", "simulated", "imported"]),
    multiple=True,
    help="Take results of this provenance too.",
)
@click.option("--any-verdict", is_flag=True, help="Ask for the signature, not for acceptance.")
@click.option("--at", metavar="DATE", help="As of this date.  [default: now]")
@STORE
@_RESULTS
@JSON
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

    Exit code: 0 every one is valid; 1 one is not. Clocks may differ by five minutes.
    """
    from ..certificates import keys, times, verify
    from ..certificates.certificate import results_digests
    from ..certificates.trust import Store
    from ..runs import find_run
    from . import reader_may_leave

    keys.need_cryptography()
    store = Store(folder)
    moment = times.now() if at is None else date_of("--at", at)
    digests = results_digests(find_run(run, results)) if run is not None else None
    machine = _Here() if here else None
    answers = {}
    for file in _files(files):
        raw = read_file(file)
        identity = machine.of(raw) if machine is not None else None
        answers[str(file)] = verify.verify(
            raw, store, moment=moment, here=identity, results=digests, **asked
        )
    with reader_may_leave():
        if as_json:
            print_json(
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
@click.argument("file", type=PATH)
@JSON
def show(file: Path, as_json: bool) -> int:
    """Show what a certificate says, without asking whether it counts."""
    from ..certificates.certificate import decode
    from ..report.certificates import print_certificate
    from ..report.terminal import console

    try:
        certificate = decode(read_file(file)).certificate
    except ValueError as error:
        raise UsageError(str(error), where=str(file)) from None
    if as_json:
        print_json({"id": certificate.id(), "certificate": certificate})
    else:
        print_certificate(console(), certificate)
        tell("not verified: `hengsuan certificate verify` says whether it counts")
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


def _files(paths: tuple[Path, ...]) -> list[Path]:
    """The paths, folders as the certificates in them. Raises `UsageError` for what is not there."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.certificate.json")) if path.is_dir() else [path]
        if not inside:
            raise UsageError("no certificates in this folder (*.certificate.json)", where=str(path))
        found += inside
    return found


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
    what = ", ".join(filter(None, (one.provenance, one.chip)))
    return (
        f"{one.node} {words[one.verdict]} by {one.suite} on {one.finished}, "
        f"{what}, until {one.valid_until}"
    )
