"""``hengsuan backend check``: whether a plugin keeps the contract, tried on its devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Exit, UsageError
from .json_output import JSON, print_json, say
from .verbs import Verb

if TYPE_CHECKING:
    from ..conformance.outcome import Result, Verdict
    from ..report.junit import Case, Kind


@click.command(cls=Verb, name="check")
@click.argument("name", metavar="BACKEND")
@click.option("--only", multiple=True, metavar="CHECK", help="Only these; * fits all.  [repeat]")
@click.option("--list", "listed", is_flag=True, help="Say which checks there are, run none.")
@JSON
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write JUnit XML here."
)
def command(
    name: str, only: tuple[str, ...], listed: bool, as_json: bool, junit: Path | None
) -> int:
    """Check a BACKEND on this node's devices, each check in a process of its own.

    Exit code: 0 all passed or are declared not supported; 1 something failed; 2 usage;
    3 something could not be tried here, which is no pass; 4 we crashed.
    """
    from ..conformance.outcome import exit_of
    from ..conformance.suite import Conformance
    from ..report.terminal import console, print_list

    if listed and (as_json or junit):
        raise UsageError("--list goes without --json and --junit: nothing is run")
    suite = Conformance(name)
    checks = suite.chosen(only)
    if listed:
        about = {one.name: one.about for one in suite.listing()}
        print_list(console(), ("check", "about"), [(one, about[one]) for one in checks])
        return int(Exit.OK)
    results = []
    for result in suite.run(checks):
        results.append(result)
        said = f" {result.reason}" if result.verdict in ("fail", "skipped") else ""
        say(f"{result.check}: {_WORDS[result.verdict]}{said}")
    code = exit_of(results)
    if junit is not None:
        from ..report.junit import write

        write(junit, f"backend check {name}", [_junit(one) for one in results])
    if as_json:
        found = {
            "backend": name,
            "exit": int(code),
            "devices": [device.name for device in suite.devices],
            "counts": _counts(results),
            "results": results,
        }
        print_json(found)
    else:
        _print(name, results)
    return int(code)


_KINDS: dict[Verdict, Kind] = {
    "pass": "",
    "fail": "failure",
    "unsupported": "skipped",
    "skipped": "error",
}
_WORDS: dict[Verdict, str] = {
    "pass": "pass",
    "fail": "FAIL",
    "unsupported": "not supported",
    "skipped": "skipped",
}


def _counts(results: list[Result]) -> dict[Verdict, int]:
    found = dict.fromkeys(_WORDS, 0)
    for one in results:
        found[one.verdict] += 1
    return found


def _junit(one: Result) -> Case:
    """As JUnit says it: what nobody could try is an error there, for it has no other word."""
    from ..report.junit import Case

    text = "\n".join(filter(None, (one.reason, one.hint and f"hint: {one.hint}")))
    return Case(one.check, one.seconds, _KINDS[one.verdict], text)


def _print(name: str, results: list[Result]) -> None:
    from ..report.terminal import console, print_table, verdict

    screen = console()
    rows = [
        (one.check, _WORDS[one.verdict], f"{one.seconds:.1f} s" if one.seconds else "", one.reason)
        for one in results
    ]
    print_table(screen, ("check", "result", "time", "found"), rows, right=(2,))
    for one in results:
        if one.hint:
            screen.print(f"{one.check}: {one.hint}", soft_wrap=True)
    counts = _counts(results)
    said = ", ".join(f"{number} {_WORDS[v].lower()}" for v, number in counts.items() if number)
    took = sum(one.seconds for one in results)
    verdict(screen, f"backend {name}: {said}, in {took:.0f} s", "")
    if counts["skipped"]:
        screen.print("what was skipped is no pass: nobody knows whether it holds", soft_wrap=True)
