"""``--json``, which most verbs have, and what they print with it."""

from __future__ import annotations

from typing import Any

import click

JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def print_json(found: Any) -> None:
    """An object or a list on stdout, indented."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
