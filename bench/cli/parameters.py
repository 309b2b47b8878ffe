"""Types of options that several verbs have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class Share(click.types.FloatParamType):
    """``10%`` or ``0.1``."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Raise click's error for what is no share between 0 and 1."""
        from ..units import parse_share

        try:
            return parse_share(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(click.types.FloatParamType):
    """``20m``, in seconds.

    Args:
        least: Seconds below which it makes no sense.
        off: Whether ``off`` may be said, which is 0.
    """

    name = "duration"

    def __init__(self, least: float = 0.0, *, off: bool = False) -> None:
        self._least, self.off = least, off

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Raise click's error for what is no duration, or too short a one."""
        from ..units import format_duration, parse_duration

        if self.off and value == "off":
            return 0.0
        instead = ", or off" if self.off else ""
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(f"{error}{instead}", param, ctx)
        if not self._least <= seconds < float("inf"):
            least = format_duration(self._least)
            self.fail(f"{value} is too short: {least} is the least{instead}", param, ctx)
        return seconds

    def written(self, seconds: float) -> str:
        """As it is typed."""
        if self.off and not seconds:
            return "off"
        for letter, size in (("h", 3600), ("m", 60)):
            if seconds and seconds % size == 0:
                return f"{int(seconds // size)}{letter}"
        return f"{seconds:f}".rstrip("0").rstrip(".") + "s"


class Days(click.types.FloatParamType):
    """``90`` days, or ``36h``; in days."""

    name = "days"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Raise click's error for what is no length of time."""
        from ..units import parse_duration

        try:
            days = float(value)
        except ValueError:
            try:
                days = parse_duration(value) / 86400
            except ValueError:
                days = -1.0
        if not days >= 0:
            self.fail(f"{value} is no number of days; write for example 90, 12d or 36h", param, ctx)
        return days


class Output(click.Path):
    """A file to write, as a `Path`: none that a run's folder is read by."""

    def __init__(self, **kept: Any) -> None:
        super().__init__(path_type=Path, **kept)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Raise click's error for a file of a run's, which would be lost."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self.is_of_run(path):
            self.fail(f"{path} is a run's own file: choose another name", param, ctx)
        return path

    @staticmethod
    def is_of_run(path: Path) -> bool:
        """Whether a run is read by this file, or would be once it is there; links are followed."""
        from ..certificates.issue import MARK
        from ..gates import GATE
        from ..headers import CONDITIONS, RUN
        from ..ledger import LEDGER
        from ..results import ROWS, SAMPLES
        from ..telemetry import TELEMETRY
        from ..verdicts import VERDICT

        real = Path(os.path.realpath(path))
        known = (RUN, CONDITIONS, ROWS, SAMPLES, LEDGER, TELEMETRY, VERDICT, GATE, MARK)
        return real.name in known and (real.exists() or (real.parent / RUN).exists())
