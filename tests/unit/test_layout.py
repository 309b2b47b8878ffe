"""Layouts: which ranks hold what, and what is refused before anything is started."""

import itertools
import re
from pathlib import Path

import pytest

from bench.configs import load_model
from bench.errors import UsageError
from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape, parameters
from bench.workloads.base import Facts, make

TINY = ModelShape.of(load_model("tiny"))
MIXTURE = ModelShape.of(load_model("tiny-moe"))


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"tp": 0}, "tp must be at least 1, not 0"),
        ({"microbatches": 3}, "microbatches = 3 does not divide 4 (batch)"),
        ({"tp": 3}, "tp = 3 does not divide 4 (heads)"),
        ({"tp": 4}, "tp = 4 does not divide 2 (kv_heads)"),
        ({"cp": 3}, "tp · cp = 3 does not divide 64 (seq)"),
        ({"cp": 64}, "2 · cp = 128 does not divide 64 (seq, of which a rank has two parts)"),
        ({"pp": 3, "microbatches": 4}, "pp = 3 does not divide 2 (layers)"),
        ({"pp": 2, "schedule": "interleaved"}, "2 · pp = 4 does not divide 2 (layers)"),
        ({"pp": 2}, "pp=2 by 1f1b takes as many microbatches or more, not 1"),
        ({"dp": "hsdp"}, "dp: hsdp and replicas of 2 or more belong together"),
        ({"replicas": 2}, "dp: hsdp and replicas of 2 or more belong together"),
        ({"dp": "fsdp", "ep": 2}, "ep=2: this model has no experts to spread"),
        ({"model": "tiny-moe", "tp": 2}, "tp=2: a mixture of experts is not split so here"),
        ({"model": "tiny-moe", "dp": "fsdp", "ep": 3}, "ep = 3 does not divide 8 (experts)"),
        ({"model": "tiny-moe", "ep": 2}, "dp: ddp gives each rank all: take fsdp, hsdp"),
        ({"dtype": "fp8", "tp": 2}, "matrices in parts are not multiplied in fp8 here"),
        ({"model": "tiny@3"}, "model 'tiny@3': a slice of tiny has 1 to 2 layers"),
        ({"model": "tiny@x"}, "a slice of tiny has 1 to 2 layers"),
    ],
)
def test_what_does_not_go_with_the_model_is_refused_in_a_sentence(axes, words):
    with pytest.raises(UsageError) as error:
        make("train", axes)
    assert words in str(error.value)


def test_interleaved_stages_take_whole_rounds_of_microbatches():
    layout = Layout(pp=2, schedule="interleaved", microbatches=3)
    with pytest.raises(ValueError, match="takes a multiple of 2 microbatches, not 3"):
        layout.check(ModelShape(64, 4, 4, 2, 96, 64, 16), 6)


@pytest.mark.parametrize(
    ("layout", "ranks", "words"),
    [
        (Layout(pp=2, tp=2), 6, "6 ranks do not divide by pp 2 · tp 2 = 4"),
        (Layout("hsdp", 3), 8, "8 data-parallel ranks do not divide into 3 replicas"),
        (Layout("fsdp", ep=4), 2, "ep=4 must divide the 2 ranks that share weights"),
    ],
)
def test_ranks_that_it_does_not_divide(layout, ranks, words):
    with pytest.raises(ValueError) as error:
        layout.over(ranks)
    assert words in str(error.value)


def test_a_benchmark_says_which_groups_it_takes():
    bench = make("train", {"tp": 2})
    bench.check_ranks(4)
    with pytest.raises(UsageError, match="train: tiny: 3 ranks do not divide by tp 2 = 2"):
        bench.check_ranks(3)


LAYOUTS = [
    Layout(dp, replicas, tp, cp, pp)
    for (dp, replicas), tp, cp, pp in itertools.product(
        (("ddp", 1), ("fsdp", 1), ("hsdp", 2)), (1, 2), (1, 2), (1, 2)
    )
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_weight_is_held_as_often_as_there_are_copies(layout):
    spread = layout.over(16)
    assert spread.copies * spread.shards * layout.pp * layout.tp == spread.ranks
    held = [spread.holding(rank) for rank in range(16)]
    assert sorted(set(held)) == list(range(16 // spread.copies))
    assert all(held.count(one) == spread.copies for one in held)
    seen = [spread.sequences(rank) for rank in range(16)]
    assert sorted(set(seen)) == list(range(spread.data))
    assert all(seen.count(one) == 16 // spread.data for one in seen)


def test_plain_layouts_exchange_gradients_only():
    assert Layout(microbatches=4).plain
    for other in ({"dp": "fsdp"}, {"tp": 2}, {"cp": 2}, {"pp": 2}):
        assert not Layout(**other).plain


def test_the_bubble_of_a_pipeline():
    """Narayanan et al. (2021), §2.2: (p - 1) / m, and half of it with two stages a rank."""
    assert Layout(pp=4, microbatches=8).bubble == 3 / 8
    assert Layout(pp=4, microbatches=8, schedule="interleaved").bubble == 3 / 16
    assert Layout(tp=2).bubble == 0.0


def test_expectations_know_the_layout():
    from bench.configs import load_chip

    facts = Facts(chip=load_chip("sim-a"), ranks=8)
    wide = make("train", {"model": "small", "dtype": "bf16"}).expected(facts)
    whole = make("train", {"model": "small", "dtype": "bf16", "dp": "fsdp"}).expected(facts)
    assert whole["tokens_per_second"] == wide["tokens_per_second"]
    assert set(wide) == set(whole)
    piped = {"model": "small", "dtype": "bf16", "pp": 4, "microbatches": 4}
    found = make("train", piped).expected(facts)
    assert found["mfu"] == pytest.approx(4 / 7)
    assert found["tokens_per_second"] == pytest.approx(wide["tokens_per_second"] * 4 / 7)
    # Two data-parallel ranks instead of eight, at four sevenths of the rate.
    assert found["step_p50"] == pytest.approx(wide["step_p50"] / 4 * 7 / 4)


def test_titles_say_what_is_unusual():
    from bench.workloads.base import title_of

    assert title_of(make("train", {})) == "train tiny batch=4 fp32"
    axes = {"dp": "fsdp", "pp": 2, "microbatches": 2, "recompute": "full"}
    assert title_of(make("train", axes)) == (
        "train tiny batch=4 fp32 fsdp pp=2 microbatches=2 recompute-full"
    )


@pytest.mark.parametrize(
    ("name", "weights"), [("160m", 162e6), ("1b", 1.10e9), ("dense-1t", 1.005e12)]
)
def test_models_are_of_the_size_that_they_are_named_for(name, weights):
    assert parameters(ModelShape.of(load_model(name))) == pytest.approx(weights, rel=0.005)


def test_a_slice_has_the_widths_of_the_whole():
    whole, part = load_model("llama-70b"), load_model("llama-70b@4")
    assert part.layers == 4
    assert (part.name, part.dim, part.ffn) == ("llama-70b@4", whole.dim, whole.ffn)


def test_the_documents_show_layouts_that_there_are():
    import yaml

    from bench.workloads.expansion import expand
    from bench.workloads.train import Train

    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    shown = yaml.safe_load("\n".join(re.findall(r"^- train: .*$", text, re.MULTILINE)))
    assert len(shown) >= 3
    for line in shown:
        axes = {key: value for key, value in line["train"].items() if key != "over"}
        for one in expand(Train, axes):
            make("train", one).check_ranks(72 if "pp" in one else 8)
