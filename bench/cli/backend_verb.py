"""``hengsuan backend``: how chips are reached, for those who make them."""

from __future__ import annotations

import click

from . import Verbs

VERBS = {
    "list": ("Commands", "Every backend: usable or why not, its devices, on what it was tested."),
}
"""Command → (section, what it does); `backend_list_verb` and its like have `command`."""


@click.group(name="backend", cls=Verbs, verbs=VERBS, inside="backend_")
def command() -> None:
    """Backends: which there are, what they find here, and whether they keep the contract."""
