"""Under which conditions simulated values were taken: a healthy device's, and what faults change.

They are rounded as measured ones are, so that a fleet has few that differ.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from ...configs import Chip, Fault
from ...records import Conditions
from .draws import Ints, key, normal

IDLE, WARM, SPREAD = 40.0, 65.0, 4.0
"""°C of a device at rest; of one under load and by how much devices differ in that."""
CLOCK = 1500.0
"""MHz."""
POWER = (0.2, 0.8)
"""Shares of the chip's thermal design power, at rest and under load."""
_STEP = 5.0
"""°C to which temperatures are rounded."""


class Climate:
    """The conditions of a healthy fleet under load: each device has its own temperature."""

    def __init__(self, chip: Chip, seed: int, devices: int) -> None:
        every = np.arange(devices, dtype=np.int64)
        warmth = WARM + SPREAD * normal(key(seed, "temperature"), every)
        warmths, index = np.unique(np.rint(warmth / _STEP), return_inverse=True)
        self._index = index.astype(np.int32)
        tdp = chip.tdp.value if chip.tdp is not None else None
        self._known = [
            Conditions(
                frequency=(CLOCK, CLOCK),
                temperature=(IDLE, _STEP * warm),
                power=(None, None) if tdp is None else (POWER[0] * tdp, POWER[1] * tdp),
                throttled="",
                capped=False,
            )
            for warm in warmths.tolist()
        ]

    def of(self, ranks: Ints) -> Surroundings:
        """The conditions of rows whose group these ranks [g] lead."""
        return Surroundings(list(self._known), self._index[ranks])


class Surroundings:
    """The conditions of one page's rows.

    Attributes:
        known: The conditions, each once.
        index: int32[g]; place of each row's conditions in ``known``, -1 where there are none.
    """

    def __init__(self, known: list[Conditions], index: npt.NDArray[np.int32]) -> None:
        self.known, self.index = known, index

    def change(self, fault: Fault, rows: Ints) -> None:
        """What a fault says of the conditions holds for these rows instead."""
        after = {
            name: value
            for name, value in (
                ("temperature", fault.temperature),
                ("power", fault.power),
                ("frequency", fault.clock),
            )
            if value is not None
        }
        if not rows.size or not (after or fault.throttled):
            return
        were, index = np.unique(self.index[rows], return_inverse=True)
        self.index[rows] = (len(self.known) + index).astype(np.int32)
        for one in [self.known[were_one] for were_one in were.tolist()]:
            changed = {name: (getattr(one, name)[0], value) for name, value in after.items()}
            throttled = fault.throttled or one.throttled
            self.known.append(msgspec.structs.replace(one, **changed, throttled=throttled))

    def unknown(self, rows: Ints) -> None:
        """These rows have no conditions: nothing was measured."""
        self.index[rows] = -1
