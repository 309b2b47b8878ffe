"""How mature a chip's software is: its compiler, the operations that it has, the bits it keeps."""

from __future__ import annotations

import numpy as np

from ...stats import geometric_mean
from ..subject import Subject
from ..summary import lacking
from .value import Derived, Table, Value, absent

_OPERATIONS = ("gemm", "compute", "memory", "stream")


def _triton(subject: Subject) -> Value:
    """The latest run that has equal cases of both; of several chips the geometric mean.

    Its interval is that of `maturity.Maturity`, of several chips the mean of their ends.
    """
    for run in subject.runs:
        found = [one.maturity for one in run.rooflines if one.maturity is not None]
        if found:
            ops = sum(len(one.ops) for one in found)
            cases = sum(one.cases for one in found)
            lows = [one.low for one in found if one.low is not None]
            highs = [one.high for one in found if one.high is not None]
            known = len(lows) == len(found)
            return Value(
                value=geometric_mean([one.ratio for one in found]),
                low=geometric_mean(lows) if known else None,
                high=geometric_mean(highs) if known else None,
                values=min(one.values for one in found),
                provenance=run.label,
                run=run.header.id,
                detail=f"{ops} operation(s), {cases} case(s)",
            )
    return absent("no operation was measured with Triton and with a library, on equal cases")


def _supported(subject: Subject) -> Value:
    """Operations and dtypes that Triton kernels computed rightly, over those asked for.

    A value that others disturbed does not count, but it was computed. Where Triton has no target
    at all, nothing is known of its operations.
    """
    why = "no operation was asked of Triton"
    for run in subject.runs:
        asked: dict[str, bool] = {}
        tried = False
        for one in run.summaries:
            axes = one.case.axes
            if one.case.benchmark not in _OPERATIONS or axes.get("impl") != "triton":
                continue
            if not one.rows:
                continue  # the run did not reach it: nothing is known
            name = f"{axes.get('op', one.case.benchmark)} {axes.get('dtype', '')}"
            asked[name] = asked.get(name, False) or not {"ok", "contended"}.isdisjoint(one.statuses)
            tried |= set(one.statuses) != {"skipped"}
            why = lacking(one) if set(one.statuses) == {"skipped"} else why
        if tried:
            left = sorted(name for name, has in asked.items() if not has)
            return Value(
                value=sum(asked.values()) / len(asked),
                provenance=run.label,
                run=run.header.id,
                detail=f"{len(asked)} asked for" + (f", without {', '.join(left)}" if left else ""),
            )
    return absent(why)


def _bits(subject: Subject) -> Value:
    """The share of a format's bits that results keep: of all formats measured, the median.

    The formats are all that is asked about and no sample: what they differ by is no error. The
    median of their lower ends is one of their median, and so is that of their upper ends.
    """
    for run in subject.runs:
        found = [
            one
            for one in run.of("precision", "accuracy")
            if one.case.axes.get("distribution", "normal") == "normal"
        ]
        if found:
            medians = [one.known.value for one in found]
            lows = [one.low for one in found if one.low is not None]
            highs = [one.high for one in found if one.high is not None]
            known = len(lows) == len(found)
            kept = {one.case.axes.get("dtype", "") for one in found}
            return Value(
                value=float(np.median(medians)),
                low=float(np.median(lows)) if known else None,
                high=float(np.median(highs)) if known else None,
                values=min(one.values for one in found),
                provenance=run.label,
                run=run.header.id,
                detail=f"of {', '.join(sorted(kept))}",
            )
    return absent("no precision was measured")


SOFTWARE: Table = {
    ("software", "triton_ratio"): Derived(
        unit="ratio",
        about="speed of the Triton kernels over that of the best library, on equal cases",
        formula="geometric mean over equal cases of t(best library) / t(Triton)",
        find=_triton,
    ),
    ("software", "ops_supported"): Derived(
        unit="ratio",
        about="operations and dtypes that Triton kernels compute rightly, of those asked for",
        formula="operations and dtypes with a right result / those asked for",
        find=_supported,
    ),
    ("software", "bits_kept"): Derived(
        unit="ratio",
        about="share of the bits of a format that the result of a matrix product keeps",
        formula="median `precision` accuracy over formats, on normal data",
        find=_bits,
    ),
}
