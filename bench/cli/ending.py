"""How a run ends for whoever asked for it: the verdict in a line, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Exit
from ..headers import absent
from ..records import Header, Status
from ..report.terminal import print_next, verdict
from . import VERBS
from .begun import again, begun

if TYPE_CHECKING:
    from rich.console import Console

    from ..analysis.finding import Finding
    from ..analysis.scores import Scorecard
    from ..verdicts import Certification

Next = tuple[str, str]
"""A command, and what it is for."""

SHOWN = 3
"""Commands that are named: more would be a list to choose from."""
WORDS = {
    Exit.OK: "measured, every check held",
    Exit.FINDING: "a finding: a check did not hold, or a criterion was missed",
    Exit.INCONCLUSIVE: "inconclusive: not enough values count",
    Exit.INFRASTRUCTURE: "something was lost; the rest was measured",
    Exit.INTERRUPTED: "interrupted; what was measured is kept",
}
"""What an exit code says of a run."""
FACTS = {"drift", "errors", "kernel-log"}
"""Kinds of findings that are about what a node says of itself."""
_UNDER_A_ROOF = {"gemm", "stream", "compute", "memory"}


def print_end(made: Console, said: str, following: list[Next]) -> None:
    """The verdict, and commands to go on with."""
    verdict(made, said)
    print_next(made, following)


def verdict_of(header: Header, code: Exit, card: Scorecard) -> str:
    """``run ID: measured, every check held; score 82/100, coverage 93% (simulated)``."""
    score = "none" if card.overall is None else f"{card.overall:.0f}/100"
    return (
        f"run {header.id}: {WORDS[code]}; score {score}, coverage {card.coverage:.0%} "
        f"({header.label})"
    )


def ended(folder: Path, header: Header, counts: dict[Status, int]) -> tuple[Exit, list[str]]:
    """The exit code of a run that somebody else measured, and what was lost in it."""
    from ..cluster.engine import Finished

    lost = absent(header) + [
        f"{event['node']}: {event['text']}"
        for event in header.events
        if event["kind"].endswith("-lost")
    ]
    codes = [Finished(folder=folder, header=header, counts=counts, lost=lost).exit]
    if header.state in ("failed", "running"):  # ended by an error, or by nobody
        codes.append(Exit.INFRASTRUCTURE)
    return Exit.worst(codes), lost


def next_after_run(
    header: Header, folder: Path, counts: Mapping[Status, int], card: Scorecard | None = None
) -> list[Next]:
    """What makes sense after what was found, most pressing first."""
    return _first(_after_run(header, folder, counts, card))


def _after_run(
    header: Header, folder: Path, counts: Mapping[Status, int], card: Scorecard | None
) -> Iterator[Next]:
    run = _named(folder)
    if header.state != "complete":
        yield f"hengsuan {_resuming(header, run)}", "measure the rest"
    if any(counts.get(status) for status in ("failed", "invalid", "missing")):
        yield f"hengsuan results show {run}", "which cases, and why"
    kinds = {finding.kind for finding in card.findings} if card is not None else set()
    if any(kind.startswith("slow-") for kind in kinds):
        yield f"hengsuan results fabric {run}", "who is slow, beyond doubt"
    if counts.get("contended"):
        yield "hengsuan doctor", "what else runs on these cores"
    if not counts.get("ok") and header.state == "complete" and header.command:
        yield shlex.join(header.command), "measure again"
        yield f"hengsuan results show {run}", "every case, and why it does not count"
    if header.command[1:2] == ["certify"]:
        yield f"hengsuan certify --from {run}", "which nodes may join"
    if kinds & FACTS:
        yield f"hengsuan results facts {run}", "which nodes differ, and what they counted"
    if "report" in VERBS:
        yield f"hengsuan report {run}", "the same as a page"
    yield f"hengsuan expect {run}", "is this normal?"
    if _UNDER_A_ROOF & {case.benchmark for case in header.cases}:
        yield f"hengsuan results roofline {run}", "how near it comes to the chip's limits"
    yield f"hengsuan results show {run}", "every case"
    yield f"hengsuan score {run}", "what it is worth, by category"


def looking_again(header: Header, folder: Path) -> Callable[[Finding], str]:
    """What says for a finding of a run which command looks at it again; empty where none does."""
    run = _named(folder)
    cases: dict[str, str] = {}

    def command(finding: Finding) -> str:
        kind, name = finding.kind, finding.name
        if kind == "incomplete":
            return f"hengsuan {_resuming(header, run)}"
        if kind in ("slow-pair", "slow-link"):
            return f"hengsuan results fabric {run}"
        if kind in FACTS:
            return f"hengsuan results facts {run} --node {shlex.quote(name)}"
        if kind.startswith("slow-"):
            return (
                shlex.join(header.command) if header.command[1:2] in (["run"], ["certify"]) else ""
            )
        if name not in cases:
            cases[name] = again(header, name)
        return cases[name]

    return command


def next_after_certify(made: Certification, header: Header, folder: Path) -> list[Next]:
    """What makes sense after a verdict: look again at the worst, say why, or sign."""
    return _first(_after_certify(made, header, folder))


def _after_certify(made: Certification, header: Header, folder: Path) -> Iterator[Next]:
    run = _named(folder)
    if header.state != "complete":
        yield f"hengsuan {_resuming(header, run)}", "measure the rest"
    evidence = [one for node in made.nodes if node.verdict == "reject" for one in node.evidence]
    again = next((one.command for one in evidence if one.command), "")
    if again:
        yield again, "measure the worst once more"
    if evidence:
        yield f"hengsuan certify --from {run} --verbose", "every finding of every node"
        yield f"hengsuan results facts {run}", "how these nodes differ from others"
    if made.count("inconclusive"):
        yield f"hengsuan results show {run}", "what was measured, and what does not count"
        if header.fleet is None:
            yield "hengsuan doctor", "whether it is quiet enough here"
    if made.count("accept") and made.provenance != "simulated" and not made.only:
        key = "--key ops.key --out certificates"
        yield f"hengsuan certificate sign {run} {key}", "for the accepted"
    yield f"hengsuan certify --from {run} --markdown verdict.md", "the verdict, to hand on"
    if "report" in VERBS:
        yield f"hengsuan report {run}", "the same as a page"
    yield f"hengsuan results facts {run}", "which nodes differ, and what they counted"
    yield f"hengsuan results show {run}", "every case"


def _first(commands: Iterator[Next]) -> list[Next]:
    """Each command once, for what it was named first."""
    found: dict[str, str] = {}
    for command, why in commands:
        found.setdefault(command, why)
    return list(islice(found.items(), SHOWN))


def _named(folder: Path) -> str:
    """A run as other verbs take it: by its id where they look for it, else by its path."""
    return shlex.quote(folder.name if folder.parent == Path("results") else str(folder))


def _resuming(header: Header, run: str) -> str:
    verb = "certify" if header.command[1:2] == ["certify"] else "run"
    cluster = begun(header).get("cluster")
    simulated = f" --cluster {shlex.quote(str(cluster))}" if cluster else ""
    return f"{verb} --resume {run}{simulated}"
