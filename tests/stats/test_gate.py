"""How often the gate is right, on a few simulated machines; `make gate-table` counts thousands."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gate_blocks import Machine, ratios

from bench.analysis.gate.sequential import decide

GATES = 60


@pytest.mark.parametrize(
    ("noise", "change", "word", "least", "most"),
    [
        (0.008, 0.0, "PASS", 57, 60),
        (0.025, 0.0, "PASS", 52, 60),
        (0.05, 0.0, "REGRESSED", 0, 1),
        (0.008, 0.05, "REGRESSED", 58, 60),
        (0.025, 0.08, "REGRESSED", 58, 60),
        (0.05, 0.05, "PASS", 0, 1),
        (0.008, -0.08, "IMPROVED", 30, 60),
    ],
)
def test_verdicts(noise, change, word, least, most):
    made = [decide(ratios(Machine(noise), change, 40, seed), 0.03).word for seed in range(GATES)]
    assert least <= Counter(made)[word] <= most, Counter(made)
