"""Which cells (a metric of a unit) are bad, and which to measure again."""

from .cells import STATES, Cells, Judgement, Request, Rules
from .screen import judge
from .sequential import retest

__all__ = ["STATES", "Cells", "Judgement", "Request", "Rules", "judge", "retest"]
