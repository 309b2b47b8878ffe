"""Where kernels take their configurations from: tables of the user, of plugins, built in; an axis.

Tables lie in ``tuned/<arch>.yaml`` below the folders of `configs.search.folders`; the first that
has an architecture's file wins, and those of ``bench.kernels`` come last. The axis ``config`` of
`compute` and `memory` takes the place of an entry, so that a suite can measure any of them.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from ..configs.search import folders
from ..errors import ConfigError, UsageError
from ..kernels import space, tuning
from ..kernels.tables import TableError

Configuration = tuple[str, dict[str, int]]
"""A key of the tables, and constants for it."""

_REFUSALS = {
    "OutOfResources",
    "CompilationError",
    "PTXASError",
    "InterpreterError",
}
"""Errors of Triton that say that a kernel cannot be built so, or does not fit the chip."""


def use_tables(*first: Path) -> None:
    """Let kernels find the tables; ``first`` are folders that come before all others.

    Raises:
        ConfigError: a table there does not say what it must; ``where`` is its file.
    """
    surroundings = (os.environ.get(name) for name in _DECIDING)
    tuning.look_in((*first, *_places(*surroundings)))
    for arch in tuning.architectures():
        path = tuning.path_of(arch)
        try:
            if path is not None and path.parent != tuning.FOLDER:
                tuning.table(arch)
        except TableError as error:
            raise ConfigError(
                str(error),
                where=error.where,
                hint="mend it or move it away; `hengsuan tune` makes one",
            ) from None


_DECIDING = ("HENGSUAN_CONFIG_PATH", "XDG_CONFIG_HOME", "HOME")


@functools.cache
def _places(*surroundings: str | None) -> tuple[Path, ...]:
    """Looking through all installed distributions takes milliseconds; they stay as they are."""
    return tuple(folder / "tuned" for folder in folders())


def configuration(op: str, impl: str, text: str) -> Configuration | None:
    """What the axis ``config`` says, None where it is empty.

    Raises:
        UsageError: an implementation without configurations; a key that the operation does not
            ask for or a constant that the key does not have, with those there are.
    """
    if not text.strip():
        return None
    if impl != "triton":
        raise UsageError(
            f"config: {impl} takes no configuration", hint="write impl: triton, or leave config out"
        )
    keys = space.keys_of(op)
    try:
        return space.parse(text, keys)
    except ValueError as error:
        example = ", ".join(space.SPACES[keys[0]].constants)
        raise UsageError(
            f"config of {op}: {error}",
            hint=f"write a key and its constants; {keys[0]} has {example}",
        ) from None


def refusal(error: BaseException) -> str:
    """Why a configuration cannot be built or does not fit, in words; empty if ``error`` is a fault.

    Told by the names of Triton's exceptions: vendors ship Tritons of their own.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__ if "triton" in kind.__module__}
    words = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason"]
    if kinds & _REFUSALS:
        return f"the compiler refused it: {words[-1][:200]}"
    if isinstance(error, ValueError):
        # The operands are ours and fit: what a kernel minds here is its constants.
        return f"the kernel refused it: {words[-1][:200]}"
    if "PassManager::run failed" in str(error):
        return "the compiler failed on it"
    return ""
