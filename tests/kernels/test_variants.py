"""Kernels written for one architecture: chosen where they can be, right, and compiled as meant."""

import json

import pytest

from bench.kernels import arch, tuning

pytest.importorskip("triton", reason="Triton is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton.experimental.gluon", reason="this Triton has no Gluon")

CHOSEN = {
    "block_m": 128, "block_n": 128, "num_warps": 8, "num_stages": 2, "tma": 1, "arch_variant": 1,
}  # fmt: skip


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
        with tuning.forcing(key, {**CHOSEN, **chosen}), recording() as launches:
            attention.backward(out, q, k, v, out, lse, *made, causal=True, arch="sm_90")
        return [one.kernel.fn.__name__ for one in launches]

    delta, portable, query = "delta_kernel", "key_value_tma_kernel", "attention_query"
    assert backward(128, query, {}) == [delta, portable, "query_gluon_kernel"]
    assert backward(128, query, {"arch_variant": 0}) == [delta, portable, "query_tma_kernel"]
    # Head dimensions that its registers do not hold.
    assert backward(256, query, {}) == [delta, portable, "query_tma_kernel"]
    found = backward(64, "attention_key_value", {"block_m": 64})
    assert found == [delta, "key_value_gluon_kernel", "query_tma_kernel"]


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


@pytest.mark.script("emulated.py")
@pytest.mark.parametrize("what", ["agrees", "refuses"])
def test_emulated_results_agree_and_breaches_are_seen(what, scripts):
    done = scripts("emulated.py", what)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.script("emulated_backward.py")
@pytest.mark.parametrize("what", ["agrees", "refuses"])
def test_emulated_gradients_agree_and_breaches_are_seen(what, scripts):
    done = scripts("emulated_backward.py", what)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


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
        assert min(beside) >= 0.8 * found["tile"], found
