"""``hengsuan tune``: search kernel configurations on a device and write its table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError, unknown
from ..report.amount import quiet
from .json_output import JSON, print_json, say, tell
from .verbs import Verb

if TYPE_CHECKING:
    from rich.console import Console

    from ..campaigns.entries import Tuned
    from ..campaigns.halving import Ratio
    from ..campaigns.tune import Found, OneDevice


@click.command(cls=Verb, name="tune")
@click.argument("ops", nargs=-1, metavar="[OP]...")
@click.option("--dtype", "dtypes", multiple=True, help="Only these; an operation's first if none.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    help="Extents, small, typical or MODEL/tpN[/USE].  [default: what fits the device]",
)
@click.option("--variant", "variants", multiple=True, help="Only these, as causal_backward.")
@click.option("--config", "only", multiple=True, help="Try these alone: 'KEY CONSTANT=N ...'.")
@click.option("--backend", metavar="NAME", help="Only devices of this backend.")
@click.option("--arch", metavar="NAME", help="With --dry-run: plan for it, without a device.")
@click.option("--budget", default="10m", show_default=True, help="Time for the whole search.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the table.  [default: tuned/ in your configuration folder]",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder that keeps the runs of the search.",
)
@click.option("--share", is_flag=True, help="Measure a device that others use too.")
@click.option("--dry-run", is_flag=True, help="Print the candidates and measure nothing.")
@JSON
def command(
    ops: tuple[str, ...],
    dtypes: tuple[str, ...],
    shapes: tuple[str, ...],
    variants: tuple[str, ...],
    only: tuple[str, ...],
    backend: str | None,
    arch: str | None,
    budget: str,
    out: Path | None,
    results: Path,
    share: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Search kernel configurations for OPs (all of them if none is named) on a device.

    Measures candidates for every entry of the tables that the operations use, and writes
    ARCH.yaml with those that are faster than the present ones beyond the measured interval.

    Exit code: 0 done; 2 usage; 3 nothing could be measured; 4 no device could be used;
    130 interrupted: entries whose search was complete are written.
    """
    from ..configs.search import user_folder
    from ..units import parse_duration

    if arch is not None and not dry_run:
        raise UsageError("--arch goes with --dry-run: a search needs the device itself")
    try:
        seconds = parse_duration(budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None
    asked = (ops, dtypes, shapes, variants)
    _check(asked, only)
    place = out if out is not None else user_folder() / "tuned"
    if arch is not None:
        _known(arch, place)
    weak = False
    if arch is None:
        name, arch, weak = _target(backend)
        if arch is None:
            tell("error: nothing to tune: no Triton target on this device")
            return int(Exit.INCONCLUSIVE)
    missing = _missing()
    if missing:
        tell(f"error: nothing to tune: {missing}")
        return int(Exit.INCONCLUSIVE)
    entries = _entries(arch, asked, only, place, weak)
    if not entries:
        tell(f"error: nothing to tune: {arch} runs none of these in Triton")
        return int(Exit.INCONCLUSIVE)
    if dry_run:
        return _dry_run(arch, entries, as_json)

    from ..campaigns.tune import OneDevice

    hub = OneDevice(name, share=share)
    try:
        return _tune(hub, arch, entries, seconds, place, results, say, as_json)
    finally:
        hub.release()


Asked = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Operations, dtypes, shapes, variants."""


def _check(asked: Asked, only: Sequence[str]) -> None:
    """Raise `UsageError` for what no device could change, before one is looked for."""
    from ..campaigns.entries import chosen_cases, given
    from ..kernels import space

    ops = {case.what()[0] for case in chosen_cases(*asked, weak=True)}
    keys = given(only)
    if keys and not any(ops.intersection(space.SPACES[key].ops) for key in keys):
        raise UsageError(f"--config: none of {', '.join(ops)} uses {', '.join(keys)}")


def _target(backend: str | None) -> tuple[str, str | None, bool]:
    """The backend that has devices here, its architecture, whether it only stands in."""
    from ..backends.probe import architecture, discover
    from ..backends.registry import get
    from ..errors import InfraError

    found = discover(backend)
    chosen = next((probe for probe in found if probe.devices), None)
    if chosen is None:
        problems = "; ".join(f"{probe.name}: {probe.problem}" for probe in found)
        raise InfraError(f"no device to tune on ({problems})", hint="see `hengsuan doctor`")
    return chosen.name, architecture(chosen.name), get(chosen.name).stand_in


def _known(arch: str, place: Path) -> None:
    """Raise `UsageError` for an architecture without a table: its name is a guess."""
    from ..kernels import tuning
    from ..workloads.configured import use_tables

    use_tables(place)
    if arch not in tuning.architectures():
        raise unknown("architecture", arch, tuning.architectures())


def _missing() -> str:
    """Why kernels cannot be built here; empty if they can."""
    for name in ("torch", "triton"):
        try:
            __import__(name)
        except ImportError as error:
            return f"{name} cannot be imported here: {error}"
    return ""


def _entries(arch: str, asked: Asked, only: Sequence[str], place: Path, weak: bool) -> list[Tuned]:
    from ..campaigns.entries import chosen_cases, entries
    from ..workloads.configured import use_tables

    cases = chosen_cases(*asked, weak=weak)
    # What an earlier search wrote there is the present table, wherever that lies. Making the cases
    # has looked at the ordinary places.
    use_tables(place)
    return entries(arch, cases, only)


def _dry_run(arch: str, entries: Sequence[Tuned], as_json: bool) -> int:

    from . import reader_may_leave

    with reader_may_leave():
        if as_json:
            found = [
                {"entry": e.label, "cases": e.shapes, "candidates": e.candidates} for e in entries
            ]
            said = {"arch": arch, "entries": found}
            print_json(said)
            return int(Exit.OK)
        for entry in entries:
            click.echo(f"{entry.label} on {arch}: {len(entry.candidates)} candidates")
            if quiet():
                continue
            click.echo(f"  measured with {', '.join(entry.shapes)}")
            for number, name in enumerate(entry.candidates):
                click.echo(f"  {name}{'  (present)' if number == 0 else ''}")
    return int(Exit.OK)


def _tune(
    hub: OneDevice,
    arch: str,
    entries: Sequence[Tuned],
    seconds: float,
    place: Path,
    results: Path,
    say: Callable[[str], None],
    as_json: bool,
) -> int:
    import triton

    from ..campaigns.entries import Present
    from ..campaigns.made import Made, header
    from ..campaigns.tune import Surroundings, search
    from ..cluster.engine import new_run_id
    from ..cluster.journal import make_folder
    from ..configs import load_chips
    from ..kernels import tables, tuning
    from .environment import command_line, environment

    path = place / f"{arch}.yaml"
    before = tuning.path_of(arch)
    comments = tables.comments(before) if before is not None else []
    present = Present.read(arch)
    folder = make_folder(results, new_run_id("tune"))
    around = Surroundings(
        results=folder,
        chips=load_chips(),
        command=command_line(),
        environment=environment(),
        say=say,
    )
    device = hub.device
    name = (device.name if device is not None else "no device") + (
        " (stand-in)" if device is not None and device.stand_in else ""
    )
    made = Made(name, triton.__version__, time.strftime("%Y-%m-%d", time.gmtime()), around.command)
    found: list[Found] = []
    for one in search(entries, hub, around, seconds):
        found.append(one)
        new = [(f.entry, f.verdict.chosen) for f in found if f.new]
        if one.new:
            lines = [made.line(f.entry) for f in found if f.new]
            tables.write(path, present.changed(new), header(arch, lines, comments))
            say(f"wrote {path}")
    interrupted = len(found) < len(entries) or any(not one.complete for one in found)
    _report(found, arch, path, folder, as_json)
    if interrupted:
        return int(Exit.INTERRUPTED)
    if not any(one.verdict.measured for one in found):
        return int(Exit.INCONCLUSIVE)
    return int(Exit.OK)


def _report(found: Sequence[Found], arch: str, path: Path, folder: Path, as_json: bool) -> None:

    from ..report.terminal import console, print_table, verdict
    from . import reader_may_leave

    wrote = any(one.new for one in found)
    with reader_may_leave():
        if as_json:
            said = {
                "arch": arch,
                "table": str(path) if wrote else None,
                "runs": str(folder),
                "entries": [_plain(one) for one in found],
            }
            print_json(said)
            return
        rows = []
        for one in found:
            against = one.verdict.ratio
            share = (
                f"{against.median:.3f} ({against.low:.3f} to {against.high:.3f})"
                if against
                else "–"
            )
            outcome = one.verdict.why if one.complete else "interrupted; nothing is changed"
            rows.append([one.entry.label, one.verdict.chosen, share, outcome])
        made = console()
        print_table(made, ("entry", "configuration", "time of present", "outcome"), rows)
        verdict(made, f"table {path}" if wrote else "no entry changed; no table was written", "")
        if wrote:
            _say_where(made, arch, path)
        made.print(f"runs in {folder}", soft_wrap=True)


def _percent(against: Ratio | None) -> str:
    if against is None:
        return "–"
    return f"{against.median:.1%} ({against.low:.1%} to {against.high:.1%})"


def _say_where(made: Console, arch: str, path: Path) -> None:
    """Whether kernels find the table where it lies."""
    from ..kernels import tuning
    from ..workloads.configured import use_tables

    use_tables()
    tuning.forget()
    used = tuning.path_of(arch)
    if used is None or used.resolve() != path.resolve():
        made.print(
            "kernels do not look there: put it into tuned/ of a folder in HENGSUAN_CONFIG_PATH, "
            "or send it in for kernels/tuned",
            soft_wrap=True,
        )


def _plain(one: Found) -> dict[str, Any]:
    tried = [score for score in one.scores.values() if score.turns]
    return {
        "entry": one.entry.label,
        "cases": one.entry.shapes,
        "present": one.entry.candidates[0],
        "chosen": one.verdict.chosen,
        "changed": one.new,
        "why": one.verdict.why,
        "complete": one.complete,
        "time_of_present": one.verdict.ratio,
        "candidates": len(one.scores),
        "measured": len(tried),
        "seconds": round(one.seconds, 1),
        "problems": {name: s.problem for name, s in one.scores.items() if s.problem},
    }
