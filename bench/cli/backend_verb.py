"""``hengsuan backend``: how chips are reached, for those who make them."""

from __future__ import annotations

import click

from .verbs import Verbs

VERBS = {
    "list": ("Commands", "Every backend: usable or why not, its devices, on what it was tested."),
    "new": ("Commands", "Write the package of a new backend, to be filled in."),
    "check": ("Commands", "Try on this node's devices whether a backend keeps the contract."),
}
"""Command → (section, what it does); `backend_list_verb` and its like have `command`."""


@click.group(name="backend", cls=Verbs, verbs=VERBS, inside="backend_")
def command() -> None:
    """Backends: which there are, what they find here, and whether they keep the contract."""
