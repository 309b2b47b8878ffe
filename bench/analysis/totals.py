"""What pairs that were measured at the same time carried together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..inventory import Inventory
from ..records import Case, Header
from ..rounds import schedule_for


def totals(
    header: Header,
    case: Case,
    groups: npt.NDArray[np.int64],
    medians: npt.NDArray[np.float64],
) -> dict[str, float | None]:
    """The sum over all pairs of a round, in the case's unit; of several rounds the median.

    Across a label, by the two values that meet (``beijing - shanghai``), else as ``all``. A round
    counts where every pair of it between the two has a value, and where no other round has more
    pairs: on hosts that share cores rounds are split, and parts of one are no sum of it. None where
    no such round is whole.

    Args:
        header: The run's header.
        case: One of its cases; other than rates of pairs with ``together: true`` have no sum.
        groups: Its groups with a value, ascending.
        medians: Their values.
    """
    arguments = header.schedules[case.schedule].arguments
    rate = case.better == "higher" and case.unit.endswith("/s")
    if case.scope != "pair" or not rate or arguments.get("together") is not True:
        return {}
    inventory = Inventory(header.nodes, header.fleet)
    schedule = schedule_for(header.schedules[case.schedule], inventory)
    value = np.full(schedule.size, np.nan)
    value[groups] = medians
    key = arguments.get("across")
    names = _Names(inventory, key if key in inventory.labels() else None)
    sums: dict[str, dict[int, list[float]]] = {}
    for together in schedule.walk():
        ids = np.concatenate([batch.ids for batch in together])
        between = names.of(np.concatenate([batch.ranks for batch in together]))
        for name in dict.fromkeys(between.tolist()):
            mine = value[ids[between == name]]
            sums.setdefault(name, {}).setdefault(mine.size, []).append(float(mine.sum()))
    found: dict[str, float | None] = {}
    for name, by_pairs in sums.items():
        most = np.array(by_pairs[max(by_pairs)])
        whole = most[np.isfinite(most)]
        found[name] = float(np.median(whole)) if whole.size else None
    return found


class _Names:
    """Which two values of a label a pair joins, in words."""

    def __init__(self, inventory: Inventory, label: str | None) -> None:
        self._inventory = inventory
        self._label = inventory.label(label) if label else None

    def of(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
        """str[pairs] of int64[pairs, 2]."""
        if self._label is None:
            return np.full(len(ranks), "all")
        codes, values = self._label
        ends = np.sort(codes[self._inventory.node_of(ranks)], axis=1).tolist()
        return np.array([f"{values[a]} - {values[b]}" for a, b in ends])
