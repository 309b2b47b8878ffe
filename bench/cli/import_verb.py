"""``hengsuan import``: what other tools have measured becomes runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, HengsuanError, UsageError
from .json_output import JSON, print_json, tell
from .scoring import OUT
from .verbs import Verb

if TYPE_CHECKING:
    from ..importing.formats import Format
    from ..importing.found import Asked, Log
    from ..report.importing import Imported


@click.command(cls=Verb, name="import")
@click.argument("format_name", metavar="FORMAT")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME",
    help="A node that took part, or a list as gpu-[01-04]; in the order of ranks.",
)
@click.option("--ranks", type=click.IntRange(1, 1 << 20), help="How many ranks took part, in all.")
@click.option("--device", metavar="NAME", help="What devices are, where no log says: h100-sxm, ...")
@click.option("--op", metavar="NAME", help="Of which collective operation: all_reduce, ...")
@click.option("--time", "moment", metavar="DATE", help="When it was measured.")
@click.option("--suite", metavar="NAME", help="What runs are called after.  [default: FORMAT]")
@click.option("--each", is_flag=True, help="A run a file, not a run a day.")
@click.option("--unchecked", is_flag=True, help="Take values too that the tool did not check.")
@OUT
@JSON
def command(
    format_name: str,
    files: tuple[str, ...],
    nodes: tuple[str, ...],
    ranks: int | None,
    device: str | None,
    op: str | None,
    moment: str | None,
    suite: str | None,
    each: bool,
    unchecked: bool,
    out: Path,
    as_json: bool,
) -> int:
    """Make runs of FILEs that other tools wrote: `score`, `certify --from`, `compare` read them.

    FORMAT is nccl-tests, osu, superbench or pytest-benchmark. A FILE may be compressed; - reads
    standard input. Files of one day become one run, of the nodes that they name. What is imported
    is called so wherever it is shown, and is never taken for measured.

    Exit code: 0 imported; 1 imported, with values that are invalid; 2 usage, or a file in which
    nothing is understood (the others are imported); 4 a file cannot be read or a run written.
    """
    from ..configs import load_chips
    from ..importing.formats import format_of
    from ..importing.found import Asked
    from ..report.importing import print_imported
    from ..report.terminal import console
    from ..results import no_collection

    form = format_of(format_name)
    said = {"node": nodes, "ranks": ranks, "device": device, "op": op, "unchecked": unchecked}
    for option in (one for one, value in said.items() if value and one not in form.takes):
        raise UsageError(f"--{option} does not go with {form.name}, whose files say it")
    name = _name(suite or form.name)
    asked = Asked(
        nodes=_nodes(nodes), ranks=ranks, device=device or "", op=_op(op), unchecked=unchecked
    )
    given = _moment(moment) if moment else None
    made: list[Imported] = []
    with no_collection():
        logs, times, problems = _read(form, files, asked, given)
        if logs:
            try:
                made.extend(_write(form, logs, times, name, each, load_chips(), out))
            except HengsuanError as error:  # a full disk: what was written before is there
                problems.append(error)
    codes = [int(one.exit) for one in problems]
    codes += [int(Exit.FINDING) for one in made if one.invalid]
    code = Exit.worst(codes)
    if as_json:
        why = [str(one).replace("\n", "; ") for one in problems]
        print_json({"exit": int(code), "problems": why, "runs": made})
        return int(code)
    print_imported(console(), made)
    for one in problems:
        tell(f"error: {one}")
    return int(code)


def _read(
    form: Format, files: tuple[str, ...], asked: Asked, given: datetime | None
) -> tuple[list[Log], dict[str, datetime], list[HengsuanError]]:
    """What is in the files, when each was measured, and why others were not read."""
    from ..importing.source import Source, room

    room(files)
    logs, times = [], {}
    problems: list[HengsuanError] = []
    for file in dict.fromkeys(files):
        source = Source(file)
        try:
            log = form.read(source, asked)
        except HengsuanError as error:
            problems.append(error)
            continue
        except (ValueError, OverflowError) as error:
            # Whatever it is, the other files are read.
            many = "digits" in str(error)  # Python goes on to tell programmers what to call
            why = "a number has thousands of digits" if many else error
            problems.append(UsageError(f"is damaged: {why}", where=source.name))
            continue
        if source.problem:
            log.note(source.problem)
        if not log.rows:
            seen = f"{log.strange:,} lines, none of them understood" if log.strange else "no figure"
            problems.append(
                UsageError(
                    f"{seen}: expected {form.expected}",
                    where=source.name,
                    hint="is it of another format? see hengsuan import --help",
                )
            )
            continue
        logs.append(log)
        said = log.when or source.when
        times[log.name] = given or said or _written(source.path)
        log.dated = given is not None or said is not None
    return logs, times, problems


def _write(
    form: Format,
    logs: list[Log],
    times: dict[str, datetime],
    suite: str,
    each: bool,
    chips: Any,
    out: Path,
) -> Iterator[Imported]:
    """Write the runs, the oldest first, and say what each is of."""
    from .. import __version__
    from ..importing.runs import assemble, together
    from ..importing.writing import write
    from ..report.importing import imported
    from .environment import command_line

    for group in together(logs, times, each):
        versions = {key: value for log in group for key, value in log.versions.items()}
        environment = {
            "versions": {"hengsuan": __version__, **versions},
            "imported": {"format": form.name, "files": [log.name for log in group]},
        }
        made = assemble(
            group,
            tool=form.name,
            suite=suite,
            times=times,
            chips=chips,
            command=command_line(),
            environment=environment,
        )
        yield imported(write(made, out), made.header, made.columns, group)


def _written(path: Path | None) -> datetime:
    """When a file was written last; of standard input, now."""
    seconds = None
    if path is not None:
        with contextlib.suppress(OSError):
            seconds = path.stat().st_mtime
    if seconds is None:
        return datetime.now(timezone.utc)
    return datetime.fromtimestamp(seconds, timezone.utc)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (
            moment.astimezone(timezone.utc)
            if moment.tzinfo
            else moment.replace(tzinfo=timezone.utc)
        )
    except (ValueError, OverflowError):
        raise UsageError(
            f"--time {text}: is no date", hint="write 2026-11-24 or 2026-11-24T10:15:00+08:00"
        ) from None


def _nodes(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Names, of lists as Slurm writes them too."""
    from ..hostlists import SEPARATOR, expand

    found: list[str] = []
    for text in texts:
        try:
            found += [name for one in SEPARATOR.split(text) for name in expand(one)]
        except ValueError as error:
            raise UsageError(f"--node {text}: {error}") from None
    return tuple(dict.fromkeys(name for name in found if name))


def _op(name: str | None) -> str:
    if not name:
        return ""
    from ..errors import unknown
    from ..importing.nccl_names import OPS

    key = name.lower().replace("-", "_").removesuffix("_perf")
    if key not in OPS:
        raise unknown("operation", name, {*OPS.values()})
    return OPS[key]


def _name(suite: str) -> str:
    """A suite's name, which a folder is called after."""
    if not suite.replace("-", "").replace("_", "").replace(".", "").isalnum() or suite[0] == ".":
        raise UsageError(f"--suite {suite!r}: use letters, digits, '-', '_' and '.'")
    return suite
