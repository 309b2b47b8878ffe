"""``hengsuan tokens``: packed token sets, which the benchmark `data` reads."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from ..errors import Exit, UsageError
from ..files import followed
from ..report.amount import quiet
from .json_output import JSON, print_json, tell
from .parameters import Output
from .verbs import Commands


@click.group(name="tokens", cls=Commands)
def command() -> None:
    """Write, describe and verify packed token sets, which the benchmark `data` reads."""


@command.command()
@click.argument("file", type=Output())
@click.option("--size", default="1GiB", show_default=True, help="Bytes of tokens.")
@click.option("--vocab", default=32_000, show_default=True, help="Tokens are below it.")
@click.option("--seed", default=0, show_default=True, help="Of the content.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@JSON
def new(file: Path, size: str, vocab: int, seed: int, force: bool, as_json: bool) -> int:
    """Write FILE: synthetic tokens of two bytes (a vocabulary up to 65,536) or four.

    The file has its name when it is whole and on the disk. Where FILE is a link, it is written to
    where that leads: a link says on which storage the set is to lie.
    """
    from ..units import parse_size
    from ..workloads.tokens import write_set

    if file.exists() and not file.is_file():
        raise UsageError(f"{file} is a folder or a device, and no file to replace")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already", hint="--force replaces it")
    try:
        place = followed(file)
    except OSError:
        raise UsageError(f"{file} is a link that leads to itself") from None
    if not place.parent.is_dir():
        raise UsageError(f"{place.parent}: there is no such directory")
    try:
        count = parse_size(size) // (2 if vocab <= 1 << 16 else 4)
    except ValueError as error:
        raise UsageError(f"--size: {error}") from None
    progress = click.progressbar(length=count, label=str(file), file=sys.stderr)
    with contextlib.nullcontext() if quiet() else progress as bar:
        done = 0

        def say(now: int) -> None:
            nonlocal done
            if bar is not None:
                bar.update(now - done)
            done = now

        made = write_set(place, count, vocab, seed, say)
    if as_json:
        print_json({"file": str(file), "count": made.count, "vocab": made.vocab})
        return int(Exit.OK)
    click.echo(f"{file}: {made.count} tokens below {made.vocab}, {made.bytes} bytes")
    return int(Exit.OK)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def verify(file: Path, as_json: bool) -> int:
    """Compare every token of FILE with what was written.

    Exit code: 0 all are the same; 1 one differs.
    """
    from ..workloads.tokens import open_set

    found = open_set(file)
    wrong = found.verify()
    if as_json:
        print_json({"file": str(file), "count": found.count, "wrong": wrong})
        return int(Exit.FINDING if wrong else Exit.OK)
    if wrong:
        tell(f"{file}: {wrong}")
        return int(Exit.FINDING)
    click.echo(
        f"{file}: {found.count} tokens of {found.width} bytes below {found.vocab}, "
        f"seed {found.seed}, all as written"
    )
    return int(Exit.OK)
