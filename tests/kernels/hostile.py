"""Run in a process of its own by test_interpreter.py: data that a training step can bring.

Infinities, NaN, sums past the end of a sequence that overflow, transposed weights, long strides.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import sys

import pytest
import torch
from triton.runtime import interpreter

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)
from shapes import BY_DESCRIPTORS

from bench.kernels import (
    attention,
    cross_entropy,
    decode_attention,
    gate_up,
    gemm,
    launch,
    layernorm,
    linear_cross_entropy,
    moe,
    quantize,
    rmsnorm,
    rope,
    softmax,
    swiglu,
    tuning,
)

GENERATOR = torch.Generator().manual_seed(0)
INF, NAN = float("inf"), float("nan")


def normal(*shape, kind=torch.float32):
    return torch.randn(shape, generator=GENERATOR).to(kind)


def far_below_zero():
    """Scores near -20, whose exponent past the end of the keys overflows fp16."""
    q = (normal(1, 1, 100, 64) * 0.1 + 1.6).half()
    tensors = [q, -q, normal(1, 1, 100, 64, kind=torch.float16)]
    do = normal(1, 1, 100, 64, kind=torch.float16)
    exact = [one.double().requires_grad_() for one in tensors]
    wanted = torch.autograd.grad(attention.formula(False)(*exact), exact, do.double())
    for key in ("", "attention_query"):
        forced = BY_DESCRIPTORS["attention"][key] if key else {}
        ours = [one.clone().requires_grad_() for one in tensors]
        out = attention.attention(*ours, causal=False)
        if key:
            with tuning.forcing(key, forced):
                found = torch.autograd.grad(out, ours, do)
        else:
            found = torch.autograd.grad(out, ours, do)
        for mine, right in zip(found, wanted, strict=True):
            error = float((mine.double() - right).norm() / right.norm())
            assert error < 2e-2, (key, error)


def what_a_cache_holds_besides():
    """Behind the end of a sequence, and in pages of nobody, lie NaN: they are never used.

    Sequences of no token, of some, and of more than there is said to be room for; parts in which
    some queries see no key at all; heads in parts of a larger tensor.
    """
    batch, queries, heads, kv_heads, dim, longest = 5, 3, 4, 2, 64, 200
    tokens = torch.tensor([0, 1, 70, 200, 777], dtype=torch.int32)
    seen = tokens.clamp(max=longest).tolist()
    for page in (7, 64, 256):
        n = -(-longest // page)
        order = torch.randperm(batch * n + 9, generator=GENERATOR)
        table = torch.full((batch, n + 2), -1, dtype=torch.int32)
        table[:, :n] = order[: batch * n].view(batch, n)
        whole = torch.full((len(order), page, kv_heads + 1, 2 * dim), NAN)
        q = 1.6 + 0.3 * normal(batch, queries, heads, dim).transpose(1, 2)
        wanted = torch.zeros(q.shape, dtype=torch.float64)
        for b, length in enumerate(seen):
            places = torch.arange(length)
            rows = table[b, places // page].long(), places % page
            # Scores far below zero, beside which a key of zeros would be all.
            whole[rows] = normal(length, kv_heads + 1, 2 * dim) - 1.6
            k, v = (whole[rows][:, 1:, part] for part in (slice(dim), slice(dim, 2 * dim)))
            for j in range(queries):
                mine = length - queries + 1 + j
                for h in range(heads if mine > 0 else 0):
                    kept = k[:mine, h // 2].double(), v[:mine, h // 2].double()
                    scores = kept[0] @ q[b, h, j].double() * dim**-0.5
                    wanted[b, h, j] = scores.softmax(0) @ kept[1]
        k, v = whole[:, :, 1:, :dim], whole[:, :, 1:, dim:]
        for block_n in (16, 64):
            chosen = {"block_m": 16, "block_n": block_n, "waves": 1, "num_warps": 4}
            with tuning.forcing("decode_attention", chosen):
                found = decode_attention.decode_attention(
                    q, k, v, table=table, lengths=tokens, longest=longest
                )
            assert torch.allclose(found.double(), wanted, atol=1e-4, rtol=1e-4), (page, block_n)


def masked_experts():
    """Fewer experts than are to be chosen are allowed: no other number, none twice."""
    logits = normal(5, 6)
    logits[0, 2:] = -INF
    logits[1, 0] = NAN
    logits[2] = -INF
    logits[3, 4] = torch.finfo(torch.float32).min
    weights, experts = torch.empty(5, 4), torch.empty(5, 4, dtype=torch.int32)
    moe.route(logits, weights, experts)
    assert ((experts >= 0) & (experts < 6)).all(), experts
    assert (experts.sort(-1).values.diff(dim=-1) > 0).all(), experts
    assert experts[0, :2].sort().values.tolist() == [0, 1]
    assert torch.allclose(weights[0, :2].sum(), torch.tensor(1.0))
    assert (weights[0, 2:] == 0).all()
    assert weights[1].isnan().all(), "a NaN is not hidden"


def not_numbers():
    """A NaN stays one: a step that went wrong is seen."""
    x = normal(2, 256)
    x[0, 3], x[1, 200] = NAN, NAN
    for run, scale in (
        (quantize.quantize_block, torch.empty(2, 2)),
        (quantize.quantize_tensor, torch.empty(1)),
    ):
        q, _ = run(x, torch.empty(2, 256).to(torch.float8_e4m3fn), scale)
        assert torch.equal(q.float().isnan(), x.isnan()), run
    a = normal(16, 16)
    a[2, 5] = NAN
    for activation in gemm.ACTIVATIONS:
        out = gemm.gemm(a, normal(16, 16), torch.empty(16, 16), activation=activation)
        assert out[2].isnan().all(), activation
        assert not out[3:].isnan().any(), activation


def transposed():
    """Gradients of operands that lie transposed have rows without gaps, and are right."""
    x, weight = normal(20, 9).t().requires_grad_(), normal(20, 30).t().requires_grad_()
    up = normal(20, 30).t().requires_grad_()
    seed = normal(9, 30)
    pairs = (
        (gemm.linear(x, weight), x @ weight.t(), [x, weight]),
        (
            gate_up.feed_in(x, weight, up),
            torch.nn.functional.silu(x @ weight.t()) * (x @ up.t()),
            [x, weight, up],
        ),
    )
    for ours, theirs, leaves in pairs:
        found = torch.autograd.grad(ours, leaves, seed)
        wanted = torch.autograd.grad(theirs, leaves, seed)
        for mine, right in zip(found, wanted, strict=True):
            assert torch.allclose(mine, right, rtol=1e-3, atol=1e-4)


def long_strides():
    """Strides that 32 bits hold, but not their product with a tile's extent."""
    # The interpreter copies every operand back, touching all of its memory; here it is the same.
    interpreter.GridExecutor._restore_args_dev = lambda *_: None
    far = (1 << 27) + 16

    def apart(tensor):
        made = torch.empty_strided(tensor.shape, (far, 1), dtype=tensor.dtype)
        return made.copy_(tensor)

    # The generic table takes fp32 in steps of 16 columns: two steps here, fp16's of 32 likewise.
    a, b = normal(20, 4), normal(20, 4)
    out = gemm.gemm(apart(a).t(), apart(b), torch.empty(4, 4))
    assert torch.allclose(out, a.t() @ b, atol=1e-5)
    x = normal(4, 20)
    h = gate_up.gate_up(x, apart(b), apart(a), torch.empty(4, 4))
    assert torch.allclose(h, gate_up.formula(x, b, a), atol=1e-4)
    q, k = normal(2, 20, 8), normal(2, 1, 8)
    table = rope.angles(2, 8, torch.device("cpu"))
    wide = torch.empty_strided(q.shape, (8, far, 1))
    wide.copy_(q)
    turned, _ = rope.rotate(wide, k, table, torch.empty_like(q.contiguous()), torch.empty_like(k))
    assert torch.allclose(turned, rope.formula(q, k, table)[0], atol=1e-5)


def pairs():
    """Two weights that are taken for one array, in whatever order and however far apart they lie;
    of one weight for both there is no pair."""
    chosen = {**BY_DESCRIPTORS["gate_up"]["gate_up"], "paired": 1}
    with tuning.forcing("gate_up", chosen):
        for rows, columns, inner in ((33, 64, 32), (64, 96, 48), (1, 16, 8)):
            x = normal(rows, inner, kind=torch.float16)
            many = normal(3, columns, inner, kind=torch.float16)
            for gate, up in ((many[0], many[2]), (many[2], many[1]), (many[1], many[1])):
                h, *keep = torch.full((3, rows, columns), NAN, dtype=torch.float16)
                with launch.recording() as launches:
                    gate_up.gate_up(x, gate.t(), up.t(), h, keep=tuple(keep))
                paired = launches[0].kernel.fn.__name__ == "gate_up_paired_kernel"
                assert paired == (gate.data_ptr() != up.data_ptr())
                gate_up.gate_up(x, gate.t(), up.t(), h, keep=tuple(keep))
                products = [(x.double() @ one.double().t()) for one in (gate, up)]
                wanted = [torch.nn.functional.silu(products[0]) * products[1], *products]
                for found, right in zip((h, *keep), wanted, strict=True):
                    assert torch.allclose(found.double(), right, rtol=2e-3, atol=2e-3)


def second_derivatives():
    """No backward pass here can be differentiated: said, not left out of the sum."""
    x, weight = normal(3, 8).requires_grad_(), torch.ones(8, requires_grad=True)
    functions = (
        lambda: rmsnorm.rmsnorm(x, weight),
        lambda: layernorm.layernorm(x, weight, weight),
        lambda: gemm.linear(x, normal(4, 8)),
        lambda: gate_up.feed_in(x, normal(4, 8), normal(4, 8)),
        lambda: softmax.softmax(x),
        lambda: swiglu.swiglu(x, x),
    )
    for function in functions:
        x.grad = None
        (gradient,) = torch.autograd.grad(function().square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            (gradient.sum() + x.pow(3).sum()).backward()


def overwritten():
    """Logits and gradients that lie in one memory: whoever comes too late for them is told."""
    x, labels, weight = normal(4, 40), torch.tensor([3, 39, 0, 7]), normal(40, 8)

    def loss(logits):
        return cross_entropy.cross_entropy(logits, labels)

    def capped(leaf):
        return loss(leaf.tanh())  # of which the result is kept for its own gradient

    def twice(leaf):
        logits = leaf * 1.0
        return loss(logits) + loss(logits)

    for function in (capped, twice):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            function(x.clone().requires_grad_()).backward()

    def fused(leaf):
        return linear_cross_entropy.linear_cross_entropy(leaf[:, :8], weight, labels)

    for function in (lambda leaf: loss(leaf * 1.0), fused):
        leaf = x.clone().requires_grad_()
        once = function(leaf)
        once.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            once.backward()
    kept = x.clone()
    with torch.no_grad():  # weights still need their gradients, as in an evaluation
        loss(kept.requires_grad_())
        with launch.recording() as launches:
            fused(kept)
            gate_up.feed_in(kept[:, :8], weight.requires_grad_(), weight)
    assert not launches[0].options["GRADIENT"]
    assert not launches[-1].options["KEEP"]
    loss(kept.detach())
    assert torch.equal(kept, x), "nobody asked for a gradient"


if __name__ == "__main__":
    overwritten()
    second_derivatives()
    far_below_zero()
    what_a_cache_holds_besides()
    masked_experts()
    not_numbers()
    transposed()
    pairs()
    long_strides()
    sys.stdout.write("all examples passed\n")
