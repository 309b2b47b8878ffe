"""Run in a process of its own by test_interpreter.py: empty tensors and single elements.

An empty input gives an empty result (a gradient of nothing is zero), as in torch, and launches
nothing that reads it; a single element is computed like any other.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import sys

import torch

sys.path.insert(0, os.path.dirname(__file__))
import interpreting  # noqa: F401  (replaces the interpreter's own)

from bench.kernels import (
    adamw,
    attention,
    cross_entropy,
    decode_attention,
    embedding,
    fp8_linear,
    gate_up,
    gemm,
    grouped_gemm,
    layernorm,
    local_reduce,
    moe,
    quantize,
    rmsnorm,
    rope,
    softmax,
    stream,
    swiglu,
    transpose,
)


def empty(*shape, kind=torch.float32):
    return torch.full(shape, float("nan")).to(kind)


def nothing():
    """Every operation on tensors with no elements."""
    none = empty(0)
    for op in stream.OPS:
        sums = op in ("dot", "read")
        out = stream.stream(op, none, none, empty(1) if sums else empty(0))
        assert out.shape == ((1,) if sums else (0,))
        assert not sums or out.item() == 0.0
    assert gemm.gemm(empty(0, 4), empty(4, 3), empty(0, 3)).shape == (0, 3)
    assert gemm.gemm(empty(2, 4), empty(4, 0), empty(2, 0)).shape == (2, 0)
    assert (gemm.gemm(empty(2, 0), empty(0, 3), empty(2, 3)) == 0).all(), "a sum of nothing is 0"
    x, w = empty(0, 8), torch.ones(8)
    assert rmsnorm.rmsnorm(x, w).shape == (0, 8)
    assert layernorm.layernorm(x, w, w).shape == (0, 8)
    assert softmax.softmax(x).shape == (0, 8)
    assert swiglu.swiglu(x, x).shape == (0, 8)
    assert transpose.transpose(x, empty(8, 0)).shape == (8, 0)
    weight = torch.ones(8, requires_grad=True)
    rmsnorm.rmsnorm(x.requires_grad_(), weight).sum().backward()
    assert (weight.grad == 0).all(), "no row, no gradient"
    q = empty(0, 2, 4)
    table = empty(2, 0, 2)
    assert rope.rope(q, q, table)[0].shape == (0, 2, 4)
    half = empty(1, 2, 0, 64, kind=torch.float16)
    assert attention.attention(half, half, half).shape == (1, 2, 0, 64)
    cached = empty(3, 16, 2, 64, kind=torch.float16)
    for queries in (empty(0, 2, 1, 64), empty(3, 2, 0, 64), empty(3, 0, 1, 64)):
        half = queries.half()
        mine = cached[: len(half)]
        assert decode_attention.decode_attention(half, mine, mine).shape == half.shape
    newest = torch.ones(3, 4, 2, 64).half()
    for lengths, room in (([0, 0, 0], 16), ([5, 9, 1], 0)):
        mine = torch.tensor(lengths, dtype=torch.int32)
        out = decode_attention.decode_attention(newest, cached, cached, lengths=mine, longest=room)
        assert (out == 0).all(), "nothing is seen"
    unpaged = torch.empty(3, 0, dtype=torch.int32)
    out = decode_attention.decode_attention(newest, cached[:0], cached[:0], table=unpaged)
    assert (out == 0).all(), "no page is read where there is none"
    offsets, wide = torch.zeros(3, dtype=torch.int32), empty(2, 3, 0)
    assert softmax.softmax(wide).shape == wide.shape
    assert swiglu.swiglu(wide, wide).shape == wide.shape
    thin, kept = empty(2, 3, 0).requires_grad_(), empty(4, 0).requires_grad_()
    for product in (gemm.linear(thin, kept), gate_up.feed_in(thin, kept, kept)):
        assert torch.equal(product.detach(), torch.zeros(2, 3, 4)), "a sum of nothing is 0"
        product.sum().backward()
    assert thin.grad.shape == thin.shape
    assert kept.grad.shape == kept.shape
    some, none_out = torch.ones(2, 3, requires_grad=True), empty(0, 3).requires_grad_()
    gemm.linear(some, none_out).sum().backward()
    assert (some.grad == 0).all(), "no output, no gradient"
    for m, n, k in ((0, 16, 16), (4, 0, 16), (4, 16, 0)):
        for arch in (None, "generic"):
            mine = [empty(*one, kind=torch.bfloat16).requires_grad_() for one in ((m, k), (n, k))]
            product = fp8_linear.linear(*mine, arch=arch)
            assert torch.equal(product.detach(), torch.zeros(m, n, dtype=torch.bfloat16))
            product.sum().backward()
            assert all((one.grad == 0).all() for one in mine), "nothing of nothing"
    rows = empty(0, 4)
    assert grouped_gemm.grouped_gemm(rows, torch.ones(2, 4, 5), offsets).shape == (0, 5)
    dweight = grouped_gemm.backward_weight(rows, empty(0, 5), offsets, empty(2, 4, 5))
    assert (dweight == 0).all(), "an expert without rows has no gradient"
    order, place, starts = moe.sort_by_expert(torch.empty(0, 2, dtype=torch.int32), 3)
    assert order.shape == (0,)
    assert starts.tolist() == [0, 0, 0, 0]
    assert moe.dispatch(rows, order, place).shape == (0, 4)
    fp8 = empty(0, 4, kind=torch.float8_e4m3fn)
    assert quantize.quantize_tensor(rows, fp8, empty(1))[1].item() == 1.0
    assert local_reduce.local_reduce(empty(3, 0), empty(0)).shape == (0,)
    ids = torch.empty(0, dtype=torch.int64)
    assert embedding.embedding(torch.ones(5, 4), ids).shape == (0, 4)
    adamw.adamw(none, none, none, none, none, step=1)
    labels = torch.empty(0, dtype=torch.int64)
    assert float(cross_entropy.cross_entropy(empty(0, 7), labels)) == 0.0


def single():
    """One element or one row, where a formula is easily checked by hand."""
    one = torch.full((1, 1), 3.0)
    assert abs(float(rmsnorm.rmsnorm(one, torch.ones(1))) - 1.0) < 1e-5
    assert abs(float(layernorm.layernorm(one, torch.ones(1), torch.full((1,), 0.5))) - 0.5) < 1e-5
    assert float(softmax.softmax(one)) == 1.0
    assert float(gemm.gemm(one, one, empty(1, 1))) == 9.0
    assert float(transpose.transpose(one, empty(1, 1))) == 3.0
    half = torch.ones(1, 1, 1, 64).half()
    assert torch.equal(attention.attention(half, half, half), half), "one key: its value"
    token = torch.rand(1, 1, 1, 64).half()
    for lengths in ([1], [0]):
        mine = torch.tensor(lengths, dtype=torch.int32)
        found = decode_attention.decode_attention(
            half.expand(1, 1, 3, 64), token, token, lengths=mine
        )
        assert (found[:, :, :2] == 0).all(), "of three queries the first two come before any key"
        assert torch.equal(found[:, :, 2:], token * lengths[0]), "one key: its value"
    all_zero = torch.zeros(2, 130)
    q, scale = quantize.quantize_block(
        all_zero, empty(2, 130, kind=torch.float8_e4m3fn), empty(2, 2)
    )
    assert (q.float() == 0).all()
    assert (scale == 1).all(), "nothing to scale"


if __name__ == "__main__":
    nothing()
    single()
    sys.stdout.write("all examples passed\n")
