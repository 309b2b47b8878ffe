"""What keeps runs: pruning and exporting a folder, and a team's store of runs."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import Exit, HengsuanError, InfraError, UsageError
from ..report.language import narrated, spoken
from .json_output import JSON, print_json, say, tell
from .parameters import Days, Output
from .runs_asked import ASKED, asked_of
from .scoring import OUT, SPEAKING
from .verbs import Verb

if TYPE_CHECKING:
    from ..store.connection import Store

T = TypeVar("T")
VARIABLE = "HENGSUAN_STORE"
_PATIENCE = 10.0
"""Seconds of silence that nobody wonders about."""
_OF_A_TEAM = "Store of a team: postgresql://USER@HOST/DATABASE or sqlite:///FILE."
STORE = click.option("--store", "url", metavar="URL", envvar=VARIABLE, help=_OF_A_TEAM)
THEN_STORE = click.option(
    "--store",
    "url",
    metavar="URL",
    envvar=VARIABLE,
    help=f"Push the run when it has ended; also {VARIABLE}.",
)


def opened(url: str | None) -> Store:
    """The store that is meant; nothing is asked of it yet.

    Raises `UsageError` without one, for what is no URL of one, and for packages that it needs.
    """
    if not url:
        raise UsageError("which store?", hint=f"give --store URL, or {VARIABLE}")
    try:
        from ..store.connection import Store

        return Store(url)
    except ImportError as error:
        raise UsageError(
            f"a store needs the package {error.name or 'psycopg'}, which is not installed",
            hint="python -m pip install 'hengsuan[store]'",
        ) from None


def stored(url: str | None, measure: Callable[[], tuple[int, Path]]) -> int:
    """Measure, and push the run; the exit code of measuring.

    What was measured is kept whatever becomes of the store, so that a store which is down is said,
    and no failure.

    Raises `UsageError` before anything is measured where ``url`` is no URL of a store.
    """
    store = opened(url) if url else None
    # Programs that are measured inherit our variables, and have no use for a password.
    os.environ.pop(VARIABLE, None)
    code, folder = measure()
    if store is not None:
        from ..store.push import push

        try:
            push(store, folder)
            say(f"pushed to {store.name}")
        except HengsuanError as error:
            tell(f"not pushed: {error}")
            tell(f"kept in {folder}; {_later(store, str(url), folder)}")
    return code


def _later(store: Store, url: str, folder: Path) -> str:
    """How to push a run once more: to be pasted into a shell, and without a password."""
    words = ["hengsuan", "results", "push", str(folder)]
    if store.secret:
        return f"later, with the store's URL in {VARIABLE}: {shlex.join(words)}"
    return f"later: {shlex.join([*words, '--store', url])}"


@click.command(cls=Verb)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@STORE
@OUT
@SPEAKING
@JSON
def push(runs: tuple[str, ...], url: str | None, out: Path, as_json: bool) -> int:
    """Write runs into a team's store; without RUN all of the folder that have ended.

    What the store has already is left as it is, and what went on since is brought up to date, so
    it can be repeated at any time. Several may push at once. A run that its driver left is pushed
    where it is named.

    Exit code: 0 all of them are there; 4 the store or a run cannot be used.
    """
    from ..report.plain import plain_lines
    from ..runs import find_run, list_runs

    store = opened(url)
    from ..store.connection import Away
    from ..store.push import How
    from ..store.push import push as pushed

    folders = [find_run(run, out) for run in runs]
    problems: dict[str, HengsuanError] = {}
    going = 0
    if not runs:
        for info in list_runs(out):
            if info.problem:
                problems[info.path] = InfraError(info.problem)
            elif info.state != "running":
                folders.append(Path(info.path))
            else:
                going += 1
    with store.writing():
        pass  # a store that cannot be used is said once, not of every run
    done: dict[str, How] = {}
    for folder in _slowly(folders, "looked at"):
        try:
            done[str(folder)] = pushed(store, folder)
        except HengsuanError as error:
            problems[str(folder)] = error
            if isinstance(error, Away):
                break
    left = len({*map(str, folders)} - {*done, *problems})
    code = Exit.worst([error.exit for error in problems.values()])
    if as_json:
        said = {path: str(error) for path, error in problems.items()}
        found = {"store": store.name, "runs": done, "problems": said, "left": left}
        print_json({**found, "exit": int(code)})
        return int(code)
    for path, why in problems.items():
        tell(plain_lines(f"not pushed: {path}: {why}"))
    count = {how: list(done.values()).count(how) for how in ("new", "newer", "there")}
    line = (
        f"{store.name}: {count['new']} new, {count['newer']} brought up to date, "
        f"{count['there']} were there"
    )
    click.echo(narrated(line))
    if going:
        say(f"{going} run(s) that have not ended were left out")
    if left:
        say(f"{left} more run(s) were not tried: push again")
    return int(code)


@click.command(cls=Verb)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@STORE
@OUT
@ASKED
@SPEAKING
@JSON
def pull(runs: tuple[str, ...], url: str | None, out: Path, as_json: bool, **asked: Any) -> int:
    """Bring runs from a team's store into the folder; without RUN all that are asked for.

    A run that is here is left as it is. RUN is an id or a uid, or the beginning of one.

    Exit code: 0 all of them are here; 2 a run is of another schema; 4 the store or a run cannot be
    used, or the folder not written.
    """
    from ..report.plain import plain, plain_lines
    from ..runs import chosen

    store = opened(url)
    from ..store.pull import Damaged, held, here, named
    from ..store.pull import pull as pulled

    every = held(store)
    wanted = [named(every, run) for run in runs] if runs else every
    kept = chosen([one.info for one in wanted], asked_of(**asked))
    wanted = [one for one in wanted if any(one.info is info for info in kept)]
    known = here(out)
    there = [str(known[one.uid]) for one in wanted if one.uid in known]
    brought: list[str] = []
    problems: dict[str, HengsuanError] = {}
    for one in _slowly(wanted, "brought"):
        if one.uid not in known:
            try:
                known[one.uid] = pulled(store, one, out)
                brought.append(str(known[one.uid]))
            except HengsuanError as error:
                problems[one.uid] = error
                if not isinstance(error, UsageError | Damaged):
                    break  # the store is away, or the folder full: so it is for the next
    left = len({one.uid for one in wanted} - {*known, *problems})
    code = Exit.worst([error.exit for error in problems.values()])
    if as_json:
        why = {uid: str(error) for uid, error in problems.items()}
        found = {"store": store.name, "pulled": brought, "there": there}
        print_json({**found, "problems": why, "left": left, "exit": int(code)})
        return int(code)
    for problem in problems.values():
        tell(plain_lines(f"not pulled: {problem}"))
    for path in brought:
        click.echo(plain(path))
    say(f"{store.name}: {len(brought)} pulled, {len(there)} were here")
    if left:
        say(f"{left} more run(s) were not tried: pull again")
    return int(code)


def _slowly(things: Sequence[T], done: str) -> Iterator[T]:
    """Every one of them; who waits for long is told how many are ``done``."""
    told = time.monotonic()
    for number, one in enumerate(things):
        if time.monotonic() - told > _PATIENCE:
            told = time.monotonic()
            say(f"{number} of {len(things)} {done}")
        yield one


@click.command(cls=Verb)
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Keep the newest N of a suite.")
@click.option("--older", type=Days(), metavar="DAYS", help="Only what is older: 90, or 36h.")
@click.option("--protect", multiple=True, metavar="RUN", help="Keep this run; may be repeated.")
@click.option(
    "--certificates",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Keep the runs that these certify, beside those signed here; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@OUT
@SPEAKING
@JSON
def prune(
    keep: int | None,
    older: float | None,
    protect: tuple[str, ...],
    certificates: tuple[Path, ...],
    dry_run: bool,
    yes: bool,
    out: Path,
    as_json: bool,
) -> int:
    """Delete old runs: older than DAYS and not among the newest N of their suite.

    A run that is being measured, has a certificate, or is the baseline of a run or verdict that
    stays, is never deleted. One whose driver died goes like others, once it was left for as long.

    Exit code: 0 deleted, or nothing to delete; 4 a run cannot be deleted.
    """
    from ..report.amount import quiet
    from ..report.plain import plain, plain_lines
    from ..runs import find_run, shown_state
    from ..store.prune import delete, plan, sweep
    from ..units import format_size

    if keep is None and older is None:
        raise UsageError("what is old?", hint="give --keep N, --older DAYS or both")
    made = plan(
        out,
        keep=keep or 0,
        older=older,
        moment=time.time(),
        certificates=certificates,
        protect=[find_run(run, out).name for run in protect],
    )
    ids = [run.id for run in made.going]
    problems: dict[str, HengsuanError] = {}
    if not as_json:
        for run in made.going:
            state = shown_state(run.path, run.state)
            known = f"{spoken(state)}, {spoken(run.provenance)}"
            more = "" if quiet() else f"  {run.suite}, {known}, {run.started}"
            click.echo(plain(f"{run.id}{more}"))
        for name, why in made.staying.items():
            say(plain(f"stays: {name}: {why}"))
        for note in made.notes:
            tell(plain_lines(f"note: {note}"))
        say(f"{len(ids)} run(s), {format_size(made.size) if made.size else '0B'}")
    if not dry_run and ids:
        if not yes and not as_json:
            click.confirm(narrated("delete them?"), abort=True, err=True)
        elif not yes:
            raise UsageError("--json asks nothing", hint="add --yes or --dry-run")
        sweep(out)
        for run in made.going:
            try:
                delete(run)
            except HengsuanError as error:  # of one run; the others go all the same
                problems[Path(run.path).name] = error
    code = Exit.worst([error.exit for error in problems.values()])
    done = [run.id for run in made.going if Path(run.path).name not in problems]
    if as_json:
        found: dict[str, Any] = {
            "deleted" if not dry_run else "would_delete": done,
            "stay": made.staying,
        }
        why_not = {name: str(error) for name, error in problems.items()}
        found |= {"notes": made.notes, "bytes": made.size, "problems": why_not}
        print_json({**found, "exit": int(code)})
        return int(code)
    for problem in problems.values():
        tell(plain_lines(f"not deleted: {problem}"))
    if ids and not dry_run:
        say(f"{len(done)} deleted")
    return int(code)


@click.command(cls=Verb)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.argument("file", type=Output())
@OUT
@SPEAKING
@JSON
def export(runs: tuple[str, ...], file: Path, out: Path, as_json: bool) -> int:
    """Write runs into one FILE: NAME.tar.gz (their folders), NAME.jsonl or NAME.csv (every row).

    An archive is unpacked into a folder of runs: tar -xzf NAME.tar.gz -C results

    Exit code: 0 written.
    """
    from ..runs import find_run
    from ..store.export import export as exported

    # Whole paths: `.` has no name that it could be unpacked under.
    folders = [Path(os.path.abspath(find_run(run, out))) for run in runs]
    folders = list(dict.fromkeys(folders))
    notes = exported(folders, file)
    for note in notes:
        tell(f"note: {note}")
    if as_json:
        size = file.stat().st_size
        print_json({"file": str(file), "bytes": size, "runs": [one.name for one in folders]})
    else:
        click.echo(narrated(f"{file}: {len(folders)} run(s), {os.path.getsize(file)} bytes"))
    return 0
