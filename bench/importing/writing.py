"""Writing an imported run, as any run is written: header first, then pages of rows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from ..cluster.executor import Page
from ..cluster.journal import Journal
from ..records import Samples
from ..results import Columns
from .runs import Made

_PAGE = 200_000


def write(made: Made, results: Path) -> Path:
    """Write a run into its folder of runs; the run's folder.

    Raises `InfraError` where that cannot be written or the disk is too full.
    """
    rows = len(made.columns)
    # Whoever looks before the last row is there must not take it for whole.
    made.header.state = "running"
    journal = Journal.create(results, made.header, rows=rows)
    try:
        reasons = sorted(made.columns.reasons.items())
        places = np.array([place for place, _ in reasons], dtype=np.int64)
        for start in range(0, rows, _PAGE):
            end = min(start + _PAGE, rows)
            low, high = np.searchsorted(places, [start, end]).tolist()
            page = Columns(
                **{
                    name: getattr(made.columns, name)[start:end]
                    for name in Columns.__struct_fields__
                    if name != "reasons"
                },
                reasons={place - start: why for place, why in reasons[low:high]},
            )
            journal.write(Page(columns=page))
        encoder = msgspec.json.Encoder()
        for case, group, repeat, calls, seconds in made.samples:
            one = Samples(case=case, group=group, repeat=repeat, calls=calls, seconds=seconds)
            journal.write(Page(samples=[msgspec.Raw(encoder.encode(one))]))
        made.header.state = "complete"
    except BaseException as error:
        made.header.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        journal.close()
    return journal.folder
