"""``hengsuan backend check``: whether a plugin keeps the contract, tried on its devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Exit, UsageError
from .json_output import JSON, print_json, say
from .parameters import Output
from .scoring import SPEAKING
from .verbs import Verb

if TYPE_CHECKING:
    from ..conformity import Conformity, Result, Verdict
    from ..report.junit import Case, Kind


@click.command(cls=Verb, name="check")
@click.argument("name", metavar="BACKEND")
@click.option("--only", multiple=True, metavar="CHECK", help="Only these; * fits all.  [repeat]")
@click.option("--list", "listed", is_flag=True, help="Say which checks there are, run none.")
@SPEAKING
@JSON
@click.option("--junit", type=Output(dir_okay=False), help="Also write JUnit XML here.")
def command(
    name: str, only: tuple[str, ...], listed: bool, as_json: bool, junit: Path | None
) -> int:
    """Check a BACKEND on this node's devices, each check in a process of its own.

    Exit code: 0 all passed or are declared not supported; 1 something failed; 2 usage;
    3 something could not be tried here, which is no pass; 4 we crashed.
    """
    from ..conformance.suite import Conformance
    from ..conformity import WORDS, Conformity
    from ..report.terminal import console, print_list
    from . import reader_may_leave

    if listed and junit:
        raise UsageError("--list goes without --junit: nothing is run")
    suite = Conformance(name)
    checks = suite.chosen(only)
    if listed:
        about = {one.name: one.about for one in suite.listing()}
        if as_json:
            print_json([{"check": one, "about": about[one]} for one in checks])
        else:
            print_list(console(), ("check", "about"), [(one, about[one]) for one in checks])
        return int(Exit.OK)
    results = []
    for result in suite.run(checks):
        results.append(result)
        said = f": {result.reason}" if result.verdict in ("fail", "skipped") else ""
        say(f"{result.check}: {WORDS[result.verdict]}{said}")
    found = Conformity.of(name, [device.name for device in suite.devices], results)
    if junit is not None:
        from ..report.junit import write

        write(junit, f"backend check {name}", [_junit(one) for one in results])
    with reader_may_leave():
        if as_json:
            print_json(found)
        else:
            _print(found)
    return found.exit


_KINDS: dict[Verdict, Kind] = {
    "pass": "",
    "fail": "failure",
    "unsupported": "skipped",
    "skipped": "error",
}


def _junit(one: Result) -> Case:
    """As JUnit says it: what nobody could try is an error there, for it has no other word."""
    from ..report.junit import Case

    text = "\n".join(filter(None, (one.reason, one.hint and f"hint: {one.hint}")))
    return Case(one.check, one.seconds, _KINDS[one.verdict], text)


def _print(found: Conformity) -> None:
    from ..conformity import WORDS
    from ..report.language import spoken
    from ..report.terminal import console, line, print_table, verdict

    screen = console()
    rows = [
        (
            one.check,
            spoken(WORDS[one.verdict]),
            f"{one.seconds:.1f} s" if one.seconds else "",
            one.reason,
        )
        for one in found.results
    ]
    print_table(screen, ("check", "result", "time", "found"), rows, right=(2,), names=(0,))
    for one in found.results:
        if one.hint:
            line(screen, f"{one.check}: {one.hint}")
    verdict(screen, f"backend {found.backend}: {found.said()}", "")
    if found.counts["skipped"]:
        line(screen, "what was skipped is no pass: nobody knows whether it holds")
