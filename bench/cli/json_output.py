"""``--json``, ``--quiet`` and ``--verbose``, which verbs have together."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..report.amount import AMOUNT, Amount, quiet
from ..report.language import narrated

F = TypeVar("F", bound=Callable[..., Any])


def JSON(command: F) -> F:  # noqa: N802 - stands among constants that are options
    """A verb's ``as_json``, and how much it says (`bench.report.amount`)."""
    command = _how_much("verdict", "-q", "--quiet", "Only the verdict, or names of a list.")(
        command
    )
    command = _how_much("all", "-v", "--verbose", "Whole lists, every event.")(command)
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)


def _how_much(amount: Amount, short: str, name: str, text: str) -> Callable[[F], F]:
    def set_amount(context: click.Context, _: click.Parameter, value: bool) -> None:
        # What a run was begun with is parsed as well (`begun`), and nobody asks for that now.
        if value and not context.resilient_parsing:
            if AMOUNT.get() not in ("usual", amount):
                raise click.UsageError("--quiet and --verbose do not go together")
            before = AMOUNT.set(amount)
            context.call_on_close(lambda: AMOUNT.reset(before))

    return click.option(
        name, short, is_flag=True, expose_value=False, callback=set_amount, help=text
    )


def say(text: str) -> None:
    """A line on stderr about what goes on, unless only the verdict is wanted."""
    if not quiet():
        tell(text)


def tell(text: str) -> None:
    """A line on stderr. Where it cannot be written nobody is told, and all goes on."""
    try:
        click.echo(narrated(text), err=True)
    except OSError:
        from ..files import silence

        silence(sys.stderr)


PRINTED: list[bool] = []
"""Has items once this process has printed JSON: then an error is told on stderr alone."""


def print_json(found: Any) -> None:
    """An object or a list on stdout, indented."""
    import msgspec

    PRINTED.append(True)

    try:
        text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
    except UnicodeEncodeError:  # names of files may be no text: they are escaped, and stay names
        import json

        text = json.dumps(_finite(msgspec.to_builtins(found)), indent=1, allow_nan=False)
    click.echo(text)


def print_json_line(found: Any) -> None:
    """One object of many, a line each."""
    import msgspec

    PRINTED.append(True)
    click.echo(msgspec.json.encode(found).decode())


def print_text(text: str, as_json: bool = False) -> int:
    """A script or a manifest, as it is however much is said; with ``--json`` as ``text``."""
    if as_json:
        print_json({"text": text})
    else:
        click.echo(text, nl=False)
    return 0


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not have, as `msgspec` writes them."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
