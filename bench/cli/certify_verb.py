"""``hengsuan certify``: which nodes may join the cluster, and what is wrong with the others."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError
from .measuring import ONLY, chosen_suite, measured, places, print_planned, resumed
from .place import executor_of, given, spelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..analysis.certify.cells import Rules
    from ..analysis.certify.examine import Proven
    from ..configs import Profile, Suite
    from ..verdicts import Certification, Evidence


class Share(click.ParamType[float]):
    """``10%`` or ``0.1``."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Raise click's error for what is no share between 0 and 1."""
        text = str(value).strip()
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{value!r} is no share; write for example 10%", param, ctx)
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is not between 0 and 100%", param, ctx)
        return share


class Duration(click.ParamType[float]):
    """``20m``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Raise click's error for what is no duration."""
        from ..units import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(name="certify")
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
@places
@click.option("--resume", metavar="RUN", help="Continue a certification whose driver died.")
@ONLY
@click.option("--dry-run", is_flag=True, help="Print the plan and how long it takes at most.")
@click.option("--json", "as_json", is_flag=True, help="verdict.json on stdout.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def command(
    suite: str,
    run: str | None,
    baseline: str | None,
    profile: str,
    retest: float,
    budget: float | None,
    soak: float,
    out: Path,
    resume: str | None,
    only: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **where: Any,
) -> int:
    """Certify nodes with SUITE (a name or a YAML file): accept, reject or inconclusive.

    Stages are gates: each runs on the nodes that nothing speaks against so far, and what is
    doubtful is measured again, beside controls. Use `certify probe` as a scheduler's health check
    of one node.

    Exit code: 0 all accepted; 1 a node is rejected; 3 a node is inconclusive; 2 usage; 4 the
    cluster cannot be measured at all; 130 interrupted.
    """
    from ..analysis.certify.cells import Rules
    from ..configs import load_chips, load_profile

    for name in ("suite", "only", "dry_run", "run"):
        if resume is not None and given(name):
            raise UsageError(
                f"--resume continues a certification as it was planned; "
                f"{'--from' if name == 'run' else spelled(name)} does not go with it"
            )
    judged_by, rules = load_profile(profile), Rules(retest=retest)
    proven = _proven(baseline, out)
    if run is not None:
        return _judge(run, judged_by, rules, proven, out, as_json)
    chips = load_chips()
    if dry_run:
        return print_planned(chosen_suite(suite, only), chips, as_json, **where)
    if resume is not None:
        chosen, run_id, out, again = resumed(resume, out)
        where["executor_name"] = executor_of(again[0], where)
    else:
        from ..cluster.engine import new_run_id

        chosen, again = chosen_suite(suite, only), None
        run_id = new_run_id(chosen.name)
    return _certify(
        chosen,
        judged_by,
        rules,
        proven,
        {"budget": budget, "soak": soak},
        lambda campaign: measured(
            _empty(chosen), chips, out, run_id, again, quiet=quiet, campaign=campaign, **where
        ),
        as_json,
        quiet,
    )


def _empty(suite: Suite) -> Suite:
    """The suite without its stages: the campaign asks for each when its turn comes."""
    import msgspec

    return msgspec.structs.replace(suite, stages=[])


def _proven(baseline: str | None, out: Path) -> Proven | None:
    from ..analysis.certify.examine import Proven
    from ..results import RunReader, find_run

    if baseline is None:
        return None
    reader = RunReader(find_run(baseline, out))
    return Proven(header=reader.header, columns=reader.columns())


def _certify(
    suite: Suite,
    profile: Profile,
    rules: Rules,
    proven: Proven | None,
    limits: dict[str, Any],
    measure: Any,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure and judge."""
    from ..analysis.certify.examine import examine
    from ..analysis.certify.verdicts import certification
    from ..campaigns.certify import Certify
    from ..results import RunReader

    campaign = Certify(
        suite,
        profile,
        rules,
        baseline=proven,
        say=lambda line: None if quiet else click.echo(line, err=True),
        **limits,
    )
    finished = measure(campaign)
    reader = RunReader(finished.folder)
    found = examine(reader.header, reader.columns(), profile, rules, baseline=proven)
    made = certification(
        found,
        stages=campaign.stages,
        profile=profile.name,
        stopped=campaign.stopped,
        command=lambda evidence, node: _again(suite.name, evidence, node),
    )
    interrupted = finished.header.state == "interrupted"
    return _report(made, finished.folder, as_json, interrupted)


def _judge(
    run: str, profile: Profile, rules: Rules, proven: Proven | None, out: Path, as_json: bool
) -> int:
    """Judge a run that is there."""
    from ..analysis.certify.examine import examine
    from ..analysis.certify.verdicts import certification
    from ..results import RunReader, find_run

    reader = RunReader(find_run(run, out))
    header = reader.header
    found = examine(header, reader.columns(), profile, rules, baseline=proven)
    made = certification(
        found,
        stages=_stages(header.suite_text, reader.path),
        profile=profile.name,
        command=lambda evidence, node: _again(header.suite, evidence, node),
    )
    return _report(made, reader.path, as_json, header.state == "interrupted")


def _stages(text: str, folder: Path) -> Sequence[str]:
    from ..configs import suite_from_text

    if not text:
        return []
    return [stage.name for stage in suite_from_text(text, f"{folder}/run.json (its suite)").stages]


def _again(suite: str, evidence: Evidence, node: str) -> str:
    """The command that repeats one check on one node."""
    only = f" --only {shlex.quote(evidence.metric)}" if evidence.stage and evidence.metric else ""
    return f"hengsuan certify {shlex.quote(suite)} --nodes {shlex.quote(node)}{only}"


def _report(made: Certification, folder: Path, as_json: bool, interrupted: bool) -> int:
    import msgspec

    held = [Exit.INTERRUPTED] if interrupted else []
    if made.count("reject"):
        held.append(Exit.FINDING)
    if made.count("inconclusive"):
        held.append(Exit.INCONCLUSIVE)
    click.echo(msgspec.json.format(msgspec.json.encode(made), indent=1).decode())
    return int(Exit.worst(held))
