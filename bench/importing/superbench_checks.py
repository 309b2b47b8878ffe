"""What SuperBench's benchmarks say of the values that they worked out: passed, valid, correct.

A figure of what was wrong is none, however fast it was (docs/user-tutorial/benchmarks/*.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PASSED = re.compile(r"gpu_\d+_pass|tests_pass|is_valid|.+_correctness")
_NONE = re.compile(r"abort")
_WHOLE = ("tests_pass", "is_valid")
"""Checks of all that a benchmark has measured."""


def verdict(metric: str, value: float) -> bool | None:
    """Whether a check held; None for what is none."""
    if _PASSED.fullmatch(metric):
        return value >= 1
    return value == 0 if _NONE.fullmatch(metric) else None


def refuted(before: str, metric: str, ends: str, found: Mapping[str, Any]) -> str:
    """The check that says that a figure is of wrong values; empty where none does.

    Args:
        before: What stands before the metric in its name: benchmark and run.
        metric: ``name_f_time``: ``name_f_correctness`` is its check.
        ends: What stands behind it: its rank.
        found: All that the node says.
    """
    own = f"{metric.rpartition('_')[0]}_correctness"
    for check in (own, *_WHOLE):
        said = found.get(f"{before}{check}{ends}")
        if isinstance(said, int | float) and verdict(check, said) is False:
            return f"{check} is {said:g}"
    return ""
