"""``hengsuan gate``: has something become slower?"""

from __future__ import annotations

import click

from .verbs import Verbs

VERBS = {
    "pair": ("Commands", "Measure baseline and candidate in turn; judge the candidate."),
    "check": ("Commands", "Judge a run against earlier runs."),
    "history": ("Commands", "Say since which run a metric is slower."),
    "bisect": ("Commands", "Find the first slower revision between two."),
    "selftest": ("Commands", "Say how small a change can be seen on this machine."),
    "side": ("Started by pair", "One side: measures when it is told to."),
}
"""Command → (section, what it does); `gate_pair_verb` and its like have `command`."""


@click.group(name="gate", cls=Verbs, verbs=VERBS, inside="gate_")
def command() -> None:
    """Gates: whether something became slower, with an exit code for continuous integration."""
