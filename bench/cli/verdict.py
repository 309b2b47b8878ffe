"""From a run to its verdict: judged, waived, written, and said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from .. import __version__
from ..analysis.certify.cells import Rules
from ..analysis.certify.examine import Examined, Proven, examine
from ..analysis.certify.verdicts import certification
from ..analysis.history import declines, earlier_runs, pasts
from ..analysis.waivers import apply_waivers
from ..certificates.certificate import results_digests
from ..configs import Profile
from ..configs.waivers import Waiver
from ..errors import Exit, HengsuanError, InfraError
from ..records import Header
from ..results import ROWS, RunReader, cut
from ..runs import list_runs
from ..verdicts import Certification, Evidence, read_verdict, write_verdict
from .begun import begun, repeating
from .ending import next_after_certify
from .json_output import print_json


class Judged(msgspec.Struct, kw_only=True):
    """By what a run is judged, and where the verdict goes beside the run's folder.

    ``asked``: the profile and the baseline as they were typed, for commands that repeat a check.
    """

    profile: Profile
    rules: Rules
    baseline: Proven | None = None
    waivers: list[Waiver] = []
    max_drain: float = 0.05
    markdown: Path | None = None
    as_json: bool = False
    asked: dict[str, str] = {}


def judge(
    folder: Path,
    stages: Sequence[str],
    how: Judged,
    stopped: str = "",
    *,
    interrupted: bool = False,
) -> int:
    """Judge a run, write ``verdict.json``, print the verdict; the exit code.

    Args:
        folder: The run.
        stages: All stages that its suite has.
        how: By what.
        stopped: Why it ended early.
        interrupted: Somebody has just interrupted the measuring.

    Raises:
        InfraError: rows of it were lost since it was measured.
    """
    reader = RunReader(folder)
    header = reader.header
    columns = reader.columns()
    if why := cut(header, len(columns)):
        # Re-tests stand at the end: without them a node is rejected that they had cleared.
        raise InfraError(f"no verdict: {why}", where=str(folder))
    found = examine(header, columns, how.profile, how.rules, baseline=how.baseline)
    past, remarks = _past(found, folder, how.profile)
    for node, one in past:
        found.evidence.setdefault(node, []).append(one)
    found.notes += remarks
    made = certification(
        found,
        stages=stages,
        profile=how.profile.name,
        stopped=stopped,
        command=lambda evidence, node: repeating(header, evidence, node, how.asked),
    )
    today = datetime.now(timezone.utc).date()
    made.nodes, notes = apply_waivers(made.nodes, how.waivers, today)
    made.notes = [*made.notes, *notes]
    made.version = __version__
    made.only = str(begun(header).get("only") or "")
    made.results = results_digests(folder).get(ROWS, "")
    _schedulers(made, header, folder, how.max_drain)
    write_verdict(folder, made)
    _say(made, how, next_after_certify(made, header, folder))
    held = [Exit.INTERRUPTED] if interrupted else []
    if made.count("reject"):
        held.append(Exit.FINDING)
    if made.count("accept") < max(len(made.nodes), 1):
        held.append(Exit.INCONCLUSIVE)
    return int(Exit.worst(held))


def stages_of(folder: Path) -> Sequence[str]:
    """The stages of the suite that a run was made with, and the soak that it was to end with."""
    from ..campaigns.certify import SOAK
    from ..configs import suite_from_text

    header = RunReader(folder).header
    if not header.suite_text:
        return []
    suite = suite_from_text(header.suite_text, f"{folder}/run.json (its suite)")
    return [stage.name for stage in suite.stages] + ([SOAK] if begun(header).get("soak") else [])


def _past(
    found: Examined, folder: Path, profile: Profile
) -> tuple[list[tuple[int, Evidence]], list[str]]:
    """(node, evidence) of nodes that are worse than their own past, in the runs beside this one."""
    earlier = earlier_runs(folder.parent, found.header)
    known, unread = pasts(found.header, found.columns, found.table, profile, earlier)
    worse, notes = declines(known, found.table)
    return [(one.node, one.evidence("reject")) for one in worse], [*unread, *notes]


def _schedulers(made: Certification, header: Header, folder: Path, most: float) -> None:
    """What takes nodes out of a scheduler, and what brings them back."""
    from ..report.drain import drain, returning, undrain

    made.drain, notes = drain(made, header.nodes, most)
    back, kept = returning(made, _earlier(made, folder))
    made.undrain = undrain(made, back, header.nodes)
    made.notes = [*made.notes, *notes, *kept]


def _earlier(made: Certification, folder: Path) -> list[Certification]:
    """Verdicts on runs beside this one that began before it, the oldest first."""
    found = []
    for run in list_runs(folder.parent):
        if run.id == made.run or run.started >= made.began:
            continue
        try:
            found.append(read_verdict(Path(run.path)))
        except HengsuanError:
            continue  # it has none, or one that cannot be read: nothing is known of then
    return found


def _say(made: Certification, how: Judged, following: Sequence[tuple[str, str]]) -> None:
    """Print the verdict, and write it where it was asked for.

    Raises `InfraError` where that cannot be written, once it is printed: what took hours to measure
    is not lost for a folder.
    """
    from ..report.certification import print_certification
    from ..report.markdown import certification_markdown
    from ..report.terminal import console, print_next
    from . import reader_may_leave

    unwritten: OSError | None = None
    if how.markdown is not None:
        try:
            how.markdown.write_text(certification_markdown(made), encoding="utf-8")
        except OSError as error:
            unwritten = error
    with reader_may_leave():
        if how.as_json:
            print_json(made)
        else:
            screen = console()
            print_certification(screen, made)
            print_next(screen, following)
    if unwritten is not None:
        raise InfraError(
            f"cannot write: {unwritten.strerror or unwritten}",
            where=str(how.markdown),
            hint=f"hengsuan certify --from {made.run} --markdown FILE writes it elsewhere",
        )
