"""The model held against published runs: fitted on small ones, asked about the others.

Rows of at most `SMALL` chips are what constants are fitted on (`fitting`); all others are held out.
Errors are relative, of the seconds of a step and of the bytes of a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .fitting import Fitted, fit
from .machine import machine_of
from .memory import USABLE, memory
from .plan import Plan
from .published import Published
from .rates import Efficiency, Rates
from .step import Step, step

SMALL = 256
"""Chips of the largest run that constants are fitted on."""
WIDTH = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 2}
"""Bytes of an element of activations, by the dtype of products."""


@dataclass(frozen=True)
class Comparison:
    """One published step and what the model says of it. Errors are relative, positive: too slow.

    ``fitted``: constants rest on it. ``memory_error`` is None where no memory is published.
    """

    row: Published
    plan: Plan
    step: Step
    error: float
    fitted: bool
    memory_error: float | None


@dataclass(frozen=True)
class Validation:
    """All comparisons, the constants, and what of the tables was not used."""

    comparisons: tuple[Comparison, ...]
    fitted: Fitted
    notes: tuple[str, ...] = ()

    def held_out(self, table: str = "") -> list[Comparison]:
        """Those that no constant rests on, of one table or of all."""
        return [c for c in self.comparisons if not c.fitted and table in ("", c.row.table)]

    def mean(self, table: str = "") -> float | None:
        """Mean absolute error of held-out rows; None without any."""
        return _mean([abs(c.error) for c in self.held_out(table)])

    def largest(self, table: str = "") -> float | None:
        """Largest absolute error of held-out rows of which nothing is assumed."""
        errors = [abs(c.error) for c in self.held_out(table) if not c.row.assumed]
        return max(errors, default=None)

    def memory(self, table: str = "") -> tuple[float, float] | None:
        """Mean and largest absolute error of memory; None without any."""
        errors = [
            abs(c.memory_error)
            for c in self.comparisons
            if c.memory_error is not None and table in ("", c.row.table)
        ]
        mean = _mean(errors)
        return None if mean is None else (mean, max(errors))


def fit_small(rows: Sequence[Published]) -> Fitted:
    """Constants from the rows of at most `SMALL` chips."""
    small = [row for row in rows if row.chips <= SMALL]
    narrowed = [_narrowed(row) for row in small]
    return fit(
        lambda index, efficiency: min(s.seconds for _, s in _steps(narrowed[index], efficiency)),
        [row.seconds for row in small],
        [row.chip.name for row in small],
    )


def validate(
    rows: Sequence[Published], notes: Sequence[str] = (), beside: Sequence[Published] = ()
) -> Validation:
    """Fit on the small rows, compare all.

    Args:
        rows: What is compared.
        notes: What else to say.
        beside: Rows of other tables, whose small ones count for the constants too.
    """
    names = {row.table for row in rows}
    fitted = fit_small([*rows, *(row for row in beside if row.table not in names)])
    found = []
    for row in rows:
        efficiency = fitted.efficiency(row.chip.name)
        plan, made = min(_steps(row, efficiency), key=lambda one: one[1].seconds)
        found.append(
            Comparison(
                row=row,
                plan=plan,
                step=made,
                error=made.seconds / row.seconds - 1,
                fitted=row.chips <= SMALL,
                memory_error=_memory_error(row, plan),
            )
        )
    return Validation(tuple(found), fitted, tuple(notes))


def _steps(row: Published, efficiency: Efficiency) -> Iterator[tuple[Plan, Step]]:
    """Of each layout that a row allows and that fits in memory; of all where none does."""
    machine = machine_of(
        row.chip,
        row.cluster,
        row.dtype,
        link=efficiency.link,
        network=efficiency.network,
        where=row.table,
    )
    rates = Rates(machine, efficiency, row.dtype, WIDTH.get(row.dtype, 2))
    usable = machine.memory * USABLE
    plans = row.plans
    if len(plans) > 1:
        fits = [p for p in plans if memory(row.model, p, row.software).total <= usable]
        plans = tuple(fits) or plans
    for plan in plans:
        yield plan, step(row.model, plan, rates, row.software)


def _narrowed(row: Published) -> Published:
    """The same without layouts that cannot be the fastest under any constants worth trying."""
    steps = sorted(_steps(row, Efficiency()), key=lambda one: one[1].seconds)
    return replace(row, plans=tuple(plan for plan, _ in steps[:3]))


def _memory_error(row: Published, plan: Plan) -> float | None:
    if not row.memory:
        return None
    (published,) = row.memory
    # A table tells what would be kept without recompute, beside the steps with it.
    several = row.table_of_memory
    kept = replace(plan, recompute="none") if several and plan.recompute == "full" else plan
    found = memory(row.model, kept, row.software)
    return (found.state + found.activations) / published - 1


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


BOUNDS = {"mean": 0.06, "largest": 0.12, "memory": 0.08}
"""Errors of held-out steps, mean and largest (of rows of which nothing is assumed), and of
memory, mean."""


def missed(found: Validation) -> list[str]:
    """Bounds that are missed, in sentences."""
    kept = found.memory()
    values = {
        "mean": ("mean absolute error of held-out steps", found.mean()),
        "largest": ("largest error of held-out steps", found.largest()),
        "memory": ("mean error of memory", kept[0] if kept else None),
    }
    return [
        f"{what} is {value:.1%}, above {BOUNDS[name]:.0%}"
        for name, (what, value) in values.items()
        if value is not None and value > BOUNDS[name]
    ]


def told(found: Validation) -> dict[str, object]:
    """All of it as plain data: rows, errors by table and of all, constants, notes."""
    tables = list(dict.fromkeys(c.row.table for c in found.comparisons))
    return {
        "rows": [
            {
                "table": c.row.table,
                "name": c.row.name,
                "chips": c.row.chips,
                "layout": c.plan.said(),
                "assumed": c.row.assumed,
                "seconds": c.row.seconds,
                "projected": c.step.seconds,
                "error": c.error,
                "fitted": c.fitted,
                "memory_error": c.memory_error,
                "step": c.step,
            }
            for c in found.comparisons
        ],
        "errors": {
            name: {
                "mean": found.mean(name),
                "largest": found.largest(name),
                "memory": found.memory(name),
            }
            for name in (*tables, "")
        },
        "constants": found.fitted.constants,
        "notes": found.notes,
    }
