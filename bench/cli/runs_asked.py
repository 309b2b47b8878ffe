"""The options by which runs of a folder or a store are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from ..runs import Asked

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--suite", default="", metavar="NAME", help="Of this suite; * fits any text."),
    click.option(
        "--state",
        default="",
        metavar="STATE",
        help="running, complete, interrupted, failed or died.",
    ),
    click.option("--provenance", default="", metavar="WORD", help="measured, stand-in, ..."),
    click.option("--node", default="", metavar="NAME", help="With this node."),
    click.option(
        "--since", default="", metavar="WHEN", help="Begun since 2026-11-01, or in the last 7d."
    ),
)


def ASKED(command: F) -> F:  # noqa: N802 - stands among decorators that are values
    """`_OPTIONS`, which `asked_of` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked_of(suite: str, state: str, provenance: str, node: str, since: str) -> Asked:
    """What the options ask for. Raises `UsageError` for a word that no run has, and no time."""
    from ..errors import unknown
    from ..records import PROVENANCES, RunState
    from ..runs import DIED, Asked

    for kind, word, known in (
        ("state", state, (*get_args(RunState), DIED)),
        ("provenance", provenance, PROVENANCES),
    ):
        if word and word not in known:
            raise unknown(kind, word, known)
    return Asked(
        suite=suite,
        state=state,
        provenance=provenance,
        node=node,
        since=_moment(since) if since else None,
    )


def _moment(text: str) -> float:
    """Seconds since 1970 of a date, a time, or of so long ago."""
    import time
    from datetime import datetime, timezone

    from ..units import parse_duration

    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            f"--since {text}: no time", hint="write 2026-11-01, 2026-11-01T08:00Z, 12h or 7d"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
