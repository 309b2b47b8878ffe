"""What a shell offers for a word that is being typed: names of suites, runs, profiles and so on.

A parameter says by its metavar or its name what it takes (`_KINDS`): whatever verb has it, it is
completed alike. Nothing here imports an accelerator stack.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_HENGSUAN_COMPLETE"
"""By which the script of a shell asks us, as click has it."""
MOST = 200
"""Runs that are offered: the newest."""

_KINDS = {
    "RUN": "runs",
    "SUITE": "suites",
    "PROFILE": "profiles",
    "GATE_NAME": "gates",
    "BACKEND": "backends",
    "CHIP": "chips",
    "CLUSTER": "clusters",
    "MODEL": "models",
}
"""Metavar of a parameter, or its name in capitals, → what it takes."""


class Named(click.types.StringParamType):
    """A name of this kind, or a path to such a thing."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Whatever was typed: who loads it says what is wrong with it."""
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so; what none begins with may be a path."""
        from click.shell_completion import CompletionItem

        found = [name for name in self._names(ctx) if name.startswith(incomplete)]
        if found:
            return [CompletionItem(name) for name in found]
        return [CompletionItem(incomplete, type="dir" if self.kind == "runs" else "file")]

    def _names(self, ctx: click.Context) -> Iterable[str]:
        if self.kind == "runs":
            return _runs(Path(ctx.params.get("out") or ctx.params.get("results") or "results"))
        if self.kind == "backends":
            from ..backends.registry import names

            return (*names(), "sim")
        from ..configs import search

        return search.names(cast("search.Kind", self.kind))


def complete(params: Sequence[click.Parameter]) -> None:
    """Let parameters that take the name of something be completed."""
    for param in params:
        words = (param.metavar or "").split("|")[0].strip(".[]"), (param.name or "").upper()
        kind = next((_KINDS[word] for word in words if word in _KINDS), None)
        if kind is not None and param.type is click.STRING:
            param.type = Named(kind)


def _runs(folder: Path) -> list[str]:
    """Names of the folders that hold runs, the newest first: their names begin with the time."""
    from ..headers import RUN

    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder), reverse=True)
        return [name for name in names[:MOST] if (folder / name / RUN).exists()]
    return []


def completed(root: click.Group, instruction: str) -> int:
    """Answer a shell that asks through `VARIABLE`; the exit code, 1 where nothing is to be said."""
    from click.shell_completion import shell_complete

    try:
        return shell_complete(root, {}, "hengsuan", VARIABLE, instruction)
    except Exception:  # who presses a key wants no traceback, whatever is wrong
        return 1
