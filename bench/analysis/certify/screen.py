"""The decision: every cell's chance of being good, and what may be rejected."""

from __future__ import annotations

import math

import numpy as np

from ...stats import student_quantile
from ..graph import Bools, Floats
from .cells import ACCEPT, INCONCLUSIVE, REJECT, SUSPECT, Cells, Judgement, Rules, States
from .components import Components, Visits, components, error_variance, unsteady, visits
from .evidence import Evidence, evidence
from .layout import Layout
from .population import CLEAR, Population, population

_STEP = 0.07
"""Between points where a single visit is weighed, in asinh(4 z); between them, straight lines."""


def judge(cells: Cells, rules: Rules | None = None) -> Judgement:
    """Judge every cell by all that was measured so far."""
    rules = rules or Rules()
    layout = Layout(cells)
    people = population(layout)
    excess = unsteady(layout)
    several = (layout.visits > 1) | np.isnan(layout.sweep) | (excess[layout.first] > 0)
    seen = visits(layout, people, excess, several)
    parts = components(layout, people, seen, rules.material)
    effect = layout.sweep - people.usual[layout.group]
    ratio, reach = _single(layout, people, parts, effect, rules)
    low, high = effect - reach, effect + reach
    if seen.cell.size:
        weighed = _weighed(people, parts, seen, rules)
        ratio[seen.cell] = weighed.ratio
        effect[seen.cell] = weighed.effect
        low[seen.cell], high[seen.cell] = weighed.low, weighed.high
    shift = people.shift[layout.group]
    second = (shift != 0) & (np.abs(effect - shift) < np.abs(effect))
    for one in (effect, low, high):
        one[second] -= shift[second]
    alone = people.count[layout.group] < 2
    judged = ~layout.proven & ~alone
    bad = _chances(ratio, judged, rules)
    state = _states(bad, effect, low, judged, alone, rules)
    usual = people.usual[layout.group] + np.where(second, shift, 0.0)
    for one in (effect, low, high, usual, bad):
        one[alone] = np.nan
    return Judgement(
        metric=layout.metrics[layout.group],
        unit=layout.unit,
        kind=layout.kinds[layout.group],
        state=state,
        effect=effect,
        low=low,
        high=high,
        usual=usual,
        second=second,
        percentile=_percentiles(layout),
        chance=1 - bad,
        noise=_noise(layout, people, parts),
        drift=parts.kappa[layout.group],
        peers=people.count[layout.group],
        repeats=layout.repeats,
        proven=layout.proven,
        notes=_notes(layout, people),
    )


def _single(
    layout: Layout, people: Population, parts: Components, effect: Floats, rules: Rules
) -> tuple[Floats, Floats]:
    """ln likelihood ratio and half-width of the interval of cells that were visited once."""
    scale = people.scale
    # From the lowest value to a standard deviation above what is usual, close in the middle.
    lowest = np.fmin.reduceat(effect, layout.bounds[:-1]) if layout.groups else effect
    far = np.arcsinh(4 * np.maximum(-np.nan_to_num(lowest) / scale, 1.0))
    count = np.ceil((far + math.asinh(4.0)) / _STEP).astype(np.int64) + 1
    ends = np.cumsum(count)
    place = np.arange(count.sum()) - np.repeat(ends - count, count)
    z = 0.25 * np.sinh(_STEP * place - np.repeat(far, count))
    value = np.repeat(scale, count) * z

    def each(column: Floats) -> Floats:
        return np.repeat(column, count)

    table = evidence(
        value[:, None],
        each(scale * np.sqrt(1 - parts.rho))[:, None],
        each(scale * np.sqrt(parts.rho)),
        each(people.tail),
        each(people.shift),
        each(people.share),
        rules.material,
    ).ratio
    ratio = np.empty_like(effect)
    reach = np.empty(layout.groups)
    for group, cells in enumerate(layout.slices()):
        here = slice(ends[group] - count[group], ends[group])
        ratio[cells] = np.interp(effect[cells], value[here], table[here])
        t = student_quantile(0.025, round(float(people.tail[group]), 1))
        reach[group] = t * scale[group] * math.sqrt(1 - parts.rho[group])
    return ratio, reach[layout.group]


def _weighed(people: Population, parts: Components, seen: Visits, rules: Rules) -> Evidence:
    """The evidence of cells that were visited several times, or could not be measured well."""
    group = seen.group[:, None]
    noise = error_variance(parts, group, seen.count) * people.scale[group] ** 2
    noise += parts.unsure[group, seen.session] ** 2 + seen.excess
    return evidence(
        seen.value - parts.drift[group, seen.session],
        np.sqrt(noise),
        people.scale[seen.group] * np.sqrt(parts.rho[seen.group]),
        people.tail[seen.group],
        people.shift[seen.group],
        people.share[seen.group],
        rules.material,
    )


def _noise(layout: Layout, people: Population, parts: Components) -> Floats:
    """How noisy one more measurement is: what it tells less as units differ is counted as noise.

    After n of them the mean varies by rho + (1 - rho) / n between healthy units.
    """
    rho, n = parts.rho[layout.group], layout.repeats
    told = 1 / (rho + (1 - rho) / (n + 1)) - 1 / (rho + (1 - rho) / n)
    noise: Floats = people.scale[layout.group] / np.sqrt(told)
    return noise


def _chances(ratio: Floats, judged: Bools, rules: Rules) -> Floats:
    """Probability of every cell to be bad, the share of bad cells learned from all (EM)."""
    ratio = np.where(judged, np.nan_to_num(ratio, nan=-50.0), -700.0)
    total = max(int(np.count_nonzero(judged)), 1)
    odd = np.exp(np.clip(ratio[ratio > -5], None, 700))
    rest = float(np.exp(ratio[ratio <= -5]).sum())
    expected = rules.faults
    for _ in range(30):
        odds = expected / total
        expected = rules.faults + float((odd * odds / (1 + odd * odds)).sum()) + rest * odds
    logit = np.clip(ratio + math.log(expected / total), -700, 700)
    bad: Floats = 1 / (1 + np.exp(-logit))
    return bad


def _states(
    bad: Floats, effect: Floats, low: Floats, judged: Bools, alone: Bools, rules: Rules
) -> States:
    """Reject as many as keep the mean chance of being good within the false discovery rate.

    Of few units tails are as good as unknown, and what is far off on the good side would be as
    doubtful as on the other: who is not slower than usual is no suspect.
    """
    state = np.full(bad.size, ACCEPT, dtype=np.int8)
    state[judged & ~(bad < rules.suspect) & ~(effect >= 0)] = SUSPECT
    state[alone] = INCONCLUSIVE
    material = low <= math.log1p(-rules.material)
    asked = np.flatnonzero(judged & material & (1 - bad <= rules.sure))
    order = asked[np.argsort(1 - bad[asked], kind="stable")]
    mean = np.cumsum(1 - bad[order]) / np.arange(1, order.size + 1)
    state[order[: np.count_nonzero(mean <= rules.fdr)]] = REJECT
    return state


def _percentiles(layout: Layout) -> Floats:
    """Share of a group's cells whose value in the sweep is not better, 0 to 100."""
    share = np.empty_like(layout.sweep)
    for cells in layout.slices():
        values = layout.sweep[cells]
        order = np.argsort(values)
        rank = np.empty(order.size)
        rank[order] = np.arange(1, order.size + 1)
        share[cells] = rank * (100.0 / max(int(np.count_nonzero(np.isfinite(values))), 1))
    share[np.isnan(layout.sweep)] = np.nan
    return share


def _notes(layout: Layout, people: Population) -> list[str]:
    said = []
    if layout.dropped:
        said.append(f"{layout.dropped} value(s) are no number and do not count")
    if alone := int(np.count_nonzero(people.count == 1)):
        said.append(
            f"{alone} metric(s) were measured on a single unit of its kind: nothing to compare with"
        )
    if few := int(np.count_nonzero((people.count > 1) & (people.count < 8))):
        said.append(
            f"{few} metric(s) were measured on fewer than 8 units of a kind: intervals are wider, "
            "little is rejected"
        )
    if two := int(np.count_nonzero(np.abs(people.shift) > CLEAR * people.scale)):
        said.append(
            f"{two} metric(s) show two populations of one kind (bins of a chip, firmware?): units "
            "are judged within theirs, the smaller one as a whole is not"
        )
    return said
