"""``hengsuan goodput``: train while ranks and nodes fail, and say where the time went."""

from __future__ import annotations

import os
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError
from .json_output import JSON, print_json, say, tell
from .measuring import TELEMETRY, Work, measured, places
from .parameters import Duration, Share
from .verbs import Verb

if TYPE_CHECKING:
    from pathlib import Path

    from ..campaigns.goodput import Goodput as Campaign
    from ..campaigns.goodput import Wanted
    from ..cluster.engine import Finished


@click.command(cls=Verb, name="goodput")
@click.option("--path", default="", help="Directory of checkpoints that all ranks see.")
@click.option("--model", default="fitting", show_default=True, help="What is trained.")
@click.option("--batch", default=4, show_default=True, help="Sequences of a rank's step.")
@click.option(
    "--dp",
    type=click.Choice(["ddp", "fsdp"]),
    default="ddp",
    show_default=True,
    help="Every rank holds all of the state, or a share.",
)
@click.option(
    "--mode",
    type=click.Choice(["sync", "async"]),
    default="sync",
    show_default=True,
    help="Checkpoints stop the training, or are copied and written beside it.",
)
@click.option("--work", type=Duration(), default="1m", show_default=True, help="Steps to be done.")
@click.option(
    "--mtbf", type=Duration(), default="30s", show_default=True, help="Mean time between failures."
)
@click.option(
    "--interval", type=Duration(), help="Work between checkpoints.  [default: Daly's optimum]"
)
@click.option(
    "--node-share",
    type=Share(),
    default="20%",
    show_default=True,
    help="Share of failures that take a whole node.",
)
@click.option("--seed", default=0, show_default=True, help="Of when and whom failures strike.")
@places
@TELEMETRY
@JSON
def command(
    path: str,
    model: str,
    batch: int,
    dp: str,
    mode: str,
    work: float,
    mtbf: float,
    interval: float | None,
    node_share: float,
    seed: int,
    out: Path,
    as_json: bool,
    **where: Any,
) -> int:
    """Train while ranks and nodes are killed, from checkpoint to checkpoint.

    Measures a step and a save first, then trains --work of steps with a checkpoint every
    --interval. Ranks are killed (SIGKILL) at random, --mtbf apart on average, whatever they are
    doing by then; of a node all of them and, under Ray, the agent that started them. Every time the
    group is started anew, on the nodes that are left or back, and goes on from the last checkpoint.
    Says what share of the time was productive, what each failure cost, and what the best interval
    would be.

    Exit code: 0 done; 1 what was restored was not what was saved; 2 usage; 3 no failure struck, or
    it cannot be measured here; 4 something else failed; 130 interrupted.
    """
    from ..campaigns.goodput import Goodput, Wanted
    from ..cluster.engine import new_run_id
    from ..configs import load_chips
    from ..workloads.kept import held_at

    for name, value in (("--work", work), ("--mtbf", mtbf), ("--interval", interval)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} must be positive")
    if seed < 0:
        raise UsageError(f"--seed must not be negative, but is {seed}")
    if where["cluster"] or where["executor_name"] == "sim" or where["backend"] == "sim":
        raise UsageError("goodput kills real processes: a simulated fleet has none")
    wanted = Wanted(
        model=model,
        batch=batch,
        dp=dp,
        mode=mode,
        path=_whole(path),
        key=uuid.uuid4().hex[:12],
        work=work,
        mtbf=mtbf,
        interval=interval,
        node_share=node_share,
        seed=seed,
    )
    campaign = Goodput(wanted, say=say)
    task = Work(campaign.suite, new_run_id("goodput"), out)
    with held_at(wanted.path, wanted.key) as found:
        _tell_found(found)
        try:
            finished = measured(task, load_chips(), campaign=campaign, revive=True, **where)
        except BaseException:
            _tell_left(_left(wanted, remove=False))
            raise
        return _report(finished, campaign, wanted, as_json)


def _whole(path: str) -> str:
    """A path that is relative to where this was called: agents of a given cluster run elsewhere.
    What begins with ``~`` or ``$`` each node replaces."""
    relative = path and not path.startswith(("~", "$")) and "://" not in path
    return os.path.abspath(path) if relative else path


def _report(finished: Finished, campaign: Campaign, wanted: Wanted, as_json: bool) -> int:
    from ..analysis.goodput import assess, rows_of
    from ..campaigns.goodput import CALIBRATION
    from ..report.goodput import print_goodput
    from ..report.plain import plain
    from ..report.terminal import console
    from ..results import RunReader

    reader = RunReader(finished.folder)
    stages = [stage["name"] for stage in reader.header.stages]
    rows = rows_of(reader.header, reader.rows(), stages[-1]) if stages else {}
    trained = campaign.every and stages[-1] != CALIBRATION
    found = assess(rows, campaign.every, wanted.mtbf) if trained else None
    told = next(iter(rows.values()), None)
    problem = campaign.stopped or (told.reason if told is not None and found is None else "")
    if finished.header.state == "interrupted":
        # Ranks that were stopped with us are no failures.
        code, problem = Exit.INTERRUPTED, "interrupted before the training had come to its end"
    elif told is not None and told.status == "invalid":
        code = Exit.FINDING
    elif told is not None and told.status == "skipped" and len(stages) <= 2:
        code = Exit.INCONCLUSIVE  # else it was under way
    elif found is None or campaign.stopped:
        code = Exit.INFRASTRUCTURE
    else:
        code = Exit.OK if found.failures else Exit.INCONCLUSIVE
    left = _left(wanted, remove=code is Exit.INTERRUPTED)
    if as_json:
        print_json(
            {
                "run": finished.header.id,
                "folder": str(finished.folder),
                "exit": int(code),
                "problem": problem,
                "goodput": found,
                "left": left,
            }
        )
        return int(code)
    out = console()
    if found is not None:
        print_goodput(out, found)
    if found is not None and not found.failures:
        tell("no failure struck: ask for more --work, or a shorter --mtbf")
    if problem:
        tell(plain(problem) if code is Exit.INTERRUPTED else f"error: {plain(problem)}")
    _tell_left(left)
    where = finished.folder
    out.print(f"results in {where}; every attempt: hengsuan results show {where}", soft_wrap=True)
    return int(code)


def _left(wanted: Wanted, remove: bool) -> str:
    """The folder that the last attempt left behind, as this host sees it; empty where there is
    none, or it was removed."""
    from ..workloads.kept import left_at

    folder = left_at(wanted.path, wanted.key)
    if folder and remove:
        shutil.rmtree(folder, ignore_errors=True)
    return folder if folder and os.path.isdir(folder) else ""


def _tell_found(found: list[str]) -> None:
    """What an earlier training left, whose driver was killed before it could tell of it."""
    for folder in found:
        if os.path.isdir(folder):
            tell(
                f"warning: {folder} is left of a training whose driver was killed, and could not "
                "be removed: remove it as who owns it"
            )
        else:
            say(f"removed {folder}, left by a training whose driver was killed")


def _tell_left(left: str) -> None:
    if left:
        tell(f"its checkpoints and logs are left in {left}: remove them when you have looked there")
