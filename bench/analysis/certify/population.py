"""What is usual in every group: location, scale, tail and modes of one visit's values.

Every group's values are counted into bins of z = (value - median) / (1.4826 MAD), narrow in the
middle and wide far out; `modes` fits the counts. Where units are proven, they alone say what is
usual.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ..graph import Floats, Ints
from .layout import Layout
from .modes import fit

FLOOR = 1e-5
"""Least relative scale: clocks and counters are not read more finely."""

_CORE, _STEP, _BINS = 0.25, 0.08, 130


class Population(msgspec.Struct, kw_only=True):
    """float64[groups] each, of a single visit in the sweep.

    Attributes:
        usual: Location of the larger mode. ``scale``: of Student's t with ``tail`` degrees of
            freedom: those of the values and of not knowing the scale better together.
        shift: From there to a second mode; 0 where there is none. ``share``: of that mode.
        count: int64, units in the sweep.
    """

    usual: Floats
    scale: Floats
    tail: Floats
    shift: Floats
    share: Floats
    count: Ints


def population(layout: Layout) -> Population:
    """Fit every group."""
    informs = np.isfinite(layout.sweep)
    usual = np.full(layout.groups, np.nan)
    scale = np.full(layout.groups, np.nan)
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
    return Population(
        usual=usual + found.middle * scale,
        scale=np.maximum(scale * found.width, FLOOR) * np.sqrt(1 + 1 / np.maximum(size, 1)),
        tail=1 / (1 / found.tail + 1 / few),
        shift=found.shift * scale,
        share=found.share,
        count=count,
    )
