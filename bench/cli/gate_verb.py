"""``hengsuan gate``: has anything become slower?"""

from __future__ import annotations

import click

from .gate_history import history


@click.group(name="gate")
def command() -> None:
    """Say what became slower, beyond doubt, since when and by how much."""


command.add_command(history)
