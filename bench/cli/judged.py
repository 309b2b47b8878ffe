"""What verdicts on runs say, read from beside them: of nodes by `certify`, of metrics by a gate."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HengsuanError

if TYPE_CHECKING:
    from ..analysis.judgements import Changes
    from ..gates import GateReport
    from ..verdicts import Certification

_UNREAD = "a verdict cannot be read and is not compared"


def changes(systems: Sequence[Sequence[Path]]) -> tuple[list[Changes], list[str]]:
    """What each system's verdicts say otherwise than those of the one before; what is not compared.

    Args:
        systems: Folders of the runs of each.
    """
    from ..analysis.judgements import certifications, gates

    notes: list[str] = []
    said = [_certifications(folders, notes) for folders in systems]
    judged = [_gate(folders, notes) for folders in systems]
    found = []
    for (before, was), (after, has) in itertools.pairwise(zip(systems, said, strict=True)):
        if was and has:
            found.append(certifications(was, has))
            by = [", ".join(dict.fromkeys(one.profile for one in those)) for those in (was, has)]
            if by[0] != by[1]:
                notes.append(f"judged by profile {by[0]}, then by profile {by[1]}")
        elif was or has:
            names = [folders[0].name for folders in ((before, after) if was else (after, before))]
            notes.append(
                f"run {names[0]} has a verdict and run {names[1]} has none: what they say of nodes "
                "is not compared"
            )
    for old, new in itertools.pairwise(judged):
        if old is not None and new is not None:
            found.append(gates(old, new))
            if old[1].gate != new[1].gate:
                notes.append(f"judged by gate {old[1].gate}, then by gate {new[1].gate}")
    return found, notes


def verdict_beside(folder: Path) -> tuple[Certification | None, list[str]]:
    """What `certify` said of a run, where it said anything; why that cannot be read."""
    from ..verdicts import VERDICT, read_verdict

    if (folder / VERDICT).exists():
        try:
            return read_verdict(folder), []
        except HengsuanError as error:  # what was measured is shown all the same
            return None, [f"{error.where or VERDICT}: {error.message}"]
    return None, []


def _certifications(folders: Sequence[Path], notes: list[str]) -> list[Certification]:
    found = []
    for folder in folders:
        verdict, problems = verdict_beside(folder)
        notes += [f"{_UNREAD}: {problem}" for problem in problems]
        if verdict is not None:
            found.append(verdict)
    return found


def _gate(folders: Sequence[Path], notes: list[str]) -> tuple[str, GateReport] | None:
    """The report of the gate whose candidate a system's run is, with the run's name."""
    from ..gates import GATE, read_gate

    for folder in folders:
        # Sides are measured into folders beside the report (`gate pair --out`).
        above = folder.resolve().parent
        places = [folder, *([above.parent] if above.name == "candidate" else [])]
        for file in (place / GATE for place in places):
            if file.exists():
                try:
                    return folder.name, read_gate(file)
                except HengsuanError as error:
                    notes.append(f"{_UNREAD}: {error.where or file}: {error.message}")
    return None
