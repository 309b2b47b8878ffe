"""What a layer is made of: its FLOPs, bytes and messages, each counted alone.

What they should be is written anew, from sizes.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from counted import DENSE, MIXED, WIDE, Counted

from bench.analysis.projection.layer import Layers, Times
from bench.analysis.projection.plan import Plan
from bench.analysis.projection.software import STACKS
from bench.analysis.projection.workload import Decoder

SOFTWARE, OLD = STACKS[2024], STACKS[2021]


def layers(what, plan, shape=DENSE, software=SOFTWARE, **model):
    return Layers(Decoder(shape, **model), plan, Counted(what), software)


def sent(kind, plan, shape=DENSE):
    """(forward, backward) bytes of a layer's, the embedding's and the head's messages."""
    made = Layers(Decoder(shape), plan, Counted("", kind), SOFTWARE)
    parts = made.layer(), made.embedding(), made.head()
    return [(one.exposed_forward, one.exposed_backward) for one in parts]


PLANS = {
    "alone": Plan(8),
    "matrices shared": Plan(8, tp=2),
    "and the sequence whole": Plan(8, tp=2, sequence=False),
    "sequences shared": Plan(8, cp=4),
    "both": Plan(8, tp=2, cp=2, micro=2),
}


@pytest.mark.parametrize(
    ("name", "shape"),
    # Experts are whole: without shared sequences every rank has all tokens.
    [(name, DENSE) for name in PLANS] + [(name, MIXED) for name in PLANS if PLANS[name].sequence],
)
@pytest.mark.parametrize("gated", [True, False])
def test_ranks_share_the_flops_of_the_model(name, shape, gated):
    plan = PLANS[name]
    model = Decoder(shape, gated=gated)
    made = layers("flops", plan, shape, gated=gated)
    tokens = plan.micro * shape.seq / (plan.cp * plan.tp)
    one, head = made.layer(), made.head()
    weights, scores = 2 * model.matrix_weights() * tokens, model.scores() / 2 * tokens
    assert shape.layers * one.forward + head.forward == pytest.approx(weights + scores)
    # Fused attention computes its scores once more: five products, where two were forward.
    assert shape.layers * one.backward + head.backward == pytest.approx(2 * weights + 2.5 * scores)
    assert made.embedding().total == one.exposed == head.exposed == 0


def test_what_is_computed_again_is_the_forward_pass_or_what_is_cheap():
    once = layers("flops", Plan(8, tp=2)).layer()
    again = layers("flops", Plan(8, tp=2, recompute="full")).layer()
    assert again.forward == once.forward
    assert again.backward == once.backward + once.forward
    cheap = layers("flops", Plan(8, tp=2, recompute="selective")).layer()
    assert cheap == once
    for plan, shape, inner in (
        (Plan(8), DENSE, 256 * 1536),
        (Plan(8, tp=2), DENSE, 256 * 1536 / 2),
        (Plan(8), MIXED, 256 * 2 * 768),
    ):
        once = layers("bytes", plan, shape).layer()
        cheap = layers("bytes", replace(plan, recompute="selective"), shape).layer()
        norms = 2 * 2 * 256 / plan.tp * 512
        assert cheap.backward - once.backward == pytest.approx(WIDE * (norms + 3 * inner))
        assert cheap.forward == once.forward
    # Attention that wrote its scores writes them once more, and nothing else.
    once = layers("bytes", Plan(8), software=OLD).layer()
    again = layers("bytes", Plan(8, recompute="selective"), software=OLD).layer()
    scores = 256 * 256 * 8
    assert again.backward - once.backward == pytest.approx((4 * WIDE + 1 + 2 * WIDE) * scores)
    assert again.forward == once.forward


@pytest.mark.parametrize("tp", [1, 2, 4])
@pytest.mark.parametrize("gated", [True, False])
def test_operations_between_products_read_and_write_what_they_name(tp, gated):
    """Arrays of the residual stream, of queries and keys that are turned, and of activations."""
    one = layers("bytes", Plan(8, tp=tp), gated=gated).layer()
    stream, turned = 256 / tp * 512, 256 * (512 / tp + 64 * max(2 / tp, 1))
    inner = 256 * 1536 / tp
    # A norm reads and writes, a sum reads two and writes one; twice each.
    assert one.forward == pytest.approx(
        WIDE * (2 * (2 + 3) * stream + 2 * turned + (3 if gated else 2) * inner)
    )
    # A norm's gradient reads two and writes one, as does the sum of two gradients.
    assert one.backward == pytest.approx(
        WIDE * (2 * (3 + 3) * stream + 2 * turned + (5 if gated else 3) * inner)
    )


def test_older_software_drops_out_and_writes_its_scores():
    new = layers("bytes", Plan(1), gated=False).layer()
    old = layers("bytes", Plan(1), software=OLD, gated=False).layer()
    stream, turned, scores = 256 * 512, 256 * (512 + 128), 256 * 256 * 8
    # A mask of a byte is written and read; what was dropped out of is read and written, backward.
    # Softmax reads and writes, as does what is dropped of it; products read what they gave.
    assert old.forward - new.forward == pytest.approx(
        2 * stream - WIDE * 2 * turned + (4 * WIDE + 1 + 2 * WIDE) * scores
    )
    assert old.backward - new.backward == pytest.approx(
        2 * (2 * WIDE + 1) * stream - WIDE * 2 * turned + (5 * WIDE + 1 + 4 * WIDE) * scores
    )
    new = layers("flops", Plan(8)).layer()
    old = layers("flops", Plan(8), software=OLD).layer()
    assert old.forward - new.forward == 4 * 256 * 256 * 512 / 2  # no mask saves anything
    assert old.backward - new.backward == 8 * 256 * 256 * 512 - 2.5 * 4 * 256 * 256 * 512 / 2
    moved = 256 * 512 * WIDE
    for software, more in ((SOFTWARE, 0), (OLD, 2 * moved)):
        one = layers("bytes", Plan(8), software=software).embedding()
        assert (one.forward, one.backward) == (2 * moved + more, 4 * moved + more)


@pytest.mark.parametrize("tp", [1, 4])
def test_a_loss_moves_its_logits_as_often_as_its_software_does(tp):
    for software in (SOFTWARE, replace(SOFTWARE, loss_bytes=10.0)):
        one = layers("bytes", Plan(8, tp=tp), software=software).head()
        logits = 256 * 4096 / tp
        assert (one.forward, one.backward) == (software.loss_bytes * logits / 2,) * 2


def test_a_mixture_moves_its_rows_there_and_back():
    stream, rows = 256 * 512, 256 * 2
    dense = 2 * (2 + 3) * stream + 2 * 256 * (512 + 128)
    made = layers("bytes", Plan(8, dp=4, ep=4), MIXED)
    one = made.layer()
    # A token is read once and written for each expert, and the other way round.
    assert one.forward == pytest.approx(WIDE * (dense + 3 * rows * 768 + 2 * (256 + rows) * 512))
    backward = 2 * (3 + 3) * stream + 2 * 256 * (512 + 128)
    assert one.backward == pytest.approx(
        WIDE * (backward + 5 * rows * 768 + 2 * (256 + rows) * 512)
    )
    # Two experts here, of eight, each with its part of what four ranks chose.
    products = {product for product in made.rates.products if product[3] > 1}
    assert {(256, 1536, 512, 2), (256, 512, 768, 2)} < products
    assert len(products) == 6  # with the gradients of both sides
    assert layers("beside", Plan(8, ep=4), MIXED).layer().backward == 2 * 4 * (
        512 * (512 + 2 * 128) + 512 * 512 + 512 * 8 + 2 * 3 * 512 * 768
    )
    (there, embedding, head) = sent(("all_to_all", 4, 1), Plan(8, dp=4, ep=4), MIXED)
    assert there == (2 * WIDE * rows * 512,) * 2
    assert embedding == head == (0, 0)


def test_gradients_of_weights_are_added_to_where_a_step_has_several_microbatches():
    weights = 512 * (512 + 2 * 128) + 512 * 512 + 3 * 512 * 1536
    several, single = Plan(8), Plan(1)
    assert layers("beside", several).layer().backward == 2 * 4 * weights
    assert layers("beside", single).layer().total == 0
    # Before products did it, an operation read two and wrote one.
    old = replace(SOFTWARE, fused_gradients=False)
    assert layers("beside", several, software=old).layer().total == 0
    more = [layers("bytes", plan, software=old).layer().backward for plan in (several, single)]
    assert more[0] - more[1] == pytest.approx((WIDE + 2 * 4) * weights)
    of_ends = layers("beside", several).head().backward
    assert of_ends == 2 * 4 * 512 * 4096


def test_matrices_that_are_shared_exchange_the_residual_stream():
    """Twice a layer each way: behind attention and behind the feed-forward."""
    stream = WIDE * 256 * 512
    shared, whole = Plan(8, tp=4), Plan(8, tp=4, sequence=False)
    assert sent(("all_gather", 4, 1), shared) == [
        (2 * stream, 2 * stream), (0, 0), (stream, stream)
    ]  # fmt: skip
    assert sent(("reduce_scatter", 4, 1), shared) == [
        (2 * stream, 2 * stream), (stream, 0), (0, 0)
    ]  # fmt: skip
    assert sent(("all_reduce", 4, 1), shared) == [(0, 0)] * 3
    assert sent(("all_reduce", 4, 1), whole) == [(2 * stream, 2 * stream), (stream, 0), (0, 0)]
    assert sent(("all_gather", 4, 1), whole) == [(0, 0), (0, 0), (0, stream)]
    # Of a mixture, whose experts are whole, attention alone is shared.
    assert sent(("all_gather", 4, 1), shared, MIXED)[0] == (stream, stream)


@pytest.mark.parametrize(("tp", "heads"), [(1, 2), (2, 1), (4, 1)])
def test_sequences_that_are_shared_gather_keys_and_values(tp, heads):
    kv = 2 * WIDE * 256 * heads * 64  # of the whole sequence
    assert sent(("all_gather", 4, tp), Plan(8, tp=tp, cp=4))[0] == (kv, 2 * kv)


def test_attention_is_asked_for_by_the_shape_that_a_rank_has():
    def shapes(plan):
        made = layers("flops", plan)
        made.layer()
        return made.rates.shapes

    assert shapes(Plan(8, micro=2)) == [(2, 8, 2, 256, 64)] * 2
    assert shapes(Plan(8, tp=2)) == [(1, 4, 1, 256, 64)] * 2
    assert shapes(Plan(8, tp=4)) == [(1, 2, 1, 256, 64)] * 2  # two ranks have the same
    assert set(shapes(Plan(8, cp=2))) == {()}  # of a part, nobody measured any


def test_products_to_measure_are_those_that_a_layer_has():
    assert list(layers("flops", Plan(8, tp=2, micro=3)).products()) == [
        (768, 256 + 2 * 64, 512),
        (768, 512, 256),
        (768, 2 * 768, 512),
        (768, 512, 768),
        (768, 2048, 512),
    ]
    assert len(list(layers("flops", Plan(8), MIXED).products())) == 3


def test_communication_hides_behind_computing_as_far_as_it_can():
    rates = Counted("flops", ("all_gather", 4, 1))
    stream = 2 * WIDE * 256 * 512
    rates.efficiency = replace(rates.efficiency, overlap=0.75)

    def exposed(*overlaps):
        software = replace(SOFTWARE, tensor_overlap=overlaps)
        one = Layers(Decoder(DENSE), Plan(8, tp=4), rates, software).layer()
        return one.exposed_forward, one.exposed_backward

    assert exposed(0.0, 0.0) == (stream, stream)
    assert exposed(1.0, 1.0) == (stream / 4, stream / 4)  # far more is computed meanwhile
    forward = layers("flops", Plan(8, tp=4)).layer().forward
    part = 1e-4
    assert exposed(part, 0.0)[0] == pytest.approx(stream - 0.75 * part * forward)
    # Keys and values that are gathered hide behind attention, twice as long and twice as many.
    software, kv = replace(SOFTWARE, tensor_overlap=(0.0, 0.0)), 2 * WIDE * 256 * 2 * 64
    for scores, machine in ((kv / 2, 2 * 64 * 256 * 512 / (kv / 2)), (2 * kv, 64 * 512 * 256 / kv)):
        rates.machine = replace(rates.machine, flops=machine)
        one = Layers(Decoder(DENSE), Plan(8, cp=4), rates, software).layer()
        left = kv - 0.75 * min(kv, scores)
        assert (one.exposed_forward, one.exposed_backward) == pytest.approx((left, 2 * left))


def test_times_are_summed_part_by_part():
    one, other = Times(1, 2, 4, 8), Times(16, 32, 64, 128)
    assert (one.total, one.exposed) == (15, 12)
    assert one + other == Times(17, 34, 68, 136)
    assert one * 3 == Times(3, 6, 12, 24)
