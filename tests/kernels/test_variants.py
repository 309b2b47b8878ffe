"""Kernels written for one architecture: chosen where they can be, right, and compiled as meant."""

import contextlib
import json

import pytest

from bench.kernels import arch, tuning

pytest.importorskip("triton", reason="Triton is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton.experimental.gluon", reason="this Triton has no Gluon")

CHOSEN = {
    "block_m": 128, "block_n": 128, "num_warps": 8, "num_stages": 2, "tma": 1, "arch_variant": 1,
}  # fmt: skip

ROWS = {"block": 8192, "num_warps": 16, "num_stages": 1, "waves": 1, "arch_variant": 1}


def launched(q, k, v, out, architecture, **changed):
    from bench.kernels import attention
    from bench.kernels.launch import recording

    lse = torch.empty(q.shape[:3], device="meta")
    with tuning.forcing("attention", {**CHOSEN, **changed}), recording() as launches:
        attention.forward(q, k, v, out, lse, causal=True, arch=architecture)
    return [one.kernel.fn.__name__ for one in launches]


def tensors(heads, kv_heads, seq, dim=64, apart=0):
    return [
        torch.empty(2, n, seq, dim + apart, dtype=torch.bfloat16, device="meta")[..., :dim]
        for n in (heads, kv_heads, kv_heads, heads)
    ]


def test_a_variant_runs_where_it_is_chosen_and_can():
    assert launched(*tensors(4, 2, 300), "sm_90") == ["forward_gluon_kernel"]
    assert launched(*tensors(4, 2, 300, apart=8), "sm_90") == ["forward_gluon_kernel"]
    assert launched(*tensors(4, 2, 300), "sm_90", arch_variant=0) == ["forward_tma_kernel"]
    assert launched(*tensors(4, 2, 300), "sm_100") == ["forward_tma_kernel"]
    assert launched(*tensors(4, 2, 300, apart=1), "sm_90") == ["forward_kernel"]
    assert launched(*tensors(4, 2, 0), "sm_90") == []
    q, k, _, out = tensors(4, 2, 300)
    shared = k[:, :1].expand(2, 4, 300, 64)
    assert launched(q, shared, shared, out, "sm_90") == ["forward_tma_kernel"]


def test_variants_of_the_backward_pass_run_where_they_are_chosen_and_can():
    from bench.kernels import attention
    from bench.kernels.launch import recording

    def backward(dim, key, chosen):
        q, k, v, out = tensors(4, 2, 300, dim)
        made = [torch.empty_like(one) for one in (q, k, v)]
        lse = torch.empty(q.shape[:3], device="meta")
        (other,) = {"attention_query", "attention_key_value"} - {key}
        with contextlib.ExitStack() as stack:
            stack.enter_context(tuning.forcing(key, {**CHOSEN, **chosen}))
            stack.enter_context(tuning.forcing(other, {**CHOSEN, "arch_variant": 0}))
            launches = stack.enter_context(recording())
            attention.backward(out, q, k, v, out, lse, *made, causal=True, arch="sm_90")
        return [one.kernel.fn.__name__ for one in launches]

    delta, portable, query = "delta_kernel", "key_value_tma_kernel", "attention_query"
    assert backward(128, query, {}) == [delta, portable, "query_gluon_kernel"]
    assert backward(128, query, {"arch_variant": 0}) == [delta, portable, "query_tma_kernel"]
    # Head dimensions that its registers do not hold.
    assert backward(256, query, {}) == [delta, portable, "query_tma_kernel"]
    found = backward(64, "attention_key_value", {"block_m": 64})
    assert found == [delta, "key_value_gluon_kernel", "query_tma_kernel"]


def test_one_pass_runs_where_it_is_chosen_and_can_but_not_where_order_must_not_matter():
    from bench.kernels import attention
    from bench.kernels.launch import recording

    def backward(dim=128, seq=300, architecture="sm_90"):
        q, k, v, out = tensors(4, 2, seq, dim)
        made = [torch.empty_like(one) for one in (q, k, v)]
        lse = torch.empty(q.shape[:3], device="meta")
        with (
            tuning.forcing("attention_key_value", {**CHOSEN, "block_m": 64, "one_pass": 1}),
            tuning.forcing("attention_query", {**CHOSEN, "arch_variant": 0}),
            recording() as launches,
        ):
            found = attention.backward(
                out, q, k, v, out, lse, *made, causal=True, arch=architecture
            )
        assert all(one is two for one, two in zip(found, made, strict=True))
        return [one.kernel.fn.__name__ for one in launches]

    one = ["prepare_kernel", "whole_gluon_kernel", "finish_kernel"]
    two = ["delta_kernel", "key_value_gluon_kernel", "query_tma_kernel"]
    assert backward() == one
    assert backward(dim=64) == two
    assert backward(architecture="sm_100") == [two[0], "key_value_tma_kernel", two[2]]
    torch.use_deterministic_algorithms(True)
    try:
        assert backward() == two
    finally:
        torch.use_deterministic_algorithms(False)


def test_constants_that_a_variant_is_not_written_for_are_told():
    with pytest.raises(ValueError, match="block_n of attention's variant for sm_90 must be 64 or"):
        launched(*tensors(1, 1, 9), "sm_90", block_n=32)
    assert arch.problem("sm_80", "attention", CHOSEN) == "attention has no variant for sm_80"


def test_the_search_tries_a_variant_where_there_is_one():
    from bench.kernels.candidates import candidates

    facts = {"head_dim": 128, "causal": 1, "seq": 4096}
    for name, some in (("sm_90", True), ("sm_100", False), ("gfx942", False)):
        made = candidates(name, "attention", "bf16", facts)
        assert any(chosen.get("arch_variant") for chosen in made) == some
        assert all(not arch.problem(name, "attention", c) for c in made if c.get("arch_variant"))
        made = candidates(name, "cross_entropy", "bf16", {"width": 131_072})
        assert any(chosen.get("arch_variant") for chosen in made) == some


@pytest.mark.parametrize("causal", [0, 1])
def test_the_search_tries_kernels_of_the_architecture_first(causal):
    from bench.kernels.candidates import candidates

    facts = {"head_dim": 128, "causal": causal, "seq": 4096}
    made = candidates("sm_90", "attention_key_value", "bf16", facts)
    own = [chosen.get("arch_variant", 0) for chosen in made[1:]]
    whole = [chosen.get("one_pass", 0) for chosen in made[1:]]
    assert made[0] == tuning.config(
        "sm_90", "attention_key_value", "bf16", head_dim=128, causal=causal
    )
    assert whole == sorted(whole, reverse=True)
    assert own == sorted(own, reverse=True)
    # All in the first turn of a search, the present one among them.
    assert sum(one.get("one_pass", 0) for one in made) == 4
    assert sum(whole) < sum(own) <= 8
    assert not any(
        one.get("one_pass") for one in candidates("gfx942", "attention_key_value", "bf16", facts)
    )


def test_the_search_gives_up_what_spills_but_not_kernels_of_the_architecture(monkeypatch):
    from bench.campaigns import compiled
    from bench.campaigns.entries import chosen_cases, entries

    own = "block_m=64 block_n=128 num_warps=8 num_stages=3 tma=1 arch_variant=1 one_pass=1"
    portable = "block_m=64 block_n=128 num_warps=4 num_stages=1 tma=1"
    only = [f"attention_key_value {one}" for one in (own, portable)]
    cases = chosen_cases(["attention"], ["bf16"], ["1x8x2x1024x128"], weak=False)
    (full,) = (one for one in entries("sm_90", cases, only) if one.key == "attention_key_value")
    # What the compiler would find takes minutes on a busy machine; what follows from it is asked.
    made = {name: compiled.Compiled(spills=104) for name in full.candidates}
    made[full.candidates[0]] = compiled.Compiled(spills=96)
    monkeypatch.setattr(compiled, "_build", lambda one, seconds: made)
    assert compiled.rejected(full, 1) == {only[1]: "spills 104, the present entry 96"}
    made[only[0]] = compiled.Compiled(shared=1 << 20)
    assert list(compiled.rejected(full, 1)) == only


def launched_rows(logits, architecture="sm_90", gradient=True, **changed):
    from bench.kernels import cross_entropy
    from bench.kernels.launch import recording

    labels = torch.empty(logits.shape[0], dtype=torch.int64, device="meta")
    losses = torch.empty(logits.shape[0], device="meta")
    with tuning.forcing("cross_entropy", {**ROWS, **changed}), recording() as launches:
        cross_entropy.in_place(logits, labels, losses, gradient=gradient, arch=architecture)
    (one,) = launches
    return one.kernel.fn.__name__, one.grid


def test_rows_stay_on_the_chip_where_they_can():
    def logits(vocab, apart=0, dtype=torch.bfloat16, rows=1000):
        return torch.empty(rows, vocab + apart, dtype=dtype, device="meta")[:, :vocab]

    own, fewer = ("gluon_kernel", (132,)), ("looped_kernel", (132,))
    assert launched_rows(logits(131_072)) == own
    assert launched_rows(logits(151_936, apart=8)) == own
    assert launched_rows(logits(131_072, rows=7)) == ("gluon_kernel", (7,))
    assert launched_rows(logits(131_072), "sm_100") == fewer
    assert launched_rows(logits(131_072), arch_variant=0) == fewer
    assert launched_rows(logits(131_072), gradient=False) == fewer
    assert launched_rows(logits(131_072, apart=1)) == fewer
    assert launched_rows(logits(131_072, dtype=torch.float32)) == fewer
    assert launched_rows(logits(131_073)) == fewer
    assert launched_rows(logits(1 << 18)) == fewer
    assert launched_rows(logits(8192), block=8192) == ("held_kernel", (1000,))
    assert launched_rows(logits(131_072), arch_variant=0, waves=2) == ("looped_kernel", (264,))
    with pytest.raises(ValueError, match="num_warps of cross_entropy's variant for sm_90 must be"):
        launched_rows(logits(131_072), num_warps=32)


@pytest.mark.script("emulated.py")
@pytest.mark.parametrize("what", ["agrees", "refuses"])
def test_emulated_results_agree_and_breaches_are_seen(what, scripts):
    done = scripts("emulated.py", what)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.script("emulated_rows.py")
@pytest.mark.parametrize("what", ["agrees", "refuses"])
def test_emulated_rows_agree_and_breaches_are_seen(what, scripts):
    done = scripts("emulated_rows.py", what)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.script("emulated_backward.py")
@pytest.mark.parametrize("what", ["agrees", "refuses"])
def test_emulated_gradients_agree_and_breaches_are_seen(what, scripts):
    done = scripts("emulated_backward.py", what)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.script("around.py")
def test_what_stands_around_one_pass_agrees(scripts):
    done = scripts("around.py")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.script("compiled_variants.py")
@pytest.mark.parametrize(
    ("key", "dim", "block_m", "block_n", "seq", "variant"),
    [
        ("one_pass", "128", "64", "128", "4096", "full_backward"),
        ("one_pass", "128", "64", "128", "4096", "causal_backward"),
    ],
)
def test_one_pass_stores_nothing_on_the_stack_in_its_loops(
    key, dim, block_m, block_n, seq, variant, scripts
):
    done = scripts("compiled_variants.py", key, dim, block_m, block_n, seq, variant)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kernel"] == "whole_gluon_kernel"
    assert found["matrix"] == "wgmma"
    assert found["tma"]
    assert found["shared"] <= tuning.targets()["sm_90"].shared
    # Two warpgroups, each with a loop of tiles and, where it has a diagonal, one for that.
    loops = found["loops"]
    assert len(loops) == (4 if variant.startswith("causal") else 2)
    for loop in loops:
        # Five products of 64 x 64 x 128: 24 instructions of half the columns, 8 of all.
        assert loop["products"] == 32
        assert loop["exponentials"] == found["tile"]
        assert loop["stack"] == 0
        # Sums of dQ leave in pairs, 64 x 64 of them from 128 threads.
        assert loop["sums"] == 16
        # One wait for scores, one for dP, one for all: no product waits for the one before it.
        assert loop["waits"] == 3


@pytest.mark.script("compiled_variants.py")
@pytest.mark.parametrize(
    ("key", "dim", "block_m", "block_n", "seq", "variant"),
    [
        ("attention", "64", "128", "128", "1", "full"),
        ("attention", "128", "128", "128", "4096", "causal"),
        ("attention", "256", "128", "64", "99", "causal"),
        ("attention_query", "64", "128", "128", "4096", "causal_backward"),
        ("attention_query", "128", "128", "64", "4096", "full_backward"),
        ("attention_key_value", "64", "64", "128", "4096", "causal_backward"),
    ],
)
def test_compiles_without_spills_and_weighs_beside_products(
    key, dim, block_m, block_n, seq, variant, scripts
):
    done = scripts("compiled_variants.py", key, dim, block_m, block_n, seq, variant)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kernel"].endswith("_gluon_kernel")
    assert found["matrix"] == "wgmma"
    assert found["tma"]
    assert found["spills"] == 0
    assert found["shared"] <= tuning.targets()["sm_90"].shared
    # Nearly all weights are computed while a product runs, in every loop of both warpgroups.
    if seq != "1":
        beside = [count for count in found["beside"] if count]
        assert len(beside) >= 2
        least = 1.0 if key == "attention" else 0.8
        assert min(beside) >= least * found["tile"], found


@pytest.mark.script("compiled_variants.py")
@pytest.mark.parametrize(
    ("vocab", "block", "warps"),
    [("131072", "8192", "16"), ("151936", "4096", "16"), ("32000", "16384", "8")],
)
def test_rows_are_kept_without_spills(vocab, block, warps, scripts):
    done = scripts("compiled_variants.py", vocab, block, warps)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kernel"] == "gluon_kernel"
    assert found["tma"]
    assert found["spills"] == 0
    assert found["shared"] <= tuning.targets()["sm_90"].shared
