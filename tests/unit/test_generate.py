"""Generated text is that of the model without a cache, and is counted right."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context

from bench.configs import load_chip
from bench.errors import Unmeasurable, UsageError
from bench.kernels import generation_costs as costs
from bench.kernels.model_costs import ModelShape, flops_per_token, parameters
from bench.records import Measure
from bench.timing import Rule
from bench.workloads.base import Facts, make
from bench.workloads.generation_room import must_fit
from bench.workloads.runner import run

torch = pytest.importorskip("torch")
RULE = Rule(budget=0.1, warmup=0, min_samples=3)
# Of an odd number of samples the median of a rate is the rate of the median; on the busiest machine
# there is time for all of them.
ODD = msgspec.structs.replace(RULE, budget=60.0, min_samples=3, max_samples=3)
SHAPE = ModelShape(64, 2, 4, 2, 96, 50, 40)
MIXTURE = replace(SHAPE, experts=4, top_k=2)


def measured(axes, rule=RULE, **options):
    given = context(0, 1)
    for key, value in options.items():
        setattr(given, key, value)
    return run(make("generate", axes), given, rule)


def generated(net, prompt, output, page):
    """Greedily, int64 [batch, output], with the logits of every token [batch, output, vocab]."""
    from bench.workloads.cache import Cache
    from bench.workloads.ops import TORCH

    cache = Cache(
        net.shape,
        TORCH,
        len(prompt),
        prompt.shape[1] + output,
        page=page,
        dtype=torch.float32,
        device=torch.device("cpu"),
        seed=1,
    )
    made, logits, tokens = [], [], prompt
    for _ in range(output):
        logits.append(net.logits(tokens, cache))
        tokens = logits[-1][:, -1].argmax(-1, keepdim=True)
        made.append(tokens)
    assert cache.length == prompt.shape[1] + output - 1
    return torch.cat(made, 1), torch.cat(logits, 1)


def recomputed(net, prompt, output):
    """The same without a cache: the whole sequence again for every token."""
    made, logits = prompt, []
    for _ in range(output):
        logits.append(net.logits(made))
        made = torch.cat([made, logits[-1][:, -1].argmax(-1, keepdim=True)], 1)
    return made[:, prompt.shape[1] :], torch.cat(logits, 1)


@pytest.mark.parametrize("shape", [SHAPE, MIXTURE, replace(SHAPE, kv_heads=4)], ids=str)
@torch.no_grad()
def test_a_cache_changes_nothing_in_one_piece_or_in_pages(shape):
    from bench.workloads.model import Decoder

    net = Decoder(shape, seed=3)
    for weight in net.parameters():  # so large that attention decides
        weight.mul_(8 if weight.dim() > 1 else 1)
    prompt = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(0))
    tokens, logits = recomputed(net, prompt, 12)
    assert len(set(tokens.flatten().tolist())) > 3
    for page in (0, 1, 4, 7, 64):  # 21 tokens: some divide, some do not, one is larger than all
        got, seen = generated(net, prompt, 12, page)
        assert torch.equal(got, tokens)
        torch.testing.assert_close(seen, logits, rtol=1e-4, atol=1e-4)


def test_a_prompt_of_one_token_and_what_a_cache_refuses():
    from bench.workloads.model import Decoder

    net = Decoder(SHAPE).requires_grad_(False)
    prompt = torch.tensor([[7], [11]])
    assert torch.equal(generated(net, prompt, 5, 2)[0], recomputed(net, prompt, 5)[0])
    with pytest.raises(ValueError, match="has room for 21"):
        from bench.workloads.cache import Cache
        from bench.workloads.ops import TORCH

        cache = Cache(SHAPE, TORCH, 2, 21, page=0, dtype=torch.float32, device=torch.device("cpu"))
        net.logits(prompt.expand(2, 22), cache)
    net.logits(prompt, cache)
    with pytest.raises(ValueError, match="must be empty, and has 1"):
        net.logits(prompt.expand(2, 2), cache)


@pytest.mark.parametrize(
    "axes",
    [
        {"context": 200, "output": 4, "batch": 5},  # beyond the 64 tokens that the model was for
        {"page": 7, "output": 5, "dtype": "bf16", "batch": 2},
        {"model": "tiny-moe", "output": 3, "context": 1, "page": 16},
    ],
    ids=str,
)
def test_it_is_measured(axes):
    outcome = measured(axes, ODD)
    assert outcome.status == "ok", outcome.reason
    found = {one.metric: one for one in outcome.values}
    declared: tuple[Measure, ...] = make("generate", {}).measures
    assert set(found) == {one.name for one in declared} - {"mfu", "mbu"}
    assert all(one.value > 0 for one in found.values())
    assert found["token_p50"].n == len(outcome.seconds) * (axes["output"] - 1)
    assert found["token_p50"].value <= found["token_p99"].value
    bench = make("generate", axes)
    batch, output = bench.batch, bench.output
    slowest, fastest = max(outcome.seconds), min(outcome.seconds)
    assert batch * output / slowest <= found["tokens_per_second"].value <= batch * output / fastest
    assert found["ttft"].value < slowest
    prefill = found["prefill_tokens_per_second"].value * found["ttft"].value
    assert prefill == pytest.approx(batch * bench.context, rel=1e-6)


def test_utilisation_is_against_the_datasheet():
    chip = load_chip("sim-a")
    outcome = measured({"output": 4}, ODD, chip=chip)
    found = {one.metric: one.value for one in outcome.values}
    bench = make("generate", {"output": 4})
    wanted = costs.prefill(bench.shape, 1, 64, "fp32").flops / (chip.peak("fp32") * found["ttft"])
    assert found["mfu"] == pytest.approx(wanted, rel=1e-6)
    moved = sum(costs.decode(bench.shape, 1, tokens, "fp32").bytes for tokens in (65, 66, 67))
    seconds = 3 / found["decode_tokens_per_second"]
    assert found["mbu"] == pytest.approx(moved / (chip.memory_bandwidth.value * seconds), rel=1e-6)


def forget(bench):
    """A cache that has lost its first half before the last token comes."""
    whole = bench.cache.ops.decode

    def half(q, k, v):
        return whole(q, k[:, :, k.shape[2] // 2 :], v[:, :, v.shape[2] // 2 :])

    bench.cache.ops = replace(bench.cache.ops, decode=half)


def mistake(bench):
    """Another token than the likeliest."""
    whole = bench.net.logits

    def logits(tokens, cache=None, last=1):
        made = whole(tokens, cache, last)
        return -made if cache is not None and cache.length < 66 else made

    bench.net.logits = logits


def diverge(bench):
    """A weight that is no number."""
    bench.net.head.weight.data[5] = float("nan")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (forget, "relative error of logits"),
        (mistake, "behind the likeliest"),
        (diverge, "logits are not finite"),
    ],
)
def test_what_goes_wrong_is_invalid(monkeypatch, spoil, reason):
    from bench.workloads.generate import Generate

    def setup(self, given, whole=Generate.setup):
        whole(self, given)
        spoil(self)
        self.step()

    monkeypatch.setattr(Generate, "setup", setup)
    outcome = measured({"output": 4, "dtype": "bf16"})
    assert outcome.status == "invalid"
    assert reason in outcome.reason


def test_what_does_not_fit_is_said_before_anything_is_allocated():
    outcome = measured({"model": "llama-405b", "context": 8192}, memory=80 << 30)
    assert outcome.status == "skipped"
    assert "memory is 85.9 GB: a slice of the model fits, such as llama-405b@" in outcome.reason
    outcome = measured({"model": "llama-8b", "dtype": "bf16", "batch": 999}, memory=20 << 30)
    assert "a smaller batch or context fits" in outcome.reason
    outcome = measured({"page": 10**9, "output": 4}, memory=1 << 30)
    assert outcome.reason.endswith("memory is 1.074 GB: a smaller page fits")
    assert "no Triton target" in measured({"ops": "triton", "dtype": "bf16"}).reason


@pytest.mark.parametrize(
    ("axes", "memory", "said"),
    [
        ({"model": "llama-405b", "context": 8192}, 80 << 30, "a slice of the model fits, such as"),
        ({"model": "dense-1t@3"}, 60 << 30, "a slice of the model fits, such as dense-1t@1"),
        ({"model": "dense-1t"}, 12 << 30, "not even a layer of it fits"),
        ({"model": "llama-70b", "context": 10**9}, 60 << 30, "slice of the model with a smaller"),
        ({"model": "llama-8b", "batch": 10**6}, 40 << 30, "a smaller batch or context fits"),
    ],
)
def test_what_is_said_to_fit_fits_and_is_the_most_that_does(axes, memory, said):
    bench = make("generate", axes)
    with pytest.raises(Unmeasurable, match=said) as caught:
        must_fit(bench, memory)
    found = re.search(r"such as (\S+@)(\d+)$", caught.value.message)
    if found is None:
        return
    shorter = {"batch": 1, "context": 1} if "smaller" in said else {}
    # One layer more does not fit.
    for layers, fits in ((int(found[2]), True), (int(found[2]) + 1, False)):
        smaller = make("generate", {**axes, **shorter, "model": f"{found[1]}{layers}"})
        try:
            must_fit(smaller, memory)
        except Unmeasurable:
            assert not fits, layers
        else:
            assert fits, layers


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"context": 0}, "context must be at least 1, not 0"),
        ({"output": 1}, "output must be at least 2, not 1: the first token is the prefill's"),
        ({"output": 1 << 30}, "output must be at most 131072, not 1073741824"),
        ({"page": -1}, "page must be at least 0, not -1"),
        ({"dtype": "fp8"}, "dtype"),
        ({"batch": 1 << 40}, "batch must be at most 2147483647, not 1099511627776"),
        ({"model": "no-such"}, "unknown model 'no-such'"),
        ({"model": "tiny@3"}, "a slice of tiny has 1 to 2 layers"),
    ],
    ids=str,
)
def test_bad_axes_are_sentences(axes, reason):
    with pytest.raises(UsageError, match=reason):
        make("generate", axes)


def test_costs_of_a_prompt_are_a_third_of_training_but_for_the_head():
    shape, batch, tokens = ModelShape(512, 8, 8, 2, 1024, 1000, 256), 3, 256
    head = 2 * shape.dim * shape.vocab
    wanted = batch * (tokens * (flops_per_token(shape) / 3 - head) + head)
    assert costs.prefill(shape, batch, tokens, "bf16").flops == pytest.approx(wanted, rel=0.01)


def test_costs_of_a_token_are_weights_and_cache():
    one = costs.decode(SHAPE, 1, 100, "fp32")
    pair = 2 * 2 * 16 * 4  # keys and values, 2 heads of 16, fp32
    weights = parameters(SHAPE) - 49 * 64  # one row of the embedding
    assert one.bytes == 4 * weights + SHAPE.layers * 100 * pair
    # Of 4 experts a token meets 2; many tokens meet all.
    expert = 2 * 3 * 64 * 96 * 4
    few, many = (costs.decode(MIXTURE, n, 1, "fp32").bytes for n in (1, 50))
    assert few == 4 * (parameters(MIXTURE) - 49 * 64) - 2 * expert + SHAPE.layers * pair
    assert many == 4 * parameters(MIXTURE) + 50 * SHAPE.layers * pair
    assert costs.decode(MIXTURE, 1, 1, "fp32").flops < 2 * parameters(MIXTURE)


def test_expectations_are_bounds_of_the_roofline():
    chip = load_chip("sim-a")
    facts = Facts(chip=chip)
    found = make("generate", {"model": "llama-8b", "dtype": "bf16", "context": 2048}).expected(
        facts
    )
    assert found["mfu"] == pytest.approx(1.0)  # a long prompt is limited by arithmetic
    assert found["mbu"] == pytest.approx(1.0)  # one sequence's tokens by memory
    assert found["token_p50"] == pytest.approx(8.03e9 * 2 / chip.memory_bandwidth.value, rel=0.1)
    assert found["token_p50"] <= found["token_p99"]
    assert found["decode_tokens_per_second"] == pytest.approx(1 / found["token_p50"], rel=0.01)
    many = make("generate", {"model": "llama-8b", "dtype": "bf16", "batch": 4096}).expected(facts)
    assert many["mbu"] < 1
    assert make("generate", {}).expected(Facts(chip=None)) == {}


@pytest.mark.parametrize("batch", [1, 4096])
def test_a_roof_alone_bounds_what_it_is_over(batch):
    """No time may be shorter than where the other is known too, nor any rate higher."""
    chip = load_chip("sim-a")
    bench = make("generate", {"model": "llama-8b", "dtype": "bf16", "batch": batch})
    both = bench.expected(Facts(chip=chip))
    memory = bench.expected(Facts(chip=msgspec.structs.replace(chip, flops={})))
    assert set(memory) == {"decode_tokens_per_second", "token_p50", "token_p99", "mbu"}
    arithmetic = bench.expected(Facts(chip=msgspec.structs.replace(chip, memory_bandwidth=None)))
    assert set(arithmetic) == {"prefill_tokens_per_second", "ttft", "mfu"}
    times = {"token_p50", "token_p99", "ttft"}
    for name, bound in (memory | arithmetic).items():
        assert bound <= both[name] if name in times else bound >= both[name], name
    assert (memory["mbu"], arithmetic["mfu"]) == (pytest.approx(1.0), pytest.approx(1.0))
    if batch == 1:
        assert memory["token_p50"] == both["token_p50"]
