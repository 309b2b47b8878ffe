"""``hengsuan certify``: which nodes may join the cluster, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .json_output import JSON, say
from .measuring import (
    ONLY,
    TELEMETRY,
    chosen_suite,
    measured,
    places,
    print_planned,
    resumes_as_planned,
    work_of,
)
from .metrics import exported, metrics
from .parameters import Duration, Output, Share
from .place import given
from .schedule import check_measures, scheduled, scheduling
from .scoring import SPEAKING
from .storing import THEN_STORE, stored
from .verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..analysis.certify.examine import Proven
    from ..campaigns.certify import Certify
    from ..cluster.engine import Finished
    from ..configs import Suite
    from .verdict import Judged


@click.command(cls=Verb, name="certify")
@click.argument("suite", default="certify")
@click.option("--from", "run", metavar="RUN", help="Judge a run that is there; measure nothing.")
@click.option("--baseline", metavar="RUN", help="A proven fleet, to compare with as well.")
@click.option("--profile", default="certify", show_default=True, help="What is judged, and limits.")
@click.option(
    "--retest",
    type=Share(),
    default="10%",
    show_default=True,
    help="Share of the sweep that may be measured again, controls counted.",
)
@click.option("--budget", type=Duration(), help="Begin no further stage after this, e.g. 20m.")
@click.option("--soak", type=Duration(), default="0s", help="Sustained load at the end, e.g. 24h.")
@click.option("--waivers", metavar="FILE", help="Findings that somebody answers for, for a time.")
@click.option(
    "--max-drain",
    type=Share(),
    default="5%",
    show_default=True,
    help="Above this share of rejected nodes no drain commands are given.",
)
@click.option("--markdown", type=Output(), help="Write the verdict to this file as well.")
@places
@TELEMETRY
@metrics
@scheduling
@click.option("--resume", metavar="RUN", help="Continue a certification whose driver died.")
@ONLY
@click.option("--dry-run", is_flag=True, help="Print the plan and how long it takes at most.")
@THEN_STORE
@SPEAKING
@JSON
def command(
    suite: str,
    run: str | None,
    baseline: str | None,
    profile: str,
    retest: float,
    budget: float | None,
    soak: float,
    waivers: str | None,
    max_drain: float,
    markdown: Path | None,
    out: Path,
    resume: str | None,
    only: str | None,
    dry_run: bool,
    url: str | None,
    as_json: bool,
    metrics_file: Path | None,
    metrics_port: str | None,
    every: float | None,
    idle_only: bool,
    **where: Any,
) -> int:
    """Certify nodes with SUITE (a name or a YAML file): accept, reject or inconclusive.

    Stages are gates: each runs on the nodes that nothing speaks against so far, and what is
    doubtful is measured again, beside controls. The verdict is kept as verdict.json in the run's
    folder. Use `certify probe` as a scheduler's health check of one node.

    Exit code: 0 all accepted; 1 a node is rejected; 3 a node is inconclusive; 2 usage; 4 the
    cluster cannot be measured at all; 130 interrupted.
    """
    from ..analysis.certify.cells import Rules
    from ..configs import load_chips, load_profile
    from ..configs.waivers import load_waivers
    from ..errors import UsageError
    from ..results import RunReader
    from ..runs import find_run
    from .begun import begun
    from .verdict import Judged, judge, stages_of

    check_measures()
    resumes_as_planned(resume, "suite", "only", "dry_run", "run")
    if markdown is not None and not markdown.parent.is_dir():  # known before it takes hours
        raise UsageError(f"--markdown {markdown}: there is no folder {markdown.parent}")
    options: dict[str, Any] = {"profile": profile, "baseline": baseline, "waivers": waivers}
    options |= {"retest": retest, "soak": soak, "max_drain": max_drain}
    if resume is not None:
        # What it is judged by goes on too: other rules would ask for other stages.
        before = begun(RunReader(find_run(resume, out)).header)
        options |= {name: before[name] for name in options if name in before and not given(name)}
    asked = {name: str(options[name]) for name in ("profile", "baseline") if options[name]}
    judged_by = Judged(
        profile=load_profile(options["profile"]),
        rules=Rules(retest=options["retest"]),
        baseline=_proven(options["baseline"], out),
        waivers=load_waivers(options["waivers"]) if options["waivers"] else [],
        max_drain=options["max_drain"],
        markdown=markdown,
        as_json=as_json,
        asked={name: text for name, text in asked.items() if text != "certify"},
    )
    if run is not None:
        folder = find_run(run, out)
        return stored(url, lambda: (judge(folder, stages_of(folder), judged_by), folder))
    chips = load_chips()
    if dry_run:
        return print_planned(chosen_suite(suite, only), chips, as_json, **where)
    if every is not None or idle_only:
        return scheduled(every, idle_only, out, where)
    work = work_of(suite, only, resume, out)
    with exported(metrics_file, metrics_port) as also:
        return stored(
            url,
            lambda: _certify(
                work.suite,
                judged_by,
                {"budget": budget, "soak": options["soak"]},
                lambda campaign: measured(work, chips, campaign=campaign, also=also, **where),
            ),
        )


def _proven(baseline: str | None, out: Path) -> Proven | None:
    from ..analysis.certify.examine import Proven
    from ..errors import UsageError
    from ..results import RunReader, cut
    from ..runs import find_run

    if baseline is None:
        return None
    reader = RunReader(find_run(baseline, out))
    columns = reader.columns()
    if why := cut(reader.header, len(columns)):
        raise UsageError(f"this baseline proves nothing: {why}", where=str(reader.path))
    return Proven(header=reader.header, columns=columns)


def _certify(
    suite: Suite,
    judged_by: Judged,
    limits: dict[str, Any],
    measure: Callable[[Certify], Finished],
) -> tuple[int, Path]:
    """Measure and judge: the exit code, and where the run is."""
    from ..campaigns.certify import Certify
    from .verdict import judge

    campaign = Certify(
        suite,
        judged_by.profile,
        judged_by.rules,
        baseline=judged_by.baseline,
        waivers=judged_by.waivers,
        say=say,
        **limits,
    )
    finished = measure(campaign)
    code = judge(
        finished.folder,
        campaign.stages,
        judged_by,
        campaign.stopped,
        interrupted=finished.header.state == "interrupted",
    )
    return code, finished.folder
