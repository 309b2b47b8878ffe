"""``hengsuan completion``: what makes a shell complete our commands."""

from __future__ import annotations

import click

from .completing import VARIABLE
from .json_output import JSON, print_text
from .verbs import Verb

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Verb, name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
@JSON
def command(shell: str, as_json: bool) -> int:
    """Print the script that makes SHELL complete verbs, options and the names of things.

    Suites, profiles, gates, backends, chips, clusters and models are those that this installation
    has, runs those of the folder that --out names. Nothing is started for it.
    """
    from click.shell_completion import get_completion_class

    from . import cli

    made = get_completion_class(shell)
    assert made is not None, "click has the shells of the choice"
    return print_text(f"{made(cli, {}, 'hengsuan', VARIABLE).source()}\n", as_json)
