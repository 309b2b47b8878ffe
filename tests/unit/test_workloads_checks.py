"""What the sanity checks of training and launches must tell apart, and what all declare."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context, several

from bench.timing import Rule
from bench.workloads.base import make, registry
from bench.workloads.runner import run

torch = pytest.importorskip("torch")


def rise(bench, rank):
    """The loss of rank 1 alone does not fall."""
    step = bench.step

    def worse():
        step()
        if rank == 1:
            bench.first = torch.randint_like(bench.first, bench.shape.vocab)

    bench.step = worse


def negate(bench, rank):
    """One weight of rank 1 gets the other sign in the last optimizer step."""
    check = bench.check

    def broken():
        if rank == 1 and bench.turn:
            with torch.no_grad():
                next(bench.net.parameters()).view(-1)[-1].neg_()
        return check()

    bench.check = broken


def poison(bench, rank):
    """One weight of rank 1 is no number."""
    step = bench.step

    def poisoned():
        step()
        if rank == 1:
            with torch.no_grad():
                next(bench.net.parameters()).view(-1)[0] = float("nan")

    bench.step = poisoned


def freeze(bench, rank):
    """Nothing is learnt: losses differ by their batches alone."""
    bench.optimizer.step = lambda: None


@pytest.mark.timeout(90)
def test_one_rank_whose_training_goes_wrong_stops_all_and_nobody_waits():
    axes = {"model": "tiny", "batch": 1}
    wrong = (rise, negate, poison, freeze)
    after, signed, lost, frozen = several([("train", axes, one) for one in wrong])
    assert {one.status for one in after + signed + lost + frozen} == {"invalid"}
    # Rank 1's own weight: its second step has no loss, the others' the third.
    assert lost[1].reason.endswith("to nan: the first that is no number is of step 2, rank 1")
    assert re.search(r"loss went from [\d.]+ to [\d.]+ on rank 0$", frozen[0].reason)
    assert "loss went from" in after[1].reason
    assert "1 differ from the first that has the same (1)" in signed[0].reason


@pytest.mark.parametrize("op", ["empty", "add"])
def test_a_launch_that_does_nothing_is_invalid(op):
    bench = make("launch", {"op": op})
    setup = bench.setup

    def broken(given):
        setup(given)
        bench.call = lambda: None

    assert run(make("launch", {"op": op}), context(0, 1), RULE).status == "ok"
    bench.setup = broken
    assert run(bench, context(0, 1), RULE).status == "invalid"


def test_all_declared_measures_are_yielded():
    """Given a datasheet, nothing that a benchmark declares is absent."""
    from bench.configs import load_chip

    # As many as there are losses to tell, however slow this machine is.
    steps = Rule(budget=200.0, precision=1e-9, warmup=0.0, min_samples=12, max_samples=12)
    for name, axes in (("launch", {}), ("train", {"model": "tiny", "batch": 1})):
        given = context(0, 1)
        given.chip = load_chip("sim-a")
        outcome = run(make(name, axes), given, steps)
        # Who is alone waits for nobody; this machine's cores have no counter of energy.
        declared = {one.name for one in make(name, axes).reported() if not one.slack}
        declared -= {"energy_per_token"}
        assert {value.metric for value in outcome.values} == declared, outcome.reason
    jobs = [("collectives", {"size": "1KiB"}, None), ("pairs", {"size": "1KiB"}, None)]
    for (name, _, _), ranks in zip(jobs, several(jobs), strict=True):
        declared = {measure.name for measure in registry()[name].measures}
        assert {value.metric for value in ranks[0].values} == declared
