"""Every way to spread a model over four ranks gives the losses of one process."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from compositions import DENSE, MIXTURE, cases, descend, losses, measure, spread_losses

from bench.kernels.layout import Layout
from bench.workloads.ops import TORCH, _tried_grouped


@pytest.fixture(scope="module")
def spread(once):
    return spread_losses(once("compositions", measure))


@pytest.fixture(scope="module")
def alone():
    """In one process, by model and optimizer."""
    pairs = [(shape, step) for shape in (DENSE, MIXTURE) for step in (descend, TORCH.adamw)]
    return {pair: losses(pair[0], Layout(), adamw=pair[1]) for pair in pairs}


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case[0])
def test_losses_are_those_of_one_process(case, spread, alone):
    name, shape, _, _, adamw = case
    wanted = alone[shape, adamw]
    assert wanted[-1] < wanted[0] - 0.1  # there is something that could differ
    assert spread[name] == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize("again", ["selective", "full"])
@pytest.mark.parametrize("shape", [DENSE, MIXTURE], ids=["dense", "mixture"])
def test_recompute_changes_nothing(again, shape, alone):
    # As in a new process, where a block finds out what the library has.
    _tried_grouped.cache_clear()
    assert losses(shape, Layout(), again=again) == pytest.approx(alone[shape, descend], abs=1e-6)
