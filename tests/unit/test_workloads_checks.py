"""What the sanity checks of group benchmarks must tell apart: wrong, missing, lost."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context, several

from bench.errors import Unmeasurable
from bench.timing import Rule
from bench.workloads.base import Facts, make, registry
from bench.workloads.collectives import bus_factor
from bench.workloads.runner import run

torch = pytest.importorskip("torch")

OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_recv")


def member(op, rank, ranks, count=4096, dtype="bfloat16"):
    """A collective as `setup` leaves it on one rank, without a group to talk to."""
    bench = make("collectives", {"op": op})
    bench.context, bench.ranks = context(rank, ranks), ranks
    parted = bus_factor(op, ranks) < 1
    bench.count = max(1, count // ranks) * ranks if parted else count
    bench.part = bench.count // ranks if parted else count
    given = bench.part if op == "all_gather" else bench.count
    bench.input = torch.empty(given, dtype=getattr(torch, dtype))
    return bench


def exchanged(op, rank, given):
    """What ``rank`` holds after ``op`` on the ranks' inputs, by the definition of ``op``."""
    ranks = len(given)
    if op == "all_reduce":
        return torch.stack(given).sum(0)
    if op == "reduce_scatter":
        return torch.stack(given).sum(0).chunk(ranks)[rank]
    if op == "all_gather":
        return torch.cat(given)
    if op == "all_to_all":
        return torch.cat([one.chunk(ranks)[rank] for one in given])
    return given[0] if op == "broadcast" else given[(rank - 1) % ranks]


@pytest.mark.parametrize("ranks", [2, 5, 130])
@pytest.mark.parametrize("op", OPS)
def test_what_is_wanted_is_what_the_definition_gives(op, ranks):
    given = [member(op, rank, ranks)._given(rank) for rank in range(ranks)]
    for rank in {0, 1, ranks - 1}:
        wanted = member(op, rank, ranks)._wanted(rank, ranks)
        assert torch.equal(wanted, exchanged(op, rank, given))


@pytest.mark.parametrize("other", [1, 3, 126, 127, 254, 16129, 80_000])
def test_no_two_ranks_of_a_large_fleet_give_the_same(other):
    bench = member("broadcast", 0, 2)
    assert not torch.equal(bench._values(256, 5), bench._values(256, 5 + other))


def test_the_check_of_a_large_group_costs_no_more_than_its_data():
    """Values are computed for what a rank receives, not for everything that all ranks send."""
    bench = member("all_to_all", 3, 512, count=1 << 16)
    places = bench._places
    made = []

    def counted(first, count):
        made.append(count)
        return places(first, count)

    bench._places = counted
    bench._wanted(3, 512)
    assert sum(made) <= 2 * bench.count


def swap(bench, rank):
    """Every rank finds the parts of ranks 0 and 2 exchanged."""
    call, part = bench.call, bench.part

    def broken():
        call()
        first, third = bench.output[:part], bench.output[2 * part : 3 * part]
        kept = first.clone()
        first.copy_(third)
        third.copy_(kept)

    bench.call = broken


def rise(bench, rank):
    """The loss of rank 1 alone does not fall."""
    step = bench.step

    def worse():
        step()
        if rank == 1:
            bench.losses[-1] = torch.tensor(99.0)

    bench.step = worse


def negate(bench, rank):
    """One weight of rank 1 gets the other sign in the last optimizer step."""
    check = bench.check

    def broken():
        if rank == 1 and bench.losses:
            with torch.no_grad():
                next(bench.net.parameters()).view(-1)[-1].neg_()
        return check()

    bench.check = broken


def test_three_ranks_at_sizes_that_do_not_divide():
    small = Rule(budget=0.05, warmup=0.01, min_samples=3)
    sizes = ((4, "fp32"), (1000, "fp16"), ("1MiB", "bf16"))
    good = [
        ("collectives", {"op": op, "size": size, "dtype": dtype}, None)
        for op in OPS
        for size, dtype in sizes
    ]
    good.append(("train", {"model": "tiny", "batch": 1, "dtype": "bf16"}, None))
    bad = [
        ("collectives", {"op": "all_gather", "size": 999}, swap),
        ("collectives", {"op": "all_to_all", "size": 999}, swap),
    ]
    found = several(good + bad, size=3, rule=small)
    for (name, axes, _), ranks in zip(good, found, strict=False):
        assert {one.status for one in ranks} == {"ok"}, (name, axes, ranks[0].reason)
    for (name, axes, _), ranks in zip(bad, found[len(good) :], strict=True):
        assert {one.status for one in ranks} == {"invalid"}, (name, axes)


@pytest.mark.timeout(90)
def test_one_rank_whose_training_goes_wrong_stops_all_and_nobody_waits():
    axes = {"model": "tiny", "batch": 1}
    after, signed = several([("train", axes, rise), ("train", axes, negate)])
    assert {one.status for one in after + signed} == {"invalid"}
    assert "loss went from" in after[1].reason
    assert "1 differ from rank 0 (1)" in signed[0].reason


def failing(text, kind=RuntimeError):
    """A broadcast whose library raises on its first call."""

    def call():
        raise kind(text)

    bench = make("collectives", {"op": "broadcast", "size": "1KiB", "dtype": "bf16"})
    bench._bind = lambda: call
    return bench


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Backend gloo does not support reduce_scatter"),
        RuntimeError("ProcessGroupGloo: no support for alltoall_base"),
        RuntimeError("Unsupported data type for this library"),
        ValueError("Invalid scalar type"),
        NotImplementedError("Could not run 'c10d::broadcast_'"),
    ],
)
def test_what_the_library_lacks_is_skipped(error):
    bench = failing(str(error), type(error))
    with pytest.raises(Unmeasurable, match="gloo cannot do broadcast of bf16: "):
        bench.setup(context(0, 2))
    assert run(failing(str(error), type(error)), context(0, 2), RULE).status == "skipped"


@pytest.mark.parametrize(
    "text",
    [
        "[net] Connection closed by peer [10.0.0.2]:41230",
        "Timed out waiting 60000ms for recv operation to complete",
        "out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_a_fault_in_the_first_call_is_no_missing_feature(text):
    with pytest.raises(RuntimeError) as caught:
        run(failing(text), context(0, 2), RULE)
    assert str(caught.value) == text


def test_nothing_deprecated_is_called_in_the_timed_region(recwarn):
    """A wrapper that warns takes microseconds of every call."""
    import tempfile

    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/s", rank=0, world_size=1)
        try:
            for op in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"):
                bench = member(op, 0, 1, count=8, dtype="float32")
                bench.context.group = dist.group.WORLD
                bench.output = torch.empty(8)
                bench._bind()()
        finally:
            dist.destroy_process_group()
    assert not [str(one.message) for one in recwarn if "deprecated" in str(one.message)]


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


def test_rings_between_nodes_share_the_whole_network_of_a_node():
    facts = Facts(chip=None, ranks=32, nodes=4, per_node=8, link=4.5e11, network=4e11)
    for op in ("all_reduce", "all_gather", "reduce_scatter", "broadcast"):
        found = make("collectives", {"op": op, "size": "1GiB"}).expected(facts)
        assert found["busbw"] == pytest.approx(4e11), op
    slow = Facts(chip=None, ranks=32, nodes=4, per_node=8, link=1e11, network=4e11)
    assert make("collectives", {"size": "1GiB"}).expected(slow)["busbw"] == pytest.approx(1e11)
    crossing = make("collectives", {"op": "all_to_all", "size": "1GiB"}).expected(facts)
    # 24 of 32 parts leave the node, by an eighth of its network each device.
    assert crossing["algbw"] == pytest.approx(5e10 * 32 / 24)
    one = make("collectives", {"op": "send_recv", "size": "1GiB"}).expected(facts)
    assert one["busbw"] == pytest.approx(5e10)
    assert make("collectives", {}).expected(Facts(chip=None, ranks=32, nodes=4, link=1e11)) == {}


def test_all_declared_measures_are_yielded():
    """Given a datasheet, nothing that a benchmark declares is absent."""
    from bench.configs import load_chip

    for name, axes in (("launch", {}), ("train", {"model": "tiny", "batch": 1})):
        given = context(0, 1)
        given.chip = load_chip("sim-a")
        outcome = run(make(name, axes), given, RULE)
        declared = {measure.name for measure in registry()[name].measures}
        assert {value.metric for value in outcome.values} == declared, outcome.reason
    jobs = [("collectives", {"size": "1KiB"}, None), ("pairs", {"size": "1KiB"}, None)]
    for (name, _, _), ranks in zip(jobs, several(jobs), strict=True):
        declared = {measure.name for measure in registry()[name].measures}
        assert {value.metric for value in ranks[0].values} == declared
