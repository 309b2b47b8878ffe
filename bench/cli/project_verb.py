"""``hengsuan project``: what a model would do on a cluster that need not exist yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import Exit, UsageError
from .json_output import JSON, print_json
from .verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..analysis.projection.calibration import Calibration
    from ..analysis.projection.fitting import Fitted
    from ..configs import Chip, Cluster


SAID = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
"""Where an option that has a default comes from, if somebody gave it."""


@click.command(cls=Verb, name="project")
@click.argument("model", required=False)
@click.option("--cluster", metavar="NAME|FILE", help="Nodes, networks and how they are run.")
@click.option(
    "--calibrate",
    metavar="RUN",
    multiple=True,
    help="Take efficiencies from this run; several may be given.",
)
@click.option("--search", "searched", is_flag=True, help="Explain the best layout and the next.")
@click.option("--bottleneck", is_flag=True, help="Say what a tenth more of each resource brings.")
@click.option("--validate", "validated", is_flag=True, help="Compare with published runs instead.")
@click.option("--tables", type=click.Path(path_type=Path), help="Published runs to compare with.")
@click.option(
    "--layout", default="", metavar="KEY=N,...", help="tp, pp, cp, ep, virtual, micro, recompute."
)
@click.option("--batch", type=click.IntRange(1), help="Sequences of a step.")
@click.option("--tokens", type=float, help="Tokens of the training.  [default: 20 a weight]")
@click.option("--dtype", default="bf16", show_default=True, help="Of matrix products.")
@click.option("--ranks", type=click.IntRange(2), help="Of runs that measured MODEL on one rank.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds runs.",
)
@JSON
def command(
    model: str | None,
    cluster: str | None,
    calibrate: tuple[str, ...],
    searched: bool,
    bottleneck: bool,
    validated: bool,
    tables: Path | None,
    ranks: int | None,
    out: Path,
    as_json: bool,
    **wanted: Any,
) -> int:
    """Say what training MODEL would take on a cluster: time, memory, days, energy, goodput.

    Without --layout the fastest that fits is looked for. Efficiencies are typical ones, marked as
    such, unless --calibrate names a run that measured this chip. With --ranks, and without a
    cluster, the step of so many ranks follows from runs that measured it on one, and collectives.

    Exit code: 0 projected; 1 this layout does not fit in memory, or --validate missed a bound; 2
    usage, an unknown figure, or no layout that fits; 4 something else failed.
    """
    asked = {"--search": searched, "--bottleneck": bottleneck}
    asked |= {f"--{name}": wanted[name] for name in ("layout", "batch", "tokens")}
    asked["--dtype"] = click.get_current_context().get_parameter_source("dtype") in SAID
    if validated:
        others = {"MODEL": model, "--cluster": cluster, "--calibrate": calibrate, "--ranks": ranks}
        _alone("--validate compares published runs", others | asked)
        return _validate(tables, as_json)
    if tables is not None:
        raise UsageError("--tables goes with --validate")
    if not model:
        raise UsageError("say which MODEL", hint="`hengsuan show config` lists them")
    if ranks is not None:
        if cluster:
            raise UsageError("--ranks asks runs alone, --cluster describes what was not measured")
        _alone("--ranks takes the step that was measured", asked)
        return _from_one(model, ranks, calibrate, out, as_json)
    if not cluster:
        raise UsageError("say on which --cluster", hint="`hengsuan show clusters` lists some")
    from ..analysis.projection.project import Wanted, project
    from ..analysis.projection.published import published
    from ..analysis.projection.validate import fit_small
    from ..analysis.projection.workload import Decoder
    from ..configs import load_chip, load_cluster, load_model, path_of
    from ..configs.document import read_document
    from ..kernels.model_costs import ModelShape
    from ..report.projection import print_projection
    from ..report.terminal import console
    from . import reader_may_leave

    for name in ("batch", "tokens"):
        if wanted[name] is not None and not 0 < wanted[name] < float("inf"):
            raise UsageError(f"--{name} must be positive")
    decoder = Decoder(ModelShape.of(load_model(model)))
    loaded = load_cluster(cluster)
    chip = load_chip(loaded.chip)
    where = read_document(path_of("clusters", cluster)).where(("chip",))
    fitted: Fitted = fit_small(published()[0])
    calibration = _calibration(calibrate, out, loaded, chip, wanted["dtype"], fitted, where)
    made = project(
        model,
        decoder,
        loaded,
        chip,
        calibration,
        Wanted(bottleneck=bottleneck, **wanted),
        fitted=fitted,
        where=where,
    )
    code = Exit.OK if made.fits else Exit.FINDING
    with reader_may_leave():
        if as_json:
            print_json({"exit": int(code), "projection": made})
        else:
            print_projection(console(), made, searched=searched)
    return int(code)


def _alone(what: str, beside: dict[str, Any]) -> None:
    """Raise `UsageError` for options that would be passed over without a word."""
    given = [name for name, value in beside.items() if value not in (None, False, "", ())]
    if given:
        raise UsageError(f"{what}: leave out {', '.join(given)}")


def _calibration(
    runs: Sequence[str],
    out: Path,
    cluster: Cluster,
    chip: Chip,
    dtype: str,
    fitted: Fitted,
    where: str,
) -> Calibration:
    from ..analysis.projection.calibration import calibrate, typical
    from ..analysis.projection.machine import machine_of
    from ..results import RunReader
    from ..runs import find_run

    made = typical(fitted, chip.name)
    for run in runs:
        reader = RunReader(find_run(run, out))
        # As declared: what of it is reached, the run says.
        machine = machine_of(chip, cluster, dtype, link=1.0, network=1.0, where=where)
        made = calibrate(reader.header, reader.columns(), chip, machine, dtype, made)
    return made


def _from_one(model: str, ranks: int, runs: Sequence[str], out: Path, as_json: bool) -> int:
    from ..analysis.projection.measured import from_one
    from ..report.projection import print_from_one
    from ..report.terminal import console
    from ..results import RunReader
    from ..runs import find_run

    if not runs:
        raise UsageError("--ranks needs runs", hint="--calibrate RUN, of steps and collectives")
    readers = [RunReader(find_run(run, out)) for run in runs]
    pairs = [(reader.header, reader.columns()) for reader in readers]
    found = [one for one in from_one(pairs, ranks) if one.model == model]
    if not found:
        raise UsageError(f"no run trained {model} on one rank")
    label = readers[0].header.label
    if as_json:
        print_json({"provenance": label, "steps": found})
    else:
        print_from_one(console(), found, label)
    return 0


def _validate(tables: Path | None, as_json: bool) -> int:
    from ..analysis.projection.published import published
    from ..analysis.projection.validate import missed, told, validate
    from ..report.projection import print_validation
    from ..report.terminal import console
    from . import reader_may_leave

    built_in, notes = published()
    if tables is None:
        found = validate(built_in, notes)
    else:
        rows, notes = published(tables)
        found = validate(rows, notes, beside=built_in)
    problems = missed(found)
    code = Exit.FINDING if problems else Exit.OK
    with reader_may_leave():
        if as_json:
            print_json({"exit": int(code), **told(found), "missed": problems})
        else:
            print_validation(console(), found, problems)
    return int(code)
