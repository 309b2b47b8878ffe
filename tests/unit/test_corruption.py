"""A flipped bit is found wherever it is; what equal devices compute has equal digests."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.errors import UsageError
from bench.timing import Rule
from bench.workloads import bits
from bench.workloads.base import make
from bench.workloads.runner import run

torch = pytest.importorskip("torch")

RULE = Rule(budget=0.05, warmup=0.0)
WORKS = [
    {"op": "gemm", "shape": "64x64x64", "dtype": "fp32"},
    {"op": "softmax", "shape": "16x64", "dtype": "fp32"},
    {"op": "local_reduce", "shape": "4x256", "dtype": "fp16"},
    {"op": "train", "shape": "small", "dtype": "fp32"},
    {"op": "copy", "shape": "64KiB"},
]


@pytest.fixture(autouse=True)
def one_thread():
    """A rank has its cores to itself; here two threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def flipping(bench, when, bit=1, name=None, element=-1):
    """The benchmark on a device that flips a bit in those repetitions for which ``when`` holds."""
    bound, seen = bench._bound, []

    def broken(given):
        made = bound(given)
        work = made._work

        def once():
            results = work()
            seen.append(len(seen) + 1)
            if when(seen[-1]):
                results = dict(results)
                chosen = name or list(results)[-1]
                results[chosen] = results[chosen].clone()
                bits.whole(results[chosen].view(-1))[element] ^= bit
            return results

        made._work = once
        return made

    bench._bound = broken
    return bench


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


@pytest.mark.parametrize("axes", WORKS, ids=lambda axes: axes["op"])
def test_a_device_that_repeats_itself_is_good_and_says_what_it_computed(axes):
    first = run(make("corruption", axes), context(0, 1), RULE)
    given = context(0, 1)
    given.seed = 99  # of no influence: all devices of all runs get the same inputs
    second = run(make("corruption", axes), given, RULE)
    assert first.status == second.status == "ok", first.reason
    found = values(first)
    assert (found["wrong_elements"], found["wrong_repetitions"]) == (0, 0)
    assert found["repetitions"] >= 4
    assert found["digest"] == values(second)["digest"]
    assert found["digest"] == int(found["digest"]) < 2**48


@pytest.mark.parametrize("axes", WORKS, ids=lambda axes: axes["op"])
def test_a_flipped_bit_makes_an_invalid_row_that_keeps_its_count(axes):
    outcome = run(flipping(make("corruption", axes), lambda n: n == 4), context(0, 1), RULE)
    assert outcome.status == "invalid"
    found = values(outcome)
    assert (found["wrong_elements"], found["wrong_repetitions"]) == (1, 1)
    assert "1 wrong element(s) in 1 of" in outcome.reason
    assert "first in repetition 4: " in outcome.reason
    assert "(bit 0 flipped)" in outcome.reason
    assert axes["op"].removesuffix("y") in outcome.reason.replace("training", "train")


def test_one_element_in_one_repetition_of_thousands_is_found():
    bench = make("corruption", {"op": "gemm", "shape": "32x32x32", "dtype": "fp32"})
    rule = Rule(budget=1.0, warmup=0.0)
    outcome = run(flipping(bench, lambda n: n == 1000, 1 << 22, element=77), context(0, 1), rule)
    found = values(outcome)
    assert found["repetitions"] > 1000
    assert (found["wrong_elements"], found["wrong_repetitions"]) == (1, 1)
    assert "first in repetition 1000: out element 77 (bit 22 flipped)" in outcome.reason


@pytest.mark.parametrize("name", ["loss", "gradients", "weights"])
def test_every_result_of_a_training_step_is_compared(name):
    bench = make("corruption", {"op": "train", "shape": "small", "dtype": "fp32"})
    outcome = run(flipping(bench, lambda n: n == 4, name=name), context(0, 1), RULE)
    assert f"{name} element" in outcome.reason


def test_a_first_repetition_that_is_wrong_is_not_what_all_others_are_held_against():
    bench = make("corruption", WORKS[0])
    outcome = run(flipping(bench, lambda n: n == 1), context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert values(outcome)["wrong_repetitions"] == 1
    assert (
        values(outcome)["digest"]
        == values(run(make("corruption", WORKS[0]), context(0, 1), RULE))["digest"]
    )


def test_a_device_that_is_always_wrong_has_another_digest():
    good = run(make("corruption", WORKS[0]), context(0, 1), RULE)
    bad = run(flipping(make("corruption", WORKS[0]), lambda n: True), context(0, 1), RULE)
    assert bad.status == "ok"  # alone it cannot be told: its error is far below the tolerance
    assert values(bad)["digest"] != values(good)["digest"]


def test_a_result_far_from_fp64_is_no_measurement():
    bench = flipping(make("corruption", WORKS[0]), lambda n: True, 1 << 30, element=0)
    bench_rows = run(bench, context(0, 1), RULE)
    assert bench_rows.status == "invalid"
    assert "sanity check before measuring failed: relative error" in bench_rows.reason


def test_what_is_compared_with_is_watched_itself():
    bench = make("corruption", WORKS[1])
    step = bench.step

    def decay():
        step()
        bits.whole(bench.tally.wanted["y"].view(-1))[5] |= 1 << 30

    bench.step = decay
    outcome = run(bench, context(0, 1), Rule(budget=0.0, warmup=0.0))
    assert "changed where it lay in memory" in outcome.reason


def test_a_comparison_that_is_blind_is_no_measurement(monkeypatch):
    monkeypatch.setattr(bits, "same", lambda one, other: True)
    outcome = run(make("corruption", WORKS[0]), context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert outcome.values == []
    assert "does not see a flipped bit" in outcome.reason


def test_bits_are_compared_not_values():
    zero = {"x": torch.tensor([0.0, float("nan")])}
    assert bits.same(zero, {"x": torch.tensor([0.0, float("nan")])})
    assert not bits.same(zero, {"x": torch.tensor([-0.0, float("nan")])})
    assert bits.flipped(-1, 1, 32).startswith("bits 1, 2, 3,")
    assert bits.flipped(-(2**31), 0, 32) == "bit 31 flipped"


def test_algorithms_are_chosen_for_speed_again():
    assert not torch.are_deterministic_algorithms_enabled()
    run(make("corruption", WORKS[0]), context(0, 1), RULE)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_neither_a_throttled_device_nor_a_busy_core_excuses_wrong_bits():
    def asked():
        raise AssertionError("of no matter here")

    outcome = run(make("corruption", WORKS[0]), context(0, 1), RULE, throttled=asked, watch=asked)
    assert outcome.status == "ok"


DRAWN = """
import torch
from bench.kernels.portable import PortableFill
from bench.workloads.bits import digest
fill = PortableFill(torch.device("cpu"), 7)
made = {"a": fill.normal(33, 65, kind=torch.float32, scale=0.02),
        "b": fill.operand(257, kind=torch.bfloat16), "c": fill.uniform(100, kind=torch.float32),
        "d": fill.integers(1000, 50)}
print(digest(made))
"""


def test_every_host_draws_the_same_inputs():
    """Other vector units and another number of threads: the two ways in which hosts differ."""
    said = [
        subprocess.run(
            [sys.executable, "-c", DRAWN],
            env={"PATH": "", "OMP_NUM_THREADS": threads, "ATEN_CPU_CAPABILITY": units},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, units in (("2", "avx2"), ("1", "default"))
    ]
    assert said[0] == said[1] != ""


def test_portable_normals_have_the_moments_of_normal_ones():
    from bench.kernels.portable import PortableFill

    drawn = PortableFill(torch.device("cpu"), 1).normal(1 << 16, kind=torch.float32, scale=0.5)
    made = drawn.numpy().astype(np.float64)
    assert abs(made.mean()) < 0.01
    assert made.std() == pytest.approx(0.5, rel=0.01)
    assert np.unique(made).size > 60_000


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"op": "copy", "dtype": "fp32"}, "a copy is of bytes"),
        ({"op": "copy", "shape": "huge"}, "'huge' is not a size"),
        ({"op": "train", "shape": "1x2"}, "typical or small"),
        ({"op": "train", "impl": "triton"}, "no implementation but torch"),
        ({"op": "gemm", "shape": "1x2"}, "corruption: "),
        ({"op": "gemm", "shape": "llama-8b/tp1/qkv"}, "write extents, typical or small"),
        ({"op": "gemm", "dtype": "fp7"}, "fp7"),
    ],
)
def test_bad_axes_are_sentences(axes, reason):
    with pytest.raises(UsageError, match=reason):
        make("corruption", axes)


def receive(bench, rank):
    """Rank 1 receives one bit wrong, once."""
    add, seen = bench.tally.add, []

    def broken(found):
        seen.append(1)
        if rank == 1 and len(seen) == 2:
            found = bits.kept(found)
            next(iter(found.values()))[-1] ^= 1 << 16
        add(found)

    bench.tally.add = broken


def send(bench, rank):
    """Rank 0 holds one bit wrong from its set-up on."""
    if rank == 0:
        bench.given[3] ^= 1 << 4


def test_collectives_of_random_bits_find_who_received_and_who_sent_wrong():
    jobs = [
        ("collective_corruption", {"op": op, "size": "4KiB"}, spoil)
        for op in ("all_reduce", "all_gather", "all_to_all")
        for spoil in (None, receive, send)
    ]
    found = several(jobs, rule=RULE)
    for index, (_, axes, spoil) in enumerate(jobs):
        first, second = found[index]
        got = values(first)
        assert got["repetitions"] > 2
        if spoil is None:
            assert first.status == second.status == "ok", first.reason + second.reason
            assert (got["wrong_elements"], got["wrong_repetitions"]) == (0, 0)
        elif spoil is receive:
            assert (first.status, second.status) == ("ok", "invalid")
            assert (got["wrong_elements"], got["wrong_repetitions"]) == (1, 1)
            assert "bit 16 flipped" in second.reason
        else:
            blamed = second if axes["op"] != "all_to_all" else first
            assert blamed.status == "invalid"
            assert "bit 4" in blamed.reason or axes["op"] == "all_reduce"
            if axes["op"] != "all_reduce":
                assert "element 3 from rank 0" in blamed.reason
            assert got["wrong_elements"] >= got["wrong_repetitions"] > 0


def test_numbers_of_ranks_use_every_bit():
    from bench.workloads.collective_corruption import _drawn

    one, other = (_drawn(rank, 0, 4096, "cpu") for rank in (0, 1))
    assert int((one == other).sum()) < 8
    for bit in range(32):
        share = float(((one >> bit) & 1).double().mean())
        assert 0.45 < share < 0.55, bit
    assert torch.equal(_drawn(1, 100, 50, "cpu"), other[100:150])
