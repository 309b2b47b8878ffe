"""In which order tasks are done: what has a bound and no figure (what never had one first), what
missed one, what is told without a bound, then the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from cases import Task
from figures import bounded, missed, near, rivals_of, undecided
from promises import untried
from records import CEILING, Record, takes_part


@dataclass(frozen=True)
class Step:
    """Side by side what is ``timed`` is compiled and what is ``verified`` is done; then, one by
    one, the former is timed."""

    timed: tuple[Task, ...] = ()
    verified: tuple[Task, ...] = ()

    def __len__(self) -> int:
        return len(self.timed) + len(self.verified)


def order(
    asked: Sequence[Task],
    records: Collection[Record],
    most: float,
    wanted: Collection[str] = (),
    former: Collection[Record] = (),
    arch: str | None = None,
) -> list[Step]:
    """The steps to do what is left.

    Args:
        asked: All tasks, in the order of the plan.
        records: What holds of what was done before.
        most: Seconds of timing after which a task that is still undecided is left as it is.
        wanted: Which rivals take part (`records.takes_part`).
        former: Records of what was done with earlier kernels: what they say is likely still so.
        arch: The device's; what is promised there (`promises`) is timed beside what is known.
    """
    known = {one.name: one for one in records}
    left = [task for task in asked if not _done(known.get(task.name))]
    timed = [task for task in left if task.kind == "time"]
    once = {one.name for one in former if one.status == "right"}
    figured = sorted((one for one in timed if one.figure), key=_share(asked, known, once))
    again = [
        task
        for task in asked
        if task.name in known and task not in left
        and (_worth_it(known[task.name], most) or _promising(known[task.name], arch, wanted))
    ]  # fmt: skip
    # What failed before may fail again, and take its limit to do so.
    verified = sorted((one for one in left if one.kind == "verify"), key=lambda t: t.name in known)
    first = (*(one for one in figured if bounded(one.figure)), *again)
    alone = [
        task
        for task in asked
        if task.name in known and task not in first and lacks(known[task.name], wanted)
    ]
    told = (one for one in figured if not bounded(one.figure))
    rest = (*told, *alone, *(one for one in timed if not one.figure))
    steps = [Step(timed=first), Step(timed=rest, verified=tuple(verified))]
    return [step for step in steps if len(step)]


def _done(record: Record | None) -> bool:
    """What failed is done again: the machine may have been the reason."""
    return record is not None and record.status != "failed"


def _worth_it(record: Record, most: float) -> bool:
    """Whether more calls, or another place of the operands, may tell that a bound was met which now
    looks missed."""
    return (
        record.kind == "time"
        and record.status == "right"
        and missed(record)
        and ((undecided(record) and record.spent < most) or (near(record) and record.places == 1))
    )


def _promising(record: Record, arch: str | None, wanted: Collection[str]) -> bool:
    """Whether a configuration was never timed beside it that promises something."""
    named = {one for one in untried(arch, record.op, record.variant) if takes_part(one, wanted)}
    timed = record.kind == "time" and record.status == "right" and bounded(record.figure)
    return timed and not named <= set(record.cells)


def lacks(record: Record, wanted: Collection[str]) -> bool:
    """Whether a rival that a bound names, and that is wanted, had no part, not even as absent."""
    named = {one for one in rivals_of(record.figure) if takes_part(one, wanted)}
    timed = record.kind == "time" and record.status == "right"
    return timed and not (named - {CEILING}) <= set(record.cells)


def _share(
    asked: Sequence[Task], known: Mapping[str, Record], once: Collection[str]
) -> Callable[[Task], object]:
    """What was never measured comes first, then figures of which least is known; of those, in the
    order of the plan."""
    whole: dict[str, list[bool]] = {}
    for task in asked:
        if task.kind == "time" and task.figure:
            whole.setdefault(task.figure, []).append(task.name in known)

    def place(task: Task) -> object:
        figure = whole[task.figure]
        return task.name in known, task.name in once, sum(figure) / len(figure)

    return place
