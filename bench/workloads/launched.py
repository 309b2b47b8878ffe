"""The programs of a group as one of its ranks sees them: begun, watched beside others', ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from .base import Context
from .program import Program, ProgramFailed
from .reports import Come, Reports

TICK = 0.2
"""Seconds between two looks of all ranks at their programs."""
_OTHERS = "aborted, as the program of another rank failed"
"""A reason that the engine takes for an echo: the failing rank has its own."""


class Launched:
    """What was started for this rank, which may be nothing, and what that reports.

    Args:
        context: Of this rank.
        reports: What the first program that is started reports; others the job needs beside it.
        warmup: Steps that do not count.
        deadline: Seconds from now in which enough steps must have been reported.
    """

    def __init__(
        self,
        context: Context,
        reports: Reports,
        warmup: int,
        deadline: float,
    ) -> None:
        self.programs: list[Program] = []
        self.reports = reports
        self.by_itself = False
        """Whether the program had ended before it was asked to."""
        self._context = context
        self._warmup = warmup
        self._deadline = deadline
        self._until = time.monotonic() + deadline
        self._unstarted = ""

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        cores: Sequence[int],
    ) -> None:
        """Start one more program. What is not there is said by the next `look`, to all ranks."""
        take = self.reports.take if not self.programs else _unread
        try:
            self.programs.append(Program(words, environment, directory, cores, take))
        except ProgramFailed as error:
            self._unstarted = str(error)

    @property
    def counts(self) -> bool:
        """Whether it is this rank's program whose steps are measured."""
        return bool(self.programs) and self.reports.counted in self.reports.expected

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() > self._until

    @property
    def ended(self) -> bool:
        """Whether the program that reports has ended."""
        return bool(self.programs) and self.programs[0].ended

    def warm(self) -> int | None:
        """The index of the last step line of the warm-up; None while it lasts."""
        steps = self.reports.steps
        if not steps:
            return None
        last = steps[0].step + max(0, self._warmup - 1)
        return next((index for index, one in enumerate(steps) if one.step >= last), None)

    def counted(self) -> list[Come]:
        """The lines from the warm-up's last on: a step lies between each and the next."""
        first = self.warm()
        return [] if first is None else self.reports.steps[first:]

    def await_begin(self) -> str:
        """Wait for every rank's hello and the warm-up; what this rank reported wrongly, if it did.

        Returns on all ranks as soon as one has reported wrongly. Raises as `look` does.
        """
        while True:
            problem = self.reports.problem or (self.reports.silent() if self.ended else "")
            begun = self.reports.spoken and (not self.counts or bool(self.counted()[1:]))
            flags = self.look([bool(problem), begun or not self.programs], 1)
            if any(wrong for wrong, _ in flags) or all(ready for _, ready in flags):
                return problem
            time.sleep(TICK)

    def look(self, mine: list[float], least: int) -> list[list[float]]:
        """What every rank says, by rank, if all programs do as they should.

        Args:
            mine: What this rank has to say.
            least: Steps without which a program that has ended, or is late, has failed.

        Raises:
            ProgramFailed: on all ranks, if the program of one has.
        """
        trouble = self._trouble(least)
        gather = self._context.gather
        words = [[bool(trouble), *mine]]
        said = words if gather is None else gather(words[0])
        if any(word[0] for word in said):
            raise ProgramFailed(trouble or _OTHERS)
        return [word[1:] for word in said]

    def _trouble(self, least: int) -> str:
        """How this rank's program has failed; empty if it has not."""
        if self._unstarted:
            return self._unstarted
        for one in self.programs:
            if one.ended and one.code != 0:
                return f"{one.name} {one.how()}{one.last_words()}"
        if not self.programs or self.reports.problem:
            return ""
        program, steps = self.programs[0], self.reports.count
        said = f"{steps or 'no'} step{'s' * (steps != 1)}"
        few = self.counts and len(self.counted()) <= least
        needed = f"; {self._warmup} of warm-up and {least} more are needed" if steps else ""
        if few and (program.ended or self.late) and steps > self._warmup + least:
            return (
                f"{program.name} reported {said} in few pieces, so that nobody knows when each "
                f"ended: have it flush after every line{program.last_words()}"
            )
        if program.ended and few:
            return f"{program.name} ended having reported {said}{needed}{program.last_words()}"
        if self.late and (few or not self.reports.spoken):
            what = f"{said} were" if few else "no hello was"
            return (
                f"{what} reported within the deadline of {self._deadline:g} s"
                f"{needed}{program.last_words()}"
            )
        return ""

    def end(self, patience: float = 0.0) -> None:
        """End all programs; ``patience``: seconds that the one that reports has to do so itself."""
        stop = time.monotonic() + patience
        while self.programs and not self.ended and time.monotonic() < stop:
            time.sleep(TICK / 4)
        self.by_itself = self.ended
        for one in self.programs:
            one.end()


def _unread(lines: list[bytes], now: float) -> None:
    """For a program that nobody listens to."""
