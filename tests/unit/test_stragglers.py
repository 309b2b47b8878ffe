"""Ranks inside a training step: what each computes, what it waits, and who is late."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.timing import Rule, Timing
from bench.workloads.base import Benchmark, Measure, benchmark, make
from bench.workloads.lateness import lateness, straggler
from bench.workloads.phases import Phases
from bench.workloads.runner import run

RULE = Rule(budget=1.0, warmup=0.05, min_samples=3)
TINY = {"model": "tiny", "batch": 1}
DELAY = 0.15
"""Seconds that the slow rank needs more in a step: many steps of the others, on busy cores too."""


def test_lateness_is_what_the_others_wait_longer():
    # Of three ranks the last is 5 s late in one step and the first 1 s in the other.
    waits = np.array([[6.0, 1.0], [6.0, 2.0], [1.0, 2.0]])
    assert lateness(waits).tolist() == [(-2.5 + 1.0) / 2, (-2.5 - 0.5) / 2, (5.0 - 0.5) / 2]


def values(outcome):
    return {one.metric: one.value for one in outcome.values}


def dawdle(*given):
    time.sleep(DELAY)


def slow_forward(bench, rank):
    if rank == 1:
        bench.net.register_forward_pre_hook(dawdle)


def slow_backward(bench, rank):
    if rank == 1:
        next(bench.net.parameters()).register_hook(dawdle)


def slow_optimizer(bench, rank):
    if rank == 1:
        bench.optimizer.register_step_pre_hook(dawdle)


def slow_block(bench, rank):
    if rank == 1:
        bench.trainer.parts[0].blocks[0].register_full_backward_pre_hook(dawdle)


LAYOUTS = (
    {"dp": "fsdp"},
    {"tp": 2},
    {"cp": 2},
    {"model": "tiny-moe", "dp": "fsdp", "ep": 2},
)
PIPELINE = {"batch": 2, "pp": 2, "microbatches": 2}
JOBS = [
    *(({}, part) for part in (slow_forward, slow_backward, slow_optimizer)),
    *(({"batch": 2, **axes}, part) for part in (slow_forward, slow_block) for axes in LAYOUTS),
    (PIPELINE, slow_forward),
]


@pytest.fixture(scope="module")
def trained():
    """A function (axes, part): outcomes of both ranks, the second of which is slow there.

    All are trained in the same two processes, one after the other.
    """
    found = several([("train", {**TINY, **axes}, part) for axes, part in JOBS], rule=RULE)
    return lambda axes, part: found[JOBS.index((axes, part))]


@pytest.mark.alone  # who waits for whom is what ranks do when each has a core
def test_a_slow_rank_computes_long_and_the_others_wait_for_it(trained):
    """Whichever part of the step it is slow in."""
    for part in (slow_forward, slow_backward, slow_optimizer):
        first, second = trained({}, part)
        quick, slow = values(first), values(second)
        assert slow["compute"] > DELAY
        assert slow["compute"] > quick["compute"]
        assert quick["wait"] > slow["wait"]
        # The group is as fast as its slowest rank, in whichever part that is slow.
        assert min(quick["step_p50"], slow["step_p50"]) > DELAY
        named = sum(quick[each] for each in ("data", "forward", "backward", "optimizer"))
        waited = (quick["wait"] + slow["wait"]) / 2
        assert named + waited == pytest.approx(quick["step_p50"], rel=0.1)
        assert first.reason.startswith("rank 1 holds up the others: what it gives them comes")
        assert second.reason == ""


@pytest.mark.alone
@pytest.mark.parametrize("part", [slow_forward, slow_block])
def test_in_every_layout_the_others_wait_for_a_slow_rank(trained, part):
    for axes in LAYOUTS:
        first, second = trained({"batch": 2, **axes}, part)
        quick, slow = values(first), values(second)
        assert slow["compute"] > max(DELAY, quick["compute"]), axes
        assert quick["wait"] > max(0.5 * DELAY, slow["wait"]), axes
        assert first.reason.startswith("rank 1 holds up the others"), (axes, first)


@pytest.mark.alone
def test_a_pipelines_stages_compute_without_their_bubble(trained):
    first, second = trained(PIPELINE, slow_forward)
    assert values(second)["compute"] > DELAY > values(first)["compute"]
    assert values(first)["bubble"] > 0


def marked(*steps):
    """Phases whose marks were set at these times: begin, own gradients, those of all, end."""
    clock = iter([time for step in steps for time in step])
    phases = Phases(lambda: next(clock))
    for _ in steps:
        phases.step()
        for name in ("forward", "wait", "optimizer", ""):
            phases(name)
    return phases


def steps_of(seconds, count):
    return Timing(
        seconds=np.full(count, seconds),
        calls=1,
        stopped="budget",
        timer="host",
        taken=count,
        places=np.arange(count),
    )


@pytest.mark.parametrize(("rank", "waits"), [(0, (2.0, 4.0)), (1, (1.0, 1.0))])
def test_a_step_is_split_into_computing_and_waiting(rank, waits):
    bench = make("train", TINY)
    bench.context = context(rank, 2, gather=lambda mine: [[2.0, 4.0], [1.0, 1.0]])
    # The first step warmed up.
    bench.phases = marked([0.0] * 4, *([10.0, 13.0, 13.0 + wait, 18.0] for wait in waits))
    found = {one.name: one.samples.tolist() for one in bench._parts(steps_of(8.0, 2))}
    assert found["wait"] == list(waits)
    assert found["compute"] == [8.0 - one for one in waits]
    assert found["forward"] == [1.5, 2.5]  # the mean of what all ranks say
    said = "rank 1 holds up the others: what it gives them comes 2 s after theirs in a step of 8 s"
    assert bench.note() == ("" if rank else said)


def test_who_is_never_late_by_much_is_not_named():
    bench = make("train", TINY)
    bench.context = context(0, 2, gather=lambda mine: [[0.4], [0.3]])
    bench.phases = marked([0.0, 5.0, 5.4, 8.0])
    list(bench._parts(steps_of(8.0, 1)))
    assert bench.note() == ""


def test_who_is_late_in_few_steps_is_named_by_those():
    seconds, waits = np.full(200, 1.0), np.full((3, 200), 0.1)
    seconds[::33] += 2.0  # seven of them: 7 % of the steps' time
    waits[:2, ::33] += 2.0
    said = (
        "rank 2 holds up the others in 7 of 200 steps: what it gives them comes 2 s after theirs, "
        "and a step takes 1 s"
    )
    assert straggler(waits, seconds) == said
    assert straggler(waits[:, :130], seconds[:130]) == ""  # four: an accident
    turns = np.full((3, 200), 0.1)
    for number, step in enumerate(range(0, 200, 33)):
        turns[[rank for rank in range(3) if rank != number % 3], step] += 2.0
    assert straggler(turns, seconds) == ""  # now one and now another
    assert straggler(np.full((3, 200), 0.1), seconds) == ""  # all wait: the network


def test_who_is_alone_waits_for_nobody():
    found = values(run(make("train", TINY), context(0, 1), RULE))
    assert found["compute"] > 0
    assert "wait" not in found


def test_a_device_without_events_is_not_stopped_within_a_step():
    given = context(0, 1)
    bench = make("train", TINY)
    setup = bench.setup

    def blind(one):
        setup(one)
        bench.phases = Phases(None)

    bench.setup = blind
    outcome = run(bench, given, RULE)
    assert outcome.status == "ok"
    assert {"compute", "forward"}.isdisjoint(values(outcome))


def test_metrics_of_each_rank_are_for_groups_behind_their_own():
    own, each = Measure("ours", "s", "lower"), Measure("mine", "s", "lower", each=True)
    for scope, declared in (("device", (own, each)), ("group", (each, own)), ("rank", (own,))):

        class Wrong(Benchmark):
            measures = declared

        with pytest.raises(TypeError, match="of groups only"):
            benchmark(scope=scope)(Wrong)
