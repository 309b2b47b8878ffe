"""``hengsuan backend new``: the package of a backend, to be filled in."""

from __future__ import annotations

from pathlib import Path

import click

from ..report.amount import quiet
from .json_output import JSON, print_json
from .verbs import Verb


@click.command(cls=Verb, name="new")
@click.argument("name")
@click.option("--device-type", metavar="T", help="PyTorch's device type.  [default: NAME]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write.  [default: hengsuan-NAME]"
)
@JSON
def command(name: str, device_type: str | None, out: Path | None, as_json: bool) -> int:
    """Write a complete package of a backend NAME: class, datasheet, test, pyproject, README.

    It can be installed as it is; what is to be filled in is marked TODO.
    """
    from ..conformance import scaffold

    made = scaffold.files(name, device_type or name)
    folder = out or Path(f"hengsuan-{name.replace('_', '-')}")
    scaffold.write(folder, made)
    if as_json:
        print_json({"folder": str(folder), "files": [str(folder / path) for path in made]})
        return 0
    for path in made:
        click.echo(f"{folder / path}")
    if quiet():
        return 0
    click.echo(f"install it: pip install -e {folder}")
    click.echo(f"fill in what is marked TODO, then: hengsuan backend check {name}")
    return 0
