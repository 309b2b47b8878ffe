"""What is usual in every group: location, scale, tail and modes of one visit's values.

Every group's values are counted into bins of z = (value - median) / (1.4826 MAD), narrow in the
middle and wide far out; `modes` fits the counts. Where units are proven, they alone say what is
usual.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec
import numpy as np

from ...stats import mad
from ..graph import Floats, Ints
from .layout import Layout
from .modes import LEAST_UNITS, fit

FLOOR = 1e-5
"""Least relative scale: clocks and counters are not read more finely."""

CLEAR = 3.0
"""Scales between two modes that nearly every unit is told apart by."""

_CORE, _STEP, _BINS = 0.25, 0.08, 130
_SURE = 3.0  # standard errors between two populations


class Population(msgspec.Struct, kw_only=True):
    """float64[groups] each, of a single visit in the sweep.

    Attributes:
        usual: Location of the larger mode. ``scale``: of Student's t with ``tail`` degrees of
            freedom: those of the values and of not knowing the scale better together.
        shift: From there to a second mode; 0 where there is none. ``share``: of that mode.
        count: int64, units in the sweep; below 2, the rest says nothing.
    """

    usual: Floats
    scale: Floats
    tail: Floats
    shift: Floats
    share: Floats
    count: Ints


_KNOWN: OrderedDict[bytes, Population] = OrderedDict()
_KEPT = 4


def population(layout: Layout) -> Population:
    """What is usual in every group; not to be changed.

    A re-test adds visits and leaves the sweep as it was: the last few sweeps are remembered.
    """
    key = hashlib.blake2b(digest_size=16)
    for part in (layout.sweep, layout.unit, layout.proven, layout.bounds, layout.kinds):
        key.update(np.ascontiguousarray(part).data)
    name = key.digest()
    if name not in _KNOWN:
        _KNOWN[name] = _fitted(layout)
    _KNOWN.move_to_end(name)
    if len(_KNOWN) > _KEPT:
        _KNOWN.popitem(last=False)
    return _KNOWN[name]


def _fitted(layout: Layout) -> Population:
    informs = np.isfinite(layout.sweep)
    usual, scale = np.zeros(layout.groups), np.ones(layout.groups)
    count = np.zeros(layout.groups, np.int64)
    size = np.zeros(layout.groups, np.int64)
    histogram = np.zeros((layout.groups, 2 * _BINS))
    for group, cells in enumerate(layout.slices()):
        here = informs[cells]
        values = layout.sweep[cells][here]
        count[group] = values.size
        proven = layout.proven[cells][here]
        if np.count_nonzero(proven) >= 2:
            values = values[proven]
        if values.size == 0:
            continue
        size[group] = values.size
        usual[group] = np.median(values)
        deviation = values - usual[group]
        scale[group] = max(1.4826 * float(np.median(np.abs(deviation))), FLOOR)
        place = np.arcsinh(deviation / (scale[group] * _CORE)) / _STEP
        histogram[group] = np.bincount(
            np.clip(np.floor(place).astype(np.int64) + _BINS, 0, 2 * _BINS - 1),
            minlength=2 * _BINS,
        )
    z = _CORE * np.sinh(_STEP * (np.arange(-_BINS, _BINS) + 0.5))
    found = fit(histogram, z)
    few = np.maximum(size - 1.0, 0.1)
    people = Population(
        usual=usual + found.middle * scale,
        scale=np.maximum(scale * found.width, FLOOR) * np.sqrt(1 + 1 / np.maximum(size, 1)),
        tail=1 / (1 / found.tail + 1 / few),
        shift=found.shift * scale,
        share=found.share,
        count=count,
    )
    _shared(layout, people)
    return people


def _shared(layout: Layout, people: Population) -> None:
    """Look for a second population, seen clearly in some metrics of a kind, in its other metrics.

    Where noise hides two modes, the means of units that are known to be of either show them.
    """
    slices = layout.slices()
    clear = np.abs(people.shift) > CLEAR * people.scale
    for kind in np.unique(layout.kinds[clear]).tolist():
        of_kind = np.flatnonzero(layout.kinds == kind)
        votes = np.zeros(int(layout.unit.max()) + 1)
        for group in of_kind[clear[of_kind]].tolist():
            cells = slices[group]
            away = layout.sweep[cells] - people.usual[group]
            second = np.abs(away - people.shift[group]) < np.abs(away)
            np.add.at(votes, layout.unit[cells], np.where(second, 1.0, -1.0))
        for group in of_kind[~clear[of_kind]].tolist():
            _split(layout, people, group, slices[group], votes)


def _split(layout: Layout, people: Population, group: int, cells: slice, votes: Floats) -> None:
    """Give a group two modes if the units that others tell apart differ in it too."""
    values, side = layout.sweep[cells], votes[layout.unit[cells]]
    good = np.isfinite(values)
    second, first = values[good & (side > 0)], values[good & (side < 0)]
    if min(second.size, first.size) < LEAST_UNITS:
        return
    usual = float(np.median(first))
    shift = float(np.median(second)) - usual
    error = 1.2533 * people.scale[group] * np.sqrt(1 / second.size + 1 / first.size)
    if abs(shift) > _SURE * error:
        if people.shift[group] == 0:
            within = np.concatenate([first - usual, second - usual - shift])
            narrower = mad(within) / max(mad(values[good]), FLOOR)
            people.scale[group] = max(people.scale[group] * min(narrower, 1.0), FLOOR)
        people.usual[group], people.shift[group] = usual, shift
        people.share[group] = second.size / (second.size + first.size)
