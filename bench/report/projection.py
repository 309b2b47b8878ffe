"""Projections in the terminal, and how they compare with published runs, there and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from ..analysis.projection.measured import FromOne
from ..analysis.projection.project import Projection
from ..analysis.projection.search import NAMES
from ..analysis.projection.validate import BOUNDS, SMALL, Comparison, Validation
from ..units import format_duration
from .plain import plain
from .terminal import print_table, verdict

_JOULE_OF_MWH = 3.6e9


def print_projection(made: Console, found: Projection, *, searched: bool = False) -> None:
    """The layout, where a step's time goes, memory, the training, and what it all rests on."""
    _say(made, headline(found), "bold")
    _say(made, layout_line(found))
    rows = [
        (NAMES[name], format_duration(seconds), f"{seconds / found.seconds:.1%}")
        for name, seconds in asdict(found.step).items()
        if seconds > 0
    ]
    print_table(made, ("a step's", "seconds", "share"), rows, right=(1, 2))
    verdict(made, step_line(found))
    held = found.memory
    _say(
        made,
        f"memory {held.total / 1e9:.1f} GB of {found.usable / 1e9:.1f} GB usable: state "
        f"{held.state / 1e9:.1f}, activations {held.activations / 1e9:.1f}, logits "
        f"{held.logits / 1e9:.1f}, buffers {held.buffers / 1e9:.1f}",
    )
    if not found.fits:
        short = (held.total - found.usable) / 1e9
        _say(made, f"does not fit: {short:.1f} GB of memory a device are short", "red")
    if found.harness is not None:
        own = found.harness.total / 1e9
        _say(made, f"memory of this project's own trainer in this layout: {own:.1f} GB")
    for line in training_lines(found):
        _say(made, line)
    if searched and found.found is not None:
        for line in searched_lines(found):
            _say(made, line)
    if found.gains:
        gains = [
            (gain.resource, f"{gain.gain:.2%}", f"then: {gain.plan}" if gain.plan else "")
            for gain in found.gains
        ]
        print_table(made, ("a tenth more", "shorter step", ""), gains, right=(1,))
    for what, source in found.sources.items():
        if what in found.assumed:
            continue  # its figure is told below
        _say(made, f"{what}: {source}", "" if source.startswith("measured") else "dim")
    for what, said in found.assumed.items():
        _say(made, f"assumed: {what}: {said}", "dim")
    if found.unmeasured:
        shapes = ", ".join(found.unmeasured)
        _say(made, f"worth measuring, for --calibrate: gemm {found.dtype} {shapes}", "dim")


def headline(found: Projection) -> str:
    """The model, and on what."""
    active = f", {found.active / 1e9:.4g} active" if found.active != found.parameters else ""
    return (
        f"{found.model}: {found.parameters / 1e9:.4g} billion weights{active}, on {found.chips} × "
        f"{found.chip} ({found.cluster}), {found.dtype}"
    )


def layout_line(found: Projection) -> str:
    """How a step is spread."""
    return f"layout: {found.plan.said()}; {found.microbatches} microbatch(es) of a step"


def step_line(found: Projection) -> str:
    """How long a step takes, how sure that is, and the share of the peak that it reaches."""
    training = found.training
    return (
        f"step {format_duration(found.seconds)} ± {found.doubt:.0%} (one standard deviation), "
        f"mfu {training.mfu:.1%} (causal-exact), mfu_palm {training.mfu_palm:.1%}"
    )


def training_lines(found: Projection) -> list[str]:
    """Rate, days, energy and goodput of the training, and what is absent of them."""
    training = found.training
    doubt = f"± {found.doubt:.0%}"
    without = "" if training.goodput is not None else ", if nothing ever fails"
    lines = [
        f"{training.tokens_per_second:.4g} token/s {doubt} while it trains; "
        f"{training.tokens_per_day:.4g} token a day, {days_of(found)} days {doubt} for "
        f"{training.tokens:.4g} tokens{without}"
    ]
    if training.energy is not None:
        lines.append(
            f"energy {training.energy / _JOULE_OF_MWH:.4g} MWh {doubt} at the power of datasheet, "
            f"nodes and PUE{without}"
        )
    if training.goodput is not None and training.interval and training.mtbf and training.save:
        lines.append(
            f"goodput {training.goodput:.1%}: a failure every {format_duration(training.mtbf)}, a "
            f"checkpoint of {format_duration(training.save)} every "
            f"{format_duration(training.interval)} (Daly 2006)"
        )
    return [*lines, *(f"absent: {why}" for why in training.absent)]


def days_of(found: Projection) -> str:
    """Days of the training, to a tenth where that says something."""
    days = found.training.days
    return f"{days:.1f}" if 0.1 <= days < 1e6 or days == 0.0 else f"{days:.3g}"


def searched_lines(found: Projection) -> list[str]:
    """How many layouts were looked at, and why the next best is not the best."""
    assert found.found is not None
    looked = found.found
    lines = [f"looked at {looked.looked_at} layouts, of which {looked.fitting} fit"]
    if looked.runner_up is not None:
        lines.append(f"runner-up: {looked.runner_up.plan.said()}: " + "; ".join(looked.why))
    return lines


def print_from_one(made: Console, found: Sequence[FromOne], label: str) -> None:
    """Steps of several ranks, from that of one."""
    rows = [
        (
            one.model,
            str(one.ranks),
            format_duration(one.seconds),
            format_duration(one.alone),
            format_duration(one.exchange),
            format_duration(one.copies),
            format_duration(one.late),
        )
        for one in found
    ]
    columns = ("model", "ranks", "step", "alone", "gradients", "copies", "waiting")
    print_table(made, columns, rows, right=(1, 2, 3, 4, 5, 6))
    verdict(made, f"from measured steps and collectives ({label})", "")


def print_validation(made: Console, found: Validation, problems: Sequence[str]) -> None:
    """Every row, errors by table, the constants."""
    columns, rows = _rows(found)
    print_table(made, columns, rows, right=(3, 4, 5, 6))
    columns, rows = _tables(found)
    print_table(made, columns, rows, right=(1, 2, 3, 4))
    columns, rows = _constants(found)
    print_table(made, columns, rows, right=(2, 3, 4))
    for note in found.notes:
        _say(made, f"note: {note}", "yellow")
    for problem in problems:
        _say(made, f"missed: {problem}", "red")
    verdict(made, f"{len(problems)} bound(s) missed" if problems else "every bound is kept")


def validation_markdown(found: Validation, problems: Sequence[str]) -> str:
    """The same as a page."""
    page = [
        "# How near projections come to published training runs",
        "",
        "Written by `make project-table` from `configs/published/training-runs.yaml`. Constants",
        f"are fitted on runs of at most {SMALL} chips (marked *fitted*), the others predicted.",
        "Errors are of the seconds of a step, positive: projected too slow. What a table leaves",
        "out is assumed to be what the model finds fastest and memory allows; such rows do not",
        "count towards the largest error.",
        "",
        "## Errors",
        "",
        *_markdown(*_tables(found)),
        "",
        f"Bounds: mean {BOUNDS['mean']:.0%}, largest {BOUNDS['largest']:.0%}, memory "
        f"{BOUNDS['memory']:.0%}.",
        "",
        *([f"- missed: {line}" for line in problems] or ["All are met."]),
        "",
        "## Constants",
        "",
        *_markdown(*_constants(found)),
        "",
        "## Every row",
        "",
        *_markdown(*_rows(found)),
        "",
    ]
    return "\n".join(page)


Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def _rows(found: Validation) -> Table:
    def one(c: Comparison) -> tuple[str, ...]:
        role = "fitted" if c.fitted else "held out"
        assumed = f"; assumed: {', '.join(c.row.assumed)}" if c.row.assumed else ""
        return (
            c.row.table,
            c.row.name,
            c.plan.said(),
            f"{c.row.seconds:.2f} s",
            f"{c.step.seconds:.2f} s",
            f"{c.error:+.1%}",
            _percent(c.memory_error),
            role + assumed,
        )

    columns = ("table", "run", "layout", "published", "projected", "error", "memory", "")
    return columns, [one(c) for c in found.comparisons]


def _tables(found: Validation) -> Table:
    columns = ("table", "held out", "mean error", "largest error", "memory, mean and largest")
    rows: list[tuple[str, ...]] = []
    for name in (*dict.fromkeys(c.row.table for c in found.comparisons), ""):
        kept = found.memory(name)
        memory = f"{kept[0]:.1%}, {kept[1]:.1%}" if kept else "–"
        count = str(len(found.held_out(name)))
        mean, largest = _percent(found.mean(name)), _percent(found.largest(name))
        rows.append((name or "all", count, mean, largest, memory))
    return columns, rows


def _constants(found: Validation) -> Table:
    columns = ("constant", "of", "value", "standard deviation", "typical")
    return columns, [
        (c.name, c.chip or "all", f"{c.value:.4g}", f"{c.deviation:.2g}", f"{c.typical:.4g}")
        for c in found.fitted.constants
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _say(made: Console, text: str, style: str = "") -> None:
    made.print(Text(plain(text), style=style), soft_wrap=True)
